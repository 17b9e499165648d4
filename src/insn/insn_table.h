// SPDX-License-Identifier: Apache-2.0
//
// opcodes.def as a table: what each operation makes of the fields of an Insn, and the questions
// every later stage asks (is it a jump, where to, how many bytes does it access, which registers
// does it read and write).
//
// All of it is constexpr and indexed by Op, so a question is one load. Whoever needs to know *what
// an operation computes* switches over Op; whoever needs to know *how it uses its fields* asks
// here.
// Threads: constants. Tested by insn_table_test.cc.
// Source: RFC 9669; Linux 6.18, kernel/bpf/verifier.c (check_alu_op, do_check, check_atomic,
// check_ld_imm).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <limits>
#include <optional>
#include <string_view>

#include "abi/bpf_newer.h"
#include "insn/insn.h"

namespace lmn {

// What kind of thing an operation is.
enum class OpClass : std::uint8_t {
  kAlu,  // arithmetic, logic, moves; width_bits 32 clears the upper half of dst
  kByteSwap,
  kAddrSpaceCast,  // arena pointers
  kLoad,           // dst = memory at src + off; the kMemSx rows extend the sign
  kStore,          // memory at dst + off = src or imm
  kAtomic,         // BPF_ATOMIC, load-acquire and store-release included
  kJump,           // unconditional
  kBranch,         // conditional; may_goto is one
  kCall,
  kExit,
  kWide,    // lddw and its second slot
  kLegacy,  // packet access of classic BPF; never in XDP
};

// The words of the dst, src, off and imm columns of opcodes.def.
enum class FieldUse : std::uint8_t {
  kNone,
  kIgnored,
  kRead,
  kWrite,
  kReadWrite,
  kKind,
  kMemory,
  kJump,
  kValue,
  kWide,
  kFixed,
};

struct FieldRule {
  FieldUse use = FieldUse::kNone;
  std::int32_t value = 0;  // with kFixed

  bool operator==(const FieldRule&) const = default;
};

struct OpInfo {
  Op op;
  std::string_view name;  // the enumerator without its k: "Add64Imm"
  std::uint8_t opcode;    // the byte
  OpClass op_class;
  std::uint8_t width_bits;  // 0 where it has no meaning
  FieldRule dst;
  FieldRule src;
  FieldRule off;
  FieldRule imm;
  std::string_view notation;  // see opcodes.def
};

inline constexpr std::uint8_t kRegisterCount = 11;  // r0 ... r10
inline constexpr std::uint8_t kFramePointer = 10;
inline constexpr std::size_t kSlotBytes = 8;

namespace opcode_words {
inline constexpr FieldRule none{FieldUse::kNone};
inline constexpr FieldRule any{FieldUse::kIgnored};
inline constexpr FieldRule read{FieldUse::kRead};
inline constexpr FieldRule write{FieldUse::kWrite};
inline constexpr FieldRule rw{FieldUse::kReadWrite};
inline constexpr FieldRule kind{FieldUse::kKind};
inline constexpr FieldRule mem{FieldUse::kMemory};
inline constexpr FieldRule jump{FieldUse::kJump};
inline constexpr FieldRule value{FieldUse::kValue};
inline constexpr FieldRule wide{FieldUse::kWide};
constexpr FieldRule is(std::int32_t number) { return {FieldUse::kFixed, number}; }

// The second column against the three words after it.
#define LMN_OPCODE(name, opcode, klass, operation, source, ...)             \
  static_assert((opcode) == (BPF_##klass | BPF_##operation | BPF_##source), \
                "the opcode byte of " #name " is not the one of linux/bpf.h");
#include "insn/opcodes.def"
#undef LMN_OPCODE

inline constexpr OpInfo kRows[] = {
#define LMN_OPCODE(name, opcode, klass, operation, source, category, width, dst, src, off, imm, \
                   text)                                                                        \
  {Op::name, std::string_view(#name).substr(1),                                                 \
   opcode,   OpClass::category,                                                                 \
   width,    dst,                                                                               \
   src,      off,                                                                               \
   imm,      text},
#include "insn/opcodes.def"
#undef LMN_OPCODE
};
}  // namespace opcode_words

inline constexpr std::size_t kOpCount = std::size(opcode_words::kRows);
static_assert(kOpCount <= 256, "Op is one byte");

constexpr const OpInfo& op_info(Op op) { return opcode_words::kRows[static_cast<std::size_t>(op)]; }

// --- questions about an operation

constexpr std::string_view op_name(Op op) { return op_info(op).name; }
constexpr OpClass op_class(Op op) { return op_info(op).op_class; }
constexpr std::uint8_t opcode_of(Op op) { return op_info(op).opcode; }
constexpr std::uint8_t width_bits(Op op) { return op_info(op).width_bits; }

// The operation may continue elsewhere than at the next slot of the same function (exit and calls
// do not).
constexpr bool is_jump(Op op) {
  return op_class(op) == OpClass::kJump || op_class(op) == OpClass::kBranch;
}
constexpr bool is_conditional_jump(Op op) { return op_class(op) == OpClass::kBranch; }
constexpr bool falls_through(Op op) {
  return op_class(op) != OpClass::kJump && op_class(op) != OpClass::kExit;
}
// 2 for lddw, else 1 (kLddwHigh counts itself).
constexpr std::uint32_t slot_count(Op op) { return op == Op::kLddw ? 2 : 1; }

// Bytes of memory it reads or writes, or 0. Legacy loads access the packet.
constexpr std::uint32_t access_size(Op op) {
  switch (op_class(op)) {
    case OpClass::kLoad:
    case OpClass::kStore:
    case OpClass::kAtomic:
    case OpClass::kLegacy:
      return width_bits(op) / 8u;
    case OpClass::kAlu:
    case OpClass::kByteSwap:
    case OpClass::kAddrSpaceCast:
    case OpClass::kJump:
    case OpClass::kBranch:
    case OpClass::kCall:
    case OpClass::kExit:
    case OpClass::kWide:
      return 0;
  }
  return 0;
}

constexpr bool writes_dst(Op op) {
  const FieldUse use = op_info(op).dst.use;
  return use == FieldUse::kWrite || use == FieldUse::kReadWrite;
}
constexpr bool reads_dst(Op op) {
  const FieldUse use = op_info(op).dst.use;
  return use == FieldUse::kRead || use == FieldUse::kReadWrite;
}
constexpr bool reads_src(Op op) {
  const FieldUse use = op_info(op).src.use;
  return use == FieldUse::kRead || use == FieldUse::kReadWrite;
}
constexpr bool writes_src(Op op) { return op_info(op).src.use == FieldUse::kReadWrite; }
constexpr bool is_compare_exchange(Op op) {
  return op == Op::kAtomicCmpXchg32 || op == Op::kAtomicCmpXchg64;
}

// --- questions about an instruction

// The register it writes, the implied r0 of compare-exchange, legacy loads and calls included.
// Calls also make r1 to r5 unreadable, which is not said here.
constexpr std::optional<std::uint8_t> written_register(const Insn& insn) {
  if (writes_dst(insn.op)) return insn.dst;
  if (writes_src(insn.op)) return insn.src;
  const bool implies_r0 = is_compare_exchange(insn.op) || op_class(insn.op) == OpClass::kLegacy ||
                          op_class(insn.op) == OpClass::kCall;
  return implies_r0 ? std::optional<std::uint8_t>(std::uint8_t{0}) : std::nullopt;
}

// `from` moved by 1 + distance; nullopt when that is no InsnIndex (below 0 or above 2^32 - 1).
constexpr std::optional<InsnIndex> next_slot_plus(InsnIndex from, std::int64_t distance) {
  const std::int64_t at = std::int64_t{from.value} + 1;
  if (distance < -at) return std::nullopt;
  if (distance > std::int64_t{std::numeric_limits<std::uint32_t>::max()} - at) return std::nullopt;
  return InsnIndex{static_cast<std::uint32_t>(at + distance)};
}

// Where a jump at `at` goes when it jumps; nullopt when `insn` is no jump or the target is no
// InsnIndex. It may lie past the program: only the program's owner knows its length.
constexpr std::optional<InsnIndex> jump_target(InsnIndex at, const Insn& insn) {
  const OpInfo& info = op_info(insn.op);
  if (info.off.use == FieldUse::kJump) return next_slot_plus(at, insn.off);
  if (info.imm.use == FieldUse::kJump) return next_slot_plus(at, insn.imm);
  return std::nullopt;
}

constexpr bool is_helper_call(const Insn& insn) { return insn.op == Op::kCall && insn.src == 0; }
constexpr bool is_function_call(const Insn& insn) {
  return insn.op == Op::kCall && insn.src == BPF_PSEUDO_CALL;
}
constexpr bool is_kfunc_call(const Insn& insn) {
  return insn.op == Op::kCall && insn.src == BPF_PSEUDO_KFUNC_CALL;
}
constexpr bool is_function_address(const Insn& insn) {
  return insn.op == Op::kLddw && insn.src == BPF_PSEUDO_FUNC;
}

// The function that a call of the program's own or an lddw of a function's address refers to;
// nullopt when `insn` is neither or the target is no InsnIndex.
constexpr std::optional<InsnIndex> function_target(InsnIndex at, const Insn& insn) {
  if (!is_function_call(insn) && !is_function_address(insn)) return std::nullopt;
  // Of an address only the low 32 bits count; the kernel passes over the second slot's.
  return next_slot_plus(at, static_cast<std::int32_t>(insn.imm));
}

// --- the table is what it claims to be

namespace opcode_words {
// Sort key: opcode byte, fixed off, fixed imm.
constexpr std::uint64_t encoding_key(const OpInfo& row) {
  const auto fixed = [](const FieldRule& rule) {
    return rule.use == FieldUse::kFixed ? static_cast<std::uint64_t>(rule.value) : 0;
  };
  return std::uint64_t{row.opcode} << 48 | fixed(row.off) << 32 | fixed(row.imm);
}
constexpr bool rows_are_sorted_and_unique() {
  for (std::size_t i = 1; i < std::size(kRows); ++i) {
    if (encoding_key(kRows[i - 1]) >= encoding_key(kRows[i])) return false;
  }
  return true;
}
constexpr bool has_imm(Op op, std::int32_t number) { return op_info(op).imm == is(number); }
}  // namespace opcode_words

static_assert(opcode_words::rows_are_sorted_and_unique(),
              "opcodes.def is sorted by encoding, each one once");
static_assert(Op{} == Op::kLddwHigh, "a forgotten Insn must not be one that runs");
static_assert(opcode_words::has_imm(Op::kAtomicFetchAdd64, BPF_ADD | BPF_FETCH));
static_assert(opcode_words::has_imm(Op::kAtomicFetchXor32, BPF_XOR | BPF_FETCH));
static_assert(opcode_words::has_imm(Op::kAtomicAnd32, BPF_AND) &&
              opcode_words::has_imm(Op::kAtomicOr64, BPF_OR));
static_assert(opcode_words::has_imm(Op::kAtomicXchg32, BPF_XCHG));
static_assert(opcode_words::has_imm(Op::kAtomicCmpXchg64, BPF_CMPXCHG));
static_assert(opcode_words::has_imm(Op::kLoadAcquire8, BPF_LOAD_ACQ));
static_assert(opcode_words::has_imm(Op::kStoreRelease64, BPF_STORE_REL));
static_assert(op_info(Op::kAddrSpaceCast).off == opcode_words::is(BPF_ADDR_SPACE_CAST));

}  // namespace lmn
