// SPDX-License-Identifier: Apache-2.0
//
// What every command does first: an object file's path to its ObjectSpec, and the program that is
// meant.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "btf/btf.h"
#include "spec/object_spec.h"

namespace lmn {

// Reads and parses the object. Errors begin with the path.
Result<ObjectSpec> load_object_file(const std::string& path);
// The program called `name`; with an empty name the only XDP program. Errors list what there is.
Result<const ProgramSpec*> choose_program(const ObjectSpec& spec, const std::string& name);

// The running kernel's types, or null where it does not show them.
std::shared_ptr<const Btf> kernel_btf();
// Whether a program of the object calls that helper.
bool calls_helper(const ObjectSpec& spec, std::uint32_t helper_id);

}  // namespace lmn
