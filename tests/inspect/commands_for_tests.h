// SPDX-License-Identifier: Apache-2.0
//
// Running other programs and reading what they print. Test code only. Threads: any.
#pragma once

#include <optional>
#include <string>

namespace lmn {

struct CommandOutput {
  std::string out;    // standard output
  std::string error;  // standard error
  int status = -1;    // exit status, 128 + signal when one ended it, -1 when it was not started
};

// Runs `command` by the shell.
CommandOutput run_command(const std::string& command);

// Nothing when bpftool can be run here; else a sentence for GTEST_SKIP.
std::optional<std::string> why_no_bpftool();

}  // namespace lmn
