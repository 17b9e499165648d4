// SPDX-License-Identifier: Apache-2.0
//
// Program and LoadedObject: what lives after loading.
//
// A Program is a checked and prepared program with an id; a LoadedObject keeps together what came
// from one object file: its programs, its maps and its BTF. Both are owned by the engine and live
// as long as it does. Threads: immutable after loading, but for what maps allow.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "btf/btf.h"
#include "exec/compiled_program.h"
#include "maps/map.h"
#include "packet/program_entry.h"
#include "spec/program_spec.h"

namespace lmn {

struct Program {
  std::uint32_t id = 0;
  ProgramSpec spec;
  std::vector<Map*> maps;  // aligned with spec.maps
  std::unique_ptr<CompiledProgram> compiled;
  ProgramEntry entry;
};

struct LoadedObject {
  std::string name;
  std::vector<std::unique_ptr<Program>> programs;
  std::vector<std::unique_ptr<Map>> maps;  // those that loaded programs use
  std::shared_ptr<const Btf> btf;          // null when the object has none

  Program* find_program(std::string_view wanted) const;
  Map* find_map(std::string_view wanted) const;
};

}  // namespace lmn
