// SPDX-License-Identifier: Apache-2.0
//
// What the statements of probes share: registers, places on the stack, numbers, kinds of
// operations. Internal to ProbeGenerator. Threads: constants. Tested by soundness_test.cc.
#pragma once

#include <linux/bpf.h>

#include <cstdint>
#include <vector>

#include "soundness/probe_generator.h"

namespace lmn::probe {

inline constexpr std::uint8_t kContext = 6;
inline constexpr std::uint8_t kValue = 7;
inline constexpr std::uint8_t kNumbers[] = {0, 1, 2, 3, 4, 5, 8, 9};
// Stack of every function: numbers in [-64, 0), a key, a spilled pointer.
inline constexpr std::int16_t kKey = -72;
inline constexpr std::int16_t kSpill = -80;
inline constexpr std::int64_t kPacketBytes = 40;
inline constexpr auto kValueBytes = static_cast<std::int64_t>(kGeneratedValueBytes);

inline constexpr std::int64_t kInteresting[] = {
    0,  1,  2,   3,   4,   7,    8,    15,     16,    31,    32,         33,        63,
    64, 65, 127, 128, 200, 255,  256,  0x7fff, 65535, 65536, 0x7fffffff, INT32_MIN, INT32_MIN + 1,
    -1, -2, -3,  -8,  -64, -255, -256, -128};

template <typename Pick>
std::vector<Op> rows(Pick pick) {
  std::vector<Op> found;
  for (std::size_t row = 0; row < kOpCount; ++row) {
    if (pick(op_info(static_cast<Op>(row)))) found.push_back(static_cast<Op>(row));
  }
  return found;
}

inline const std::vector<Op>& alu_ops() {
  static const std::vector<Op> kOps = rows([](const OpInfo& info) {
    return info.op_class == OpClass::kAlu || info.op_class == OpClass::kByteSwap;
  });
  return kOps;
}

inline const std::vector<Op>& branch_ops() {
  static const std::vector<Op> kOps = rows([](const OpInfo& info) {
    return info.op_class == OpClass::kBranch && info.op != Op::kMayGoto;
  });
  return kOps;
}

inline bool has_source(Op op) { return op_info(op).src.use == FieldUse::kRead; }

inline std::int64_t allowed_immediate(Op op, std::int64_t imm) {
  const OpInfo& info = op_info(op);
  if (info.imm.use != FieldUse::kValue) return 0;
  if (info.op_class != OpClass::kAlu) return imm;
  const int operation = info.opcode & 0xf0;
  if ((operation == BPF_DIV || operation == BPF_MOD) && imm == 0) return 7;
  if (operation == BPF_LSH || operation == BPF_RSH || operation == BPF_ARSH) {
    return imm & (info.width_bits - 1);
  }
  return imm;
}

}  // namespace lmn::probe
