// SPDX-License-Identifier: Apache-2.0
//
// prove_program: both stages of the verifier on one program, as whatever is loaded goes through
// them.
//
//   check_structure -> StructuredProgram -> verify -> VerifiedProgram
//
// The structural stage leaves refusals of operations that no constant of the code rules out to the
// paths (StructureOptions::defers_operations): frozen maps and values on the stack decide there
// what is dead. So this accepts what Linux accepts of programs that guard new helpers by constants.
//
// Whoever needs a program that breaks rules (tests of the interpreter) takes check_structure and
// make_interpreted themselves; nothing of the engine does.
//
// Threads: a pure function. Tested by engine_test.cc.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/result.h"
#include "spec/environment.h"
#include "spec/map_spec.h"
#include "spec/program_spec.h"
#include "verifier/verifier.h"

namespace lmn {

// Where the log in the kernel's form goes, and how much of it (verifier/kernel_log.h).
struct ProveLog {
  std::string* text = nullptr;
  std::uint32_t level = 0;
};

// `maps` are the blueprints of program.maps, in that order; `btf` the object's types or null.
// `report`, unless null, is fresh and gets what the second stage tells of a refusal.
// Errors: as check_structure and verify; a helper that Linux has and this build does not offer has
// the reason as remedy.
Result<VerifiedProgram> prove_program(const Environment& environment, const ProgramSpec& program,
                                      std::span<const MapSpec> maps, const Btf* btf,
                                      VerifierReport* report = nullptr, const ProveLog& log = {});

}  // namespace lmn
