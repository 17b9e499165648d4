// SPDX-License-Identifier: Apache-2.0
//
// Calls of kernel functions (kfuncs), by their row. Tested by paths_test.cc.
// Source: Linux 6.18, kernel/bpf/verifier.c (check_kfunc_call, check_kfunc_args).
#include <fmt/format.h>

#include "verifier/explorer.h"

namespace lmn {
namespace {

bool is_number_iterator(const KfuncProto& proto) { return proto.name.starts_with("bpf_iter_num_"); }

}  // namespace

const KfuncProto* Explorer::kfunc_of(const Insn& insn) const {
  const auto& kfuncs = program_.spec().kfuncs;
  const auto index = static_cast<std::uint64_t>(insn.imm);
  if (!is_kfunc_call(insn) || index >= kfuncs.size()) return nullptr;
  return env_.find_kfunc(kfuncs[index].name);
}

Flow Explorer::check_kfunc_call(const Insn& insn) {
  const KfuncProto* proto = kfunc_of(insn);
  if (proto == nullptr) {
    reject(Rule::kNotSupported, "calling kernel function is not allowed");
    return Flow::kRefused;
  }
  KfuncFacts facts;
  facts.proto = proto;
  if (!check_kfunc_section(*proto)) return Flow::kRefused;
  for (std::size_t i = 0; i < proto->args.size(); ++i) {
    if (proto->args[i].kind == KfuncArgKind::kNone) continue;
    if (!check_kfunc_argument(*proto, i, facts)) return Flow::kRefused;
  }
  if ((proto->flags & kKfThrows) != 0) return check_throw();
  if (!change_section(*proto)) return Flow::kRefused;
  clear_caller_saved(state_->frame());
  if (!set_kfunc_result(*proto, facts)) return Flow::kRefused;
  if ((proto->flags & kKfIterNext) != 0 && !branch_on_next(facts)) return Flow::kRefused;
  if ((proto->flags & kKfChangesPacket) != 0) forget_packet_pointers();
  return Flow::kNext;
}

// bpf_throw ends the program, whatever frames there are; a helper that called back could not be
// unwound.
Flow Explorer::check_throw() {
  for (const FrameState& frame : state_->frames) {
    if (!frame.is_callback) continue;
    reject(Rule::kCallback, fmt::format("bpf_throw kfunc (insn {}) cannot be called from callback "
                                        "subprog {}",
                                        at_, frame.subprogram));
    return Flow::kRefused;
  }
  return check_nothing_held("bpf_throw", false) ? Flow::kPathEnds : Flow::kRefused;
}

// A function of the program that is to run when it throws, named by a tag of the entry function.
bool Explorer::check_exception_callback() {
  const auto& functions = program_.spec().functions;
  if (options_.btf == nullptr || functions.empty()) return true;
  for (std::uint32_t id = 1; id < options_.btf->type_count(); ++id) {
    const BtfType& type = options_.btf->type(id);
    if (type.kind != BtfKind::kDeclTag || type.type != functions.front().btf_type_id) continue;
    if (!type.name.starts_with("exception_callback:")) continue;
    return reject(Rule::kNotSupported, "exception callbacks are not supported");
  }
  return true;
}

bool Explorer::check_kfunc_section(const KfuncProto& proto) {
  constexpr std::uint32_t kUnsupported = kKfTrap | kKfCallsBack | kKfCallsLater | kKfDestructive |
                                         kKfSpinLock | kKfSpinUnlock | kKfRelease | kKfAcquire;
  if ((proto.flags & kKfSleepable) != 0) {
    return reject(Rule::kCallArgument,
                  fmt::format("program must be sleepable to call sleepable kfunc {}", proto.name));
  }
  if ((proto.flags & kUnsupported) != 0) {
    return reject(Rule::kNotSupported,
                  fmt::format("kernel function {} is not supported", proto.name));
  }
  if (state_->active_locks > 0 && !is_number_iterator(proto)) {
    return reject(Rule::kLock, "function calls are not allowed while holding a lock");
  }
  return true;
}

// Sections that a call enters or leaves.
bool Explorer::change_section(const KfuncProto& proto) {
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
  if (wanted.kind == KfuncArgKind::kMeta || wanted.kind == KfuncArgKind::kNodeOffset) return true;
  if (!check_readable(index)) return false;
  const RegState& given = reg(index);
  switch (wanted.kind) {
    case KfuncArgKind::kScalar:
      if (given.is_number()) return true;
      return reject(Rule::kCallArgument, fmt::format("R{} is not a scalar", index), {}, EINVAL);
    case KfuncArgKind::kConstScalar:
      return check_known_constant(index, facts);
    case KfuncArgKind::kIgnored:
      if (!is_leak(given)) return true;
      return reject(Rule::kPointerLeak, fmt::format("R{} leaks addr into kfunc", index));
    case KfuncArgKind::kMap:
      if (given.kind == RegKind::kMap) return true;
      return reject(Rule::kCallArgument, fmt::format("pointer in R{} isn't map pointer", index), {},
                    EINVAL);
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
    default:
      return check_kfunc_memory(proto, argument, facts);
  }
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

bool Explorer::set_kfunc_result(const KfuncProto& proto, const KfuncFacts& facts) {
  RegState& result = reg(0);
  const bool may_be_null = (proto.flags & kKfRetNull) != 0;
  switch (proto.ret) {
    case KfuncRet::kVoid:
      return true;
    case KfuncRet::kScalar:
      result = RegState::unknown();
      return true;
    case KfuncRet::kMem:
      result = RegState::pointer(RegKind::kMemory);
      if (proto.ret_is_read_only) result.flags |= kReadOnly;
      if (may_be_null) result.flags |= kMayBeNull;
      result.size = proto.ret_size;
      result.reference = facts.reference;
      result.id = may_be_null ? new_id() : 0;
      return true;
    case KfuncRet::kMemOfSize:
      result = slice_of(facts.dynptr, facts.constant, proto.ret_is_read_only);
      return true;
    case KfuncRet::kKernelObject:
    case KfuncRet::kCtxObject:
    case KfuncRet::kUntrusted:
    case KfuncRet::kAllocObject:
    case KfuncRet::kPercpuObject:
    case KfuncRet::kSameObject:
    case KfuncRet::kListNode:
    case KfuncRet::kRbNode:
    case KfuncRet::kArenaPointer:
      break;
  }
  return reject(Rule::kNotSupported,
                fmt::format("kernel function {}: what it returns is not supported", proto.name));
}

}  // namespace lmn
