// SPDX-License-Identifier: Apache-2.0
//
// Comparisons: which branch can be taken, and what each branch learns of numbers, of everything
// tied to them, of packet pointers against the packet's end, and of pointers that may be null.
//
// Both branches learn on copies of their own (CVE-2024-41003). Tested by paths_test.cc.
// Source: Linux 6.18, kernel/bpf/verifier.c (check_cond_jmp_op, is_branch_taken, reg_set_min_max,
// sync_linked_regs, try_match_pkt_pointers, mark_ptr_or_null_regs).
#include <fmt/format.h>

#include <algorithm>

#include "verifier/explorer.h"
#include "verifier/kernel_object.h"

namespace lmn {
namespace {

Condition condition_of(Op op) {
  switch (BPF_OP(opcode_of(op))) {
    case BPF_JEQ:
      return Condition::kEq;
    case BPF_JNE:
      return Condition::kNe;
    case BPF_JGT:
      return Condition::kGt;
    case BPF_JGE:
      return Condition::kGe;
    case BPF_JLT:
      return Condition::kLt;
    case BPF_JLE:
      return Condition::kLe;
    case BPF_JSGT:
      return Condition::kSgt;
    case BPF_JSGE:
      return Condition::kSge;
    case BPF_JSLT:
      return Condition::kSlt;
    case BPF_JSLE:
      return Condition::kSle;
    default:
      return Condition::kSet;
  }
}

// `b ? a` for `a ? b`.
Condition flipped(Condition condition) {
  switch (condition) {
    case Condition::kGt:
      return Condition::kLt;
    case Condition::kGe:
      return Condition::kLe;
    case Condition::kLt:
      return Condition::kGt;
    case Condition::kLe:
      return Condition::kGe;
    default:
      return condition;
  }
}

bool is_never_null(const RegState& reg) {
  if (reg.has(kMayBeNull) || reg.has(kUntrusted)) return false;
  switch (reg.kind) {
    case RegKind::kMapValue:
    case RegKind::kMapKey:
    case RegKind::kMap:
    case RegKind::kMemory:
    case RegKind::kSocket:
    case RegKind::kSockCommon:
    case RegKind::kTcpSock:
    case RegKind::kXdpSock:
      return true;
    case RegKind::kBtfObject:
      return is_trusted_pointer(reg);
    default:
      return false;
  }
}

// A packet pointer known to lie at or past the end decides a comparison with the end.
int known_packet_branch(Condition condition, const RegState& a, const RegState& b) {
  const RegState* packet = &a;
  if (a.kind == RegKind::kPacketEnd) {
    packet = &b;
    condition = flipped(condition);
  } else if (b.kind != RegKind::kPacketEnd) {
    return -1;
  }
  if (packet->range >= 0) return -1;
  const bool is_past = packet->range == kPastPacketEnd;
  switch (condition) {
    case Condition::kLe:
    case Condition::kGt:
      return is_past ? (condition == Condition::kGt ? 1 : 0) : -1;
    case Condition::kLt:
    case Condition::kGe:
      return condition == Condition::kGe ? 1 : 0;
    default:
      return -1;
  }
}

bool is_packet_or_end(const RegState& reg) {
  return reg.is_packet() || reg.kind == RegKind::kPacketEnd;
}

bool is_packet_start(const RegState& reg) {
  return reg.kind == RegKind::kPacket && reg.id == 0 && reg.offset == 0 && reg.var.is_constant() &&
         reg.var.constant_value() == 0;
}

// Packet pointers of the same variable offset may be read up to `pointer`, which a comparison
// showed to lie not past the end; one byte more where it lies before the end.
void give_range(PathState& state, const RegState& pointer, bool is_before_end) {
  if (pointer.offset < 0 || (pointer.offset == 0 && !is_before_end)) return;
  const std::uint64_t furthest =
      pointer.var.whole.umax + static_cast<std::uint64_t>(pointer.offset);
  if (pointer.var.whole.umax > kPacketOffsetMax || furthest > kPacketOffsetMax) return;
  const RegKind kind = pointer.kind;
  const std::uint32_t id = pointer.id;
  const std::int32_t range = pointer.offset + (is_before_end ? 1 : 0);
  state.for_each_register([&](RegState& reg) {
    if (reg.kind == kind && reg.id == id) reg.range = std::max(reg.range, range);
  });
}

void mark_at_end(PathState& state, std::uint8_t index, bool is_past) {
  RegState& reg = state.regs()[index];
  if (reg.kind == RegKind::kPacket) reg.range = is_past ? kPastPacketEnd : kAtPacketEnd;
}

}  // namespace

StepResult Explorer::check_branch(const Insn& insn) {
  const bool uses_register = reads_src(insn.op);
  if (uses_register && !check_readable(insn.src)) return StepResult::kRefused;
  if (!check_readable(insn.dst)) return StepResult::kRefused;
  const Condition condition = condition_of(insn.op);
  const bool is_low = width_bits(insn.op) == 32;
  const RegState constant = RegState::constant(static_cast<std::uint64_t>(insn.imm));
  const RegState& a = reg(insn.dst);
  const RegState& b = uses_register ? reg(insn.src) : constant;
  const bool are_packets = is_packet_or_end(a) && is_packet_or_end(b);
  if (uses_register && !are_packets && is_leak(b)) {
    reject(Rule::kPointerLeak, fmt::format("R{} pointer comparison prohibited", insn.src));
    return StepResult::kRefused;
  }
  if (uses_register && (a.kind == RegKind::kStack || b.kind == RegKind::kStack)) {
    HistoryEntry entry;
    entry.is_dst_stack = a.kind == RegKind::kStack;
    entry.is_src_stack = b.kind == RegKind::kStack;
    push_history(entry);
  }
  const int known = known_branch(condition, a, b, is_low);
  if (known < 0) {
    return flow(walk_both(insn, condition, is_low, uses_register, constant));
  }
  if (!a.is_pointer() && !mark_precise(insn.dst)) return StepResult::kRefused;
  if (uses_register && !b.is_pointer() && !mark_precise(insn.src)) return StepResult::kRefused;
  if (known == 0) return StepResult::kNext;
  at_ = jump_target(InsnIndex{at_}, insn)->value;
  return StepResult::kJumped;
}

int Explorer::known_branch(Condition condition, const RegState& a, const RegState& b,
                           bool is_low) const {
  if (is_packet_or_end(a) && is_packet_or_end(b) && !is_low) {
    return known_packet_branch(condition, a, b);
  }
  if (a.is_pointer() || b.is_pointer()) {
    if (is_low) return -1;
    const RegState& pointer = a.is_pointer() ? a : b;
    const RegState& number = a.is_pointer() ? b : a;
    if (!number.is_zero() || !is_never_null(pointer)) return -1;
    if (condition == Condition::kEq) return 0;
    return condition == Condition::kNe ? 1 : -1;
  }
  return known_outcome(condition, a.var, b.var, is_low);
}

bool Explorer::walk_both(const Insn& insn, Condition condition, bool is_low, bool has_source,
                         const RegState& constant) {
  HistoryEntry linked;
  if (has_source && reg(insn.src).is_number()) collect_linked(reg(insn.src).id, linked);
  if (reg(insn.dst).is_number()) collect_linked(reg(insn.dst).id, linked);
  if (linked.linked_count > 1) push_history(linked);
  PathState* taken = push_branch(jump_target(InsnIndex{at_}, insn)->value);
  if (taken == nullptr) return false;
  const bool are_numbers = reg(insn.dst).is_number() && (!has_source || reg(insn.src).is_number());
  if (are_numbers) {
    learn_numbers(*state_, insn, negated(condition), is_low, has_source, constant, &linked);
    learn_numbers(*taken, insn, condition, is_low, has_source, constant, &linked);
    return true;
  }
  if (!is_low) {
    learn_pointers(*state_, *taken, insn, condition, has_source, constant);
    if (has_source && learn_packet_range(*state_, *taken, insn, condition)) return true;
  }
  const RegState& a = reg(insn.dst);
  const bool is_zero = has_source ? reg(insn.src).is_zero() : insn.imm == 0;
  const bool is_null_check =
      is_zero && (condition == Condition::kEq || condition == Condition::kNe);
  if (is_leak(a) && !is_null_check) {
    return reject(Rule::kPointerLeak, fmt::format("R{} pointer comparison prohibited", insn.dst));
  }
  return true;
}

void Explorer::learn_numbers(PathState& state, const Insn& insn, Condition condition, bool is_low,
                             bool has_source, const RegState& constant,
                             const HistoryEntry* linked) {
  if (has_source && insn.src == insn.dst) return;
  Scalar a = state.regs()[insn.dst].var;
  Scalar b = has_source ? state.regs()[insn.src].var : constant.var;
  const bool is_possible = is_low ? refine_low(condition, a, b) : refine(condition, a, b);
  if (!is_possible) return;  // a branch that cannot be; what was known stays true of it
  state.regs()[insn.dst].var = a;
  if (has_source) {
    state.regs()[insn.src].var = b;
    if (state.regs()[insn.src].id != 0) {
      sync_linked(state, RegState(state.regs()[insn.src]), *linked);
    }
  }
  if (state.regs()[insn.dst].id != 0) {
    sync_linked(state, RegState(state.regs()[insn.dst]), *linked);
  }
}

void Explorer::collect_linked(std::uint32_t id, HistoryEntry& out) {
  const std::uint32_t wanted = id & ~kIdAddsConstant;
  if (wanted == 0) return;
  const auto add = [&](RegState& reg, LinkedPlace place) {
    if (!reg.is_number() || (reg.id & ~kIdAddsConstant) != wanted) return;
    if (out.linked_count < kLinkedPlacesMax) {
      out.linked[out.linked_count++] = place;
    } else {
      reg.id = 0;  // too many to follow
      reg.offset = 0;
    }
  };
  for (std::size_t f = 0; f < state_->frames.size(); ++f) {
    FrameState& frame = state_->frames[f];
    const auto index = static_cast<std::uint8_t>(f);
    for (std::uint8_t r = 0; r < frame.regs.size(); ++r) add(frame.regs[r], {index, true, r});
    for (std::size_t s = 0; s < frame.stack.size(); ++s) {
      if (!frame.stack[s].is_number_spill()) continue;
      add(frame.stack[s].spilled, {index, false, static_cast<std::uint8_t>(s)});
    }
  }
}

void Explorer::sync_linked(PathState& state, const RegState& known, const HistoryEntry& linked) {
  const std::uint32_t id = known.id & ~kIdAddsConstant;
  for (std::size_t i = 0; i < linked.linked_count; ++i) {
    const LinkedPlace& place = linked.linked[i];
    FrameState& frame = state.frames[place.frame];
    RegState& reg = place.is_register ? frame.regs[place.index] : frame.stack[place.index].spilled;
    if (!reg.is_number() || (reg.id & ~kIdAddsConstant) != id) continue;
    // A distance in 32 bits and one in 64 say nothing of each other.
    if (((reg.id ^ known.id) & kIdAddsConstant) == kIdAddsConstant) continue;
    const std::int64_t own = (reg.id & kIdAddsConstant) != 0 ? reg.offset : 0;
    const std::int64_t base = (known.id & kIdAddsConstant) != 0 ? known.offset : 0;
    if (own == base) {
      reg.var = known.var;
    } else {
      const Scalar distance = Scalar::constant(static_cast<std::uint64_t>(own - base));
      const bool is_low = ((reg.id | known.id) & kIdAddsConstant32) != 0;
      reg.var = is_low ? apply_low(AluOp::kAdd, known.var, distance)
                       : apply(AluOp::kAdd, known.var, distance);
    }
  }
}

// --- pointers

void Explorer::learn_pointers(PathState& fall, PathState& taken, const Insn& insn,
                              Condition condition, bool has_source, const RegState& constant) {
  const bool is_equality = condition == Condition::kEq || condition == Condition::kNe;
  if (!is_equality) return;
  PathState& equal = condition == Condition::kEq ? taken : fall;
  PathState& different = condition == Condition::kEq ? fall : taken;
  const RegState& a = fall.regs()[insn.dst];
  const RegState& b = has_source ? fall.regs()[insn.src] : constant;
  if (a.has(kMayBeNull) && b.is_zero()) {
    learn_null(equal, insn.dst, true);
    learn_null(different, insn.dst, false);
    return;
  }
  // Equal to what is not null is not null.
  if (!a.is_pointer() || !b.is_pointer()) return;
  if (a.has(kMayBeNull) == b.has(kMayBeNull)) return;
  if (a.kind == RegKind::kBtfObject || b.kind == RegKind::kBtfObject) return;
  const RegState& sure = a.has(kMayBeNull) ? b : a;
  if (!is_never_null(sure)) return;
  learn_null(equal, a.has(kMayBeNull) ? insn.dst : insn.src, false);
}

void Explorer::learn_null(PathState& state, std::uint8_t index, bool is_null) {
  const std::uint32_t id = state.regs()[index].id;
  const std::uint32_t reference = state.regs()[index].reference;
  if (is_null && reference != 0 && reference == id) {
    std::erase_if(state.references, [&](const Reference& held) {
      return held.kind == Reference::Kind::kObject && held.id == reference;
    });
  }
  state.for_each_register([&](RegState& reg) {
    if (!reg.has(kMayBeNull) || reg.id != id) return;
    if (is_null) {
      reg = RegState::constant(0);
      return;
    }
    reg.flags &= static_cast<std::uint16_t>(~kMayBeNull);
    const bool has_lock = may_hold_lock(reg);
    if (reg.kind == RegKind::kMapValue && reg.map->inner != nullptr) {
      const MapSpec* inner = reg.map->inner.get();
      // Which inner map it is counts only for what is tied to its map; else states of a loop over
      // inner maps would never be equal (Linux 6.18, mark_ptr_not_null_reg).
      const MapFields& fields = fields_of(*inner);
      const bool is_tied = fields.find(MapFieldKind::kTimer) != nullptr ||
                           fields.find(MapFieldKind::kWorkqueue) != nullptr;
      const std::uint32_t uid = is_tied ? reg.id : 0;
      reg = RegState::pointer(RegKind::kMap);
      reg.map = inner;
      reg.map_uid = uid;
      return;
    }
    if (reg.kind == RegKind::kMapValue && reg.map->type == BPF_MAP_TYPE_XSKMAP) {
      reg.kind = RegKind::kXdpSock;
    }
    if (reg.kind == RegKind::kMapValue &&
        (reg.map->type == BPF_MAP_TYPE_SOCKMAP || reg.map->type == BPF_MAP_TYPE_SOCKHASH)) {
      reg.kind = RegKind::kSocket;
    }
    if (!has_lock) reg.id = 0;
  });
}

bool Explorer::learn_packet_range(PathState& fall, PathState& taken, const Insn& insn,
                                  Condition condition) {
  const RegState a = fall.regs()[insn.dst];
  const RegState b = fall.regs()[insn.src];
  const bool is_forward =
      (a.is_packet() && b.kind == RegKind::kPacketEnd && a.kind == RegKind::kPacket) ||
      (a.kind == RegKind::kPacketMeta && is_packet_start(b));
  const bool is_backward = (a.kind == RegKind::kPacketEnd && b.kind == RegKind::kPacket) ||
                           (is_packet_start(a) && b.kind == RegKind::kPacketMeta);
  if (!is_forward && !is_backward) return false;
  const RegState& pointer = is_forward ? a : b;
  const std::uint8_t index = is_forward ? insn.dst : insn.src;
  // From here on: `pointer condition end`.
  switch (is_forward ? condition : flipped(condition)) {
    case Condition::kGt:
      give_range(fall, pointer, false);
      mark_at_end(taken, index, true);
      return true;
    case Condition::kLt:
      give_range(taken, pointer, true);
      mark_at_end(fall, index, false);
      return true;
    case Condition::kGe:
      give_range(fall, pointer, true);
      mark_at_end(taken, index, false);
      return true;
    case Condition::kLe:
      give_range(taken, pointer, false);
      mark_at_end(fall, index, true);
      return true;
    default:
      return false;
  }
}

StepResult Explorer::check_may_goto(const Insn& insn) {
  // The kernel's counter may end the loop at any time: both ways are possible, any number of times.
  // The state kept just now, at this very instruction, is not an earlier visit.
  const KnownState* latest = state_->parent;
  const KnownState* before = latest == nullptr ? nullptr : find_earlier_entry(latest->state, at_);
  PathState* going_on = push_branch(at_ + 1);
  if (going_on == nullptr) return StepResult::kRefused;
  ++going_on->may_goto_depth;
  if (before != nullptr) widen(*before, *going_on);
  at_ = jump_target(InsnIndex{at_}, insn)->value;
  return StepResult::kJumped;
}

}  // namespace lmn
