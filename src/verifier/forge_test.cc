// SPDX-License-Identifier: Apache-2.0
//
// Goal: only check_structure can make a StructuredProgram. Method: this file is compiled (not run)
// once per way of forging one, each a statement given as LMN_FORGE by CMakeLists.txt; all but the
// control, which proves that the file compiles at all, must fail and name the private constructor.
#include <bit>

#include "verifier/verifier.h"

namespace lmn {

struct DerivedKey : StructuredProgram::Key {};

void forge(const Environment& env, ProgramSpec spec, std::vector<MapSpec> maps,
           StructureFacts facts) {
  LMN_FORGE;
  static_cast<void>(env);
  static_cast<void>(spec);
  static_cast<void>(maps);
  static_cast<void>(facts);
}

}  // namespace lmn
