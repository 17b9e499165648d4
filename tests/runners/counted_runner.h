// SPDX-License-Identifier: Apache-2.0
//
// The engine's runner as a test opens it that compares with the kernel's: each helper and kernel
// function that the program calls counts as compared (harness/compared_calls.h).
//
// Threads: one at a time. Tested by what uses it.
#pragma once

#include <memory>
#include <string>

#include "harness/call_counter.h"
#include "helpers/helpers.h"
#include "runners/object_runner.h"

namespace lmn {

inline Result<std::unique_ptr<ObjectRunner>> open_counted_runner(const std::string& path,
                                                                 const std::string& program) {
  static CallCounter counter(known_helper_protos());
  return open_engine_runner(path, program, &counter);
}

}  // namespace lmn
