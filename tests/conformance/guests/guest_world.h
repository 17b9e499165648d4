// SPDX-License-Identifier: Apache-2.0
//
// GuestWorld: one program of an object, of any type that is known here, with its maps and the
// programs it tail-calls, run once in the checked interpreter.
//
//   LMN_TRY(auto world, GuestWorld::load(spec, "test_prog"));
//   LMN_TRY(GuestRun run, world->run(packet));    // as BPF_PROG_TEST_RUN
//
// The engine loads XDP programs and nothing that the verifier refuses. This loads programs of other
// types, which the verifier does not know, by the structural stage alone: the interpreter checks
// each step, so a program that ends has broken no rule on its way. Types: those of guests/skb.h,
// netfilter, and syscall, whose programs get no context.
// Threads: one. Tested by lmn_selftest_retval.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "exec/compiled_program.h"
#include "exec/interp/guest_type.h"
#include "exec/interp/trap.h"
#include "guests/kernel_structs.h"
#include "guests/skb.h"
#include "maps/deferred_calls.h"
#include "maps/map.h"
#include "maps/object_heap.h"
#include "packet/program_entry.h"
#include "packet/socket_table.h"
#include "spec/object_spec.h"
#include "verifier/structure.h"

namespace lmn::guests {

struct GuestRun {
  std::uint32_t value = 0;
  std::vector<TrapRecord> traps;
};

class GuestWorld final : public MapHost {
 public:
  // Errors: kNotSupported for a type that is not known here; those of the structural stage, of maps
  // and of the interpreter.
  static Result<std::unique_ptr<GuestWorld>> load(const ObjectSpec& spec, std::string_view program);

  // The map of that name, or null when the programs do not use it.
  Map* find_map(std::string_view name) const;
  // `packet` begins with an Ethernet header. Errors: what the structural stage refuses, when the
  // run got there.
  Result<GuestRun> run(std::span<const std::uint8_t> packet);

  FrameSink* find_sink(std::uint32_t) noexcept override { return nullptr; }
  // Handles are positions in programs_, from 1.
  const ProgramEntry* acquire_program(std::uint32_t handle) noexcept override;
  void release_program(const ProgramEntry*) noexcept override {}

 private:
  struct Program {
    const ProgramSpec* spec;
    std::unique_ptr<CompiledProgram> compiled;
    ProgramEntry entry;
    std::vector<DeferredOperation> refused;
  };

  explicit GuestWorld(const ObjectSpec& spec) : spec_(spec) {}
  Result<void> load_all(const ProgramSpec& first);
  Result<void> choose(const ProgramSpec& first);
  Result<Map*> map_at(std::uint32_t position);
  Result<void> prepare(Program& program);
  Result<void> fill_slots();
  RunContext make_context(TrapLog& traps);

  const ObjectSpec& spec_;
  SystemClock clock_;
  SocketTable sockets_;
  std::unique_ptr<ObjectHeap> objects_;
  std::unique_ptr<DeferredCalls> deferred_;
  std::vector<std::unique_ptr<Map>> maps_;
  std::vector<Map*> maps_by_position_;
  std::map<const Map*, KernelImage> map_images_;
  BytesOfMaps bytes_of_maps_;
  std::vector<std::unique_ptr<Program>> programs_;
};

}  // namespace lmn::guests
