// SPDX-License-Identifier: Apache-2.0
//
// Conditional constant propagation over registers, from block to block. Tested by
// constant_reach_test.cc.
#include "verifier/constant_reach.h"

#include <array>
#include <limits>
#include <optional>

#include "insn/insn_table.h"

namespace lmn {
namespace {

// What is known of the registers at one place.
class KnownRegisters {
 public:
  std::optional<std::uint64_t> get(std::uint8_t reg) const {
    return (known_ >> reg & 1) != 0 ? std::optional(values_[reg]) : std::nullopt;
  }
  void set(std::uint8_t reg, std::optional<std::uint64_t> value) {
    known_ = static_cast<std::uint16_t>(known_ & ~(1u << reg));
    if (!value) return;
    known_ = static_cast<std::uint16_t>(known_ | 1u << reg);
    values_[reg] = *value;
  }
  // Keeps what both know alike; true when that is less than before.
  bool meet(const KnownRegisters& other) {
    const std::uint16_t before = known_;
    for (std::uint8_t reg = 0; reg < kRegisterCount; ++reg) {
      if (get(reg) != other.get(reg)) set(reg, std::nullopt);
    }
    return known_ != before;
  }

 private:
  std::array<std::uint64_t, kRegisterCount> values_{};
  std::uint16_t known_ = 0;
};

// The second operand: src or imm, as 64 bits.
std::optional<std::uint64_t> operand(const KnownRegisters& registers, const Insn& insn) {
  if (reads_src(insn.op)) return registers.get(insn.src);
  return static_cast<std::uint64_t>(insn.imm);
}

std::optional<std::uint64_t> compute(const Insn& insn, std::uint64_t a, std::uint64_t b) {
  const bool is_wide = width_bits(insn.op) == 64;
  const unsigned shift = static_cast<unsigned>(b) & (is_wide ? 63 : 31);
  if (!is_wide) a = static_cast<std::uint32_t>(a);
  switch (BPF_OP(opcode_of(insn.op))) {
    case BPF_MOV:
      return b;
    case BPF_ADD:
      return a + b;
    case BPF_SUB:
      return a - b;
    case BPF_MUL:
      return a * b;
    case BPF_AND:
      return a & b;
    case BPF_OR:
      return a | b;
    case BPF_XOR:
      return a ^ b;
    case BPF_NEG:
      return 0 - a;
    case BPF_LSH:
      return a << shift;
    case BPF_RSH:
      return a >> shift;
    case BPF_ARSH:
      return static_cast<std::uint64_t>(is_wide ? static_cast<std::int64_t>(a) >> shift
                                                : static_cast<std::int32_t>(a) >> shift);
    default:
      return std::nullopt;  // division: nobody asks questions with it
  }
}

// dst of an arithmetic operation, if it can be known. Rows that off selects (signed division,
// sign-extending moves) are not followed.
std::optional<std::uint64_t> result(const KnownRegisters& registers, const Insn& insn) {
  if (op_info(insn.op).off.use == FieldUse::kFixed) return std::nullopt;
  const std::optional<std::uint64_t> a = reads_dst(insn.op) ? registers.get(insn.dst) : 0;
  const std::optional<std::uint64_t> b = operand(registers, insn);
  if (!a || !b) return std::nullopt;
  const std::optional<std::uint64_t> value = compute(insn, *a, *b);
  if (!value || width_bits(insn.op) == 64) return value;
  return static_cast<std::uint32_t>(*value);
}

// Whether a branch is taken; nullopt when both ways are possible.
std::optional<bool> outcome(const KnownRegisters& registers, const Insn& insn) {
  if (!reads_dst(insn.op)) return std::nullopt;  // may_goto
  const std::optional<std::uint64_t> left = registers.get(insn.dst);
  const std::optional<std::uint64_t> right = operand(registers, insn);
  if (!left || !right) return std::nullopt;
  const bool is_wide = width_bits(insn.op) == 64;
  const std::uint64_t a = is_wide ? *left : static_cast<std::uint32_t>(*left);
  const std::uint64_t b = is_wide ? *right : static_cast<std::uint32_t>(*right);
  const auto sa = is_wide ? static_cast<std::int64_t>(a) : static_cast<std::int32_t>(a);
  const auto sb = is_wide ? static_cast<std::int64_t>(b) : static_cast<std::int32_t>(b);
  switch (BPF_OP(opcode_of(insn.op))) {
    case BPF_JEQ:
      return a == b;
    case BPF_JNE:
      return a != b;
    case BPF_JGT:
      return a > b;
    case BPF_JGE:
      return a >= b;
    case BPF_JLT:
      return a < b;
    case BPF_JLE:
      return a <= b;
    case BPF_JSET:
      return (a & b) != 0;
    case BPF_JSGT:
      return sa > sb;
    case BPF_JSGE:
      return sa >= sb;
    case BPF_JSLT:
      return sa < sb;
    case BPF_JSLE:
      return sa <= sb;
    default:
      return std::nullopt;
  }
}

class Propagation {
 public:
  explicit Propagation(const StructureDraft& draft)
      : draft_(draft), is_reached_(draft.slot_count()), block_of_(draft.slot_count(), kNoBlock) {
    for (const Subprogram& subprogram : draft.facts.subprograms) open_block(subprogram.start);
    for (std::uint32_t at = 0; at < draft.slot_count(); ++at) {
      if (const auto target = jump_target(InsnIndex{at}, draft.insns()[at])) open_block(*target);
    }
  }

  std::vector<bool> run() {
    flow_to(InsnIndex{0}, {});
    if (draft_.program.exception_callback) flow_to(*draft_.program.exception_callback, {});
    while (!pending_.empty()) {
      const std::uint32_t block = pending_.back();
      pending_.pop_back();
      blocks_[block].is_pending = false;
      run_block(blocks_[block].start, blocks_[block].entry);
    }
    return std::move(is_reached_);
  }

 private:
  struct Block {
    InsnIndex start;
    KnownRegisters entry;
    bool is_entered = false;
    bool is_pending = false;
  };
  static constexpr std::uint32_t kNoBlock = std::numeric_limits<std::uint32_t>::max();

  void open_block(InsnIndex start) {
    std::uint32_t& block = block_of_[start.value];
    if (block != kNoBlock) return;
    block = static_cast<std::uint32_t>(blocks_.size());
    blocks_.emplace_back().start = start;
  }

  void flow_to(InsnIndex start, const KnownRegisters& registers) {
    const std::uint32_t index = block_of_[start.value];
    Block& block = blocks_[index];
    const bool is_news = block.is_entered ? block.entry.meet(registers) : true;
    if (!block.is_entered) block.entry = registers;
    block.is_entered = true;
    if (!is_news || block.is_pending) return;
    block.is_pending = true;
    pending_.push_back(index);
  }

  void run_block(InsnIndex at, KnownRegisters registers) {
    for (;;) {
      const Insn& insn = draft_.insns()[at.value];
      const std::uint32_t slots = slot_count(insn.op);
      for (std::uint32_t i = 0; i < slots; ++i) is_reached_[at.value + i] = true;
      if (!step(at, insn, registers)) return;
      at.value += slots;
      if (at.value >= draft_.slot_count()) return;  // behind a call of bpf_throw
      if (block_of_[at.value] != kNoBlock) return flow_to(at, registers);
    }
  }

  // Applies one instruction; false when control does not go on behind it.
  bool step(InsnIndex at, const Insn& insn, KnownRegisters& registers) {
    if (const auto target = jump_target(at, insn)) {
      const std::optional<bool> is_taken =
          is_conditional_jump(insn.op) ? outcome(registers, insn) : true;
      if (is_taken.value_or(true)) flow_to(*target, registers);
      return !is_taken.value_or(false);
    }
    if (const auto callee = function_target(at, insn)) flow_to(*callee, {});
    if (op_class(insn.op) == OpClass::kAlu) {
      registers.set(insn.dst, result(registers, insn));
    } else if (insn.op == Op::kCall) {
      for (std::uint8_t reg = 0; reg <= 5; ++reg) registers.set(reg, std::nullopt);
    } else if (const auto reg = written_register(insn)) {
      registers.set(*reg, constant(insn));
    }
    return falls_through(insn.op);
  }

  std::optional<std::uint64_t> constant(const Insn& insn) const {
    if (insn.op != Op::kLddw) return std::nullopt;
    if (find_kfunc_address(draft_.env, draft_.program, insn) != nullptr) return kKfuncAddress;
    if (is_weak_extern(draft_.program, insn)) return 0;
    return insn.src == 0 ? std::optional(static_cast<std::uint64_t>(insn.imm)) : std::nullopt;
  }

  const StructureDraft& draft_;
  std::vector<bool> is_reached_;
  std::vector<std::uint32_t> block_of_;  // by slot: the block that starts there
  std::vector<Block> blocks_;
  std::vector<std::uint32_t> pending_;
};

}  // namespace

std::vector<bool> constant_reach(const StructureDraft& draft) { return Propagation(draft).run(); }

bool is_weak_extern(const ProgramSpec& program, const Insn& insn) {
  if (insn.op != Op::kLddw || insn.src != BPF_PSEUDO_BTF_ID) return false;
  const auto index = static_cast<std::uint32_t>(insn.imm);
  return index < program.externs.size() && program.externs[index].is_weak;
}

}  // namespace lmn
