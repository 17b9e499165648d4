// SPDX-License-Identifier: Apache-2.0
//
// Maps first, programs next, slots last, as the engine does it. Tested by lmn_selftest_retval.
#include "guests/guest_world.h"

#include <fmt/format.h>
#include <linux/bpf.h>

#include <algorithm>
#include <cstring>

#include "base/assert.h"
#include "engine/object_maps.h"
#include "exec/interp/interpreter.h"
#include "exec/run_deferred.h"
#include "guests/owner_storage.h"
#include "guests/skb.h"
#include "guests/skb_helpers.h"

namespace lmn::guests {
namespace {

constexpr std::uint32_t kCpuCount = 2;

// As the kernel's test run of netfilter programs: a packet on its way out, of IPv4.
struct NetfilterStructs {
  std::optional<KernelImage> state = KernelImage::of("nf_hook_state");
  std::optional<KernelImage> skb = KernelImage::of("sk_buff");

  void show_to(SkBuff& buff) {
    constexpr std::uint64_t kLocalOut = 3;
    constexpr std::uint64_t kIpv4 = 2;
    if (!state || !skb) return;
    state->set("hook", kLocalOut);
    state->set("pf", kIpv4);
    skb->set("len", buff.length());
    buff.netfilter.state = reinterpret_cast<std::uintptr_t>(state->bytes().data());
    buff.netfilter.skb = reinterpret_cast<std::uintptr_t>(skb->bytes().data());
  }
};

Environment environment_of(const GuestType& type) {
  Environment environment;
  environment.helpers = guests::helper_protos();
  environment.map_types = guests::map_type_infos();
  environment.kfuncs = guests::kfunc_protos();
  environment.has_classic_access = type.read_packet != nullptr;
  return environment;
}

}  // namespace

Result<std::unique_ptr<GuestWorld>> GuestWorld::load(const ObjectSpec& spec,
                                                     std::string_view program) {
  const ProgramSpec* first = spec.find_program(program);
  LMN_ASSERT(first != nullptr);
  if (guest_type(first->type) == nullptr) {
    return make_error(ErrorCode::kNotSupported,
                      fmt::format("programs of type {} (section '{}') are not known here",
                                  first->type, first->section));
  }
  std::unique_ptr<GuestWorld> world(new GuestWorld(spec));
  LMN_CHECK_OK(world->load_all(*first));
  return world;
}

Result<void> GuestWorld::load_all(const ProgramSpec& first) {
  LMN_TRY(objects_, ObjectHeap::create());
  LMN_TRY(deferred_, DeferredCalls::create());
  maps_by_position_.assign(spec_.maps.size(), nullptr);
  LMN_CHECK_OK(choose(first));
  for (const auto& program : programs_) LMN_CHECK_OK(prepare(*program));
  return fill_slots();
}

// The program, its maps, and the programs that stand in their slots, with theirs.
Result<void> GuestWorld::choose(const ProgramSpec& first) {
  std::vector<const ProgramSpec*> chosen{&first};
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    if (chosen[i]->defect) return make_error(*chosen[i]->defect);
    for (const std::uint32_t position : chosen[i]->maps) {
      LMN_TRY(const Map* map, map_at(position));
      for (const MapInitialSlot& slot : map->spec().slots) {
        const ProgramSpec* program = spec_.find_program(slot.name);
        if (program == nullptr || std::ranges::find(chosen, program) != chosen.end()) continue;
        chosen.push_back(program);
      }
    }
    programs_.push_back(std::make_unique<Program>());
    programs_.back()->spec = chosen[i];
  }
  return {};
}

Result<Map*> GuestWorld::map_at(std::uint32_t position) {
  Map*& known = maps_by_position_[position];
  if (known != nullptr) return known;
  const MapSpec& spec = spec_.maps[position];
  MapOptions options;
  options.cpu_count = kCpuCount;
  options.hash_seed = position + 1;
  options.owners = {objects_.get(), deferred_.get()};
  std::string note;
  LMN_TRY(auto map, OwnerStorage::is_type(spec.type)
                        ? OwnerStorage::create(spec, options)
                        : create_object_map(spec, spec_.btf, options, *this, note));
  maps_.push_back(std::move(map));
  known = maps_.back().get();
  if (auto image = map_image(*known)) {
    const auto at = map_images_.emplace(known, *std::move(image)).first;
    bytes_of_maps_[known] = at->second.bytes();
  }
  return known;
}

Result<void> GuestWorld::prepare(Program& program) {
  const GuestType& type = *guest_type(program.spec->type);
  const Environment environment = environment_of(type);
  std::vector<Map*> maps;
  std::vector<MapSpec> specs;
  for (const std::uint32_t position : program.spec->maps) {
    maps.push_back(maps_by_position_[position]);
    specs.push_back(maps.back()->spec());
  }
  // What is refused but never reached is no reason not to run; the interpreter stops there.
  LMN_TRY(auto structured,
          check_structure(environment, *program.spec, specs, {.defers_operations = true}));
  program.refused.assign(structured.deferred().begin(), structured.deferred().end());
  InterpreterOptions options;
  options.btf = spec_.btf.get();
  options.guest = &type;
  LMN_TRY(program.compiled,
          make_interpreted(std::move(structured), environment, maps,
                           {guests::helper_function, guests::kfunc_function}, options));
  program.entry.type = program.spec->type;
  program.entry.expected_attach_type = program.spec->expected_attach_type;
  program.entry.interpreter_image = program.compiled->interpreter_image();
  program.entry.program = program.compiled.get();
  return {};
}

Result<void> GuestWorld::fill_slots() {
  for (const auto& map : maps_) {
    for (const MapInitialSlot& slot : map->spec().slots) {
      std::uint32_t handle = 0;
      for (std::size_t i = 0; i < programs_.size(); ++i) {
        if (programs_[i]->spec->name == slot.name) handle = static_cast<std::uint32_t>(i + 1);
      }
      const auto* bytes = reinterpret_cast<const std::uint8_t*>(&handle);
      const int error = map->user_update(&slot.index, {bytes, sizeof handle}, BPF_ANY);
      if (error == 0) continue;
      return make_errno_error(
          ErrorCode::kInvalidArgument, -error,
          fmt::format("map \"{}\": slot {} cannot take '{}': {}", map->spec().name, slot.index,
                      slot.name, std::strerror(-error)));
    }
  }
  return {};
}

const ProgramEntry* GuestWorld::acquire_program(std::uint32_t handle) noexcept {
  if (handle == 0 || handle > programs_.size()) return nullptr;
  return &programs_[handle - 1]->entry;
}

Map* GuestWorld::find_map(std::string_view name) const {
  for (const auto& map : maps_) {
    if (map->spec().name == name) return map.get();
  }
  return nullptr;
}

RunContext GuestWorld::make_context(TrapLog& traps) {
  RunContext context;
  context.clock = &clock_;
  context.sockets = &sockets_;
  context.objects = objects_.get();
  context.deferred = deferred_.get();
  context.traps = &traps;
  context.prandom.seed(1);
  context.program_name = programs_[0]->spec->name;
  return context;
}

Result<GuestRun> GuestWorld::run(std::span<const std::uint8_t> packet) {
  if (packet.size() < SkBuff::kEthernetBytes) {
    return make_error(ErrorCode::kInvalidArgument, "a packet without an Ethernet header");
  }
  SkBuff skb(packet, programs_[0]->spec->type);
  skb.bytes_of_maps = &bytes_of_maps_;
  NetfilterStructs structs;
  if (programs_[0]->spec->type == BPF_PROG_TYPE_NETFILTER) structs.show_to(skb);
  TrapLog traps;
  RunContext context = make_context(traps);
  GuestRun run;
  run.value = programs_[0]->compiled->run(skb, context);
  run_deferred_calls(context);
  run.traps = traps.records();
  if (run.traps.empty()) return run;
  for (const auto& program : programs_) {
    if (program->spec->name != run.traps[0].program) continue;
    for (const DeferredOperation& operation : program->refused) {
      if (operation.insn == run.traps[0].trap.insn) return make_error(operation.refusal);
    }
  }
  return run;
}

}  // namespace lmn::guests
