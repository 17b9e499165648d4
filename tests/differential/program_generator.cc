// SPDX-License-Identifier: Apache-2.0
//
// The statements of generated programs. Each keeps the invariant of program_generator.h: numbers
// in, numbers out.
#include "differential/program_generator.h"

#include <linux/bpf.h>

#include <algorithm>
#include <array>

namespace lmn {
namespace {

// Stack of every function, below r10: 8 slots of numbers, a key, a spilled pointer.
constexpr std::int16_t kNumbers = -64;
constexpr std::int16_t kNumberBytes = 64;
constexpr std::int16_t kKey = -72;
constexpr std::int16_t kSpill = -80;
// Bytes of packet that are proven to be there.
constexpr std::int16_t kPacketBytes = 48;
// The part of the map value that statements work on; results go behind it.
constexpr std::int16_t kWorkBytes = 128;
constexpr std::uint32_t kFunctionsMax = 2;

constexpr std::int32_t kInteresting[] = {
    0,  1,    2,    3,      7,          8,         16,         31,        32, 63,
    64, 127,  128,  255,    256,        0x7fff,    0x8000,     0xffff,    -1, -2,
    -8, -128, -129, -32768, 0x7fffffff, INT32_MIN, 0x01020304, -559038737};

// The rows of opcodes.def that `pick` says yes to.
template <typename Pick>
std::vector<Op> rows(Pick pick) {
  std::vector<Op> found;
  for (std::size_t row = 0; row < kOpCount; ++row) {
    if (pick(op_info(static_cast<Op>(row)))) found.push_back(static_cast<Op>(row));
  }
  return found;
}

std::vector<Op> rows_of(OpClass op_class) {
  return rows([op_class](const OpInfo& info) { return info.op_class == op_class; });
}

Insn with_fixed_fields(Insn insn) {
  const OpInfo& info = op_info(insn.op);
  if (info.off.use == FieldUse::kFixed) insn.off = static_cast<std::int16_t>(info.off.value);
  if (info.imm.use == FieldUse::kFixed) insn.imm = info.imm.value;
  return insn;
}

bool is_operation(const OpInfo& info, int operation) {
  return info.op_class == OpClass::kAlu && (info.opcode & 0xf0) == operation;
}

// An immediate the kernel takes for this row: no division by 0, no shift by the width or more.
std::int32_t allowed_immediate(const OpInfo& info, std::int32_t wanted) {
  const bool divides = is_operation(info, BPF_DIV) || is_operation(info, BPF_MOD);
  const bool shifts =
      is_operation(info, BPF_LSH) || is_operation(info, BPF_RSH) || is_operation(info, BPF_ARSH);
  if (divides && wanted == 0) return 3;
  return shifts ? wanted & (info.width_bits - 1) : wanted;
}

}  // namespace

// --- choosing

std::uint8_t ProgramGenerator::any_number() {
  const std::uint64_t pick = below(scope_.saved_number != 0 ? 7 : 6);
  return pick == 6 ? scope_.saved_number : static_cast<std::uint8_t>(pick);
}

std::uint8_t ProgramGenerator::any_number_but(std::uint8_t one, std::uint8_t other) {
  std::uint8_t reg = any_number();
  while (reg == one || reg == other) reg = any_number();
  return reg;
}

std::int32_t ProgramGenerator::any_immediate() {
  return one_in(4) ? static_cast<std::int32_t>(random_())
                   : kInteresting[below(std::size(kInteresting))];
}

ProgramGenerator::Memory ProgramGenerator::any_memory(std::uint32_t size_bytes, MemoryUse use) {
  const auto size = static_cast<std::int16_t>(size_bytes);
  auto offset = [&](std::int16_t bytes, bool is_aligned) {
    const auto at = static_cast<std::int16_t>(below(static_cast<std::uint64_t>(bytes - size + 1)));
    return static_cast<std::int16_t>(is_aligned ? at / size * size : at);
  };
  switch (below(4)) {
    case 0:
      if (use == MemoryUse::kPlain) return {scope_.packet, offset(kPacketBytes, false)};
      [[fallthrough]];
    case 1:
      return {scope_.map, offset(kWorkBytes, use == MemoryUse::kAtomic)};
    case 2:
      // The kernel wants every access of a stack aligned.
      if (scope_.caller_stack != 0) return {scope_.caller_stack, offset(kNumberBytes, true)};
      [[fallthrough]];
    default:
      return {kFramePointer, static_cast<std::int16_t>(kNumbers + offset(kNumberBytes, true))};
  }
}

// --- emitting

void ProgramGenerator::emit(Op op, std::uint8_t dst, std::uint8_t src, std::int16_t off,
                            std::int64_t imm) {
  insns_.push_back(with_fixed_fields({op, dst, src, off, imm}));
}

void ProgramGenerator::emit_lddw(std::uint8_t dst, std::uint8_t kind, std::int64_t imm) {
  emit(Op::kLddw, dst, kind, 0, imm);
  emit(Op::kLddwHigh, 0);
}

void ProgramGenerator::emit_call(std::uint32_t helper) { emit(Op::kCall, 0, 0, 0, helper); }

std::size_t ProgramGenerator::emit_jump(Op op, std::uint8_t dst, std::uint8_t src,
                                        std::int64_t imm) {
  emit(op, dst, src, 0, imm);
  return insns_.size() - 1;
}

void ProgramGenerator::land(std::size_t jump) {
  const auto distance = static_cast<std::int64_t>(insns_.size() - jump - 1);
  Insn& insn = insns_[jump];
  if (op_info(insn.op).imm.use == FieldUse::kJump) {
    insn.imm = distance;
  } else {
    insn.off = static_cast<std::int16_t>(distance);
  }
}

// --- functions

GeneratedProgram ProgramGenerator::next(std::uint32_t statements) {
  insns_.clear();
  calls_.clear();
  function_count_ = static_cast<std::uint32_t>(below(kFunctionsMax + 1));
  GeneratedProgram program;
  function(0, statements);
  program.function_starts.push_back(0);
  for (std::uint32_t index = 1; index <= function_count_; ++index) {
    // A function that nobody calls is unreachable code.
    const bool is_called =
        std::ranges::any_of(calls_, [index](const auto& call) { return call.second == index; });
    if (!is_called) continue;
    const auto start = static_cast<std::uint32_t>(insns_.size());
    program.function_starts.push_back(start);
    for (const auto& [call, callee] : calls_) {
      if (callee == index)
        insns_[call].imm = static_cast<std::int64_t>(start) - static_cast<std::int64_t>(call) - 1;
    }
    function(index, statements / 3 + 1);
  }
  program.insns = insns_;
  return program;
}

void ProgramGenerator::function(std::uint32_t index, std::uint32_t statements) {
  function_index_ = index;
  bails_.clear();
  std::array<std::uint8_t, 4> saved = {6, 7, 8, 9};
  std::ranges::shuffle(saved, random_);
  scope_ = {saved[0], saved[1], saved[2], 0, 0};
  (index == 0 ? scope_.saved_number : scope_.caller_stack) = saved[3];
  if (index == 0) {
    entry_prologue();
  } else {
    function_prologue();
  }
  block(statements, 0);
  epilogue(index == 0);
}

void ProgramGenerator::entry_prologue() {
  emit(Op::kMov64Reg, scope_.context, 1);
  emit_lddw(scope_.map, BPF_PSEUDO_MAP_IDX_VALUE, maps_.values);
  check_packet();
  emit(Op::kLdxMem64, scope_.saved_number, scope_.packet, 8);
  for (std::int16_t at = kNumbers; at < kNumbers + kNumberBytes;
       at = static_cast<std::int16_t>(at + 8)) {
    emit(Op::kLdxMem64, 0, scope_.packet, static_cast<std::int16_t>(at - kNumbers) % 40);
    emit(Op::kStMemReg64, kFramePointer, 0, at);
  }
  renew_clobbered();
}

void ProgramGenerator::function_prologue() {
  emit(Op::kMov64Reg, scope_.context, 1);
  emit(Op::kMov64Reg, scope_.map, 3);
  emit(Op::kMov64Reg, scope_.caller_stack, 4);
  for (std::int16_t at = kNumbers; at < kNumbers + kNumberBytes;
       at = static_cast<std::int16_t>(at + 8)) {
    emit(Op::kStMemReg64, kFramePointer, one_in(2) ? 2 : 5, at);
  }
  check_packet();
  renew_clobbered();
}

// packet = data, proven to have kPacketBytes; else the function ends. Uses r0, r2 and r3.
void ProgramGenerator::check_packet() {
  emit(Op::kMov64Imm, 0, 0, 0, any_immediate());
  emit(Op::kLdxMem32, scope_.packet, scope_.context, offsetof(struct xdp_md, data));
  emit(Op::kLdxMem32, 2, scope_.context, offsetof(struct xdp_md, data_end));
  emit(Op::kMov64Reg, 3, scope_.packet);
  emit(Op::kAdd64Imm, 3, 0, 0, kPacketBytes);
  bails_.push_back(emit_jump(Op::kJgt64Reg, 3, 2));
}

void ProgramGenerator::epilogue(bool is_entry) {
  std::int16_t at = kWorkBytes;
  for (std::uint8_t reg = 0; is_entry && reg <= 5; ++reg, at = static_cast<std::int16_t>(at + 8)) {
    emit(Op::kStMemReg64, scope_.map, reg, at);
  }
  for (std::uint8_t reg = 1; reg <= 5; ++reg) {
    emit(Op::kMul64Imm, 0, 0, 0, 31);
    emit(Op::kAdd64Reg, 0, reg);
  }
  if (is_entry) {
    emit(Op::kStMemReg64, scope_.map, scope_.saved_number, at);
    emit(Op::kXor64Reg, 0, scope_.saved_number);
  }
  for (const std::size_t bail : bails_) land(bail);
  emit(Op::kExit, 0);
}

void ProgramGenerator::block(std::uint32_t statements, std::uint32_t nesting) {
  for (std::uint32_t i = 0; i < statements; ++i) statement(nesting);
}

void ProgramGenerator::statement(std::uint32_t nesting) {
  const std::uint64_t pick = below(100);
  if (pick < 34) return arithmetic();
  if (pick < 44) return load();
  if (pick < 54) return store();
  if (pick < 64) return atomic();
  if (pick < 68) return variable_offset();
  if (pick < 71) return spill();
  if (pick < 80 && nesting < 3) return skip(nesting);
  if (pick < 84 && nesting < 3) return choose(nesting);
  if (pick < 86) return packet_length();
  if (pick < 88) return context_field();
  if (pick < 90) return lookup();
  if (pick < 92) return change_hash();
  if (pick < 93) return read_packet_by_helper();
  if (pick < 94) return move_packet();
  if (pick < 95) return checksum();
  if (pick < 97) return tail_call();
  if (pick < 99) return call_function();
  emit_lddw(any_number(), 0, static_cast<std::int64_t>(random_()));
}

// Some number into a register that holds anything.
void ProgramGenerator::renew(std::uint8_t reg) {
  switch (below(4)) {
    case 0:
      emit(Op::kMov64Imm, reg, 0, 0, any_immediate());
      return;
    case 1:
      emit(Op::kMov32Imm, reg, 0, 0, any_immediate());
      return;
    case 2:
      emit(Op::kLdxMem64, reg, kFramePointer,
           static_cast<std::int16_t>(kNumbers + 8 * static_cast<int>(below(8))));
      return;
    default: {
      const Memory memory = any_memory(4, MemoryUse::kPlain);
      emit(Op::kLdxMem32, reg, memory.base, memory.offset);
    }
  }
}

// r0 to r5, which a call leaves undefined.
void ProgramGenerator::renew_clobbered() {
  for (std::uint8_t reg = 0; reg <= 5; ++reg) renew(reg);
}

// --- statements

void ProgramGenerator::arithmetic() {
  static const std::vector<Op> kOps = rows([](const OpInfo& info) {
    return info.op_class == OpClass::kAlu || info.op_class == OpClass::kByteSwap;
  });
  const Op op = any_of(kOps);
  const OpInfo& info = op_info(op);
  const std::uint8_t src = info.src.use == FieldUse::kRead ? any_number() : 0;
  const std::int32_t imm =
      info.imm.use == FieldUse::kValue ? allowed_immediate(info, any_immediate()) : 0;
  emit(op, any_number(), src, 0, imm);
}

void ProgramGenerator::load() {
  static const std::vector<Op> kOps = rows_of(OpClass::kLoad);
  const Op op = any_of(kOps);
  const Memory memory = any_memory(access_size(op), MemoryUse::kPlain);
  emit(op, any_number(), memory.base, memory.offset);
}

void ProgramGenerator::store() {
  static const std::vector<Op> kOps = rows_of(OpClass::kStore);
  const Op op = any_of(kOps);
  const Memory memory = any_memory(access_size(op), MemoryUse::kPlain);
  const bool has_source = op_info(op).src.use == FieldUse::kRead;
  emit(op, memory.base, has_source ? any_number() : 0, memory.offset,
       has_source ? 0 : any_immediate());
}

void ProgramGenerator::atomic() {
  static const std::vector<Op> kOps = rows_of(OpClass::kAtomic);
  const Op op = any_of(kOps);
  const Memory memory = any_memory(access_size(op), MemoryUse::kAtomic);
  const bool loads = op_info(op).dst.use == FieldUse::kWrite;
  if (loads) return emit(op, any_number(), memory.base, memory.offset);
  if (memory.base == kFramePointer || memory.base == scope_.caller_stack) {
    // isa_corner_test.cc, FetchesFromTheStack...: the kernel may not know anything of the slot.
    const std::uint8_t unknown = any_number();
    emit(Op::kLdxMem64, unknown, scope_.packet, static_cast<std::int16_t>(below(kPacketBytes - 7)));
    emit(Op::kStMemReg64, memory.base, unknown, static_cast<std::int16_t>(memory.offset & ~7));
  }
  emit(op, memory.base, any_number(), memory.offset);
  // isa_corner_test.cc, CompareExchange32...: the kernel does not always extend.
  if (op == Op::kAtomicCmpXchg32) emit(Op::kMov32Reg, 0, 0);
}

// A place that only the run decides: in the map value at any byte, on the stack at any slot.
void ProgramGenerator::variable_offset() {
  const std::uint8_t index = any_number();
  const std::uint8_t pointer = any_number_but(index, index);
  const std::uint8_t value = any_number_but(index, pointer);
  const bool on_stack = one_in(3);
  emit(Op::kAnd64Imm, index, 0, 0, on_stack ? 0x38 : 0x3f);
  emit(Op::kMov64Reg, pointer, on_stack ? kFramePointer : scope_.map);
  if (on_stack) emit(Op::kAdd64Imm, pointer, 0, 0, kNumbers);
  emit(Op::kAdd64Reg, pointer, index);
  if (!on_stack && one_in(2)) {
    // There and back; the kernel allows no subtraction from a stack pointer.
    emit(Op::kAdd64Imm, pointer, 0, 0, 24);
    emit(Op::kSub64Imm, pointer, 0, 0, 24);
  }
  if (one_in(2)) {
    emit(Op::kLdxMem64, value, pointer, 0);
  } else {
    emit(Op::kStMemReg64, pointer, value, 0);
  }
  renew(pointer);
}

// A pointer over the stack into another register; the slot gets a number again.
void ProgramGenerator::spill() {
  const std::uint8_t pointer = any_number();
  const std::uint8_t value = any_number_but(pointer, pointer);
  emit(Op::kStMemReg64, kFramePointer, one_in(2) ? scope_.packet : scope_.map, kSpill);
  emit(Op::kLdxMem64, pointer, kFramePointer, kSpill);
  emit(Op::kLdxMem32, value, pointer, static_cast<std::int16_t>(below(40)));
  emit(Op::kStMemReg64, kFramePointer, value, kSpill);
  emit(Op::kLdxMem64, pointer, kFramePointer, kSpill);
}

void ProgramGenerator::skip(std::uint32_t nesting) {
  static const std::vector<Op> kOps = rows_of(OpClass::kBranch);
  const Op op = any_of(kOps);
  const auto statements = static_cast<std::uint32_t>(1 + below(3));
  if (op == Op::kMayGoto) {
    const std::size_t jump = emit_jump(op);
    block(statements, nesting + 1);
    return land(jump);
  }
  const bool has_source = op_info(op).src.use == FieldUse::kRead;
  const std::size_t jump =
      emit_jump(op, any_number(), has_source ? any_number() : 0, has_source ? 0 : any_immediate());
  block(statements, nesting + 1);
  land(jump);
}

void ProgramGenerator::choose(std::uint32_t nesting) {
  const std::size_t to_else = emit_jump(Op::kJset32Reg, any_number(), any_number());
  block(static_cast<std::uint32_t>(1 + below(2)), nesting + 1);
  const std::size_t to_end = emit_jump(one_in(2) ? Op::kJa : Op::kJa32);
  land(to_else);
  block(static_cast<std::uint32_t>(1 + below(2)), nesting + 1);
  land(to_end);
}

void ProgramGenerator::packet_length() {
  const std::uint8_t at = any_number();
  const std::uint8_t end = any_number_but(at, at);
  const std::uint8_t result = any_number_but(at, end);
  emit(Op::kMov64Reg, at, scope_.packet);
  emit(Op::kAdd64Imm, at, 0, 0, static_cast<std::int64_t>(14 + below(120)));
  emit(Op::kLdxMem32, end, scope_.context, offsetof(struct xdp_md, data_end));
  const std::size_t jump = emit_jump(Op::kJgt64Reg, at, end);
  emit(Op::kAdd64Imm, result, 0, 0, any_immediate());
  land(jump);
  // The difference of two addresses is a number again, and the same everywhere.
  emit(Op::kSub64Reg, end, at);
  renew(at);
}

void ProgramGenerator::context_field() {
  const std::uint8_t reg = any_number();
  switch (below(3)) {
    case 0:
      return emit(Op::kLdxMem32, reg, scope_.context, offsetof(struct xdp_md, ingress_ifindex));
    case 1:
      return emit(Op::kLdxMem32, reg, scope_.context, offsetof(struct xdp_md, rx_queue_index));
    default: {
      const std::uint8_t other = any_number_but(reg, reg);
      emit(Op::kLdxMem32, reg, scope_.context, offsetof(struct xdp_md, data));
      emit(Op::kLdxMem32, other, scope_.context, offsetof(struct xdp_md, data_meta));
      emit(Op::kSub64Reg, reg, other);
      renew(other);
    }
  }
}

void ProgramGenerator::lookup() {
  const bool in_hash = one_in(2);
  const std::uint8_t key = any_number();
  emit(Op::kAnd32Imm, key, 0, 0, 7);
  emit(Op::kStMemReg32, kFramePointer, key, kKey);
  emit_lddw(1, BPF_PSEUDO_MAP_IDX, in_hash ? maps_.hash : maps_.slots);
  emit(Op::kMov64Reg, 2, kFramePointer);
  emit(Op::kAdd64Imm, 2, 0, 0, kKey);
  emit_call(BPF_FUNC_map_lookup_elem);
  const std::size_t missing = emit_jump(Op::kJeq64Imm, 0);
  emit(Op::kLdxMem64, 1, 0, 8);
  emit(Op::kAdd64Imm, 1, 0, 0, any_immediate());
  emit(Op::kStMemReg64, 0, 1, 8);
  emit(Op::kAtomicFetchAdd32, 0, 1, 4);
  emit(Op::kStMemReg64, kFramePointer, 1, kNumbers);
  land(missing);
  renew_clobbered();
}

void ProgramGenerator::change_hash() {
  const std::uint8_t key = any_number();
  emit(Op::kAnd32Imm, key, 0, 0, 15);
  emit(Op::kStMemReg32, kFramePointer, key, kKey);
  emit_lddw(1, BPF_PSEUDO_MAP_IDX, maps_.hash);
  emit(Op::kMov64Reg, 2, kFramePointer);
  emit(Op::kAdd64Imm, 2, 0, 0, kKey);
  if (one_in(3)) {
    emit_call(BPF_FUNC_map_delete_elem);
  } else {
    emit(Op::kMov64Reg, 3, kFramePointer);
    emit(Op::kAdd64Imm, 3, 0, 0, kNumbers);
    emit(Op::kMov64Imm, 4, 0, 0, static_cast<std::int64_t>(below(4)));
    emit_call(BPF_FUNC_map_update_elem);
  }
  emit(Op::kStMemReg64, kFramePointer, 0, kNumbers);
  renew_clobbered();
}

void ProgramGenerator::read_packet_by_helper() {
  emit(Op::kMov64Reg, 1, scope_.context);
  if (one_in(2)) {
    emit_call(BPF_FUNC_xdp_get_buff_len);
  } else {
    emit(Op::kMov64Imm, 2, 0, 0, static_cast<std::int64_t>(below(128)));
    emit(Op::kMov64Reg, 3, kFramePointer);
    emit(Op::kAdd64Imm, 3, 0, 0, kNumbers);
    emit(Op::kMov64Imm, 4, 0, 0, static_cast<std::int64_t>(1 + below(24)));
    emit_call(BPF_FUNC_xdp_load_bytes);
  }
  emit(Op::kStMemReg64, kFramePointer, 0, kNumbers + 32);
  renew_clobbered();
}

void ProgramGenerator::move_packet() {
  static constexpr std::uint32_t kHelpers[] = {BPF_FUNC_xdp_adjust_head, BPF_FUNC_xdp_adjust_tail,
                                               BPF_FUNC_xdp_adjust_meta};
  emit(Op::kMov64Reg, 1, scope_.context);
  emit(Op::kMov64Imm, 2, 0, 0, static_cast<std::int64_t>(below(33)) - 20);
  emit_call(kHelpers[below(3)]);
  emit(Op::kStMemReg64, kFramePointer, 0, kNumbers + 40);
  check_packet();
  renew_clobbered();
}

void ProgramGenerator::checksum() {
  emit(Op::kMov64Reg, 5, any_number());
  emit(Op::kMov64Reg, 1, one_in(2) ? scope_.packet : scope_.map);
  emit(Op::kMov64Imm, 2, 0, 0, static_cast<std::int64_t>(4 * below(8)));
  emit(Op::kMov64Reg, 3, kFramePointer);
  emit(Op::kAdd64Imm, 3, 0, 0, kNumbers);
  emit(Op::kMov64Imm, 4, 0, 0, static_cast<std::int64_t>(4 * below(8)));
  emit_call(BPF_FUNC_csum_diff);
  emit(Op::kStMemReg64, kFramePointer, 0, kNumbers + 48);
  renew_clobbered();
}

void ProgramGenerator::tail_call() {
  const std::uint8_t index = any_number();
  emit(Op::kAnd32Imm, index, 0, 0, 15);
  emit(Op::kMov64Reg, 3, index);
  emit(Op::kMov64Reg, 1, scope_.context);
  emit_lddw(2, BPF_PSEUDO_MAP_IDX, maps_.jumps);
  emit_call(BPF_FUNC_tail_call);
  renew_clobbered();
}

void ProgramGenerator::call_function() {
  // Only later functions, so that there is no recursion.
  if (function_index_ >= function_count_) return arithmetic();
  const auto callee =
      static_cast<std::uint32_t>(function_index_ + 1 + below(function_count_ - function_index_));
  emit(Op::kMov64Reg, 2, any_number());
  emit(Op::kMov64Reg, 5, any_number());
  emit(Op::kMov64Reg, 1, scope_.context);
  emit(Op::kMov64Reg, 3, scope_.map);
  emit(Op::kMov64Reg, 4, kFramePointer);
  emit(Op::kAdd64Imm, 4, 0, 0, kNumbers);
  emit(Op::kCall, 0, BPF_PSEUDO_CALL);
  calls_.emplace_back(insns_.size() - 1, callee);
  emit(Op::kStMemReg64, kFramePointer, 0, kNumbers + 56);
  // The function may have moved the packet.
  check_packet();
  renew_clobbered();
}

}  // namespace lmn
