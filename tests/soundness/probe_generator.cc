// SPDX-License-Identifier: Apache-2.0
//
// The statements of probes. Each keeps the order that probe_generator.h describes.
#include "soundness/probe_generator.h"

#include <linux/bpf.h>

#include <algorithm>
#include <cstddef>
#include <iterator>

#include "soundness/probe_parts.h"

namespace lmn {
using namespace probe;  // the constants of all statements

// --- choosing and emitting

std::int64_t ProbeGenerator::any_immediate() {
  return one_in(6) ? static_cast<std::int32_t>(random_())
                   : kInteresting[below(std::size(kInteresting))];
}

std::uint8_t ProbeGenerator::any_number() {
  while (true) {
    const std::uint8_t reg = kNumbers[below(std::size(kNumbers))];
    if ((reserved_ >> reg & 1) == 0) return reg;
  }
}

std::uint8_t ProbeGenerator::other_number(std::uint8_t a, std::uint8_t b, std::uint8_t c) {
  std::uint8_t reg = any_number();
  while (reg == a || reg == b || reg == c) reg = any_number();
  return reg;
}

void ProbeGenerator::emit(Op op, std::uint8_t dst, std::uint8_t src, int off, std::int64_t imm) {
  Insn insn{op, dst, src, static_cast<std::int16_t>(off), imm};
  const OpInfo& info = op_info(op);
  if (info.src.use == FieldUse::kNone) insn.src = 0;
  if (info.imm.use == FieldUse::kNone) insn.imm = 0;
  if (info.off.use == FieldUse::kFixed) insn.off = static_cast<std::int16_t>(info.off.value);
  if (info.imm.use == FieldUse::kFixed) insn.imm = info.imm.value;
  insns_.push_back(insn);
}

void ProbeGenerator::emit_lddw(std::uint8_t dst, std::uint8_t kind, std::int64_t imm) {
  emit(Op::kLddw, dst, kind, 0, imm);
  emit(Op::kLddwHigh);
}

std::size_t ProbeGenerator::jump(Op op, std::uint8_t dst, std::uint8_t src, std::int64_t imm) {
  emit(op, dst, src, 0, imm);
  return insns_.size() - 1;
}

void ProbeGenerator::land(std::size_t from) {
  insns_[from].off = static_cast<std::int16_t>(insns_.size() - from - 1);
}

void ProbeGenerator::jump_back(Op op, std::size_t to, std::uint8_t dst, std::uint8_t src,
                               std::int64_t imm) {
  const auto distance =
      static_cast<std::int64_t>(to) - static_cast<std::int64_t>(insns_.size()) - 1;
  emit(op, dst, src, static_cast<int>(distance), imm);
}

void ProbeGenerator::bail(Op op, std::uint8_t dst, std::uint8_t src, std::int64_t imm) {
  bails_.push_back(jump(op, dst, src, imm));
}

// --- functions

GeneratedProgram ProbeGenerator::next(std::uint32_t statements, std::uint32_t risk_percent) {
  insns_.clear();
  calls_.clear();
  callbacks_.clear();
  reserved_ = 0;
  nesting_ = 0;
  risk_percent_ = risk_percent;
  function_count_ = static_cast<std::uint32_t>(below(3));
  GeneratedProgram program;
  program.function_starts.push_back(0);
  function(0, statements);
  for (std::uint32_t index = 1; index <= function_count_; ++index) {
    const bool is_called =
        std::ranges::any_of(calls_, [index](const auto& site) { return site.second == index; });
    if (!is_called) continue;
    const auto start = static_cast<std::uint32_t>(insns_.size());
    program.function_starts.push_back(start);
    for (const auto& [at, callee] : calls_) {
      if (callee == index) {
        insns_[at].imm = static_cast<std::int64_t>(start) - static_cast<std::int64_t>(at) - 1;
      }
    }
    function(index, statements / 3 + 1);
  }
  if (!callbacks_.empty()) {
    const auto start = static_cast<std::uint32_t>(insns_.size());
    program.function_starts.push_back(start);
    for (const std::size_t at : callbacks_) {
      insns_[at].imm = static_cast<std::int64_t>(start) - static_cast<std::int64_t>(at) - 1;
    }
    callback_function();
  }
  program.insns = insns_;
  return program;
}

// Functions get the context, two numbers and the caller's map value.
void ProbeGenerator::function(std::uint32_t index, std::uint32_t statements) {
  function_index_ = index;
  bails_.clear();
  emit(Op::kMov64Reg, kContext, 1);
  if (index == 0) {
    emit_lddw(kValue, BPF_PSEUDO_MAP_IDX_VALUE, maps_.common.values);
  } else {
    emit(Op::kMov64Reg, kValue, 4);
    emit(Op::kMov64Reg, 8, 2);
    emit(Op::kMov64Reg, 9, 3);
  }
  for (int slot = 0; slot < 8; ++slot) {
    const std::int16_t at = static_cast<std::int16_t>(-64 + 8 * slot);
    if (one_in(3)) {
      emit(Op::kStMemImm64, kFramePointer, 0, at, any_immediate());
    } else {
      emit(Op::kLdxMem64, 0, kValue, 8 * static_cast<int>(below(32)));
      emit(Op::kStMemReg64, kFramePointer, 0, at);
    }
  }
  for (const std::uint8_t reg : kNumbers) {
    if (index == 0 || reg < 8) renew(reg);
  }
  for (std::uint32_t i = 0; i < statements; ++i) statement();
  if (index != 0 && one_in(2)) bound(0, static_cast<std::int64_t>(below(256)));
  emit(Op::kExit);
  if (bails_.empty()) return;
  for (const std::size_t from : bails_) land(from);
  emit(Op::kMov64Imm, 0, 0, 0, static_cast<std::int64_t>(below(5)));
  emit(Op::kExit);
}

// Of bpf_loop: r1 the round, r2 eight numbers on the caller's stack.
void ProbeGenerator::callback_function() {
  bails_.clear();
  emit(Op::kMov64Reg, 8, 1);
  emit(Op::kMov64Reg, 9, 2);
  emit(Op::kLdxMem64, 3, 9, 8 * static_cast<int>(below(8)));
  if (one_in(2)) emit(Op::kAdd64Reg, 3, 8);
  if (one_in(2)) emit(Op::kAdd64Imm, 3, 0, 0, any_immediate());
  emit(Op::kStMemReg64, 9, 3, 8 * static_cast<int>(below(8)));
  if (one_in(3)) emit(Op::kStMemImm64, 9, 0, 8 * static_cast<int>(below(8)), any_immediate());
  emit(Op::kMov64Imm, 0);
  const std::size_t stop = jump(Op::kJgt64Imm, 3, 0, any_immediate());
  emit(Op::kMov64Imm, 0, 0, 0, is_risky() ? any_immediate() : 1);
  land(stop);
  emit(Op::kExit);
}

void ProbeGenerator::statement() {
  if (is_risky() && one_in(4)) return odd_pointer();
  const std::uint64_t pick = below(100);
  if (pick < 38) return simple_statement();
  if (pick < 55) return use_bounded();
  if (pick < 65) return diamond();
  if (pick < 69) return spill_pointer();
  if (pick < 73 && nesting_ == 0) return loop();
  if (pick < 74 && nesting_ == 0) return may_goto_loop();
  if (pick < 80) return lookup();
  if (pick < 83) return ring_record();
  if (pick < 87) return call_function();
  if (pick < 89) return call_back();
  if (pick < 93) return packet_access();
  if (pick < 96) return packet_variable();
  if (pick < 97) return move_packet();
  if (pick < 98) return tail_call();
  return atomic();
}

void ProbeGenerator::simple_statement() {
  switch (below(8)) {
    case 0:
    case 1:
    case 2:
      return arithmetic();
    case 3:
      return copy();
    case 4:
    case 5:
      return compare();
    case 6:
      return spill_number();
    default:
      return renew(any_number());
  }
}

// Some number into a register that holds anything.
void ProbeGenerator::renew(std::uint8_t reg) {
  static const std::vector<Op> kLoads =
      rows([](const OpInfo& info) { return info.op_class == OpClass::kLoad; });
  switch (below(5)) {
    case 0:
      return emit(Op::kMov64Imm, reg, 0, 0, any_immediate());
    case 1:
      return emit(Op::kMov32Imm, reg, 0, 0, any_immediate());
    case 2:
      return emit(Op::kLdxMem64, reg, kFramePointer, number_slot());
    default: {
      const Op op = kLoads[below(kLoads.size())];
      return emit(op, reg, kValue, static_cast<int>(below(32)) * 8);
    }
  }
}

void ProbeGenerator::renew_after_call() {
  for (std::uint8_t reg = 0; reg <= 5; ++reg) renew(reg);
}

// --- numbers

void ProbeGenerator::arithmetic() {
  const std::uint64_t count = 1 + below(3);
  const std::uint8_t reg = any_number();
  for (std::uint64_t i = 0; i < count; ++i) {
    const Op op = alu_ops()[below(alu_ops().size())];
    emit(op, reg, has_source(op) ? any_number() : 0, 0, allowed_immediate(op, any_immediate()));
  }
}

// Two registers that hold the same, or the same plus a constant, one of them perhaps changed.
void ProbeGenerator::copy() {
  static constexpr Op kMoves[] = {Op::kMov64Reg,    Op::kMov64Reg,   Op::kMov64Reg,
                                  Op::kMov32Reg,    Op::kMovSx8To64, Op::kMovSx16To32,
                                  Op::kMovSx32To64, Op::kMovSx16To64};
  const std::uint8_t from = any_number();
  const std::uint8_t to = other_number(from);
  emit(kMoves[below(std::size(kMoves))], to, from);
  if (one_in(2)) emit(one_in(4) ? Op::kAdd32Imm : Op::kAdd64Imm, to, 0, 0, any_immediate());
  if (one_in(4)) emit(alu_ops()[below(alu_ops().size())], from, to, 0, 1);
}

void ProbeGenerator::compare() {
  const Op op = branch_ops()[below(branch_ops().size())];
  const std::uint8_t left = any_number();
  const std::uint8_t right = has_source(op) ? any_number() : 0;
  const std::int64_t imm = has_source(op) ? 0 : any_immediate();
  if (one_in(3)) return bail(op, left, right, imm);
  const std::size_t over = jump(op, left, right, imm);
  ++nesting_;
  if (nesting_ < 4) simple_statement();
  if (one_in(2)) arithmetic();
  --nesting_;
  land(over);
}

// Makes `reg` a number of [0, max], by one of the ways that programs use.
void ProbeGenerator::bound(std::uint8_t reg, std::int64_t max) {
  if (is_risky()) max += one_in(2) ? 1 : any_immediate();
  max = std::clamp<std::int64_t>(max, 0, INT32_MAX);
  if (is_risky() && one_in(2)) return;
  switch (below(9)) {
    case 0: {
      std::int64_t mask = 1;
      while (mask * 2 + 1 <= max) mask = mask * 2 + 1;
      return emit(one_in(2) ? Op::kAnd64Imm : Op::kAnd32Imm, reg, 0, 0, max == 0 ? 0 : mask);
    }
    case 1:
      return bail(Op::kJgt64Imm, reg, 0, max);
    case 2:
      bail(Op::kJsgt64Imm, reg, 0, max);
      return bail(Op::kJslt64Imm, reg, 0, 0);
    case 3:
      bail(Op::kJgt32Imm, reg, 0, max);
      return emit(Op::kMov32Reg, reg, reg);
    case 4:
      emit(Op::kMov32Reg, reg, reg);
      bail(Op::kJsgt32Imm, reg, 0, max);
      return bail(Op::kJslt32Imm, reg, 0, 0);
    case 5:
      // Linux 6.18 knows nothing of a remainder, so that a bound must follow.
      emit(one_in(2) ? Op::kMod64Imm : Op::kMod32Imm, reg, 0, 0,
           std::min<std::int64_t>(max + 1, INT32_MAX));
      return bail(Op::kJgt64Imm, reg, 0, max);
    case 6: {
      // On a copy: both are the same number.
      const std::uint8_t twin = other_number(reg);
      emit(Op::kMov64Reg, twin, reg);
      if (is_risky()) emit(alu_ops()[below(alu_ops().size())], twin, reg, 0, 1);
      return bail(Op::kJgt64Imm, twin, 0, max);
    }
    case 7: {
      const std::uint8_t limit = other_number(reg);
      emit(Op::kMov64Imm, limit, 0, 0, max);
      return bail(one_in(2) ? Op::kJgt64Reg : Op::kJge64Reg, reg, limit);
    }
    default: {
      int shift = 63;
      while (shift > 1 && (std::int64_t{1} << (64 - shift + 1)) - 1 <= max) --shift;
      if (max < 1) return emit(Op::kMov64Imm, reg, 0, 0, 0);
      return emit(Op::kRsh64Imm, reg, 0, 0, shift);
    }
  }
}

void ProbeGenerator::use_bounded() {
  const std::uint8_t reg = any_number();
  const auto max = static_cast<std::int64_t>(below(3) == 0 ? below(8) : below(248));
  bound(reg, max);
  const std::uint64_t between = below(3);
  if (is_risky()) {
    for (std::uint64_t i = 0; i < between; ++i) simple_statement();
  }
  use_as_offset(reg, max);
}

// An access at the map value (or the stack) plus `reg`, at most `max`.
void ProbeGenerator::use_as_offset(std::uint8_t reg, std::int64_t max) {
  static constexpr Op kStores[] = {Op::kStMemReg8, Op::kStMemReg16, Op::kStMemReg32,
                                   Op::kStMemReg64};
  static constexpr Op kLoads[] = {Op::kLdxMem8, Op::kLdxMem16, Op::kLdxMem32, Op::kLdxMem64,
                                  Op::kLdxMemSx8};
  const std::uint8_t pointer = other_number(reg);
  const std::uint8_t value = other_number(reg, pointer);
  if (one_in(6)) {
    // On the stack a slot that only the run knows.
    emit(Op::kAnd64Imm, reg, 0, 0, is_risky() ? any_immediate() : 0x38);
    emit(Op::kMov64Reg, pointer, kFramePointer);
    const int from = !is_risky() ? -64 : one_in(2) ? -56 : -520;  // past the end, or the beginning
    emit(Op::kAdd64Imm, pointer, 0, 0, from);
    emit(Op::kAdd64Reg, pointer, reg);
    if (one_in(2)) {
      emit(Op::kStMemReg64, pointer, value, 0);
    } else {
      emit(Op::kLdxMem64, value, pointer, 0);
    }
    return renew(pointer);
  }
  emit(Op::kMov64Reg, pointer, kValue);
  const bool is_store = one_in(2);
  const Op op = is_store ? kStores[below(std::size(kStores))] : kLoads[below(std::size(kLoads))];
  const std::int64_t room = std::max<std::int64_t>(0, kValueBytes - max - access_size(op));
  std::int64_t offset = static_cast<std::int64_t>(below(static_cast<std::uint64_t>(room) + 1));
  if (is_risky()) offset = room + static_cast<std::int64_t>(below(4)) - 1;
  if (one_in(4)) {
    emit(Op::kAdd64Imm, pointer, 0, 0, offset);
    offset = 0;
  }
  emit(one_in(8) && is_risky() ? Op::kSub64Reg : Op::kAdd64Reg, pointer, reg);
  if (is_store) {
    emit(op, pointer, value, static_cast<int>(offset));
  } else {
    emit(op, value, pointer, static_cast<int>(offset));
  }
  renew(pointer);
}

// Two constants, one per branch; what happens between and the use must remember both.
void ProbeGenerator::diamond() {
  const std::uint8_t reg = any_number();
  const auto first = static_cast<std::int64_t>(below(248));
  std::int64_t second = static_cast<std::int64_t>(below(248));
  if (is_risky()) second = any_immediate();
  const std::int64_t max = std::max(first, std::clamp<std::int64_t>(second, 0, 247));
  const Op op = branch_ops()[below(branch_ops().size())];
  const std::uint8_t by = other_number(reg);
  emit(Op::kLdxMem64, by, kValue, 8 * static_cast<int>(below(32)));
  emit(Op::kMov64Imm, reg, 0, 0, first);
  const std::size_t over =
      jump(op, by, has_source(op) ? other_number(by) : 0, has_source(op) ? 0 : any_immediate());
  emit(Op::kMov64Imm, reg, 0, 0, second);
  land(over);
  const std::uint32_t reserved = reserved_;
  const std::int16_t slot = number_slot();
  const bool is_spilled = one_in(3);
  if (is_spilled) emit(Op::kStMemReg64, kFramePointer, reg, slot);
  reserved_ |= 1u << reg;
  ++nesting_;
  for (std::uint64_t i = below(3); i > 0 && nesting_ < 3; --i) compare();
  --nesting_;
  reserved_ = reserved;
  if (is_spilled) {
    const std::uint8_t base = other_number(reg);
    emit(Op::kMov64Reg, base, kFramePointer);
    emit(Op::kAdd64Imm, base, 0, 0, slot);
    emit(Op::kLdxMem64, reg, base, 0);
    renew(base);
  }
  use_as_offset(reg, max);
}

// Into the stack and out again, in sizes that may differ, directly or through a copy of r10.
void ProbeGenerator::spill_number() {
  static constexpr Op kStores[] = {Op::kStMemReg8, Op::kStMemReg16, Op::kStMemReg32,
                                   Op::kStMemReg64};
  static constexpr Op kLoads[] = {Op::kLdxMem8,   Op::kLdxMem16,   Op::kLdxMem32,  Op::kLdxMem64,
                                  Op::kLdxMemSx8, Op::kLdxMemSx16, Op::kLdxMemSx32};
  const std::uint8_t reg = any_number();
  const std::int16_t slot = number_slot();
  const Op store = kStores[one_in(2) ? 3 : below(4)];
  const Op load = kLoads[one_in(2) ? 3 : below(7)];
  const auto shift = static_cast<int>(below(8 / access_size(load)) * access_size(load));
  if (one_in(3)) {
    const std::uint8_t base = other_number(reg);
    emit(Op::kMov64Reg, base, kFramePointer);
    emit(Op::kAdd64Imm, base, 0, 0, slot);
    emit(store, base, reg, 0);
    emit(load, one_in(2) ? reg : other_number(base), one_in(2) ? base : kFramePointer,
         insns_.back().dst == base ? shift : shift);
    Insn& last = insns_.back();
    if (last.src == kFramePointer) last.off = static_cast<std::int16_t>(slot + shift);
    return renew(base);
  }
  emit(store, kFramePointer, reg, slot);
  emit(load, any_number(), kFramePointer, slot + (one_in(2) ? 0 : shift));
}

void ProbeGenerator::spill_pointer() {
  const std::uint8_t pointer = any_number();
  const std::uint8_t value = other_number(pointer);
  emit(Op::kStMemReg64, kFramePointer, kValue, kSpill);
  if (is_risky()) {
    switch (below(4)) {
      case 0:
        emit(Op::kStMemImm8, kFramePointer, 0, kSpill + static_cast<int>(below(8)),
             any_immediate());
        break;
      case 1:
        emit(Op::kStMemReg32, kFramePointer, value, kSpill + 4 * static_cast<int>(below(2)));
        break;
      case 2:
        emit(Op::kAtomicAdd64, kFramePointer, value, kSpill);
        break;
      default:
        emit(Op::kStMemReg64, kFramePointer, value, kSpill);
    }
  }
  if (one_in(3)) compare();
  emit(Op::kLdxMem64, pointer, kFramePointer, kSpill);
  emit(Op::kLdxMem32, value, pointer, static_cast<int>(below(kValueBytes - 4)));
  emit(Op::kStMemReg64, kFramePointer, value, kSpill);
  renew(pointer);
}

// --- control flow

void ProbeGenerator::loop() {
  static constexpr Op kEnds[] = {Op::kJlt64Imm, Op::kJle64Imm,  Op::kJslt64Imm,
                                 Op::kJne64Imm, Op::kJslt32Imm, Op::kJlt32Imm};
  const std::uint8_t counter = static_cast<std::uint8_t>(8 + below(2));
  const std::int64_t step = is_risky() ? static_cast<std::int64_t>(below(4)) : 1;
  const auto rounds = static_cast<std::int64_t>(1 + below(12));
  emit(Op::kMov64Imm, counter);
  const std::size_t top = insns_.size();
  ++nesting_;
  const std::uint32_t reserved = reserved_;
  reserved_ |= 1u << counter;
  for (std::uint64_t i = 1 + below(2); i > 0; --i) simple_statement();
  if (one_in(2)) {
    const std::uint8_t index = other_number(counter);
    emit(Op::kMov64Reg, index, counter);
    use_as_offset(index, rounds);
  }
  reserved_ = reserved;
  --nesting_;
  emit(Op::kAdd64Imm, counter, 0, 0, step);
  jump_back(kEnds[below(std::size(kEnds))], top, counter, 0, rounds);
}

void ProbeGenerator::may_goto_loop() {
  const std::size_t top = jump(Op::kMayGoto);
  ++nesting_;
  for (std::uint64_t i = 1 + below(2); i > 0; --i) simple_statement();
  if (one_in(2)) use_bounded();
  --nesting_;
  jump_back(Op::kJa, top);
  land(top);
}

void ProbeGenerator::call_function() {
  if (function_index_ >= function_count_) return arithmetic();
  const auto callee =
      static_cast<std::uint32_t>(function_index_ + 1 + below(function_count_ - function_index_));
  const std::uint8_t first = any_number();
  emit(Op::kMov64Reg, 2, first);
  emit(Op::kMov64Reg, 3, one_in(2) ? 2 : any_number());
  emit(Op::kMov64Reg, 4, kValue);
  emit(Op::kMov64Reg, 1, kContext);
  emit(Op::kCall, 0, BPF_PSEUDO_CALL);
  calls_.emplace_back(insns_.size() - 1, callee);
  for (std::uint8_t reg = 1; reg <= 5; ++reg) renew(reg);
  if (one_in(2)) {
    const std::int64_t max = static_cast<std::int64_t>(below(200));
    if (!is_risky()) bound(0, max);
    use_as_offset(0, max);
  }
}

void ProbeGenerator::call_back() {
  emit(Op::kMov64Imm, 1, 0, 0, static_cast<std::int64_t>(below(9)));
  emit_lddw(2, BPF_PSEUDO_FUNC, 0);
  callbacks_.push_back(insns_.size() - 2);
  emit(Op::kMov64Reg, 3, kFramePointer);
  emit(Op::kAdd64Imm, 3, 0, 0, is_risky() ? -56 : -64);
  emit(Op::kMov64Imm, 4, 0, 0, is_risky() ? 1 : 0);
  call(BPF_FUNC_loop);
  renew_after_call();
}

void ProbeGenerator::tail_call() {
  const std::uint8_t index = any_number();
  if (one_in(2)) emit(Op::kMov64Imm, index, 0, 0, static_cast<std::int64_t>(below(8)));
  emit(Op::kMov64Reg, 3, index);
  emit(Op::kMov64Reg, 1, kContext);
  emit_lddw(2, BPF_PSEUDO_MAP_IDX, maps_.common.jumps);
  call(BPF_FUNC_tail_call);
  renew_after_call();
}

}  // namespace lmn
