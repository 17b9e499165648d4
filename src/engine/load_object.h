// SPDX-License-Identifier: Apache-2.0
//
// ObjectLoader: from an ObjectSpec to live maps and programs: all of them or none. Internal; the
// API is Engine::load.
//
// Order: choose programs -> create the maps they use -> write initial contents and freeze -> verify
// and prepare programs -> fill slots that name programs or maps. A failure destroys what was made
// so far. Threads: one call on the control thread. Tested by engine_test.cc.
#pragma once

#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "engine/engine.h"
#include "verifier/verifier.h"

namespace lmn {

class ObjectLoader {
 public:
  ObjectLoader(Engine& engine, const ObjectSpec& spec, const LoadOptions& options)
      : engine_(engine), spec_(spec), options_(options) {}

  Result<std::unique_ptr<LoadedObject>> load();

 private:
  Result<std::vector<const ProgramSpec*>> choose_programs() const;
  void add_slot_programs(const Map& map, std::vector<const ProgramSpec*>& chosen) const;
  Result<Map*> map_at(std::uint32_t position);
  std::string_view unownable_object(const MapSpec& spec) const;
  Result<std::unique_ptr<Map>> make_map(const MapSpec& spec);
  Result<std::unique_ptr<Program>> make_program(const ProgramSpec& spec);
  Result<VerifiedProgram> prove(const Environment& environment, const ProgramSpec& program,
                                std::span<const MapSpec> maps) const;
  Result<void> fill_slots();
  Result<std::uint32_t> slot_value(const Map& map, const MapInitialSlot& slot);

  Engine& engine_;
  const ObjectSpec& spec_;
  const LoadOptions& options_;
  std::unique_ptr<LoadedObject> object_;
  std::vector<Map*> maps_by_position_;  // null: not made (yet)
};

}  // namespace lmn
