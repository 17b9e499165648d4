// SPDX-License-Identifier: Apache-2.0
//
// Arithmetic: numbers by the domain's operators; pointers only plus or minus a number that is
// known well enough. Tested by paths_test.cc.
// Source: Linux 6.18, kernel/bpf/verifier.c (check_alu_op, adjust_ptr_min_max_vals,
// check_reg_sane_offset).
#include <fmt/format.h>

#include <cstdlib>
#include <limits>

#include "verifier/explorer.h"

namespace lmn {
namespace {

struct Arithmetic {
  AluOp op;
  bool is_signed = false;
};

// The operation of an opcode byte; moves and negation are handled before.
std::optional<Arithmetic> arithmetic_of(const Insn& insn) {
  const bool is_signed = op_info(insn.op).off == opcode_words::is(1);
  switch (BPF_OP(opcode_of(insn.op))) {
    case BPF_ADD:
      return Arithmetic{AluOp::kAdd};
    case BPF_SUB:
      return Arithmetic{AluOp::kSub};
    case BPF_MUL:
      return Arithmetic{AluOp::kMul};
    case BPF_DIV:
      return Arithmetic{AluOp::kDiv, is_signed};
    case BPF_MOD:
      return Arithmetic{AluOp::kMod, is_signed};
    case BPF_AND:
      return Arithmetic{AluOp::kAnd};
    case BPF_OR:
      return Arithmetic{AluOp::kOr};
    case BPF_XOR:
      return Arithmetic{AluOp::kXor};
    case BPF_LSH:
      return Arithmetic{AluOp::kShl};
    case BPF_RSH:
      return Arithmetic{AluOp::kShr};
    case BPF_ARSH:
      return Arithmetic{AluOp::kSar};
    default:
      return std::nullopt;
  }
}

std::string_view sign_of(AluOp op) {
  switch (op) {
    case AluOp::kAdd:
      return "+=";
    case AluOp::kSub:
      return "-=";
    case AluOp::kMul:
      return "*=";
    case AluOp::kDiv:
      return "/=";
    case AluOp::kMod:
      return "%=";
    case AluOp::kAnd:
      return "&=";
    case AluOp::kOr:
      return "|=";
    case AluOp::kXor:
      return "^=";
    case AluOp::kShl:
      return "<<=";
    case AluOp::kShr:
      return ">>=";
    case AluOp::kSar:
      return "s>>=";
  }
  return "?";
}

bool has_source(const Insn& insn) { return reads_src(insn.op); }

unsigned used_bits(const Scalar& value) {
  return static_cast<unsigned>(std::bit_width(value.whole.umax));
}

Scalar sign_extend(const Scalar& value, int from) {
  switch (from) {
    case 8:
      return sign_extended<8>(value);
    case 16:
      return sign_extended<16>(value);
    default:
      return sign_extended<32>(value);
  }
}

int sign_extended_from(Op op) {
  switch (op) {
    case Op::kMovSx8To32:
    case Op::kMovSx8To64:
      return 8;
    case Op::kMovSx16To32:
    case Op::kMovSx16To64:
      return 16;
    case Op::kMovSx32To64:
      return 32;
    default:
      return 0;
  }
}

}  // namespace

bool Explorer::check_alu(const Insn& insn) {
  switch (op_class(insn.op)) {
    case OpClass::kByteSwap:
      return check_byte_swap(insn);
    case OpClass::kAddrSpaceCast:
      return check_address_cast(insn);
    default:
      break;
  }
  const int operation = BPF_OP(opcode_of(insn.op));
  if (operation == BPF_MOV) return check_move(insn);
  if (!check_readable(insn.dst)) return false;
  if (operation == BPF_NEG) {
    if (reg(insn.dst).is_pointer()) return forget_pointer(insn);
    const Scalar zero = Scalar::constant(0);
    const Scalar& value = reg(insn.dst).var;
    const bool is_low = width_bits(insn.op) == 32;
    reg(insn.dst) = RegState::number(is_low ? apply_low(AluOp::kSub, zero, value)
                                            : apply(AluOp::kSub, zero, value));
    return true;
  }
  const auto arithmetic = arithmetic_of(insn);
  if (!arithmetic) return reject(Rule::kPointerArithmetic, "invalid BPF_ALU opcode");
  return check_arithmetic(insn, arithmetic->op, arithmetic->is_signed);
}

bool Explorer::check_byte_swap(const Insn& insn) {
  if (!check_readable(insn.dst)) return false;
  if (reg(insn.dst).is_pointer()) return forget_pointer(insn);
  const int bits = width_bits(insn.op);
  const bool is_for_this_machine =
      insn.op == Op::kLe16 || insn.op == Op::kLe32 || insn.op == Op::kLe64;
  const Scalar& value = reg(insn.dst).var;
  // Programs are little-endian here: nothing happens, and the number stays tied to its copies.
  if (is_for_this_machine && bits == 64) return true;
  // A number that has changed is no longer the one it was copied from (CVE-2026-43070).
  reg(insn.dst) = RegState::number(is_for_this_machine ? zero_extended(value, bits)
                                                       : byte_swapped(value, bits / 8));
  return true;
}

// What is no address any more is a number; only who may see addresses may make it.
bool Explorer::forget_pointer(const Insn& insn) {
  if (!is_trusted()) {
    return reject(Rule::kPointerLeak, fmt::format("R{} pointer arithmetic prohibited", insn.dst));
  }
  reg(insn.dst) = RegState::number(Scalar::of_width(width_bits(insn.op)));
  return true;
}

// A number that is about to be copied gets an identity, so that what is learnt of one is learnt of
// both.
void Explorer::give_id(RegState& source) {
  if (!source.is_number()) return;
  if ((source.id & kIdAddsConstant) != 0) {
    source.id = 0;
    source.offset = 0;
  }
  if (source.id == 0 && !source.var.is_constant()) source.id = new_id();
}

bool Explorer::check_move(const Insn& insn) {
  RegState& dst = reg(insn.dst);
  const bool is_low = width_bits(insn.op) == 32;
  if (!has_source(insn)) {
    const auto value = static_cast<std::uint64_t>(insn.imm);
    dst = RegState::constant(is_low ? value & 0xffffffffu : value);
    return true;
  }
  if (!check_readable(insn.src)) return false;
  RegState& source = reg(insn.src);
  const int from = sign_extended_from(insn.op);
  if (!is_low && from == 0) {
    give_id(source);
    dst = source;
    return true;
  }
  if (source.is_pointer()) {
    if (!is_trusted()) {
      return reject(Rule::kPointerLeak,
                    fmt::format("R{} {} of pointer", insn.src,
                                is_low ? "partial copy" : "sign-extension part"));
    }
    dst = RegState::number(is_low ? Scalar::of_width(32) : Scalar::unknown());
    return true;
  }
  const unsigned bits = used_bits(source.var);
  const bool is_same = from == 0 ? bits <= 32 : bits < static_cast<unsigned>(from);
  if (is_same) give_id(source);
  Scalar value = source.var;
  const std::uint32_t id = is_same ? source.id : 0;
  const std::int32_t offset = is_same ? source.offset : 0;
  if (from != 0) value = sign_extend(value, from);
  if (is_low) value = value.zero_extended_low();
  dst = RegState::number(value);
  dst.id = id;
  dst.offset = offset;
  return true;
}

bool Explorer::check_arithmetic(const Insn& insn, AluOp op, bool is_signed) {
  const bool uses_register = has_source(insn);
  if (uses_register && !check_readable(insn.src)) return false;
  if (!uses_register) {
    const bool is_division = op == AluOp::kDiv || op == AluOp::kMod;
    if (is_division && insn.imm == 0) {
      return reject(Rule::kPointerArithmetic, "div by zero", "division by the constant 0", EINVAL);
    }
    const bool is_bad = insn.imm < 0 || insn.imm >= width_bits(insn.op);
    if (domain::is_shift(op) && is_bad) {
      return reject(Rule::kPointerArithmetic, fmt::format("invalid shift {}", insn.imm), {},
                    EINVAL);
    }
  }
  RegState& dst = reg(insn.dst);
  if (dst.kind == RegKind::kArena) return true;  // an address is good wherever it leads
  if (!uses_register) {
    const RegState constant = RegState::constant(static_cast<std::uint64_t>(insn.imm));
    if (dst.is_pointer()) return add_to_pointer(insn, op, RegState(dst), constant);
    compute_numbers(insn, op, is_signed, constant);
    return true;
  }
  const RegState source = reg(insn.src);
  if (source.is_pointer() && dst.is_pointer()) {
    if (op == AluOp::kSub && is_trusted()) {
      dst = RegState::unknown();
      return true;
    }
    return reject(Rule::kPointerArithmetic,
                  fmt::format("R{} pointer {} pointer prohibited", insn.dst, sign_of(op)));
  }
  if (source.is_pointer()) {
    return mark_precise(insn.dst) && add_to_pointer(insn, op, source, RegState(dst));
  }
  if (dst.is_pointer()) {
    return mark_precise(insn.src) && add_to_pointer(insn, op, RegState(dst), source);
  }
  if (dst.is_precise && !mark_precise(insn.src)) return false;
  compute_numbers(insn, op, is_signed, source);
  return true;
}

void Explorer::compute_numbers(const Insn& insn, AluOp op, bool is_signed, const RegState& source) {
  RegState& dst = reg(insn.dst);
  const bool is_low = width_bits(insn.op) == 32;
  Scalar value;
  if (is_signed) {
    value = is_low ? Scalar::of_width(32) : Scalar::unknown();
  } else {
    value = is_low ? apply_low(op, dst.var, source.var) : apply(op, dst.var, source.var);
  }
  const bool is_sum = op == AluOp::kAdd || op == AluOp::kSub;
  const bool is_own = has_source(insn) && insn.src == insn.dst;
  RegState out = RegState::number(value);
  if (is_sum && !is_own) link_by_constant(dst, source, op == AluOp::kSub, is_low, out);
  out.is_precise = dst.is_precise;
  dst = out;
}

// `dst = a; dst += 5` stays tied to a, five above it, once. In 32 bits only where both are numbers
// of 32 bits, for else `a` could not be told from its low half.
void Explorer::link_by_constant(const RegState& dst, const RegState& source, bool is_subtraction,
                                bool is_low, RegState& out) const {
  if (dst.id == 0 || (dst.id & kIdAddsConstant) != 0) return;
  if (is_low ? !source.var.is_low_constant() : !source.var.is_constant()) return;
  if (is_low && used_bits(dst.var) > 32) return;
  const std::uint64_t constant = source.var.constant_value();
  const std::int64_t by =
      is_low ? static_cast<std::int32_t>(constant) : static_cast<std::int64_t>(constant);
  const auto least = std::numeric_limits<std::int32_t>::min();
  if (by < least || by > std::numeric_limits<std::int32_t>::max()) return;
  if (is_subtraction && by == least) return;  // its negative does not fit
  out.id = dst.id | (is_low ? kIdAddsConstant32 : kIdAddsConstant64);
  out.offset = static_cast<std::int32_t>(is_subtraction ? -by : by);
}

// --- pointers

bool Explorer::check_offset_sane(const RegState& reg, RegKind kind, std::uint16_t flags) {
  const std::string words = kind_words(kind, flags);
  const std::int64_t least = reg.var.whole.smin;
  const auto value = static_cast<std::int64_t>(reg.var.bits.value);
  if (reg.var.is_constant() && (value >= kOffsetMax || value <= -kOffsetMax)) {
    return reject(Rule::kPointerArithmetic,
                  fmt::format("math between {} pointer and {} is not allowed", words, value), {},
                  EINVAL);
  }
  if (reg.offset >= kOffsetMax || reg.offset <= -kOffsetMax) {
    return reject(Rule::kPointerArithmetic,
                  fmt::format("{} pointer offset {} is not allowed", words, reg.offset), {},
                  EINVAL);
  }
  if (least == std::numeric_limits<std::int64_t>::min()) {
    return reject(Rule::kPointerArithmetic,
                  fmt::format("math between {} pointer and register with unbounded min value is "
                              "not allowed",
                              words),
                  {}, EINVAL);
  }
  if (least >= kOffsetMax || least <= -kOffsetMax) {
    return reject(Rule::kPointerArithmetic,
                  fmt::format("value {} makes {} pointer be out of bounds", least, words), {},
                  EINVAL);
  }
  return true;
}

bool Explorer::check_pointer_kind(const Insn& insn, AluOp op, const RegState& pointer,
                                  const RegState& number) {
  const std::string words = kind_words(pointer);
  if (pointer.has(kMayBeNull)) {
    return reject(Rule::kNullCheck,
                  fmt::format("R{} pointer arithmetic on {} prohibited, null-check it first",
                              insn.dst, words));
  }
  switch (pointer.kind) {
    case RegKind::kContext:
    case RegKind::kMapValue:
    case RegKind::kMapKey:
    case RegKind::kStack:
    case RegKind::kPacket:
    case RegKind::kPacketMeta:
    case RegKind::kMemory:
    case RegKind::kBtfObject:
    case RegKind::kFunction:
    case RegKind::kDynptr:
      return true;
    case RegKind::kMap:
      if (op == AluOp::kAdd && number.is_zero()) return true;
      break;
    case RegKind::kNone:
    case RegKind::kNumber:
    case RegKind::kPacketEnd:
    case RegKind::kSocket:
    case RegKind::kSockCommon:
    case RegKind::kTcpSock:
    case RegKind::kXdpSock:
    case RegKind::kIterator:
    case RegKind::kArena:
    case RegKind::kInterruptFlag:
      break;
  }
  return reject(Rule::kPointerArithmetic,
                fmt::format("R{} pointer arithmetic on {} prohibited", insn.dst, words));
}

bool Explorer::add_to_pointer(const Insn& insn, AluOp op, const RegState& pointer,
                              const RegState& number) {
  RegState& dst = reg(insn.dst);
  if (width_bits(insn.op) == 32) {
    if (op == AluOp::kSub && is_trusted()) {
      dst = RegState::number(Scalar::of_width(32));
      return true;
    }
    return reject(Rule::kPointerArithmetic,
                  fmt::format("R{} 32-bit pointer arithmetic prohibited", insn.dst));
  }
  if (!check_pointer_kind(insn, op, pointer, number)) return false;
  if (op != AluOp::kAdd && op != AluOp::kSub) {
    const bool is_bitwise = op == AluOp::kAnd || op == AluOp::kOr || op == AluOp::kXor;
    return reject(Rule::kPointerArithmetic,
                  is_bitwise ? fmt::format("R{} bitwise operator {} on pointer prohibited",
                                           insn.dst, sign_of(op))
                             : fmt::format("R{} pointer arithmetic with {} operator prohibited",
                                           insn.dst, sign_of(op)));
  }
  if (op == AluOp::kSub && !dst.is_pointer()) {
    return reject(Rule::kPointerArithmetic,
                  fmt::format("R{} tried to subtract pointer from scalar", insn.dst));
  }
  if (op == AluOp::kSub && pointer.kind == RegKind::kStack) {
    return reject(Rule::kPointerArithmetic,
                  fmt::format("R{} subtraction from stack pointer prohibited", insn.dst));
  }
  // A number that is another one plus a constant carries the constant as its offset.
  if (!check_offset_sane(number, pointer.kind, pointer.flags)) return false;
  if (!check_offset_sane(pointer, pointer.kind, pointer.flags)) return false;

  RegState out = pointer;
  out.is_precise = false;
  if (number.var.is_constant()) {
    // Both are below 2^29 in size: the sum cannot overflow.
    const auto by = static_cast<std::int32_t>(number.var.constant_value());
    out.offset += op == AluOp::kAdd ? by : -by;
    // Who lay at or past the packet's end need not when it is moved back.
    if (pointer.is_packet() && out.range < 0 && out.offset < pointer.offset) out.range = 0;
  } else {
    out.var = apply(op, pointer.var, number.var);
    if (pointer.is_packet()) {
      out.id = new_id();
      if (op == AluOp::kAdd || number.var.whole.smin < 0 || out.range < 0) out.range = 0;
    }
  }
  if (!check_offset_sane(out, pointer.kind, pointer.flags)) return false;
  dst = out;
  return true;
}

}  // namespace lmn
