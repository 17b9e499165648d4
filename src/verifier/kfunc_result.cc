// SPDX-License-Identifier: Apache-2.0
//
// What kernel functions return: numbers, memory, and objects with what is owed for them. Tested by
// object_test.cc.
// Source: Linux 6.18, kernel/bpf/verifier.c (check_kfunc_call, check_special_kfunc).
#include <fmt/format.h>

#include <limits>
#include <optional>

#include "verifier/explorer.h"
#include "verifier/kernel_object.h"

namespace lmn {
namespace {

constexpr std::uint32_t kPercpuObjectMax = 512;  // BPF_GLOBAL_PERCPU_MA_MAX_SIZE

bool fits_heap(const BtfType& type, const MapFields& fields) {
  std::size_t nodes = 0;
  std::size_t heads = 0;
  for (const MapField& field : fields.fields) {
    const bool is_node =
        field.kind == MapFieldKind::kListNode || field.kind == MapFieldKind::kTreeNode;
    const bool is_head =
        field.kind == MapFieldKind::kListHead || field.kind == MapFieldKind::kTreeRoot;
    nodes += is_node ? 1 : 0;
    heads += is_head ? 1 : 0;
  }
  return type.size != 0 && type.size <= kAllocatedBytesMax && nodes <= kAllocatedNodesMax &&
         heads <= kAllocatedHeadsMax;
}

}  // namespace

bool Explorer::set_kfunc_result(const KfuncProto& proto, const KfuncFacts& facts) {
  RegState& result = reg(0);
  switch (proto.ret) {
    case KfuncRet::kVoid:
      return true;
    case KfuncRet::kScalar:
      result = (proto.flags & kKfSpinLock) != 0 ? RegState::constant(0) : RegState::unknown();
      return true;
    case KfuncRet::kArenaPointer:
      // A user-space address until it is cast.
      result = RegState::unknown();
      return true;
    case KfuncRet::kMem:
      result = RegState::pointer(RegKind::kMemory);
      if (proto.ret_is_read_only) result.flags |= kReadOnly;
      result.size = proto.ret_size;
      result.reference = facts.reference;
      break;
    case KfuncRet::kMemOfSize:
      result = slice_of(facts.dynptr, facts.constant, proto.ret_is_read_only);
      return true;
    case KfuncRet::kKernelObject:
      if (!set_kernel_result(proto, facts)) return false;
      break;
    case KfuncRet::kCtxObject:
    case KfuncRet::kUntrusted:
      if (!set_cast_result(proto, facts)) return false;
      break;
    case KfuncRet::kAllocObject:
    case KfuncRet::kPercpuObject:
      if (!set_new_object(proto, facts)) return false;
      break;
    case KfuncRet::kSameObject:
      result = RegState::pointer(RegKind::kBtfObject, kAllocated | kLocalType);
      result.target = facts.object.target;
      break;
    case KfuncRet::kListNode:
    case KfuncRet::kRbNode:
      result = node_of(*facts.graph);
      break;
  }
  finish_object_result(proto, facts);
  return true;
}

// What may be null gets an identity, what is acquired a reference; a node that stays in its graph
// is not owned.
void Explorer::finish_object_result(const KfuncProto& proto, const KfuncFacts& facts) {
  RegState& result = reg(0);
  // Another reference to what is owned cannot fail.
  const bool is_sure = proto.ret == KfuncRet::kSameObject && facts.object.reference != 0 &&
                       !facts.object.has(kNonOwning);
  const bool may_be_null = (proto.flags & kKfRetNull) != 0 && !is_sure;
  if (may_be_null) {
    result.flags |= kMayBeNull;
    result.id = new_id();
  }
  const bool is_node = proto.ret == KfuncRet::kListNode || proto.ret == KfuncRet::kRbNode;
  if ((proto.flags & kKfAcquire) != 0) {
    const std::uint32_t id = acquire(new_id());
    if (may_be_null) result.id = id;
    result.reference = id;
  } else if (is_node) {
    make_non_owning(result);
  }
  if (result.id == 0 && may_hold_lock(result)) result.id = new_id();
}

bool Explorer::set_kernel_result(const KfuncProto& proto, const KfuncFacts& facts) {
  RegState& result = reg(0);
  const std::uint32_t type = kernel_type(proto.ret_type_name);
  if (type == 0) {
    return reject(Rule::kNotSupported,
                  fmt::format("kernel function {} returns a struct {}, which this kernel does not "
                              "have",
                              proto.name, proto.ret_type_name));
  }
  result = RegState::pointer(RegKind::kBtfObject);
  result.target = type;
  if ((proto.flags & kKfIterNext) != 0) {
    const RegState& iterator =
        state_->frames[facts.iterator_frame].stack[facts.iterator_slot].spilled;
    result.flags = iterator.has(kRcuProtected) ? kRcuProtected : kTrusted;
  }
  return true;
}

// The same address as another type: the context as the kernel's own struct, or any address as a
// struct that may be read without trust.
bool Explorer::set_cast_result(const KfuncProto& proto, const KfuncFacts& facts) {
  RegState& result = reg(0);
  const Btf* types = env_.kernel_types;
  if (types == nullptr) {
    return reject(
        Rule::kNotSupported,
        fmt::format("kernel function {} gives a struct of a kernel, and there is none here",
                    proto.name));
  }
  if (proto.ret == KfuncRet::kCtxObject) {
    result = RegState::pointer(RegKind::kBtfObject, kTrusted);
    result.target = kernel_type("xdp_buff");
    if (result.target != 0) return true;
    return reject(Rule::kNotSupported, "the kernel's struct of the context is not known here");
  }
  const Btf& numbered = env_.numbered_types != nullptr ? *env_.numbered_types : *types;
  const BtfType* type = facts.constant < numbered.type_count()
                            ? numbered.find(static_cast<std::uint32_t>(facts.constant))
                            : nullptr;
  if (type != nullptr && type->kind == BtfKind::kVoid) {
    result = RegState::pointer(RegKind::kMemory, kReadOnly | kUntrusted);
    return true;
  }
  if (type == nullptr || !type->is_composite()) {
    return reject(Rule::kCallArgument, "kfunc bpf_rdonly_cast type ID argument must be of a struct",
                  {}, EINVAL);
  }
  const auto known = &numbered == types ? std::optional(static_cast<std::uint32_t>(facts.constant))
                                        : types->find_by_name(type->name, type->kind);
  if (!known) {
    return reject(Rule::kNotSupported,
                  fmt::format("kernel function {}: LMN has no struct {}", proto.name, type->name));
  }
  result = RegState::pointer(RegKind::kBtfObject, kUntrusted);
  result.target = *known;
  return true;
}

bool Explorer::set_new_object(const KfuncProto& proto, const KfuncFacts& facts) {
  const auto wrong = [&](std::string words) {
    return reject(Rule::kCallArgument, std::move(words), {}, EINVAL);
  };
  if (facts.constant > std::numeric_limits<std::uint32_t>::max()) {
    return wrong("local type ID argument must be in range [0, U32_MAX]");
  }
  const auto id = static_cast<std::uint32_t>(facts.constant);
  const Btf* types = options_.btf;
  if (types == nullptr) return wrong("bpf_obj_new/bpf_percpu_obj_new requires prog BTF");
  const BtfType* type = types->find(id);
  if (type == nullptr || type->kind != BtfKind::kStruct) {
    return wrong("bpf_obj_new/bpf_percpu_obj_new type ID argument must be of a struct");
  }
  const bool is_percpu = proto.ret == KfuncRet::kPercpuObject;
  if (is_percpu) {
    if (type->size > kPercpuObjectMax) {
      return wrong(fmt::format("bpf_percpu_obj_new type size ({}) is greater than {}", type->size,
                               kPercpuObjectMax));
    }
    if (!is_struct_of_numbers(*types, id)) {
      return wrong("bpf_percpu_obj_new type ID argument must be of a struct of scalars");
    }
    if (!fields_of_type(id).fields.empty()) {
      return wrong("bpf_percpu_obj_new type ID argument must not contain special fields");
    }
  }
  if (!fits_heap(*type, fields_of_type(id))) {
    return reject(
        Rule::kNotSupported,
        fmt::format("struct {} has more than {} bytes or {} nodes or heads: no such object "
                    "is ever allocated",
                    type->name, kAllocatedBytesMax, kAllocatedNodesMax));
  }
  RegState& result = reg(0);
  result = RegState::pointer(RegKind::kBtfObject, kAllocated | kLocalType);
  if (is_percpu) result.flags |= kPerCpu;
  result.target = id;
  return true;
}

}  // namespace lmn
