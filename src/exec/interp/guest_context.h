// SPDX-License-Identifier: Apache-2.0
//
// Loads and stores of the context of a guest type, and classic packet loads.
//
// Internal to exec/interp. Threads: as the Machine. Tested by exec_test.cc.
#pragma once

#include <cstdint>

#include "exec/interp/memory_access.h"

namespace lmn {
class Map;
}  // namespace lmn

namespace lmn::interp {

// dst = field at `offset` of the context. Null when there is none: then nothing was done.
// REQUIRES: machine.limits->guest != nullptr.
const Step* load_guest_field(Machine& machine, const Step* step, std::int64_t offset,
                             std::uint32_t size_bytes, bool extends_sign);
// Where a store to `offset` of the context goes; null host when it may not.
Place guest_field_place(Machine& machine, std::int64_t offset, std::uint32_t size_bytes);

// Where a load at `offset` of the struct behind a map pointer goes; null host when it may not.
Place guest_map_place(const Machine& machine, const Map& map, std::int64_t offset,
                      std::uint32_t size_bytes);

// r0 = packet bytes in network order at `offset`; r1 to r5 are gone. Where there are none the
// function ends with 0. Null: trapped, or the program has ended.
const Step* classic_load(Machine& machine, const Step* step, std::int32_t offset,
                         std::uint32_t size_bytes);

template <int kMode, int kWidth>
const Step* classic_load_step(Machine& machine, const Step* step) {
  auto offset = static_cast<std::uint64_t>(step->imm);
  if constexpr (kMode == BPF_IND) {
    if (!machine.shadow[step->src].is_initialised()) {
      return machine.fail(step, TrapReason::kUninitRegister, step->src);
    }
    offset += machine.value[step->src];
  }
  return classic_load(machine, step, static_cast<std::int32_t>(offset), kWidth / 8);
}

}  // namespace lmn::interp
