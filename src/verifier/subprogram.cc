// SPDX-License-Identifier: Apache-2.0
//
// The program's own functions: static ones as further frames, global ones by their signature,
// callbacks of helpers until their effect repeats; and the end of a frame. Tested by paths_test.cc.
// Source: Linux 6.18, kernel/bpf/verifier.c (check_func_call, prepare_func_exit,
// push_callback_call, check_max_stack_depth, btf_check_subprog_call).
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/assert.h"
#include "verifier/explorer.h"

namespace lmn {

namespace {

std::string range_words(const Scalar& value) {
  std::string out;
  if (value.whole.smin > Width<64>::kSignedMin) out += fmt::format(" smin={}", value.whole.smin);
  if (value.whole.smax < Width<64>::kSignedMax) out += fmt::format(" smax={}", value.whole.smax);
  return out.empty() ? "has unknown scalar value" : "has" + out;
}

}  // namespace

bool Explorer::is_global(std::uint32_t subprogram) const {
  if (subprogram == 0) return false;
  const InsnIndex start = program_.subprograms()[subprogram].start;
  const FunctionInfo* function = program_.spec().function_of(start);
  return function != nullptr && function->insn == start && function->is_global;
}

FunctionSignature& Explorer::signature_of(std::uint32_t subprogram) {
  if (has_signature_[subprogram] == 0) {
    has_signature_[subprogram] = 1;
    const FunctionInfo* function =
        program_.spec().function_of(program_.subprograms()[subprogram].start);
    signatures_[subprogram] =
        function == nullptr ? FunctionSignature{} : read_signature(options_.btf, *function);
  }
  return signatures_[subprogram];
}

// Which functions may move the packet: those that call a helper that does, and their callers.
void Explorer::find_packet_changers() {
  bool has_changed = true;
  while (has_changed) {
    has_changed = false;
    for (std::uint32_t f = 0; f < changes_packet_.size(); ++f) {
      if (changes_packet_[f] != 0) continue;
      const Subprogram& function = program_.subprograms()[f];
      for (std::uint32_t at = function.start.value; at < function.end.value; ++at) {
        const Insn& insn = insn_at(at);
        bool changes = false;
        if (is_helper_call(insn)) {
          const auto id = static_cast<std::uint32_t>(insn.imm);
          const HelperProto* proto = env_.find_helper(id);
          changes = id == BPF_FUNC_tail_call ||
                    (proto != nullptr && (proto->flags & kHelperChangesPacket) != 0);
        } else if (const auto callee = program_.callee_of(InsnIndex{at})) {
          changes = changes_packet_[*callee] != 0;
        }
        if (!changes) continue;
        changes_packet_[f] = 1;
        has_changed = true;
        break;
      }
    }
  }
}

// --- where a verification begins

PathState Explorer::entry_state(std::uint32_t subprogram) {
  PathState state;
  FrameState frame;
  frame.subprogram = subprogram;
  frame.regs[kFramePointer] = RegState::pointer(RegKind::kStack);
  if (subprogram == 0) {
    frame.regs[1] = RegState::pointer(RegKind::kContext);
  } else {
    const FunctionSignature& signature = signature_of(subprogram);
    for (std::size_t i = 0; i < signature.args.size(); ++i) {
      const FunctionArg& argument = signature.args[i];
      RegState& reg = frame.regs[i + 1];
      switch (argument.kind) {
        case FunctionArg::Kind::kNumber:
          reg = RegState::unknown();
          break;
        case FunctionArg::Kind::kContext:
          reg = RegState::pointer(RegKind::kContext);
          break;
        case FunctionArg::Kind::kMemory:
          reg = RegState::pointer(RegKind::kMemory, argument.may_be_null ? std::uint16_t{kMayBeNull}
                                                                         : std::uint16_t{0});
          reg.size = argument.size;
          reg.id = new_id();
          break;
        case FunctionArg::Kind::kObject:
          reg = RegState::pointer(RegKind::kBtfObject, kTrusted);
          if (argument.may_be_null) reg.flags |= kMayBeNull;
          reg.target = kernel_type(argument.struct_name);
          reg.id = argument.may_be_null ? new_id() : 0;
          break;
        case FunctionArg::Kind::kDynptr:
          reg = RegState::pointer(RegKind::kDynptr);
          reg.target = static_cast<std::uint32_t>(DynptrType::kLocal);
          reg.id = new_id();
          break;
      }
    }
  }
  state.frames.push_back(std::move(frame));
  return state;
}

bool Explorer::explore_global_functions() {
  bool has_found = true;
  while (has_found) {
    has_found = false;
    for (std::uint32_t f = 1; f < is_called_.size(); ++f) {
      if (is_called_[f] == 0 || is_explored_[f] != 0) continue;
      is_explored_[f] = 1;
      has_found = true;
      if (!explore(entry_state(f))) return false;
    }
  }
  return true;
}

// --- calls

StepResult Explorer::check_function_call(const Insn&) {
  const std::uint32_t callee = *program_.callee_of(InsnIndex{at_});
  if (callee == exception_callback_) {
    reject(Rule::kCallback, fmt::format("insn {} cannot call exception cb directly", at_));
    return StepResult::kRefused;
  }
  if (is_global(callee)) return flow(call_global(callee));
  return call_static(callee);
}

StepResult Explorer::call_static(std::uint32_t callee) {
  if (state_->frames.size() >= limits::kCallFramesMax) {
    reject(Rule::kCallFrames,
           fmt::format("the call stack of {} frames is too deep", state_->frames.size()));
    return StepResult::kRefused;
  }
  FrameState frame;
  frame.subprogram = callee;
  frame.callsite = at_;
  frame.async_entry_count = state_->frame().async_entry_count;
  frame.is_async_callback = state_->frame().is_async_callback;
  frame.may_sleep = state_->frame().may_sleep;
  for (std::size_t r = 1; r <= 5; ++r) frame.regs[r] = state_->regs()[r];
  frame.regs[kFramePointer] = RegState::pointer(RegKind::kStack);
  frame.regs[kFramePointer].target = static_cast<std::uint32_t>(state_->frames.size());
  clear_caller_saved(state_->frame());
  state_->frames.push_back(std::move(frame));
  at_ = subprogram_start(callee);
  return StepResult::kJumped;
}

bool Explorer::call_global(std::uint32_t callee) {
  if (state_->active_locks > 0) {
    return reject(Rule::kLock,
                  "global function calls are not allowed while holding a lock,\n"
                  "use static function instead");
  }
  const FunctionSignature& signature = signature_of(callee);
  if (!signature.is_usable) {
    return reject(Rule::kCallArgument, signature.problem, {}, EINVAL);
  }
  for (std::size_t i = 0; i < signature.args.size(); ++i) {
    if (!check_global_argument(callee, signature.args[i], static_cast<std::uint8_t>(i + 1))) {
      const FunctionInfo* function =
          program_.spec().function_of(program_.subprograms()[callee].start);
      report_.kernel_message +=
          fmt::format("\nCaller passes invalid args into func#{} ('{}')", callee, function->name);
      return false;
    }
  }
  is_called_[callee] = 1;
  clear_caller_saved(state_->frame());
  if (changes_packet_[callee] != 0) forget_packet_pointers();
  reg(0) = RegState::unknown();
  return true;
}

bool Explorer::check_global_argument(std::uint32_t, const FunctionArg& argument,
                                     std::uint8_t index) {
  if (!check_readable(index)) return false;
  const RegState& given = reg(index);
  const auto wrong = [&](std::string words) {
    return reject(Rule::kCallArgument, std::move(words), {}, EINVAL);
  };
  switch (argument.kind) {
    case FunctionArg::Kind::kNumber:
      if (given.is_number()) return true;
      return wrong(fmt::format("R{} is not a scalar", index));
    case FunctionArg::Kind::kContext:
      if (given.kind != RegKind::kContext) {
        return wrong(fmt::format("arg#{} expects pointer to ctx", index - 1));
      }
      return check_fixed_offset(index);
    case FunctionArg::Kind::kMemory:
      if (given.is_zero() && argument.may_be_null) return true;
      if (!argument.may_be_null && (given.has(kMayBeNull) || given.is_zero())) {
        return wrong(fmt::format("arg#{} is expected to be non-NULL", index - 1));
      }
      return check_memory_argument(index, argument.size);
    case FunctionArg::Kind::kObject:
      return check_global_object(argument, index);
    case FunctionArg::Kind::kDynptr:
      if (given.kind == RegKind::kDynptr && !check_fixed_offset(index)) return false;
      return dynptr_at(index) != nullptr;
  }
  return false;
}

// An object of the kernel that a global function is given; what RCU protects will do.
bool Explorer::check_global_object(const FunctionArg& argument, std::uint8_t index) {
  const RegState& given = reg(index);
  if (given.is_zero() && argument.may_be_null) return true;
  const auto flags =
      static_cast<std::uint16_t>(argument.may_be_null ? given.flags & ~kMayBeNull : given.flags);
  const bool is_object = given.kind == RegKind::kBtfObject &&
                         (flags == 0 || flags == kTrusted || flags == kRcuProtected);
  if (!is_object) {
    return reject(
        given.has(kMayBeNull) ? Rule::kNullCheck : Rule::kCallArgument,
        fmt::format("R{} type={} expected=ptr_, trusted_ptr_, rcu_ptr_", index, kind_words(given)));
  }
  if (!is_of_struct(given, argument.struct_name, false)) {
    return reject(Rule::kCallArgument, fmt::format("R{} is of type {} but {} is expected", index,
                                                   struct_name(given), argument.struct_name));
  }
  return check_pointer_offset(index, false);
}

// Memory that a global function may read and write, if it is not null.
bool Explorer::check_memory_argument(std::uint8_t index, std::uint32_t size) {
  const RegState saved = reg(index);
  reg(index).flags &= static_cast<std::uint16_t>(~kMayBeNull);
  const bool is_good = check_helper_memory(index, size, false, true, nullptr) &&
                       check_helper_memory(index, size, true, true, nullptr);
  reg(index) = saved;
  return is_good;
}

// --- callbacks

bool Explorer::push_callback(const HelperProto& proto, const CallFacts& facts) {
  const bool is_async = proto.id == BPF_FUNC_timer_set_callback;
  FrameState& caller = state_->frame();
  if (proto.id == BPF_FUNC_loop) {
    // An address is some large number; what is known of its offset says nothing of it.
    if (!reg(1).is_number()) {
      return reject(Rule::kCallArgument, "R1 is not a scalar", {}, EINVAL);
    }
    if (!mark_precise(1)) return false;
    if (caller.callback_depth >= reg(1).var.whole.umax) {
      caller.callback_depth = 0;
      return true;
    }
  }
  if (!is_async && state_->frames.size() >= limits::kCallFramesMax) {
    return reject(Rule::kCallFrames,
                  fmt::format("the call stack of {} frames is too deep", state_->frames.size()));
  }
  FrameState callee;
  callee.subprogram = facts.callback;
  callee.callsite = at_;
  callee.is_callback = true;
  callee.regs[kFramePointer] = RegState::pointer(RegKind::kStack);
  set_callback_arguments(proto, facts, caller, callee);
  PathState* path = push_branch(subprogram_start(facts.callback));
  if (path == nullptr) return false;
  if (is_async) {
    callee.is_async_callback = true;
    callee.callback_result_max = 0;
    callee.callsite = kEntryCallsite;
    callee.async_entry_count = caller.async_entry_count + 1;
    if (std::ranges::find(async_roots_, facts.callback) == async_roots_.end()) {
      async_roots_.push_back(facts.callback);
    }
    path->frames.clear();
    path->references.clear();
    path->active_locks = path->active_rcu = path->active_preempt = path->active_interrupts = 0;
    path->may_goto_depth = path->callback_unroll_depth = 0;
    path->history.clear();
    if (path->parent != nullptr) --path->parent->branches;
    path->parent = nullptr;
    path->first_insn = path->insn;
    path->previous = path->insn;
    path->frames.push_back(std::move(callee));
    return true;
  }
  callee.async_entry_count = caller.async_entry_count;
  callee.is_async_callback = caller.is_async_callback;
  callee.regs[kFramePointer].target = static_cast<std::uint32_t>(path->frames.size());
  path->frames.back().callback_depth++;
  path->frames.push_back(std::move(callee));
  ++path->callback_unroll_depth;
  caller.callback_depth = 0;
  return true;
}

void Explorer::set_callback_arguments(const HelperProto& proto, const CallFacts& facts,
                                      const FrameState& caller, FrameState& callee) {
  const auto map_entry = [&](std::size_t first) {
    callee.regs[first] = RegState::pointer(RegKind::kMap);
    callee.regs[first + 1] = RegState::pointer(RegKind::kMapKey);
    callee.regs[first + 2] = RegState::pointer(RegKind::kMapValue);
    for (std::size_t r = first; r < first + 3; ++r) {
      callee.regs[r].map = facts.map;
      callee.regs[r].map_uid = facts.map_uid;
    }
    if (may_hold_lock(callee.regs[first + 2])) callee.regs[first + 2].id = new_id();
  };
  switch (proto.id) {
    case BPF_FUNC_for_each_map_elem:
      map_entry(1);
      callee.regs[4] = caller.regs[3];
      return;
    case BPF_FUNC_timer_set_callback:
      map_entry(1);
      return;
    case BPF_FUNC_loop:
      callee.regs[1] = RegState::unknown();
      callee.regs[2] = caller.regs[3];
      return;
    case BPF_FUNC_user_ringbuf_drain:
      callee.regs[1] = RegState::pointer(RegKind::kDynptr);
      callee.regs[1].target = static_cast<std::uint32_t>(DynptrType::kLocal);
      callee.regs[1].id = new_id();
      callee.regs[2] = caller.regs[3];
      return;
    case BPF_FUNC_find_vma:
      callee.regs[1] = caller.regs[1];
      callee.regs[2] = RegState::pointer(RegKind::kBtfObject);
      callee.regs[2].target = kernel_type("vm_area_struct");
      callee.regs[3] = caller.regs[4];
      return;
    default:
      return;
  }
}

// --- the end of a frame

StepResult Explorer::check_exit() {
  const bool is_outermost = state_->frames.size() == 1;
  if (!is_outermost) return leave_frame();
  if (!check_nothing_held("BPF_EXIT instruction", false)) return StepResult::kRefused;
  if (!check_readable(0)) return StepResult::kRefused;
  const RegState& result = reg(0);
  if (state_->frame().is_async_callback) {
    if (!result.is_number()) {
      reject(Rule::kReturnValue,
             fmt::format("In async callback the register R0 is not a known value ({})",
                         kind_words(result)));
      return StepResult::kRefused;
    }
    if (!mark_precise(0)) return StepResult::kRefused;
    if (result.var.whole.umax > state_->frame().callback_result_max) {
      reject(Rule::kReturnValue,
             "At async callback return the register R0 has smin=0 smax=0 "
             "should have been in [0, 0]");
      return StepResult::kRefused;
    }
    return StepResult::kPathEnds;
  }
  if (is_leak(result)) {
    reject(Rule::kPointerLeak, "R0 leaks addr as return value");
    return StepResult::kRefused;
  }
  if (root_ != 0 && !result.is_number()) {
    reject(Rule::kReturnValue, fmt::format("At subprogram exit the register R0 is not a scalar "
                                           "value ({})",
                                           kind_words(result)));
    return StepResult::kRefused;
  }
  return StepResult::kPathEnds;
}

StepResult Explorer::leave_frame() {
  FrameState& callee = state_->frame();
  const RegState result = callee.regs[0];
  if (result.kind == RegKind::kStack) {
    reject(Rule::kReturnValue, "cannot return stack pointer to the caller");
    return StepResult::kRefused;
  }
  const bool is_callback = callee.is_callback;
  if (is_callback) {
    if (!check_readable(0)) return StepResult::kRefused;
    if (!result.is_number()) {
      reject(Rule::kReturnValue, "R0 not a scalar value", {}, EACCES);
      return StepResult::kRefused;
    }
    if (!mark_precise(0)) return StepResult::kRefused;
    if (result.var.whole.smin < 0 || result.var.whole.umax > callee.callback_result_max) {
      reject(Rule::kReturnValue,
             fmt::format("At callback return the register R0 {} should have been in [0, {}]",
                         range_words(result.var), callee.callback_result_max));
      return StepResult::kRefused;
    }
  }
  const std::uint32_t callsite = callee.callsite;
  state_->frames.pop_back();
  if (!is_callback) {
    reg(0) = result;
    reg(0).is_precise = false;
    at_ = callsite + 1;
    return StepResult::kJumped;
  }
  at_ = callsite;
  if (const KnownState* before = find_earlier_entry(*state_, callsite)) widen(*before, *state_);
  return StepResult::kJumped;
}

// A tail call out of a function that succeeds: the other program returns to the function's caller,
// with any number, and the packet may have moved. One that fails comes back here and did nothing.
bool Explorer::return_from_tail_call() {
  if (state_->frames.size() == 1) return true;
  if (state_->frame().is_callback) {
    return reject(Rule::kCallback, "tail_call is not allowed in callbacks");
  }
  const std::uint32_t callsite = state_->frame().callsite;
  PathState* other = push_branch(callsite + 1);
  if (other == nullptr) return false;
  other->frames.pop_back();
  std::swap(*other, *state_);
  forget_packet_pointers();
  std::swap(*other, *state_);
  other->regs()[0] = RegState::unknown();
  return true;
}

// The state kept at `at` through which this path came, in the same frames.
const KnownState* Explorer::find_earlier_entry(const PathState& state, std::uint32_t at) const {
  for (const KnownState* known = state.parent; known != nullptr; known = known->state.parent) {
    if (known->state.insn != at || known->state.frames.size() != state.frames.size()) continue;
    bool is_same = true;
    for (std::size_t f = 0; f < state.frames.size(); ++f) {
      is_same = is_same && known->state.frames[f].callsite == state.frames[f].callsite;
    }
    if (is_same) return known;
  }
  return nullptr;
}

// Numbers that differ from the earlier visit and that nothing depended on become unknown, so that a
// loop repeats instead of counting.
void Explorer::widen(const KnownState& before, PathState& now) {
  const auto widen_one = [&](const RegState& old, RegState& reg) {
    if (!old.is_number() || !reg.is_number()) return;
    if (old.is_precise || reg.is_precise || is_exactly(old, reg)) return;
    reg = RegState::unknown();
  };
  ids_.reset();
  for (std::size_t f = 0; f < now.frames.size(); ++f) {
    const FrameState& old = before.state.frames[f];
    FrameState& frame = now.frames[f];
    for (std::size_t r = 0; r < frame.regs.size(); ++r) widen_one(old.regs[r], frame.regs[r]);
    for (std::size_t s = 0; s < std::min(old.stack.size(), frame.stack.size()); ++s) {
      if (!old.stack[s].is_number_spill() || !frame.stack[s].is_number_spill()) continue;
      widen_one(old.stack[s].spilled, frame.stack[s].spilled);
    }
  }
}

// --- the stack of all frames together

bool Explorer::check_stack_depth() {
  if (!check_stack_depth_from(0)) return false;
  return std::ranges::all_of(async_roots_,
                             [&](std::uint32_t root) { return check_stack_depth_from(root); });
}

// Depth-first over the calls; StructuredProgram has no recursion, and at most 8 frames.
bool Explorer::check_stack_depth_from(std::uint32_t root) {
  struct Level {
    std::uint32_t function;
    std::uint32_t next;  // instruction to look at
    std::uint32_t below;
  };
  const auto rounded = [&](std::uint32_t function) {
    return (facts_.stack_bytes[function] + 15) / 16 * 16;
  };
  std::vector<Level> chain{{root, subprogram_start(root), 0}};
  std::uint32_t depth = rounded(root);
  while (!chain.empty()) {
    Level& level = chain.back();
    const Subprogram& function = program_.subprograms()[level.function];
    facts_.stack_depth_max = std::max(facts_.stack_depth_max, depth);
    if (function.has_tail_call) {
      facts_.tail_call_stack_bytes = std::max(facts_.tail_call_stack_bytes, depth);
    }
    if (depth > limits::kStackBytes) {
      return reject(
          Rule::kStackDepth,
          fmt::format("combined stack size of {} calls is {}. Too large", chain.size(), depth));
    }
    if (chain.size() > 1 && function.has_tail_call &&
        level.below >= limits::kStackBytesBeforeTailCall) {
      return reject(Rule::kStackDepth,
                    fmt::format("tail_calls are not allowed when call stack of previous frames is "
                                "{} bytes. Too large",
                                level.below));
    }
    std::optional<std::uint32_t> callee;
    while (level.next < function.end.value && !callee) {
      const InsnIndex at{level.next};
      const Insn& insn = insn_at(level.next);
      level.next += slot_count(insn.op);
      if (!is_function_call(insn) && !is_function_address(insn)) continue;
      const auto target = program_.callee_of(at);
      const bool is_async = is_function_address(insn) &&
                            std::ranges::find(async_roots_, *target) != async_roots_.end();
      if (!is_async) callee = target;
    }
    if (!callee) {
      depth -= rounded(level.function);
      chain.pop_back();
      continue;
    }
    if (chain.size() >= limits::kCallFramesMax) {
      return reject(Rule::kCallFrames,
                    fmt::format("the call stack of {} frames is too deep !", chain.size() + 1));
    }
    const std::uint32_t below = depth;
    depth += rounded(*callee);
    chain.push_back({*callee, subprogram_start(*callee), below});
  }
  return true;
}

}  // namespace lmn
