// SPDX-License-Identifier: Apache-2.0
//
// What every command does first: an object file's path to its ObjectSpec, and the program that is
// meant.
#pragma once

#include <string>

#include "base/result.h"
#include "spec/object_spec.h"

namespace lmn {

// Reads and parses the object. Errors begin with the path.
Result<ObjectSpec> load_object_file(const std::string& path);
// The program called `name`; with an empty name the only XDP program. Errors list what there is.
Result<const ProgramSpec*> choose_program(const ObjectSpec& spec, const std::string& name);

}  // namespace lmn
