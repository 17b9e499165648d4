// SPDX-License-Identifier: Apache-2.0
//
// Open-coded iterators (bpf_iter_num and its like), and the saved interrupt flags of
// bpf_local_irq_save: things on the stack that calls make, use and end.
//
// An iterator's slots hold kIterator bytes; the first slot's `spilled` has the reference, `target`
// which iterator it is, `range` 1 when it is drained and `offset` how many rounds were walked.
// bpf_iter_*_next gives null, and then the iterator is drained, or an element, and may be called
// again: both are walked, the second from a state in which numbers that differ from the round
// before and that nothing depended on are unknown, so that rounds repeat (prune.cc). Tested by
// paths_test.cc. Source: Linux 6.18, kernel/bpf/verifier.c (process_iter_arg,
// process_iter_next_call, process_irq_flag).
#include <fmt/format.h>

#include <algorithm>

#include "verifier/explorer.h"

namespace lmn {
namespace {

bool holds(const StackSlot& slot, SlotByte kind) {
  return std::ranges::all_of(slot.bytes, [&](SlotByte byte) { return byte == kind; });
}

}  // namespace

bool Explorer::check_iterator(const KfuncProto& proto, const KfuncArg& wanted, std::uint8_t index,
                              KfuncFacts& facts) {
  if (wanted.iterator == KfuncIterator::kCssTask && (proto.flags & kKfIterNew) != 0) {
    return reject(Rule::kIterator,
                  "css_task_iter is only allowed in bpf_lsm, bpf_iter and sleepable progs");
  }
  if (reg(index).kind != RegKind::kStack) {
    return reject(Rule::kIterator,
                  fmt::format("arg#{} expected pointer to an iterator on stack", index - 1));
  }
  const auto slots = static_cast<std::uint32_t>(kfunc_iterator_slots(wanted.iterator));
  const auto first = special_slot(index, slots * kSlotSize, "iterator");
  if (!first) return false;
  FrameState& frame = state_->frames[reg(index).target];
  const std::uint32_t frame_index = reg(index).target;
  const std::string_view words = iterator_words(wanted.iterator);
  if ((proto.flags & kKfIterNew) != 0) {
    for (std::uint32_t i = 0; i < slots && *first - i < frame.stack.size(); ++i) {
      const auto& bytes = frame.stack[*first - i].bytes;
      if (std::ranges::find(bytes, SlotByte::kIterator) == bytes.end()) continue;
      return reject(Rule::kIterator,
                    fmt::format("expected uninitialized iter_{} as arg #{}", words, index - 1));
    }
    if (!make_iterator(wanted.iterator, index, *first)) return false;
    // Its elements are only good within the section in which it was made.
    if ((proto.flags & kKfRcuProtected) != 0) {
      frame.stack[*first].spilled.flags = is_in_rcu() ? kRcuProtected : kUntrusted;
    }
    return true;
  }
  bool is_made = *first < frame.stack.size();
  for (std::uint32_t i = 0; i < slots && is_made; ++i) {
    const StackSlot& slot = frame.stack[*first - i];
    is_made = holds(slot, SlotByte::kIterator) &&
              slot.spilled.target == static_cast<std::uint32_t>(wanted.iterator) &&
              (slot.spilled.reference != 0) == (i == 0);
  }
  if (!is_made) {
    return reject(Rule::kIterator,
                  fmt::format("expected an initialized iter_{} as arg #{}", words, index - 1));
  }
  if (frame.stack[*first].spilled.has(kUntrusted)) {
    return reject(Rule::kIterator, fmt::format("expected an RCU CS when using {}", proto.name));
  }
  facts.iterator_frame = frame_index;
  facts.iterator_slot = *first;
  facts.reference = frame.stack[*first].spilled.reference;
  if ((proto.flags & kKfIterDestroy) == 0) return true;
  const std::uint32_t reference = facts.reference;
  for (std::uint32_t i = 0; i < slots; ++i) {
    frame.stack[*first - i].bytes.fill(SlotByte::kInvalid);
    frame.stack[*first - i].spilled = {};
  }
  facts.reference = 0;
  return release(reference);
}

bool Explorer::make_iterator(KfuncIterator iterator, std::uint8_t index, std::uint32_t first) {
  const auto slots = static_cast<std::uint32_t>(kfunc_iterator_slots(iterator));
  if (!write_special_slots(index, slots * kSlotSize)) return false;
  FrameState& frame = state_->frames[reg(index).target];
  const std::uint32_t reference = acquire(new_id());
  for (std::uint32_t i = 0; i < slots; ++i) {
    StackSlot& slot = frame.stack[first - i];
    slot.bytes.fill(SlotByte::kIterator);
    slot.spilled = RegState::pointer(RegKind::kIterator);
    slot.spilled.target = static_cast<std::uint32_t>(iterator);
    slot.spilled.reference = i == 0 ? reference : 0;
  }
  return true;
}

// The two ways a next call can go. r0 holds what it returns when it returns something.
bool Explorer::branch_on_next(const KfuncFacts& facts) {
  RegState& iterator = state_->frames[facts.iterator_frame].stack[facts.iterator_slot].spilled;
  if (iterator.range == 0) {
    const KnownState* latest = state_->parent;
    const KnownState* before = latest == nullptr ? nullptr : find_earlier_entry(latest->state, at_);
    PathState* going_on = push_branch(at_ + 1);
    if (going_on == nullptr) return false;
    RegState& theirs = going_on->frames[facts.iterator_frame].stack[facts.iterator_slot].spilled;
    ++theirs.offset;
    if (before != nullptr) widen(*before, *going_on);
    RegState& element = going_on->regs()[0];
    element.flags &= static_cast<std::uint16_t>(~kMayBeNull);
    element.id = 0;
  }
  iterator.range = 1;
  reg(0) = RegState::constant(0);
  return true;
}

// At a next call: its iterator is not drained.
bool Explorer::next_may_give_more() const {
  const RegState& pointer = state_->frame().regs[1];
  if (pointer.kind != RegKind::kStack || !pointer.var.is_constant()) return false;
  const std::int64_t offset =
      pointer.offset + static_cast<std::int64_t>(pointer.var.constant_value());
  const auto& stack = state_->frames[pointer.target].stack;
  const std::int64_t slot = -offset / kSlotSize - 1;
  if (slot < 0 || slot >= static_cast<std::int64_t>(stack.size())) return false;
  const RegState& iterator = stack[static_cast<std::size_t>(slot)].spilled;
  return iterator.kind == RegKind::kIterator && iterator.range == 0;
}

// Whether some iterator that is not drained made a different number of rounds in the two states.
bool Explorer::iterator_rounds_differ(const PathState& old, const PathState& now) {
  for (std::size_t f = 0; f < now.frames.size(); ++f) {
    const auto& mine = old.frames[f].stack;
    const auto& other = now.frames[f].stack;
    for (std::size_t s = 0; s < std::min(mine.size(), other.size()); ++s) {
      if (mine[s].bytes[0] != SlotByte::kIterator) continue;
      if (mine[s].spilled.kind != RegKind::kIterator || mine[s].spilled.range != 0) continue;
      if (mine[s].spilled.offset != other[s].spilled.offset) return true;
    }
  }
  return false;
}

// --- saved interrupt flags

bool Explorer::check_interrupt_flag(const KfuncProto& proto, std::uint8_t index) {
  const bool is_save = (proto.flags & kKfIrqSave) != 0;
  // What a lock saved only its unlock restores.
  const std::uint32_t owner = (proto.flags & (kKfSpinLock | kKfSpinUnlock)) != 0 ? 1 : 0;
  if (reg(index).kind != RegKind::kStack) {
    return reject(Rule::kLock,
                  fmt::format("arg#{} doesn't point to an irq flag on stack", index - 1));
  }
  const auto at = special_slot(index, kSlotSize, "irq flag");
  if (!at) return false;
  FrameState& frame = state_->frames[reg(index).target];
  const bool is_made =
      *at < frame.stack.size() && holds(frame.stack[*at], SlotByte::kInterruptFlag);
  if (is_save) {
    if (is_made) {
      return reject(Rule::kLock,
                    fmt::format("expected uninitialized irq flag as arg#{}", index - 1));
    }
    if (!write_special_slots(index, kSlotSize)) return false;
    StackSlot& slot = frame.stack[*at];
    slot.bytes.fill(SlotByte::kInterruptFlag);
    slot.spilled = RegState::pointer(RegKind::kInterruptFlag);
    slot.spilled.target = owner;
    slot.spilled.reference = new_id();
    state_->references.push_back(
        {Reference::Kind::kInterrupts, slot.spilled.reference, at_, nullptr});
    state_->active_interrupts = slot.spilled.reference;
    return true;
  }
  if (!is_made) {
    return reject(Rule::kLock,
                  fmt::format("expected an initialized irq flag as arg#{}", index - 1));
  }
  StackSlot& slot = frame.stack[*at];
  if (slot.spilled.target != owner) {
    constexpr std::string_view kOwners[] = {"native", "lock"};
    return reject(Rule::kLock,
                  fmt::format("irq flag acquired by {} kfuncs cannot be restored with {} kfuncs",
                              kOwners[slot.spilled.target], kOwners[owner]));
  }
  if (slot.spilled.reference != state_->active_interrupts) {
    return reject(Rule::kLock, "cannot restore irq state out of order", {}, EACCES);
  }
  auto& held = state_->references;
  std::erase_if(held, [&](const Reference& reference) {
    return reference.kind == Reference::Kind::kInterrupts && reference.id == slot.spilled.reference;
  });
  state_->active_interrupts = 0;
  for (const Reference& reference : held) {
    if (reference.kind == Reference::Kind::kInterrupts) state_->active_interrupts = reference.id;
  }
  slot.bytes.fill(SlotByte::kInvalid);
  slot.spilled = {};
  return true;
}

}  // namespace lmn
