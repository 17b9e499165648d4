// SPDX-License-Identifier: Apache-2.0
//
// Arenas: memory shared with user space in which programs keep pointers of their own.
//
// An address in an arena is 32 bits and is good wherever it leads: pages that are not there fault
// and read as zeros, and what is out of range cannot be expressed. So the walk only tells such
// addresses from numbers: a cast makes them, arithmetic leaves them what they are, loads through
// them give numbers. The other cast makes the user-space address, a number.
// Tested by object_test.cc.
// Source: Linux 6.18, kernel/bpf/verifier.c (check_alu_op, adjust_reg_min_max_vals).
#include <fmt/format.h>

#include <algorithm>

#include "verifier/explorer.h"

namespace lmn {
namespace {

// Address space 1 is the arena as programs' compilers know it, 0 what the machine can follow. The
// operand has the target in its upper half.
constexpr std::int64_t kToPointer = 1;
constexpr std::int64_t kToNumber = std::int64_t{1} << 16;

}  // namespace

bool Explorer::check_address_cast(const Insn& insn) {
  const bool has_arena = std::ranges::any_of(
      program_.maps(), [](const MapSpec& map) { return map.type == BPF_MAP_TYPE_ARENA; });
  if (!has_arena) {
    return reject(Rule::kPointerArithmetic,
                  "addr_space_cast insn can only be used in a program that has an associated arena",
                  {}, EINVAL);
  }
  if (insn.imm != kToPointer && insn.imm != kToNumber) {
    return reject(Rule::kPointerArithmetic,
                  "addr_space_cast insn can only convert between address space 1 and 0", {},
                  EINVAL);
  }
  if (!check_readable(insn.src)) return false;
  if (is_leak(reg(insn.src))) {
    return reject(Rule::kPointerLeak, fmt::format("R{} leaks addr into arena", insn.src));
  }
  reg(insn.dst) = insn.imm == kToPointer ? RegState::pointer(RegKind::kArena) : RegState::unknown();
  return true;
}

bool Explorer::access_arena(const MemoryAccess& access) {
  write_unknown(access);
  return true;
}

}  // namespace lmn
