// SPDX-License-Identifier: Apache-2.0
//
// Which states are kept, and when a kept one includes the present: then what follows was proved
// already, and the path ends.
//
// Three ways to compare. Loose: numbers count only where the kept state marks them precise; right
// once all paths from the kept state have ended, for only then are all marks known. Within: every
// number counts; used where the kept state is still being walked (iterating callbacks, may_goto) or
// was part of such a loop. Exact: the same state again, which means a loop that never ends.
// Tested by paths_test.cc and paths_calls_test.cc.
// Source: Linux 6.18, kernel/bpf/verifier.c (is_state_visited, states_equal, regsafe, stacksafe).
#include <fmt/format.h>

#include <algorithm>

#include "base/assert.h"
#include "verifier/explorer.h"
#include "verifier/trace.h"

namespace lmn {
namespace {

// When a state is worth keeping: enough happened since the last one was.
constexpr std::uint64_t kJumpsBetweenStates = 2;
constexpr std::uint64_t kInsnsBetweenStates = 8;
constexpr std::size_t kHistoryMax = 40;
// While a loop is walked for the first time states are kept less often.
constexpr std::uint64_t kLoopJumpsBetweenStates = 20;
constexpr std::uint64_t kLoopInsnsBetweenStates = 100;

bool same_but_numbers(const RegState& old, const RegState& now) {
  return old.kind == now.kind && old.flags == now.flags && old.offset == now.offset &&
         old.size == now.size && old.target == now.target && old.map == now.map &&
         old.map_uid == now.map_uid && old.range == now.range;
}

SlotByte as_seen(SlotByte byte, bool is_trusted) {
  // Whoever may read what was never written sees no difference to bytes of some number.
  return is_trusted && byte == SlotByte::kInvalid ? SlotByte::kMisc : byte;
}

}  // namespace

bool IdMap::same(std::uint32_t old_id, std::uint32_t id) {
  if ((old_id == 0) != (id == 0)) return false;
  if (old_id == 0) return true;
  for (const auto& [mine, other] : pairs_) {
    if (mine == old_id) return other == id;
    if (other == id) return false;
  }
  pairs_.emplace_back(old_id, id);
  return true;
}

bool IdMap::same_number(std::uint32_t old_id, std::uint32_t id) {
  old_id &= ~kIdAddsConstant;
  id &= ~kIdAddsConstant;
  if (old_id == 0) return true;
  return same(old_id, id != 0 ? id : ++invented_);
}

// Against a state from which paths are still walked: a match ends the path only where the loop it
// closes ends by itself.
Explorer::Match Explorer::match_unfinished(const KnownState& known) {
  const auto within = [&] {
    return includes(known, *state_, Inclusion::kWithin) ? Match::kInLoop : Match::kNone;
  };
  if (insn_at(at_).op == Op::kMayGoto && known.state.may_goto_depth != state_->may_goto_depth) {
    if (within() == Match::kInLoop) return Match::kInLoop;
  }
  if (is_point(at_, kCallsBack)) {
    const bool was_in_callback = known.state.callback_unroll_depth != state_->callback_unroll_depth;
    return was_in_callback ? within() : Match::kNone;
  }
  // A drained iterator gives null for ever: a loop that goes on nevertheless does not end.
  if (is_point(at_, kIterates)) return next_may_give_more() ? within() : Match::kNone;
  const bool is_other_timer =
      known.state.frame().is_async_callback &&
      known.state.frame().async_entry_count != state_->frame().async_entry_count;
  const bool is_same_round = known.state.may_goto_depth == state_->may_goto_depth &&
                             known.state.callback_unroll_depth == state_->callback_unroll_depth &&
                             !iterator_rounds_differ(known.state, *state_);
  const bool is_endless = !is_other_timer && is_same_round &&
                          may_be_looping(known.state, *state_) &&
                          includes(known, *state_, Inclusion::kExact);
  return is_endless ? Match::kEndless : Match::kNone;
}

Explorer::Match Explorer::match(const KnownState& known) {
  if (known.state.frames.size() != state_->frames.size()) return Match::kNone;
  if (known.branches > 0) return match_unfinished(known);
  const Inclusion how = known.is_within_loop ? Inclusion::kWithin : Inclusion::kLoose;
  if (!includes(known, *state_, how)) return Match::kNone;
  return known.is_within_loop ? Match::kInLoop : Match::kIncluded;
}

// The path ends here: what mattered after `known` mattered before, and what is not known in full
// there is not here.
void Explorer::end_at(KnownState& known, bool is_in_loop) {
  ++known.hits;
  if (is_point(at_, kJumpPoint)) push_history({});
  copy_precision(known);
  if (is_in_loop) {
    for (KnownState* up = state_->parent; up != nullptr; up = up->state.parent) {
      up->is_within_loop = true;
    }
  }
  if (options_.listener != nullptr) options_.listener->on_included(known, is_in_loop);
}

// A state that never helps only costs time. Whether it went.
bool Explorer::drop_useless(std::vector<KnownState*>& list, std::size_t index) {
  KnownState& known = *list[index];
  const std::uint32_t patience = is_point(at_, kForced) && known.branches > 0 ? 64 : 3;
  if (known.misses <= known.hits * patience + patience) return false;
  known.is_evicted = true;
  list.erase(list.begin() + static_cast<std::ptrdiff_t>(index));
  if (known.branches == 0) evict(known);
  return true;
}

Explorer::Visit Explorer::visit_known_states() {
  const bool is_forced = is_point(at_, kForced) || state_->history.size() > kHistoryMax ||
                         (program_.spec().prog_flags & BPF_F_TEST_STATE_FREQ) != 0;
  const std::uint64_t jumps = jumps_ - jumps_at_checkpoint_;
  const std::uint64_t insns = processed_ - processed_at_checkpoint_;
  bool is_worth_keeping =
      is_forced || (jumps >= kJumpsBetweenStates && insns >= kInsnsBetweenStates);
  auto& list = known_[at_];
  for (std::size_t i = 0; i < list.size();) {
    KnownState& known = *list[i];
    const Match found = match(known);
    if (found == Match::kEndless) {
      reject(Rule::kInfiniteLoop, fmt::format("infinite loop detected at insn {}", at_));
      return Visit::kRefused;
    }
    if (found != Match::kNone) {
      end_at(known, found == Match::kInLoop);
      return Visit::kIncluded;
    }
    if (known.branches > 0 && !is_forced && jumps < kLoopJumpsBetweenStates &&
        insns < kLoopInsnsBetweenStates) {
      is_worth_keeping = false;
    }
    if (is_worth_keeping) ++known.misses;
    if (!drop_useless(list, i)) ++i;
  }
  if (!is_worth_keeping) return Visit::kNew;
  keep_state();
  if (bytes_ <= options_.memory_max) return Visit::kNew;
  reject(Rule::kMemoryLimit,
         fmt::format("verification needs more than {} bytes of memory", options_.memory_max));
  return Visit::kRefused;
}

// REQUIRES: out of the lists, and no path from it goes on. Nothing points to it then but states
// that are as finished as it is, and whose chains nobody walks.
void Explorer::evict(KnownState& known) {
  bytes_ -= std::min(bytes_, bytes_of(known.state));
  known.state = PathState{};
  free_states_.push_back(&known);
}

// An identity that only one number has says nothing, but keeps states apart.
void Explorer::forget_single_ids() {
  id_uses_.clear();
  const auto id_of = [](const RegState& reg) {
    return reg.is_number() ? reg.id & ~kIdAddsConstant : 0;
  };
  state_->for_each_register([&](RegState& reg) {
    if (id_of(reg) != 0) id_uses_.push_back(id_of(reg));
  });
  if (id_uses_.empty()) return;
  std::ranges::sort(id_uses_);
  state_->for_each_register([&](RegState& reg) {
    if (id_of(reg) == 0) return;
    const auto [first, last] = std::ranges::equal_range(id_uses_, id_of(reg));
    if (last - first > 1) return;
    reg.id = 0;
    reg.offset = 0;
  });
}

void Explorer::keep_state() {
  processed_at_checkpoint_ = processed_;
  jumps_at_checkpoint_ = jumps_;
  // What is precise in the present path is known anew from here on.
  for (FrameState& frame : state_->frames) {
    for (RegState& reg : frame.regs) reg.is_precise = false;
    for (StackSlot& slot : frame.stack) slot.spilled.is_precise = false;
  }
  forget_single_ids();
  KnownState* kept = nullptr;
  if (free_states_.empty()) {
    kept = &states_.emplace_back();
  } else {
    kept = free_states_.back();
    free_states_.pop_back();
    *kept = KnownState{};
  }
  kept->state = *state_;
  kept->branches = 1;
  known_[at_].push_back(kept);
  facts_.max_states_per_insn =
      std::max<std::uint64_t>(facts_.max_states_per_insn, known_[at_].size());
  bytes_ += bytes_of(kept->state);
  ++facts_.total_states;
  facts_.peak_states =
      std::max<std::uint64_t>(facts_.peak_states, states_.size() - free_states_.size());
  facts_.peak_bytes = std::max(facts_.peak_bytes, bytes_);
  if (options_.listener != nullptr) options_.listener->on_keep(*kept);
  state_->parent = kept;
  state_->first_insn = at_;
  state_->history.clear();
  has_history_entry_ = false;
}

// --- inclusion

bool Explorer::may_be_looping(const PathState& old, const PathState& now) const {
  const std::size_t top = now.frames.size() - 1;
  for (std::size_t r = 0; r < now.frames[top].regs.size(); ++r) {
    const RegState& mine = old.frames[top].regs[r];
    const RegState& other = now.frames[top].regs[r];
    if (mine.kind != other.kind || mine.offset != other.offset || !(mine.var == other.var)) {
      return false;
    }
  }
  return true;
}

bool Explorer::includes(const KnownState& old, const PathState& now, Inclusion how) {
  const PathState& state = old.state;
  if (state.frames.size() != now.frames.size()) return false;
  ids_.reset();
  if (state.active_locks != now.active_locks || state.active_rcu != now.active_rcu ||
      state.active_preempt != now.active_preempt) {
    return false;
  }
  if (!includes_references(state, now)) return false;
  for (std::size_t f = 0; f < now.frames.size(); ++f) {
    if (state.frames[f].callsite != now.frames[f].callsite) return false;
    if (state.frames[f].subprogram != now.frames[f].subprogram) return false;
    if (!includes_frame(state, now, f, how)) return false;
  }
  return true;
}

bool Explorer::includes_references(const PathState& old, const PathState& now) {
  if (old.references.size() != now.references.size()) return false;
  if (!ids_.same(old.active_interrupts, now.active_interrupts)) return false;
  for (std::size_t i = 0; i < old.references.size(); ++i) {
    const Reference& mine = old.references[i];
    const Reference& other = now.references[i];
    if (mine.kind != other.kind || mine.lock_of != other.lock_of) return false;
    if (!ids_.same(mine.id, other.id)) return false;
  }
  return true;
}

bool Explorer::includes_frame(const PathState& old_state, const PathState& now, std::size_t frame,
                              Inclusion how) {
  const FrameState& old = old_state.frames[frame];
  const FrameState& other = now.frames[frame];
  if (old.callback_depth > other.callback_depth) return false;
  if (old.may_sleep != other.may_sleep) return false;
  const bool is_top = frame + 1 == now.frames.size();
  const std::uint32_t at = is_top ? at_ : now.frames[frame + 1].callsite;
  const std::uint16_t live = liveness_.registers_before(at);
  for (std::size_t r = 0; r < old.regs.size(); ++r) {
    if ((live >> r & 1) == 0) continue;
    if (!includes_register(old.regs[r], other.regs[r], how)) return false;
  }
  return includes_stack(old, other, live_slots(now, frame, at, how), how);
}

// Slots of `frame` that count: all that the code may read, and of a state whose paths have all
// ended only those that one of them read. What is more than bytes there (dynptrs, iterators) counts
// wherever it is, for it forbids writes too.
std::uint64_t Explorer::live_slots(const PathState& now, std::size_t frame, std::uint32_t at,
                                   Inclusion how) {
  const std::uint64_t by_code = liveness_.slots_before(at);
  if (how != Inclusion::kLoose || by_code == 0) return by_code;
  std::uint64_t live = stack_use_.live_before(*state_, at_, static_cast<std::uint32_t>(frame));
  const std::vector<StackSlot>& stack = now.frames[frame].stack;
  for (std::size_t s = 0; s < stack.size(); ++s) {
    if (stack[s].is_special() && !stack[s].is_spill()) live |= 1ull << s;
  }
  return by_code & live;
}

bool Explorer::is_exactly(const RegState& old, const RegState& now) {
  if (!same_but_numbers(old, now) || !(old.var == now.var)) return false;
  const bool same_id = old.is_number()
                           ? ids_.same(old.id & ~kIdAddsConstant, now.id & ~kIdAddsConstant) &&
                                 (old.id & kIdAddsConstant) == (now.id & kIdAddsConstant)
                           : ids_.same(old.id, now.id);
  return same_id && ids_.same(old.reference, now.reference);
}

bool Explorer::includes_register(const RegState& old, const RegState& now, Inclusion how) {
  if (how == Inclusion::kExact) return is_exactly(old, now);
  if (old.kind == RegKind::kNone) return true;
  if (old.kind != now.kind || old.flags != now.flags) return false;
  switch (old.kind) {
    case RegKind::kNumber:
      if (!old.is_precise && how == Inclusion::kLoose) return true;
      if ((old.id & kIdAddsConstant) != (now.id & kIdAddsConstant) && old.id != 0) return false;
      if ((old.id & kIdAddsConstant) != 0 && old.offset != now.offset) return false;
      return old.var.holds(now.var) && ids_.same_number(old.id, now.id);
    case RegKind::kMapKey:
    case RegKind::kMapValue:
    case RegKind::kMemory:
      return same_but_numbers(old, now) && old.var.holds(now.var) && ids_.same(old.id, now.id) &&
             ids_.same(old.reference, now.reference);
    case RegKind::kPacket:
    case RegKind::kPacketMeta:
      // A range proves accesses; what is known of a pointer past the end decides branches.
      if (old.range < 0 ? now.range != old.range : now.range < old.range) return false;
      return old.offset == now.offset && ids_.same(old.id, now.id) && old.var.holds(now.var);
    default:
      return is_exactly(old, now);
  }
}

bool Explorer::includes_stack(const FrameState& old, const FrameState& now, std::uint64_t live,
                              Inclusion how) {
  static const StackSlot kUntouched{};
  for (std::size_t s = 0; s < old.stack.size(); ++s) {
    if ((live >> s & 1) == 0) continue;
    const StackSlot& mine = old.stack[s];
    const StackSlot& other = s < now.stack.size() ? now.stack[s] : kUntouched;
    // A number spilled whole that does not count here is as good as any 8 bytes.
    const bool mine_is_any = mine.is_number_spill() && !mine.spilled.is_precise &&
                             how == Inclusion::kLoose && mine.spill_size() == kSlotSize;
    if (mine.is_number_spill() && how != Inclusion::kExact && !other.is_spill()) {
      const bool is_unknown = mine.spilled.var.is_unknown() && mine.spill_size() == kSlotSize;
      const bool is_data = std::ranges::all_of(other.bytes, [&](SlotByte byte) {
        const SlotByte seen = as_seen(byte, is_trusted());
        return seen == SlotByte::kMisc || seen == SlotByte::kZero;
      });
      if (is_data && (mine_is_any || (is_unknown && mine.spilled.id == 0))) continue;
      return false;
    }
    for (std::size_t i = 0; i < kSlotSize; ++i) {
      const SlotByte want = mine.bytes[i];
      const SlotByte have = other.bytes[i];
      if (want == SlotByte::kInvalid && how != Inclusion::kExact) continue;
      if (want == have) continue;
      const bool takes_any = want == SlotByte::kMisc && how != Inclusion::kExact;
      const SlotByte seen = as_seen(have, is_trusted());
      if (takes_any && (seen == SlotByte::kMisc || seen == SlotByte::kZero)) continue;
      if (takes_any && have == SlotByte::kSpill && other.spilled.is_number()) continue;
      return false;
    }
    if (!mine.is_special()) continue;
    // Where ours is a spill so is theirs, of the same bytes: checked above.
    if (mine.is_spill()) {
      if (!other.is_spill() || mine.spill_size() != other.spill_size()) return false;
      if (!includes_register(mine.spilled, other.spilled, how)) return false;
    } else {
      // How many rounds an iterator made is not part of what it is.
      RegState rounds = mine.spilled;
      if (rounds.kind == RegKind::kIterator) rounds.offset = other.spilled.offset;
      if (!is_exactly(rounds, other.spilled)) return false;
    }
  }
  return true;
}

}  // namespace lmn
