// SPDX-License-Identifier: Apache-2.0
//
// Look-ups by name in an ObjectSpec.
#include "spec/object_spec.h"

#include <algorithm>

namespace lmn {

const ProgramSpec* ObjectSpec::find_program(std::string_view name) const {
  auto found = std::ranges::find(programs, name, &ProgramSpec::name);
  return found == programs.end() ? nullptr : &*found;
}

const MapSpec* ObjectSpec::find_map(std::string_view name) const {
  auto found = std::ranges::find(maps, name, &MapSpec::name);
  return found == maps.end() ? nullptr : &*found;
}

}  // namespace lmn
