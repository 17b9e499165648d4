// SPDX-License-Identifier: Apache-2.0
//
// Insn: one decoded BPF instruction.
//
// A program is a vector of Insn indexed by *slots* as the kernel counts them (InsnIndex): the
// two-slot lddw (BPF_LD|BPF_DW|BPF_IMM) holds its 64-bit immediate in the first element and is
// followed by an element with op kLddwHigh, which no jump may reach. So every number in a jump, a
// BTF line record or a verifier log is an index into the vector as it is.
//
// `op` is one row of opcodes.def: opcode byte plus whatever reserved fields select the meaning
// (atomic operation in imm, signed division and sign-extending moves in off, byte-swap width in
// imm, call kind and lddw kind stay in src). Consumers switch over Op without a default: a new row
// is a compile error until all have it.
//
// Invariants of a decoded Insn: (1) dst and src <= 10; (2) fields the operation does not use are 0
// (strict decoding, as the kernel demands), and a field that selects the row holds the row's
// number, as in the encoding. The off of exit is the one exception: the kernel ignores it, so it is
// kept as it is.
// Threads: a plain value.
// Source: RFC 9669; Linux 6.18, kernel/bpf/verifier.c (check_*), include/uapi/linux/bpf.h.
#pragma once

#include <compare>
#include <cstdint>
#include <string_view>

namespace lmn {

// A position in a program, in slots. A type of its own so that it is not mixed with sizes and
// offsets.
struct InsnIndex {
  std::uint32_t value = 0;
  auto operator<=>(const InsnIndex&) const = default;
};

enum class Op : std::uint8_t {
#define LMN_OPCODE(name, ...) name,
#include "insn/opcodes.def"
#undef LMN_OPCODE
};

struct Insn {
  Op op{};
  std::uint8_t dst = 0;
  std::uint8_t src = 0;
  std::int16_t off = 0;
  std::int64_t imm = 0;  // sign-extended 32-bit immediate; the whole 64 bits for lddw

  bool operator==(const Insn&) const = default;
};

}  // namespace lmn
