// SPDX-License-Identifier: Apache-2.0
//
// Walking a path backwards for precision. Tested by paths_test.cc.
#include "verifier/precision.h"

namespace lmn {
namespace {

constexpr std::uint16_t kArguments = 0x3e;  // r1 to r5

}  // namespace

bool Explorer::mark_precise(std::uint8_t index) {
  PrecisionWalk walk(*this);
  if (!reg(index).is_number()) return true;
  walk.want_register(state_->frame_index(), index);
  walk.run();
  return true;
}

bool Explorer::mark_slot_precise(std::uint32_t frame, std::uint32_t slot) {
  PrecisionWalk walk(*this);
  walk.want_slot(frame, slot);
  walk.run();
  return true;
}

// What mattered after the state that includes the present one matters before it too.
void Explorer::copy_precision(const KnownState& from) {
  PrecisionWalk walk(*this);
  for (std::uint32_t f = 0; f < from.state.frames.size(); ++f) {
    const FrameState& frame = from.state.frames[f];
    for (std::uint32_t r = 0; r < frame.regs.size(); ++r) {
      if (frame.regs[r].is_number() && frame.regs[r].is_precise) walk.want_register(f, r);
    }
    for (std::uint32_t s = 0; s < frame.stack.size(); ++s) {
      if (frame.stack[s].is_number_spill() && frame.stack[s].spilled.is_precise) {
        walk.want_slot(f, s);
      }
    }
    walk.tell_copied(f);
  }
  walk.run();
}

bool PrecisionWalk::is_empty() const {
  for (std::size_t f = 0; f < registers_.size(); ++f) {
    if (registers_[f] != 0 || slots_[f] != 0) return false;
  }
  return true;
}

void PrecisionWalk::tell(PrecisionNote::Kind kind, std::uint32_t at, std::int64_t after,
                         const PathState& state) const {
  VerifierListener* listener = explorer_.options_.listener;
  if (listener == nullptr) return;
  PrecisionNote note;
  note.kind = kind;
  note.frame = frame_;
  note.insn = at;
  note.first = state.first_insn;
  note.after = after;
  note.registers = registers_[frame_];
  note.slots = slots_[frame_];
  note.parent = &state;
  listener->on_precision(note);
}

void PrecisionWalk::tell_copied(std::uint32_t frame) const {
  VerifierListener* listener = explorer_.options_.listener;
  if (listener == nullptr || (registers_[frame] == 0 && slots_[frame] == 0)) return;
  PrecisionNote note;
  note.kind = PrecisionNote::Kind::kCopied;
  note.frame = frame;
  note.registers = registers_[frame];
  note.slots = slots_[frame];
  listener->on_precision(note);
}

void PrecisionWalk::run() {
  if (is_empty()) return;
  const PathState* state = explorer_.state_.get();
  std::uint32_t at = explorer_.at_;
  std::int64_t after = -1;
  bool is_first = true;  // the present instruction has not been executed
  while (true) {
    tell(PrecisionNote::Kind::kFrom, at, after, *state);
    std::size_t left = state->history.size();
    while (true) {
      const bool has_entry = left > 0 && state->history[left - 1].insn == at;
      const HistoryEntry* entry = has_entry ? &state->history[left - 1] : nullptr;
      if (!is_first) tell(PrecisionNote::Kind::kBefore, at, after, *state);
      if (!is_first && back_over(at, after, entry) == Step::kLost) return mark_everything();
      is_first = false;
      if (is_empty()) return;
      after = at;
      if (at == state->first_insn && (left == 0 || (left == 1 && has_entry))) break;
      if (has_entry) {
        at = entry->previous;
        --left;
      } else if (at == 0) {
        return mark_everything();
      } else {
        --at;
      }
    }
    KnownState* known = state->parent;
    if (known == nullptr) break;
    mark_in(*known);
    tell(PrecisionNote::Kind::kParent, at, after, known->state);
    if (is_empty()) return;
    after = state->first_insn;
    at = known->state.previous;
    state = &known->state;
  }
  // Arguments of a global function are where the walk may end.
  registers_[0] &= static_cast<std::uint16_t>(~kArguments);
  if (!is_empty()) mark_everything();
}

void PrecisionWalk::mark_in(KnownState& known) {
  for (std::size_t f = 0; f < known.state.frames.size(); ++f) {
    FrameState& frame = known.state.frames[f];
    for (std::size_t r = 0; r < frame.regs.size(); ++r) {
      const auto bit = static_cast<std::uint16_t>(1u << r);
      if ((registers_[f] & bit) == 0) continue;
      RegState& reg = frame.regs[r];
      if (!reg.is_number() || reg.is_precise) {
        registers_[f] &= static_cast<std::uint16_t>(~bit);
      } else {
        reg.is_precise = true;
      }
    }
    for (std::size_t s = 0; s < frame.stack.size(); ++s) {
      if ((slots_[f] >> s & 1) == 0) continue;
      StackSlot& slot = frame.stack[s];
      if (!slot.is_number_spill() || slot.spilled.is_precise) {
        slots_[f] &= ~(1ull << s);
      } else {
        slot.spilled.is_precise = true;
      }
    }
  }
}

void PrecisionWalk::mark_everything() {
  for (KnownState* known = explorer_.state_->parent; known != nullptr;
       known = known->state.parent) {
    for (FrameState& frame : known->state.frames) {
      for (RegState& reg : frame.regs) reg.is_precise = reg.is_precise || reg.is_number();
      for (StackSlot& slot : frame.stack) {
        if (slot.is_number_spill()) slot.spilled.is_precise = true;
      }
    }
  }
}

// Places that got their range from one comparison: if one matters, all do.
void PrecisionWalk::want_linked(const HistoryEntry* entry) {
  if (entry == nullptr || entry->linked_count == 0) return;
  bool is_wanted = false;
  for (std::size_t i = 0; i < entry->linked_count; ++i) {
    const LinkedPlace& place = entry->linked[i];
    is_wanted = is_wanted || (place.is_register ? (registers_[place.frame] >> place.index & 1) != 0
                                                : (slots_[place.frame] >> place.index & 1) != 0);
  }
  if (!is_wanted) return;
  for (std::size_t i = 0; i < entry->linked_count; ++i) {
    const LinkedPlace& place = entry->linked[i];
    if (place.is_register) {
      want_register(place.frame, place.index);
    } else {
      want_slot(place.frame, place.index);
    }
  }
}

PrecisionWalk::Step PrecisionWalk::back_over(std::uint32_t at, std::int64_t after,
                                             const HistoryEntry* entry) {
  const Insn& insn = explorer_.insn_at(at);
  want_linked(entry);
  switch (op_class(insn.op)) {
    case OpClass::kAlu:
    case OpClass::kByteSwap:
    case OpClass::kAddrSpaceCast:
      return back_over_alu(insn);
    case OpClass::kLoad:
      return back_over_load(insn, entry);
    case OpClass::kStore:
      return back_over_store(insn, entry);
    case OpClass::kAtomic:
      return back_over_atomic(insn, entry);
    case OpClass::kWide:
      if (insn.op == Op::kLddw) drop(insn.dst);
      return Step::kGoOn;
    case OpClass::kCall:
      return back_over_call(at, after, insn);
    case OpClass::kExit:
      return back_over_exit(after);
    case OpClass::kBranch:
      if (reads_src(insn.op) && (wants(insn.dst) || wants(insn.src))) {
        if (entry == nullptr || !entry->is_dst_stack) want(insn.dst);
        if (entry == nullptr || !entry->is_src_stack) want(insn.src);
      }
      want_linked(entry);
      return Step::kGoOn;
    case OpClass::kJump:
      return Step::kGoOn;
    case OpClass::kLegacy:
      return Step::kLost;
  }
  return Step::kLost;
}

PrecisionWalk::Step PrecisionWalk::back_over_alu(const Insn& insn) {
  if (!wants(insn.dst)) return Step::kGoOn;
  if (!reads_dst(insn.op)) drop(insn.dst);
  if (reads_src(insn.op) && insn.src != kFramePointer) want(insn.src);
  return Step::kGoOn;
}

PrecisionWalk::Step PrecisionWalk::back_over_load(const Insn& insn, const HistoryEntry* entry) {
  if (!wants(insn.dst)) return Step::kGoOn;
  drop(insn.dst);
  if (entry != nullptr && entry->is_stack_access) want_slot(entry->frame, entry->slot);
  return Step::kGoOn;
}

PrecisionWalk::Step PrecisionWalk::back_over_store(const Insn& insn, const HistoryEntry* entry) {
  if (wants(insn.dst)) return Step::kLost;  // an address that is no pointer: cannot be
  if (entry == nullptr || !entry->is_stack_access) return Step::kGoOn;
  std::uint64_t& slots = slots_[entry->frame];
  if ((slots >> entry->slot & 1) == 0) return Step::kGoOn;
  slots &= ~(1ull << entry->slot);
  if (reads_src(insn.op)) want(insn.src);
  return Step::kGoOn;
}

PrecisionWalk::Step PrecisionWalk::back_over_atomic(const Insn& insn, const HistoryEntry* entry) {
  if (writes_dst(insn.op)) return back_over_load(insn, entry);
  const bool is_fetch = writes_src(insn.op) || is_compare_exchange(insn.op);
  if (!is_fetch) return back_over_store(insn, entry);
  const std::uint32_t written = is_compare_exchange(insn.op) ? 0u : insn.src;
  const bool wants_fetched = wants(written);
  drop(written);
  if (wants(insn.dst)) return Step::kLost;
  if (entry == nullptr || !entry->is_stack_access) return Step::kGoOn;
  // What is left in memory is a number nobody knows; what was fetched is what was there.
  slots_[entry->frame] &= ~(1ull << entry->slot);
  if (wants_fetched) want_slot(entry->frame, entry->slot);
  return Step::kGoOn;
}

// Backwards out of a callee at its first instruction: to the call.
PrecisionWalk::Step PrecisionWalk::leave_callee(bool passes_arguments) {
  if (frame_ == 0) return Step::kLost;
  const std::uint16_t wanted = registers_[frame_];
  if ((wanted & ~kArguments) != 0 || slots_[frame_] != 0) return Step::kLost;
  registers_[frame_] = 0;
  --frame_;
  if (passes_arguments) registers_[frame_] |= wanted;
  return Step::kGoOn;
}

PrecisionWalk::Step PrecisionWalk::back_over_call(std::uint32_t at, std::int64_t after,
                                                  const Insn& insn) {
  const bool is_straight = after == std::int64_t{at} + 1;
  if (is_function_call(insn)) {
    const std::uint32_t callee = *explorer_.program_.callee_of(InsnIndex{at});
    if (!explorer_.is_global(callee)) return leave_callee(true);
    drop(0);
    return (registers_[frame_] & kArguments) != 0 ? Step::kLost : Step::kGoOn;
  }
  if (explorer_.is_point(at, Explorer::kCallsBack) && !is_straight) return leave_callee(false);
  drop(0);
  if ((registers_[frame_] & kArguments) != 0) return Step::kLost;
  // A tail call that did not come back here: its program returned to the function's caller.
  const bool is_tail_call = is_helper_call(insn) && insn.imm == BPF_FUNC_tail_call;
  if (is_tail_call && !is_straight && ++frame_ >= registers_.size()) return Step::kLost;
  return Step::kGoOn;
}

// Backwards into a callee at its exit.
PrecisionWalk::Step PrecisionWalk::back_over_exit(std::int64_t after) {
  if (after < 0) return Step::kLost;
  const auto next = static_cast<std::uint32_t>(after);
  const bool is_callback = explorer_.is_point(next, Explorer::kCallsBack);
  if (is_callback) registers_[frame_] &= static_cast<std::uint16_t>(~kArguments);
  const bool is_call = next > 0 && is_function_call(explorer_.insn_at(next - 1)) && !is_callback;
  if (!is_callback && (registers_[frame_] & kArguments) != 0) return Step::kLost;
  const bool wants_result = is_call && wants(0);
  drop(0);
  if (++frame_ >= registers_.size()) return Step::kLost;
  if (wants_result) want(0);
  return Step::kGoOn;
}

}  // namespace lmn
