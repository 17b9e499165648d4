// SPDX-License-Identifier: Apache-2.0
//
// Loading an object: maps first, programs next, cross references last. Tested by engine_test.cc.
#include "engine/load_object.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <linux/bpf.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "base/assert.h"
#include "btf/map_fields.h"
#include "engine/object_maps.h"
#include "engine/prove.h"
#include "exec/interp/interpreter.h"
#include "helpers/helpers.h"
#include "kfuncs/kfuncs.h"

namespace lmn {
namespace {

bool is_xdp(const ProgramSpec& program) { return program.type == BPF_PROG_TYPE_XDP; }

std::string program_names(const ObjectSpec& spec) {
  std::vector<std::string> names;
  for (const ProgramSpec& program : spec.programs) {
    names.push_back(fmt::format("{} (section '{}')", program.name, program.section));
  }
  return names.empty() ? "it has no program" : fmt::format("it has {}", fmt::join(names, ", "));
}

}  // namespace

Result<std::unique_ptr<LoadedObject>> ObjectLoader::load() {
  LMN_CHECK_OK(engine_.kernel_tables_->use_types(spec_.kernel_types));
  object_ = std::make_unique<LoadedObject>();
  object_->name = options_.object_name;
  object_->btf = spec_.btf;
  maps_by_position_.assign(spec_.maps.size(), nullptr);
  LMN_TRY(std::vector<const ProgramSpec*> chosen, choose_programs());
  // Grows while it is walked: programs that stand in slots of the maps are needed too.
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    for (const std::uint32_t position : chosen[i]->maps) {
      LMN_TRY(const Map* made, map_at(position));
      add_slot_programs(*made, chosen);
    }
  }
  for (const ProgramSpec* program : chosen) {
    LMN_TRY(std::unique_ptr<Program> made, make_program(*program));
    object_->programs.push_back(std::move(made));
  }
  LMN_CHECK_OK(fill_slots());
  return std::move(object_);
}

Result<std::vector<const ProgramSpec*>> ObjectLoader::choose_programs() const {
  std::vector<const ProgramSpec*> chosen;
  for (const std::string& name : options_.programs) {
    const ProgramSpec* found = spec_.find_program(name);
    if (found == nullptr) {
      return make_error(ErrorCode::kNotFound, fmt::format("no program '{}' in the object: {}", name,
                                                          program_names(spec_)));
    }
    chosen.push_back(found);
  }
  if (!options_.programs.empty()) return chosen;
  for (const ProgramSpec& program : spec_.programs) {
    if (is_xdp(program) && program.is_autoload) chosen.push_back(&program);
  }
  if (chosen.empty()) {
    return make_error(ErrorCode::kNotFound,
                      fmt::format("no XDP program in the object: {}", program_names(spec_)),
                      "give the section a name that starts with xdp, or name the program");
  }
  return chosen;
}

void ObjectLoader::add_slot_programs(const Map& map,
                                     std::vector<const ProgramSpec*>& chosen) const {
  if (map.spec().type != BPF_MAP_TYPE_PROG_ARRAY) return;
  for (const MapInitialSlot& slot : map.spec().slots) {
    const ProgramSpec* program = spec_.find_program(slot.name);
    if (program == nullptr || std::ranges::find(chosen, program) != chosen.end()) continue;
    chosen.push_back(program);
  }
}

Result<Map*> ObjectLoader::map_at(std::uint32_t position) {
  LMN_ASSERT(position < spec_.maps.size());
  if (maps_by_position_[position] != nullptr) return maps_by_position_[position];
  LMN_TRY(std::unique_ptr<Map> map, make_map(spec_.maps[position]));
  maps_by_position_[position] = map.get();
  object_->maps.push_back(std::move(map));
  return maps_by_position_[position];
}

// The struct of the kernel that a pointer in the map's values would own though Linux cannot free
// it; empty: there is none.
std::string_view ObjectLoader::unownable_object(const MapSpec& spec) const {
  constexpr std::string_view kWithDestructor[] = {"task_struct", "cgroup", "bpf_cpumask",
                                                  "bpf_crypto_ctx"};
  for (const MapField& field : read_map_fields(spec_.btf.get(), spec.btf_value_type_id).fields) {
    if (field.kind != MapFieldKind::kKptr || field.kptr != KptrKind::kReferenced) continue;
    const std::string_view name = spec_.btf->type(field.type).name;
    if (std::ranges::find(kWithDestructor, name) != std::end(kWithDestructor)) continue;
    for (const Btf* types : {&engine_.kernel_tables_->types(), engine_.kernel_tables_->target()}) {
      if (types != nullptr && types->find_by_name(name, BtfKind::kStruct)) return name;
    }
  }
  return {};
}

Result<std::unique_ptr<Map>> ObjectLoader::make_map(const MapSpec& spec) {
  std::string note;
  // Linux refuses such types, and libbpf then makes the map without.
  if (const std::string_view name = unownable_object(spec); !name.empty()) {
    engine_.log_->write(fmt::format(
        "map '{}': no pointer can own a struct {}, for Linux has no destructor of it; made without "
        "its types",
        spec.name, name));
    LMN_TRY(auto map, create_object_map(spec, nullptr, engine_.map_options(), engine_, note));
    map->set_id(engine_.next_map_id_++);
    return map;
  }
  LMN_TRY(auto map, create_object_map(spec, spec_.btf, engine_.map_options(), engine_, note));
  if (!note.empty()) engine_.log_->write(note);
  map->set_id(engine_.next_map_id_++);
  return map;
}

Result<std::unique_ptr<Program>> ObjectLoader::make_program(const ProgramSpec& spec) {
  if (spec.defect)
    return make_error(Error(*spec.defect).with_context(fmt::format("prog \"{}\"", spec.name)));
  auto program = std::make_unique<Program>();
  program->spec = spec;
  // An unknown section, but chosen by name: the caller says it is XDP.
  if (program->spec.type == 0) {
    program->spec.type = BPF_PROG_TYPE_XDP;
    program->spec.expected_attach_type = BPF_XDP;
  }
  if (!is_xdp(program->spec)) {
    return make_errno_error(
        ErrorCode::kNotSupported, EINVAL,
        fmt::format("prog \"{}\": section '{}' is no XDP program", spec.name, spec.section));
  }
  std::vector<MapSpec> map_specs;
  for (const std::uint32_t position : spec.maps) {
    program->maps.push_back(maps_by_position_[position]);
    map_specs.push_back(maps_by_position_[position]->spec());
  }
  Environment environment = Engine::environment(engine_.options_.strictness);
  environment.kernel_types = &engine_.kernel_tables_->types();
  environment.numbered_types = engine_.kernel_tables_->target();
  LMN_TRY(const VerifiedProgram verified, prove(environment, program->spec, map_specs));
  InterpreterOptions options;
  options.btf = spec_.btf.get();  // which object_ shares
  LMN_TRY(program->compiled,
          make_interpreted(verified.structure(), environment, program->maps,
                           HelperTable{helper_function, kfunc_function}, options));
  program->id = engine_.next_program_id_++;
  program->entry.id = program->id;
  program->entry.type = program->spec.type;
  program->entry.expected_attach_type = program->spec.expected_attach_type;
  program->entry.has_frags = (program->spec.prog_flags & BPF_F_XDP_HAS_FRAGS) != 0;
  program->entry.interpreter_image = program->compiled->interpreter_image();
  program->entry.program = program->compiled.get();
  return program;
}

Result<VerifiedProgram> ObjectLoader::prove(const Environment& environment,
                                            const ProgramSpec& program,
                                            std::span<const MapSpec> maps) const {
  VerifierReport report;
  auto verified = prove_program(environment, program, maps, spec_.btf.get(), &report);
  if (!verified && options_.refusal != nullptr) {
    *options_.refusal = LoadRefusal{program, verified.error(), std::move(report)};
  }
  return verified;
}

Result<std::uint32_t> ObjectLoader::slot_value(const Map& map, const MapInitialSlot& slot) {
  if (map.spec().type == BPF_MAP_TYPE_PROG_ARRAY) {
    const Program* program = object_->find_program(slot.name);
    if (program != nullptr) return program->id;
    return make_error(ErrorCode::kNotFound,
                      fmt::format("map '{}': slot {} names program '{}', which was not loaded",
                                  map.spec().name, slot.index, slot.name));
  }
  if (map.inner_shape() != nullptr) {
    const auto inner = std::ranges::find(spec_.maps, slot.name, &MapSpec::name);
    if (inner != spec_.maps.end()) {
      LMN_TRY(Map * made, map_at(static_cast<std::uint32_t>(inner - spec_.maps.begin())));
      return made->id();
    }
  }
  return make_error(ErrorCode::kNotSupported,
                    fmt::format("map '{}': initial slots of this map type", map.spec().name));
}

Result<void> ObjectLoader::fill_slots() {
  // Programs of this object must be found by Engine::acquire_program while slots are filled.
  {
    const MutexGuard guard(engine_.lists_lock_);
    engine_.loading_ = object_.get();
  }
  Result<void> result;
  // By position: a slot may make the inner map that it names.
  for (std::size_t i = 0; i < object_->maps.size(); ++i) {
    Map* map = object_->maps[i].get();
    for (const MapInitialSlot& slot : map->spec().slots) {
      Result<std::uint32_t> value = slot_value(*map, slot);
      if (!value) {
        result = make_error(std::move(value).error());
        break;
      }
      std::array<std::uint8_t, sizeof(std::uint32_t)> bytes;
      std::memcpy(bytes.data(), &*value, bytes.size());
      if (const int error = map->user_update(&slot.index, bytes, BPF_ANY); error != 0) {
        result =
            make_errno_error(ErrorCode::kInvalidArgument, -error,
                             fmt::format("map '{}': slot {} cannot take '{}': {}", map->spec().name,
                                         slot.index, slot.name, std::strerror(-error)));
        break;
      }
    }
    if (!result) break;
  }
  const MutexGuard guard(engine_.lists_lock_);
  engine_.loading_ = nullptr;
  return result;
}

}  // namespace lmn
