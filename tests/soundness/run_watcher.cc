// SPDX-License-Identifier: Apache-2.0
//
// One step of a run: what the instruction before did to the marks, which node the run is at, and
// whether it lies in that node's state.
#include "soundness/run_watcher.h"

#include <fmt/format.h>
#include <linux/bpf.h>

#include <algorithm>
#include <cstring>

#include "insn/disasm.h"
#include "insn/insn_table.h"
#include "maps/map.h"

namespace lmn {
namespace {

constexpr std::uint64_t kStackBytes = 512;

bool is_function_call_insn(const Insn& insn) {
  return insn.op == Op::kCall && insn.src == BPF_PSEUDO_CALL;
}

std::uint64_t address_of(const std::uint8_t* pointer) {
  return reinterpret_cast<std::uint64_t>(pointer);
}

std::string number_text(const Scalar& var) {
  return fmt::format(
      "number: bits {:#x}/{:#x}, [{:#x}, {:#x}], signed [{}, {}], low [{:#x}, {:#x}]",
      var.bits.value, var.bits.mask, var.whole.umin, var.whole.umax, var.whole.smin, var.whole.smax,
      var.low.umin, var.low.umax);
}

std::string state_text(const RegState& state) {
  return fmt::format("kind {} offset {} range {} id {:#x} flags {:#x} {}",
                     static_cast<int>(state.kind), state.offset, state.range, state.id, state.flags,
                     number_text(state.var));
}

}  // namespace

void RunWatcher::begin(const Exploration& tree, const XdpBuff& buff) {
  tree_ = &tree;
  buff_ = &buff;
  program_ = nullptr;
  node_ = kNoNode;
  is_watching_ = tree.root() != kNoNode;
  is_forgiving_ = false;
  frames_.clear();
  failure_.clear();
}

void RunWatcher::fail(const TraceStep& step, std::string what) {
  is_watching_ = false;
  failure_ = fmt::format("before insn {} (previous {}): {}", step.insn.value, previous_insn_,
                         std::move(what));
}

void RunWatcher::on_step(const TraceStep& step) noexcept {
  if (!is_watching_) return;
  if (program_ == nullptr) {
    program_ = step.program;
    context_ = step.values[1];
  }
  if (step.program != program_) {
    is_watching_ = false;
    return;
  }
  const Insn& insn = program_->insns[step.insn.value];
  ++op_counts_[static_cast<std::size_t>(insn.op)];
  if (insn.op == Op::kCall && insn.src == 0 && insn.imm >= 0 && insn.imm < 256) {
    ++helper_counts_[static_cast<std::size_t>(insn.imm)];
  }
  apply_previous(step);
  if (!find_node(step)) return;
  ++steps_checked_;
  if (tree_->inclusion(node_) != nullptr && !pass_inclusion(step, false)) return;
  if (!demand_readable(step)) return;
  previous_insn_ = step.insn.value;
  std::ranges::copy(step.values, previous_.begin());
  std::ranges::copy(step.shadows, previous_shadows_.begin());
}

// --- where the run is

bool RunWatcher::find_node(const TraceStep& step) {
  std::string why;
  if (node_ == kNoNode) {
    node_ = tree_->root();
    why = mismatch(step, tree_->node(node_).frames);
    if (why.empty()) return true;
    fail(step, "at the start: " + why);
    return false;
  }
  std::uint32_t child = matching_child(step, node_, why);
  if (child == kNoNode && why.empty()) {
    // A callback returns to the helper's call, which the run does not execute again.
    for (std::uint32_t silent = tree_->node(node_).first_child; silent != kNoNode;
         silent = tree_->node(silent).next_sibling) {
      const Insn& insn = program_->insns[tree_->node(silent).insn];
      if (insn.op != Op::kCall || insn.src != 0) continue;
      node_ = silent;
      if (tree_->inclusion(node_) != nullptr && !pass_inclusion(step, true)) return false;
      child = matching_child(step, node_, why);
      break;
    }
  }
  if (child != kNoNode) {
    node_ = child;
    return true;
  }
  fail(step, why.empty() ? "the verifier never walked this way" : why);
  return false;
}

std::uint32_t RunWatcher::matching_child(const TraceStep& step, std::uint32_t of,
                                         std::string& why) {
  for (std::uint32_t child = tree_->node(of).first_child; child != kNoNode;
       child = tree_->node(child).next_sibling) {
    const Exploration::Node& node = tree_->node(child);
    if (node.insn != step.insn.value || node.frames.size() != step.depth + 1) continue;
    if (is_forgiving_) {
      Exploration::Inclusion as_loose{child, forgives_all_numbers_count_, node.frames};
      std::string wrong;
      loosen(step, as_loose, wrong);
      is_forgiving_ = false;
    }
    std::string wrong = mismatch(step, node.frames);
    if (wrong.empty()) {
      why.clear();
      return child;
    }
    why = std::move(wrong);
  }
  return kNoNode;
}

bool RunWatcher::pass_inclusion(const TraceStep& step, bool is_silent) {
  const Exploration::Inclusion& inclusion = *tree_->inclusion(node_);
  ++inclusions_passed_;
  node_ = inclusion.node;
  if (is_silent) {
    is_forgiving_ = true;
    forgives_all_numbers_count_ = inclusion.all_numbers_count;
    return true;
  }
  std::string wrong;
  loosen(step, inclusion, wrong);
  if (wrong.empty()) return true;
  fail(step, "cut short by a state that does not include it: " + wrong);
  return false;
}

// Marks what the kept state does not say of the run; `wrong`: what it wrongly says.
void RunWatcher::loosen(const TraceStep& step, const Exploration::Inclusion& inclusion,
                        std::string& wrong) {
  for (std::size_t f = 0; f < inclusion.frames.size() && f < frames_.size(); ++f) {
    const FrameState& kept = inclusion.frames[f];
    Frame& run = frames_[f];
    const bool is_top = f + 1 == inclusion.frames.size();
    for (std::size_t r = is_top ? 0 : 6; r < 10; ++r) {
      const std::uint64_t value = is_top ? step.values[r] : run.values[r];
      const interp::Shadow& shadow = is_top ? step.shadows[r] : run.shadows[r];
      const RegState& reg = kept.regs[r];
      const bool counts = reg.is_precise || inclusion.all_numbers_count;
      const auto bit = static_cast<std::uint16_t>(1u << r);
      if (reg.is_number() && !counts) {
        if (!reg.var.contains(value)) run.loose |= bit;
      } else if (!register_mismatch(reg, value, &shadow).empty()) {
        run.dead |= bit;
      }
    }
    for (std::size_t s = 0; s < kept.stack.size(); ++s) {
      const StackSlot& slot = kept.stack[s];
      const std::uint64_t bit = 1ull << s;
      const bool is_wrong = !slot_mismatch(slot, run.end - 8 * (s + 1)).empty();
      const bool counts = slot.spilled.is_precise || inclusion.all_numbers_count;
      if (slot.is_number_spill() && !counts) {
        if (is_wrong) run.loose_slots |= bit;
      } else if (is_wrong) {
        run.dead_slots |= bit;
      }
    }
  }
  if (frames_.size() != inclusion.frames.size()) {
    wrong = "another number of frames";
  } else {
    loosen_broken_links(step, inclusion.frames);
  }
}

// Numbers that the kept state holds equal and the run does not: one of them was not compared.
void RunWatcher::loosen_broken_links(const TraceStep& step, const std::vector<FrameState>& kept) {
  links_.clear();
  std::vector<std::uint32_t> broken;
  const auto note = [&](const RegState& reg, std::uint64_t value) {
    if (!reg.is_number() || reg.id == 0) return;
    if ((reg.id & kIdAddsConstant) != 0)
      value -= static_cast<std::uint64_t>(std::int64_t{reg.offset});
    if ((reg.id & kIdAddsConstant32) != 0) value &= 0xffffffff;
    const std::uint32_t id = reg.id & ~kIdAddsConstant;
    const auto known =
        std::ranges::find(links_, id, &std::pair<std::uint32_t, std::uint64_t>::first);
    if (known == links_.end()) {
      links_.emplace_back(id, value);
    } else if (known->second != value) {
      broken.push_back(id);
    }
  };
  for (std::size_t f = 0; f < kept.size(); ++f) {
    const bool is_top = f + 1 == kept.size();
    for (std::size_t r = is_top ? 0 : 6; r < 10; ++r) {
      note(kept[f].regs[r], is_top ? step.values[r] : frames_[f].values[r]);
    }
    for (std::size_t s = 0; s < kept[f].stack.size(); ++s) {
      const StackSlot& slot = kept[f].stack[s];
      if (!slot.is_number_spill() || slot.spilled.id == 0) continue;
      std::uint64_t value = 0;
      std::memcpy(&value, reinterpret_cast<const void*>(frames_[f].end - 8 * (s + 1)),
                  slot.spill_size());
      note(slot.spilled, value);
    }
  }
  for (const std::uint32_t id : broken) loosen_linked(id, kept);
}

// --- what the instruction before did

void RunWatcher::apply_previous(const TraceStep& step) {
  if (frames_.empty()) {
    frames_.emplace_back().end = step.values[10];
    return;
  }
  const Insn& insn = program_->insns[previous_insn_];
  if (step.depth + 1 > frames_.size()) return enter_frame(step);
  if (step.depth + 1 < frames_.size()) return leave_frame(step);
  Frame& frame = frames_.back();
  const auto bit = [](std::uint8_t reg) { return static_cast<std::uint16_t>(1u << reg); };
  switch (op_class(insn.op)) {
    case OpClass::kAlu:
    case OpClass::kByteSwap:
    case OpClass::kAddrSpaceCast: {
      const bool loose = (reads_dst(insn.op) && (frame.loose & bit(insn.dst)) != 0) ||
                         (reads_src(insn.op) && (frame.loose & bit(insn.src)) != 0);
      frame.loose = static_cast<std::uint16_t>(loose ? frame.loose | bit(insn.dst)
                                                     : frame.loose & ~bit(insn.dst));
      break;
    }
    case OpClass::kWide:
      frame.loose &= static_cast<std::uint16_t>(~bit(insn.dst));
      break;
    case OpClass::kLoad:
    case OpClass::kStore:
    case OpClass::kAtomic:
      apply_memory(insn);
      break;
    case OpClass::kBranch:
      apply_branch(insn);
      break;
    case OpClass::kCall:
      frame.loose &= static_cast<std::uint16_t>(~0x3f);
      frame.dead &= static_cast<std::uint16_t>(~0x3f);
      break;
    case OpClass::kJump:
    case OpClass::kExit:
    case OpClass::kLegacy:
      break;
  }
  if (const auto written = written_register(insn)) {
    frame.dead &= static_cast<std::uint16_t>(~bit(*written));
  }
}

void RunWatcher::enter_frame(const TraceStep& step) {
  Frame& caller = frames_.back();
  caller.values = previous_;
  caller.shadows = previous_shadows_;
  const bool is_call = is_function_call_insn(program_->insns[previous_insn_]);
  Frame callee;
  callee.end = step.values[10];
  if (is_call) {
    callee.loose = caller.loose & 0x3e;
    callee.dead = caller.dead & 0x3e;
  }
  frames_.push_back(callee);
}

void RunWatcher::leave_frame(const TraceStep& step) {
  const Frame callee = frames_.back();
  while (frames_.size() > step.depth + 1) frames_.pop_back();
  Frame& caller = frames_.back();
  caller.loose = static_cast<std::uint16_t>((caller.loose & ~0x3f) | (callee.loose & 1));
  caller.dead = static_cast<std::uint16_t>((caller.dead & ~0x3f) | (callee.dead & 1));
}

// Which slots of which frame an access touches; 0: none.
std::uint64_t RunWatcher::slots_at(std::uint64_t address, std::uint32_t size,
                                   std::size_t& frame) const {
  for (frame = 0; frame < frames_.size(); ++frame) {
    const std::uint64_t end = frames_[frame].end;
    if (address >= end || address < end - kStackBytes) continue;
    std::uint64_t slots = 0;
    for (std::uint32_t i = 0; i < size; ++i) {
      if (address + i < end) slots |= 1ull << ((end - 1 - (address + i)) / 8);
    }
    return slots;
  }
  return 0;
}

void RunWatcher::apply_memory(const Insn& insn) {
  Frame& top = frames_.back();
  const bool is_load = op_info(insn.op).dst.use == FieldUse::kWrite;
  const std::uint8_t base = is_load ? insn.src : insn.dst;
  std::size_t at = 0;
  const std::uint64_t address =
      previous_[base] + static_cast<std::uint64_t>(std::int64_t{insn.off});
  const std::uint64_t slots = slots_at(address, access_size(insn.op), at);
  const auto set = [&](std::uint8_t reg, bool loose) {
    const auto bit = static_cast<std::uint16_t>(1u << reg);
    top.loose = static_cast<std::uint16_t>(loose ? top.loose | bit : top.loose & ~bit);
  };
  if (is_load) return set(insn.dst, slots != 0 && (frames_[at].loose_slots & slots) != 0);
  const auto written = written_register(insn);
  const bool is_source_loose = reads_src(insn.op) && (top.loose >> insn.src & 1) != 0;
  if (slots == 0) {
    if (written) set(*written, false);
    return;
  }
  const bool was_loose = (frames_[at].loose_slots & slots) != 0;
  const bool is_whole = access_size(insn.op) == 8 && op_class(insn.op) == OpClass::kStore;
  const bool is_loose = is_source_loose || (was_loose && !is_whole);
  if (is_loose) {
    frames_[at].loose_slots |= slots;
  } else {
    frames_[at].loose_slots &= ~slots;
  }
  if (is_whole) frames_[at].dead_slots &= ~slots;
  if (written) set(*written, was_loose);
}

// A comparison with a loose number tells the verifier nothing that holds of this run, of either
// side or of what is linked to them.
void RunWatcher::apply_branch(const Insn& insn) {
  if (insn.op == Op::kMayGoto) return;
  Frame& top = frames_.back();
  const FrameState& state = tree_->node(node_).frames.back();
  const auto is_loose = [&](std::uint8_t reg) { return (top.loose >> reg & 1) != 0; };
  const bool has_source = op_info(insn.op).src.use == FieldUse::kRead;
  if (!is_loose(insn.dst) && !(has_source && is_loose(insn.src))) return;
  const auto mark = [&](std::uint8_t reg) {
    if (!state.regs[reg].is_number()) return;
    top.loose |= static_cast<std::uint16_t>(1u << reg);
    loosen_linked(state.regs[reg].id & ~kIdAddsConstant, tree_->node(node_).frames);
  };
  mark(insn.dst);
  if (has_source) mark(insn.src);
}

void RunWatcher::loosen_linked(std::uint32_t id, const std::vector<FrameState>& frames) {
  if (id == 0) return;
  for (std::size_t f = 0; f < frames.size() && f < frames_.size(); ++f) {
    for (std::size_t r = 0; r < 10; ++r) {
      const RegState& reg = frames[f].regs[r];
      if (reg.is_number() && (reg.id & ~kIdAddsConstant) == id) {
        frames_[f].loose |= static_cast<std::uint16_t>(1u << r);
      }
    }
    for (std::size_t s = 0; s < frames[f].stack.size(); ++s) {
      const StackSlot& slot = frames[f].stack[s];
      if (slot.is_number_spill() && (slot.spilled.id & ~kIdAddsConstant) == id) {
        frames_[f].loose_slots |= 1ull << s;
      }
    }
  }
}

bool RunWatcher::demand_readable(const TraceStep& step) {
  const Frame& top = frames_.back();
  const Insn& insn = program_->insns[step.insn.value];
  std::uint16_t reads = 0;
  if (reads_dst(insn.op) || op_class(insn.op) == OpClass::kStore ||
      op_class(insn.op) == OpClass::kAtomic) {
    const bool is_written_only = op_info(insn.op).dst.use == FieldUse::kWrite;
    if (!is_written_only) reads |= static_cast<std::uint16_t>(1u << insn.dst);
  }
  if (reads_src(insn.op)) reads |= static_cast<std::uint16_t>(1u << insn.src);
  if (insn.op == Op::kExit && step.depth == 0) reads |= 1;
  if ((reads & top.dead) != 0) {
    fail(step, fmt::format("reads a register of {:#x} that a kept state took for another",
                           reads & top.dead));
    return false;
  }
  if (op_class(insn.op) != OpClass::kLoad) return true;
  std::size_t frame = 0;
  const std::uint64_t address =
      step.values[insn.src] + static_cast<std::uint64_t>(std::int64_t{insn.off});
  const std::uint64_t slots = slots_at(address, access_size(insn.op), frame);
  if (slots != 0 && (frames_[frame].dead_slots & slots) != 0) {
    fail(step, "reads a stack slot that a kept state took for another");
    return false;
  }
  return true;
}

// --- whether the run lies in a state

std::string RunWatcher::mismatch(const TraceStep& step,
                                 const std::vector<FrameState>& frames) const {
  const Frame& top = frames_.back();
  for (std::uint8_t r = 0; r < 10; ++r) {
    if (((top.loose | top.dead) >> r & 1) != 0 && !frames.back().regs[r].is_pointer()) continue;
    if ((top.dead >> r & 1) != 0) continue;
    std::string wrong = register_mismatch(frames.back().regs[r], step.values[r], &step.shadows[r]);
    if (!wrong.empty()) return fmt::format("r{}: {}", r, wrong);
  }
  for (std::size_t f = 0; f < frames.size(); ++f) {
    const Frame& run = frames_[f];
    for (std::size_t s = 0; s < frames[f].stack.size(); ++s) {
      if (((run.loose_slots | run.dead_slots) >> s & 1) != 0) continue;
      std::string wrong = slot_mismatch(frames[f].stack[s], run.end - 8 * (s + 1));
      if (!wrong.empty()) return fmt::format("frame {} stack -{}: {}", f, 8 * (s + 1), wrong);
    }
  }
  return {};
}

std::string RunWatcher::register_mismatch(const RegState& state, std::uint64_t value,
                                          const interp::Shadow* shadow) const {
  if (state.kind == RegKind::kNone) return {};
  if (state.kind == RegKind::kNumber) {
    if (state.var.contains(value)) return {};
    return fmt::format("is {:#x}, outside {}", value, state_text(state));
  }
  if (state.has(kMayBeNull) && value == 0) return {};
  std::string wrong = pointer_mismatch(state, value, shadow);
  if (wrong.empty()) return {};
  return fmt::format("is {:#x} ({}), {}, outside {}", value,
                     shadow == nullptr ? "memory" : interp::value_kind_words(shadow->kind), wrong,
                     state_text(state));
}

// `shadow` is null for what lies in memory.
std::string RunWatcher::pointer_mismatch(const RegState& state, std::uint64_t value,
                                         const interp::Shadow* shadow) const {
  using interp::ValueKind;
  std::uint64_t base = 0;
  ValueKind kind = ValueKind::kScalar;
  switch (state.kind) {
    case RegKind::kContext:
      base = context_;
      kind = ValueKind::kContext;
      break;
    case RegKind::kPacket:
      base = address_of(buff_->data);
      kind = ValueKind::kPacket;
      break;
    case RegKind::kPacketMeta:
      base = address_of(buff_->data_meta);
      kind = ValueKind::kPacketMeta;
      break;
    case RegKind::kPacketEnd:
      return value == address_of(buff_->data_end) ? "" : "not the packet's end";
    case RegKind::kStack:
      if (state.target >= frames_.size()) return "of no frame";
      base = frames_[state.target].end;
      kind = ValueKind::kStack;
      break;
    case RegKind::kMapValue:
    case RegKind::kMemory:
      if (shadow == nullptr) return {};
      base = shadow->object;
      kind = state.kind == RegKind::kMapValue ? ValueKind::kMapValue : ValueKind::kMemory;
      if (state.kind == RegKind::kMemory && shadow->kind != ValueKind::kMemory) return {};
      if (state.kind == RegKind::kMapValue && shadow->detail != state.map->value_size) {
        return "of another map";
      }
      break;
    default:
      return {};
  }
  if (shadow != nullptr && shadow->kind != kind) return "of another kind";
  const std::uint64_t variable =
      value - base - static_cast<std::uint64_t>(std::int64_t{state.offset});
  if (!state.var.contains(variable)) return fmt::format("variable offset {:#x}", variable);
  if (!state.is_packet() || state.range == 0) return {};
  const std::uint64_t end =
      address_of(state.kind == RegKind::kPacket ? buff_->data_end : buff_->data);
  const std::uint64_t from = value - static_cast<std::uint64_t>(std::int64_t{state.offset});
  if (state.range > 0 && from + static_cast<std::uint64_t>(state.range) > end) {
    return fmt::format("only {} bytes before the end", static_cast<std::int64_t>(end - from));
  }
  if (state.range == kAtPacketEnd && value < end) return "before the packet's end";
  if (state.range == kPastPacketEnd && value <= end) return "not past the packet's end";
  return {};
}

std::string RunWatcher::slot_mismatch(const StackSlot& slot, std::uint64_t address) const {
  std::array<std::uint8_t, 8> bytes;
  std::memcpy(bytes.data(), reinterpret_cast<const void*>(address), 8);
  for (std::size_t i = 0; i < 8; ++i) {
    // bytes[7] of the slot is the first in memory.
    if (slot.bytes[i] == SlotByte::kZero && bytes[7 - i] != 0) {
      return fmt::format("byte {} is {:#x}, not zero", 7 - i, bytes[7 - i]);
    }
  }
  if (!slot.is_spill()) return {};
  const unsigned size = slot.spill_size();
  std::uint64_t value = 0;
  std::memcpy(&value, bytes.data(), size);
  if (size == 8) return register_mismatch(slot.spilled, value, nullptr);
  // The state is that of the whole register, of which only the low bytes are here.
  const Scalar& var = slot.spilled.var;
  const std::uint64_t kept = (1ull << 8 * size) - 1;
  const bool bits_match = ((value ^ var.bits.value) & ~var.bits.mask & kept) == 0;
  if (bits_match && (size != 4 || var.low.contains(value))) return {};
  return fmt::format("{} bytes are {:#x}, outside {}", size, value, state_text(slot.spilled));
}

}  // namespace lmn
