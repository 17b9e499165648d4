// SPDX-License-Identifier: Apache-2.0
//
// Calls of kernel functions (kfuncs), by their row. Tested by paths_test.cc.
// Source: Linux 6.18, kernel/bpf/verifier.c (check_kfunc_call, check_kfunc_args).
#include <fmt/format.h>

#include "verifier/explorer.h"

namespace lmn {
namespace {

// Calls that are made for the inside of a lock's section, or harmless there.
bool may_run_locked(const KfuncProto& proto) {
  switch (proto.args[0].kind) {
    case KfuncArgKind::kListHead:
    case KfuncArgKind::kRbRoot:
    case KfuncArgKind::kRefcounted:
    case KfuncArgKind::kResSpinLock:
      return true;
    default:
      return proto.name.starts_with("bpf_iter_num_") || proto.name.starts_with("bpf_arena_");
  }
}

// Arguments that are addresses of something.
bool is_pointer_kind(KfuncArgKind kind) {
  switch (kind) {
    case KfuncArgKind::kNone:
    case KfuncArgKind::kScalar:
    case KfuncArgKind::kConstScalar:
    case KfuncArgKind::kLocalTypeId:
    case KfuncArgKind::kKernelTypeId:
    case KfuncArgKind::kSize:
    case KfuncArgKind::kConstSize:
    case KfuncArgKind::kIgnored:
    case KfuncArgKind::kMeta:
    case KfuncArgKind::kNodeOffset:
      return false;
    default:
      return true;
  }
}

}  // namespace

const KfuncProto* Explorer::kfunc_of(const Insn& insn) const {
  const auto& kfuncs = program_.spec().kfuncs;
  const auto index = static_cast<std::uint64_t>(insn.imm);
  if (!is_kfunc_call(insn) || index >= kfuncs.size()) return nullptr;
  return env_.find_kfunc(kfuncs[index].name);
}

StepResult Explorer::check_kfunc_call(const Insn& insn) {
  const KfuncProto* proto = kfunc_of(insn);
  if (proto == nullptr) {
    reject(Rule::kNotSupported, "calling kernel function is not allowed");
    return StepResult::kRefused;
  }
  KfuncFacts facts;
  facts.proto = proto;
  if (!check_kfunc_section(*proto)) return StepResult::kRefused;
  if ((proto->flags & kKfSpinLock) != 0 && !push_failed_lock()) return StepResult::kRefused;
  if (!check_kfunc_arguments(*proto, facts)) return StepResult::kRefused;
  if ((proto->flags & kKfThrows) != 0) return check_throw();
  return flow(finish_kfunc_call(*proto, facts));
}

bool Explorer::check_kfunc_arguments(const KfuncProto& proto, KfuncFacts& facts) {
  for (std::size_t i = 0; i < proto.args.size(); ++i) {
    if (proto.args[i].kind == KfuncArgKind::kNone) continue;
    if (!check_kfunc_argument(proto, i, facts)) return false;
  }
  if ((proto.flags & kKfRelease) == 0 || facts.release_register >= 0) return true;
  return reject(
      Rule::kReference,
      fmt::format("release kernel function {} expects refcounted PTR_TO_BTF_ID", proto.name));
}

// What the call does, once its arguments are right.
bool Explorer::finish_kfunc_call(const KfuncProto& proto, const KfuncFacts& facts) {
  if ((proto.flags & kKfCallsBack) != 0 && !push_order_callback(facts)) return false;
  if ((proto.flags & kKfCallsLater) != 0 && !push_workqueue_callback(facts)) return false;
  if (!change_section(proto)) return false;
  if (facts.release_register >= 0) {
    const std::uint32_t held = reg(static_cast<std::uint8_t>(facts.release_register)).reference;
    if (!release(held)) return false;
  }
  const KfuncArg& second = proto.args[1];
  const bool is_node =
      second.kind == KfuncArgKind::kListNode || second.kind == KfuncArgKind::kRbNode;
  const bool is_given_away = is_node && (second.flags & kKfuncArgOwned) != 0;
  if (is_given_away && !give_to_graph(2)) return false;
  clear_caller_saved(state_->frame());
  if (!set_kfunc_result(proto, facts)) return false;
  if ((proto.flags & kKfIterNext) != 0 && !branch_on_next(facts)) return false;
  if ((proto.flags & kKfChangesPacket) != 0) forget_packet_pointers();
  return true;
}

bool Explorer::check_kfunc_section(const KfuncProto& proto) {
  if ((proto.flags & kKfSleepable) != 0) {
    return reject(Rule::kCallArgument,
                  fmt::format("program must be sleepable to call sleepable kfunc {}", proto.name));
  }
  if ((proto.flags & kKfTrap) != 0) {
    return reject(Rule::kUninitialised,
                  fmt::format("unexpected {}() due to uninitialized variable?", proto.name), {},
                  EFAULT);
  }
  if ((proto.flags & kKfDestructive) != 0) {
    return reject(Rule::kNotSupported,
                  fmt::format("kernel function {} is not supported", proto.name));
  }
  if (state_->active_locks > 0 && !may_run_locked(proto)) {
    return reject(Rule::kLock, "function calls are not allowed while holding a lock");
  }
  return true;
}

// Sections that a call enters or leaves.
bool Explorer::change_section(const KfuncProto& proto) {
  const bool is_rcu = (proto.flags & (kKfRcuLock | kKfRcuUnlock)) != 0;
  if (is_rcu && state_->active_rcu > 0 && in_tree_callback()) {
    return reject(Rule::kLock, "Calling bpf_rcu_read_{lock,unlock} in unnecessary rbtree callback",
                  {}, EACCES);
  }
  if ((proto.flags & kKfRcuLock) != 0) {
    if (state_->active_rcu > 0) {
      return reject(Rule::kLock,
                    fmt::format("nested rcu read lock (kernel function {})", proto.name));
    }
    state_->active_rcu = 1;
  }
  if ((proto.flags & kKfRcuUnlock) != 0) {
    if (state_->active_rcu == 0) {
      return reject(Rule::kLock,
                    fmt::format("unmatched rcu read unlock (kernel function {})", proto.name));
    }
    state_->active_rcu = 0;
    forget_rcu_protection();
  }
  if ((proto.flags & kKfPreemptDisable) != 0) ++state_->active_preempt;
  if ((proto.flags & kKfPreemptEnable) != 0) {
    if (state_->active_preempt == 0) {
      return reject(Rule::kLock, fmt::format("unmatched attempt to enable preemption (kernel "
                                             "function {})",
                                             proto.name));
    }
    --state_->active_preempt;
  }
  return true;
}

bool Explorer::check_kfunc_argument(const KfuncProto& proto, std::size_t argument,
                                    KfuncFacts& facts) {
  const KfuncArg& wanted = proto.args[argument];
  const auto index = static_cast<std::uint8_t>(argument + 1);
  if (wanted.kind == KfuncArgKind::kMeta) return true;
  if (!check_readable(index)) return false;
  const RegState& given = reg(index);
  if (is_pointer_kind(wanted.kind)) return check_kfunc_pointer(proto, argument, facts);
  switch (wanted.kind) {
    case KfuncArgKind::kIgnored:
      if (!is_leak(given)) return true;
      return reject(Rule::kPointerLeak, fmt::format("R{} leaks addr into kfunc", index));
    case KfuncArgKind::kConstScalar:
    case KfuncArgKind::kLocalTypeId:
    case KfuncArgKind::kKernelTypeId:
      if (given.is_number()) return check_known_constant(index, facts);
      break;
    case KfuncArgKind::kScalar:
    case KfuncArgKind::kNodeOffset:
      if (given.is_number()) return true;
      break;
    default:
      return check_kfunc_memory(proto, argument, facts);
  }
  return reject(Rule::kCallArgument, fmt::format("R{} is not a scalar", index), {}, EINVAL);
}

bool Explorer::check_kfunc_pointer(const KfuncProto& proto, std::size_t argument,
                                   KfuncFacts& facts) {
  const KfuncArg& wanted = proto.args[argument];
  const auto index = static_cast<std::uint8_t>(argument + 1);
  const RegState& given = reg(index);
  const bool takes_null = (wanted.flags & kKfuncArgMaybeNull) != 0;
  const bool wants_object = (proto.flags & (kKfTrustedArgs | kKfRcu | kKfRelease)) != 0;
  if (wants_object && !takes_null && (given.is_zero() || given.has(kMayBeNull))) {
    return reject(Rule::kNullCheck,
                  fmt::format("Possibly NULL pointer passed to trusted arg{}", argument));
  }
  if (given.reference != 0) {
    facts.reference = given.reference;
    if ((proto.flags & kKfRelease) != 0) facts.release_register = index;
  }
  if (takes_null && given.is_zero() && wanted.kind != KfuncArgKind::kMemSized) return true;
  switch (wanted.kind) {
    case KfuncArgKind::kMap:
      return check_kfunc_map(index, facts);
    case KfuncArgKind::kCtx:
      if (given.kind == RegKind::kContext) return check_fixed_offset(index);
      return reject(
          Rule::kCallArgument,
          fmt::format("arg#{} expected pointer to ctx, but got {}", argument, kind_words(given)),
          {}, EINVAL);
    case KfuncArgKind::kDynptr:
      return check_kfunc_dynptr(proto, wanted, index, facts);
    case KfuncArgKind::kIterator:
      return check_iterator(proto, wanted, index, facts);
    case KfuncArgKind::kIrqFlag:
      return check_interrupt_flag(proto, index);
    case KfuncArgKind::kResSpinLock:
      return check_resilient_lock(proto, index);
    case KfuncArgKind::kWorkqueue:
      return check_workqueue(index, facts);
    case KfuncArgKind::kTimer:
      if (given.kind == RegKind::kMapValue && given.flags == 0) return check_timer(index, {});
      return reject(Rule::kCallArgument,
                    fmt::format("arg#{} doesn't point to a map value", argument), {}, EINVAL);
    case KfuncArgKind::kCallback:
      facts.callback = given.target;
      if (given.kind == RegKind::kFunction) return true;
      return reject(Rule::kCallback, fmt::format("arg{} expected pointer to func", argument));
    case KfuncArgKind::kMem:
    case KfuncArgKind::kMemSized:
    case KfuncArgKind::kString:
      return check_kfunc_memory(proto, argument, facts);
    default:
      return check_object_argument(proto, argument, facts);
  }
}

bool Explorer::check_kfunc_map(std::uint8_t index, KfuncFacts& facts) {
  const RegState& given = reg(index);
  if (given.kind != RegKind::kMap) {
    return reject(Rule::kCallArgument, fmt::format("pointer in R{} isn't map pointer", index), {},
                  EINVAL);
  }
  // Two lookups in a map of maps may give two maps: the queue must be of this one.
  if (facts.map != nullptr && (facts.map != given.map || facts.map_uid != given.map_uid)) {
    return reject(Rule::kCallArgument,
                  fmt::format("workqueue pointer in R1 map_uid={} doesn't match map pointer in R2 "
                              "map_uid={}",
                              facts.map_uid, given.map_uid),
                  {}, EINVAL);
  }
  facts.map = given.map;
  facts.map_uid = given.map_uid;
  return true;
}

bool Explorer::check_workqueue(std::uint8_t index, KfuncFacts& facts) {
  const RegState& given = reg(index);
  const auto wrong = [&](std::string words) {
    return reject(Rule::kCallArgument, std::move(words), {}, EINVAL);
  };
  if (given.kind != RegKind::kMapValue || given.flags != 0) {
    return wrong(fmt::format("arg#{} doesn't point to a map value", index - 1));
  }
  if (!given.var.is_constant()) {
    return wrong(
        fmt::format("R{} doesn't have constant offset. bpf_wq has to be at the constant "
                    "offset",
                    index));
  }
  const MapField* field = fields_of(*given.map).find(MapFieldKind::kWorkqueue);
  if (field == nullptr) return wrong(fmt::format("map '{}' has no valid bpf_wq", given.map->name));
  const std::int64_t at = given.offset + static_cast<std::int64_t>(given.var.constant_value());
  if (at != field->offset) {
    return wrong(
        fmt::format("off {} doesn't point to 'struct bpf_wq' that is at {}", at, field->offset));
  }
  facts.map = given.map;
  facts.map_uid = given.map_uid;
  return true;
}

// What a work queue calls gets what a timer's callback does, and may sleep.
bool Explorer::push_workqueue_callback(const KfuncFacts& facts) {
  HelperProto as_timer;
  as_timer.id = BPF_FUNC_timer_set_callback;
  CallFacts call;
  call.proto = &as_timer;
  call.map = facts.map;
  call.map_uid = facts.map_uid;
  call.callback = facts.callback;
  if (!push_callback(as_timer, call)) return false;
  pending_.back()->frames.back().may_sleep = true;
  return true;
}

bool Explorer::check_known_constant(std::uint8_t index, KfuncFacts& facts) {
  const RegState& given = reg(index);
  if (!given.is_number() || !given.var.is_constant()) {
    return reject(Rule::kCallArgument, fmt::format("R{} must be a known constant", index), {},
                  EINVAL);
  }
  facts.constant = given.var.constant_value();
  return mark_precise(index);
}

bool Explorer::check_kfunc_memory(const KfuncProto& proto, std::size_t argument,
                                  KfuncFacts& facts) {
  const KfuncArg& wanted = proto.args[argument];
  const auto index = static_cast<std::uint8_t>(argument + 1);
  const RegState& given = reg(index);
  const bool may_be_null = (wanted.flags & kKfuncArgMaybeNull) != 0;
  switch (wanted.kind) {
    case KfuncArgKind::kMem:
      if (given.is_zero() && may_be_null) return true;
      if (given.is_zero() || given.has(kMayBeNull)) {
        return reject(Rule::kNullCheck,
                      fmt::format("Possibly NULL pointer passed to trusted arg{}", argument));
      }
      return check_memory_argument(index, wanted.fixed_size);
    case KfuncArgKind::kMemSized:
      // Judged with its size, the next argument.
      return true;
    case KfuncArgKind::kSize:
    case KfuncArgKind::kConstSize: {
      if (!given.is_number()) {
        return reject(Rule::kCallArgument, fmt::format("R{} is not a scalar", index), {}, EINVAL);
      }
      if (wanted.kind == KfuncArgKind::kConstSize && !check_known_constant(index, facts)) {
        return false;
      }
      return check_kfunc_size(proto, argument);
    }
    case KfuncArgKind::kString:
      if (given.kind == RegKind::kMapValue && !given.has(kMayBeNull)) {
        return check_constant_string(index);
      }
      return reject(Rule::kCallArgument,
                    fmt::format("arg#{} doesn't point to a const string", argument), {}, EINVAL);
    default:
      return reject(
          Rule::kNotSupported,
          fmt::format("kernel function {}: arguments of this kind are not supported", proto.name));
  }
}

// A pair of memory and size: readable, and writable unless the callee only reads it.
bool Explorer::check_kfunc_size(const KfuncProto& proto, std::size_t argument) {
  const auto index = static_cast<std::uint8_t>(argument + 1);
  const auto memory = static_cast<std::uint8_t>(argument);
  const KfuncArg& block = proto.args[argument - 1];
  const bool is_optional = (block.flags & kKfuncArgMaybeNull) != 0;
  if (reg(memory).is_zero() && is_optional) return true;
  const RegState saved = reg(memory);
  if (is_optional) reg(memory).flags &= static_cast<std::uint16_t>(~kMayBeNull);
  CallFacts none;
  const bool is_good =
      check_size_argument(index, false, true, none) && check_size_argument(index, true, true, none);
  reg(memory) = saved;
  if (!is_good) {
    report_.kernel_message += fmt::format(
        "\narg#{} arg#{} memory, len pair leads to invalid memory access", argument - 1, argument);
  }
  return is_good;
}

bool Explorer::check_kfunc_dynptr(const KfuncProto& proto, const KfuncArg& wanted,
                                  std::uint8_t index, KfuncFacts& facts) {
  if ((wanted.flags & kKfuncArgUninit) != 0) {
    if (reg(index).kind != RegKind::kStack) {
      return reject(Rule::kDynptr, "Dynptr has to be an uninitialized dynptr");
    }
    const bool is_clone = facts.dynptr.kind == RegKind::kDynptr;
    const DynptrType type =
        is_clone ? static_cast<DynptrType>(facts.dynptr.target) : DynptrType::kXdp;
    if (!is_clone && proto.name != "bpf_dynptr_from_xdp") {
      return reject(
          Rule::kNotSupported,
          fmt::format("kernel function {}: dynptrs of this kind are not supported", proto.name));
    }
    return make_dynptr(index, type, is_clone ? facts.dynptr.reference : 0);
  }
  if (reg(index).kind == RegKind::kDynptr && !check_fixed_offset(index)) return false;
  const RegState* dynptr = dynptr_at(index);
  if (dynptr == nullptr) return false;
  facts.dynptr = *dynptr;
  return true;
}

}  // namespace lmn
