// SPDX-License-Identifier: Apache-2.0
//
// Casts and addresses of arenas. Tested by tests/differential/arena_test.cc.
#include "exec/interp/arena_access.h"

#include <linux/bpf.h>

#include "maps/arena_map.h"

namespace lmn::interp {
namespace {

constexpr std::int64_t kToProgram = 1;       // from address space 1 to 0
constexpr std::int64_t kToUser = 1ll << 16;  // from 0 to 1
constexpr std::uint64_t kHighHalf = ~0xffffffffull;

}  // namespace

const Step* cast_step(Machine& machine, const Step* step) {
  ArenaMap* arena = machine.image->arena();
  if (arena == nullptr) return machine.fail(step, TrapReason::kNotExecutable);
  if (!machine.shadow[step->src].is_initialised()) {
    return machine.fail(step, TrapReason::kUninitRegister, step->src);
  }
  const std::uint64_t low = static_cast<std::uint32_t>(machine.value[step->src]);
  if (step->imm == kToProgram) {
    machine.value[step->dst] = low;
    machine.shadow[step->dst] = Shadow::arena(reinterpret_cast<std::uintptr_t>(arena));
    return step + 1;
  }
  if (step->imm != kToUser) return machine.fail(step, TrapReason::kNotExecutable);
  const bool keeps_low = (arena->spec().map_flags & BPF_F_NO_USER_CONV) != 0 || low == 0;
  machine.set_scalar(step->dst, keeps_low ? low : (arena->user_start() & kHighHalf) | low);
  return step + 1;
}

std::uint8_t* arena_bytes(Machine& machine, const Step* step, std::uint8_t reg,
                          std::uint32_t size_bytes) {
  auto* arena = reinterpret_cast<ArenaMap*>(machine.shadow[reg].object);
  return arena->bytes_at(static_cast<std::uint32_t>(machine.value[reg]), step->off, size_bytes);
}

}  // namespace lmn::interp
