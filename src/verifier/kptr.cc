// SPDX-License-Identifier: Apache-2.0
//
// Kptrs: fields of map values and allocated objects that hold a pointer to an object.
//
// A referenced kptr owns what it points to: it changes hands only through bpf_kptr_xchg, which
// takes one reference and gives another. It may be read, though what it points to may go at any
// time: the loaded pointer is protected by RCU where the object is freed only after a grace period,
// untrusted elsewhere. An untrusted kptr is a word that remembers an address; it may be stored as
// well.
//
// A kptr whose struct the kernel has by name holds that, else an object that the program allocated.
//
// A program that loads a kptr, takes the object out, drops it and reads on is accepted, as in
// Linux: the heap of allocated objects keeps what is dropped until no program runs.
// Tested by object_test.cc.
// Source: Linux 6.18, kernel/bpf/verifier.c (map_kptr_match_type, check_map_kptr_access,
// process_kptr_func, btf_ld_kptr_type), kernel/bpf/btf.c (btf_parse_kptr).
#include <fmt/format.h>

#include <algorithm>

#include "verifier/explorer.h"
#include "verifier/kernel_object.h"

namespace lmn {
namespace {

constexpr std::uint64_t kKptrBytes = 8;

bool is_owning(const MapField& field) {
  return field.kptr == KptrKind::kReferenced || field.kptr == KptrKind::kPercpu;
}

}  // namespace

Explorer::KptrTarget Explorer::kptr_target(const MapField& field) {
  const BtfType& type = options_.btf->type(field.type);
  if (env_.kernel_types != nullptr) {
    if (const auto id = env_.kernel_types->find_by_name(type.name, type.kind)) return {*id, true};
  }
  return {field.type, false};
}

// An XDP program does not sleep, so all of it is one RCU section; what a work queue calls may.
bool Explorer::is_in_rcu() const {
  return !state_->frame().may_sleep || state_->active_rcu > 0 || state_->active_locks > 0;
}

// An access that touches a kptr touches all of it, and nothing but it.
bool Explorer::check_kptr_place(std::uint8_t index, const MapField& field, std::int64_t offset,
                                std::uint64_t size, bool is_by_helper) {
  const RegState& pointer = reg(index);
  if (is_by_helper) {
    return reject(Rule::kMapField, "kptr cannot be accessed indirectly by helper");
  }
  if (!pointer.var.is_constant()) {
    return reject(Rule::kMapField, "kptr access cannot have variable offset");
  }
  const std::int64_t at = offset + static_cast<std::int64_t>(pointer.var.constant_value());
  if (at != field.offset) {
    return reject(Rule::kMapField,
                  fmt::format("kptr access misaligned expected={} off={}", field.offset, at));
  }
  if (size == kKptrBytes) return true;
  return reject(Rule::kMapField, "kptr access size must be BPF_DW");
}

RegState Explorer::kptr_loaded(const MapField& field) {
  const KptrTarget target = kptr_target(field);
  RegState out = RegState::pointer(RegKind::kBtfObject, kMayBeNull);
  out.target = target.type;
  out.id = new_id();
  if (!target.is_kernel) out.flags |= kLocalType;
  const bool is_rcu_freed_object =
      !target.is_kernel || is_rcu_freed(options_.btf->type(field.type).name);
  const bool is_safe = field.kptr == KptrKind::kPercpu ||
                       (field.kptr == KptrKind::kReferenced && is_rcu_freed_object);
  if (!is_safe || !is_in_rcu()) {
    out.flags |= kUntrusted;
    return out;
  }
  out.flags |= kRcuProtected;
  if (field.kptr == KptrKind::kPercpu) {
    out.flags |= kPerCpu;
  } else if (!target.is_kernel) {
    out.flags |= kAllocated;
  }
  if (!target.is_kernel) {
    const MapFields& fields = fields_of_type(field.type);
    const bool is_node = fields.find(MapFieldKind::kListNode) != nullptr ||
                         fields.find(MapFieldKind::kTreeNode) != nullptr;
    if (is_node) out.flags |= kNonOwning;
  }
  return out;
}

// A load from or store into the kptr at which check_kptr_place looked.
bool Explorer::access_kptr(const MemoryAccess& access, const MapField& field) {
  const bool is_plain = access.insn != nullptr && op_class(access.insn->op) != OpClass::kAtomic &&
                        !access.is_sign_extending;
  if (!is_plain) {
    return reject(Rule::kMapField,
                  "kptr in map can only be accessed using BPF_MEM instruction mode");
  }
  if (!access.is_write) {
    reg(static_cast<std::uint8_t>(access.value)) = kptr_loaded(field);
    return true;
  }
  if (is_owning(field)) return reject(Rule::kMapField, "store to referenced kptr disallowed");
  if (field.kptr == KptrKind::kUser) return reject(Rule::kMapField, "store to uptr disallowed");
  if (access.value < 0) {
    if (access.insn->imm == 0) return true;
    return reject(Rule::kMapField,
                  fmt::format("BPF_ST imm must be 0 when storing to kptr at off={}", field.offset));
  }
  const auto value = static_cast<std::uint8_t>(access.value);
  if (reg(value).is_zero()) return mark_precise(value);
  return check_kptr_match(field, value);
}

bool Explorer::check_kptr_match(const MapField& field, std::uint8_t index) {
  const RegState& given = reg(index);
  const KptrTarget target = kptr_target(field);
  const bool is_percpu = field.kptr == KptrKind::kPercpu;
  const bool is_object = given.kind == RegKind::kBtfObject;
  const bool is_kernel = is_object && !given.has(kLocalType);
  int allowed = kMayBeNull;
  if (is_kernel) {
    allowed |= kTrusted | kRcuProtected;
    if (field.kptr == KptrKind::kUntrusted) allowed |= kUntrusted;
  } else {
    allowed |= kAllocated | kLocalType | (is_percpu ? kPerCpu : 0);
  }
  const bool is_kind =
      is_object && (given.flags & ~allowed) == 0 && given.has(kPerCpu) == is_percpu;
  if (is_kind) {
    if (!given.var.is_constant() || given.var.constant_value() != 0 || given.offset < 0) {
      return check_fixed_offset(index);
    }
    const Btf* types = types_of(given);
    const bool is_strict = field.kptr != KptrKind::kUntrusted;
    const bool is_same_side = target.is_kernel == is_kernel;
    if (is_same_side && types != nullptr &&
        has_struct_at({types, given.target}, given.offset, {types, target.type}, is_strict,
                      is_kernel)) {
      return true;
    }
  }
  const std::string_view wanted = options_.btf->type(field.type).name;
  std::string words = fmt::format("invalid kptr access, R{} type={} expected=ptr_{}", index,
                                  is_kind ? object_words(given) : kind_words(given), wanted);
  if (field.kptr == KptrKind::kUntrusted) words += fmt::format(" or untrusted_ptr_{}", wanted);
  return reject(Rule::kMapField, std::move(words));
}

// --- bpf_kptr_xchg

bool Explorer::check_kptr_argument(std::uint8_t index, CallFacts& facts) {
  const RegState& given = reg(index);
  const MapFields* fields = fields_behind(given);
  const auto wrong = [&](std::string words, int errno_value) {
    return reject(Rule::kMapField, std::move(words), {}, errno_value);
  };
  if (given.kind == RegKind::kMapValue && given.map->btf_value_type_id == 0) {
    return wrong(
        fmt::format("map '{}' has to have BTF in order to use bpf_kptr_xchg", given.map->name),
        EINVAL);
  }
  if (!given.var.is_constant()) {
    return wrong(fmt::format("R{} doesn't have constant offset. kptr has to be at the constant "
                             "offset",
                             index),
                 EINVAL);
  }
  if (fields == nullptr || fields->find(MapFieldKind::kKptr) == nullptr) {
    return wrong(fmt::format("R{} has no valid kptr", index), EINVAL);
  }
  const std::int64_t at = given.offset + static_cast<std::int64_t>(given.var.constant_value());
  const auto field = std::ranges::find_if(fields->fields, [&](const MapField& other) {
    return other.kind == MapFieldKind::kKptr && other.offset == at;
  });
  if (field == fields->fields.end()) {
    return wrong(fmt::format("off={} doesn't point to kptr", at), EACCES);
  }
  if (!is_owning(*field))
    return wrong(fmt::format("off={} kptr isn't referenced kptr", at), EACCES);
  facts.kptr = &*field;
  return true;
}

// The program's reference is the field's now. Per-CPU memory may be used until the section ends.
bool Explorer::release_into_kptr(std::uint32_t reference) {
  state_->for_each_register([&](RegState& other) {
    if (other.reference != reference) return;
    if (is_in_rcu() && other.has(kAllocated) && other.has(kPerCpu)) {
      other.reference = 0;
      other.flags &= static_cast<std::uint16_t>(~kAllocated);
      other.flags |= kRcuProtected;
    }
  });
  return release(reference);
}

void Explorer::set_kptr_result(const CallFacts& facts) {
  const KptrTarget target = kptr_target(*facts.kptr);
  RegState& result = reg(0);
  result = RegState::pointer(RegKind::kBtfObject, kMayBeNull);
  result.target = target.type;
  if (target.is_kernel) return;
  result.flags |= kAllocated | kLocalType;
  if (facts.kptr->kptr == KptrKind::kPercpu) result.flags |= kPerCpu;
}

}  // namespace lmn
