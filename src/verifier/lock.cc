// SPDX-License-Identifier: Apache-2.0
//
// Locks in map values and allocated objects: taking, giving back, and what is only true inside.
//
// A lock is known by where it lies (the map, or the program's types for allocated objects) and by
// the identity of the pointer through which it was taken, since two lookups may find two values.
// Of bpf_spin_lock one is held at a time; resilient locks nest, are given back in reverse order and
// may fail to be taken, which is a path of its own.
//
// Inside, lists and trees of the same value may be worked on, and pointers to nodes that are in
// them (non-owning references) are good; leaving the section takes them away, for somebody else may
// then remove and free the node. Tested by object_test.cc and paths_calls_test.cc.
// Source: Linux 6.18, kernel/bpf/verifier.c (process_spin_lock, check_reg_allocation_locked,
// invalidate_non_owning_refs, in_rbtree_lock_required_cb).
#include <fmt/format.h>

#include <algorithm>

#include "verifier/explorer.h"
#include "verifier/kernel_object.h"

namespace lmn {
namespace {

constexpr std::int32_t kErrnoMax = 4095;

bool is_lock(Reference::Kind kind) {
  return kind != Reference::Kind::kObject && kind != Reference::Kind::kInterrupts;
}

std::string_view lock_words(const LockUse& use) {
  return use.is_resilient ? "bpf_res_spin" : "bpf_spin";
}

Reference::Kind reference_kind(const LockUse& use) {
  if (!use.is_resilient) return Reference::Kind::kLock;
  return use.saves_interrupts ? Reference::Kind::kResilientLockInterrupts
                              : Reference::Kind::kResilientLock;
}

}  // namespace

// Where the lock that `reg` leads to lies.
const void* Explorer::lock_place(const RegState& reg) const {
  return reg.kind == RegKind::kMapValue ? static_cast<const void*>(reg.map)
                                        : static_cast<const void*>(options_.btf);
}

bool Explorer::check_lock(std::uint8_t index, const LockUse& use) {
  const RegState& given = reg(index);
  const std::string_view words = lock_words(use);
  if (in_tree_callback()) {
    return reject(Rule::kLock, "can't spin_{lock,unlock} in rbtree cb", {}, EACCES);
  }
  if (!given.var.is_constant()) {
    return reject(Rule::kLock, fmt::format("R{} doesn't have constant offset. {}_lock has to be at "
                                           "the constant offset",
                                           index, words));
  }
  const MapFields* fields = fields_behind(given);
  const auto kind = use.is_resilient ? MapFieldKind::kResilientSpinLock : MapFieldKind::kSpinLock;
  const MapField* field = fields == nullptr ? nullptr : fields->find(kind);
  if (field == nullptr) {
    const bool is_map = given.kind == RegKind::kMapValue;
    return reject(Rule::kLock, fmt::format("{} '{}' has no valid {}_lock", is_map ? "map" : "local",
                                           is_map ? given.map->name : "kptr", words));
  }
  const std::int64_t at = given.offset + static_cast<std::int64_t>(given.var.constant_value());
  if (at != field->offset) {
    return reject(Rule::kLock, fmt::format("off {} doesn't point to 'struct {}_lock' that is at {}",
                                           at, words, field->offset));
  }
  return use.is_taken ? take_lock(given, use) : give_back_lock(given, use);
}

bool Explorer::take_lock(const RegState& given, const LockUse& use) {
  const void* place = lock_place(given);
  for (const Reference& held : state_->references) {
    if (!use.is_resilient && held.kind == Reference::Kind::kLock) {
      return reject(Rule::kLock, "Locking two bpf_spin_locks are not allowed");
    }
    const bool is_same = is_lock(held.kind) && held.kind != Reference::Kind::kLock &&
                         held.id == given.id && held.lock_of == place;
    if (use.is_resilient && is_same) {
      return reject(Rule::kLock, "Acquiring the same lock again, AA deadlock detected");
    }
  }
  state_->references.push_back({reference_kind(use), given.id, at_, place});
  ++state_->active_locks;
  return true;
}

bool Explorer::give_back_lock(const RegState& given, const LockUse& use) {
  const std::string_view words = lock_words(use);
  const void* place = lock_place(given);
  auto& held = state_->references;
  if (state_->active_locks == 0) {
    return reject(Rule::kLock, fmt::format("{}_unlock without taking a lock", words));
  }
  const auto is_this = [&](const Reference& reference) {
    return reference.kind == reference_kind(use) && reference.id == given.id &&
           reference.lock_of == place;
  };
  const auto found = std::ranges::find_if(held, is_this);
  if (found == held.end()) {
    return reject(Rule::kLock, fmt::format("{}_unlock of different lock", words));
  }
  const auto is_later_lock = [](const Reference& reference) { return is_lock(reference.kind); };
  if (std::any_of(std::next(found), held.end(), is_later_lock)) {
    return reject(Rule::kLock, fmt::format("{}_unlock cannot be out of order", words));
  }
  held.erase(found);
  --state_->active_locks;
  forget_non_owning();
  return true;
}

// The lock of the value or object that `reg` leads to is held.
bool Explorer::is_lock_held_over(const RegState& reg) const {
  return std::ranges::any_of(state_->references, [&](const Reference& held) {
    return is_lock(held.kind) && held.id == reg.id && held.lock_of == lock_place(reg);
  });
}

void Explorer::forget_non_owning() {
  state_->for_each_register([&](RegState& reg) {
    if (reg.has(kNonOwning)) reg = is_trusted() ? RegState::unknown() : RegState{};
  });
}

// The comparison of a tree's nodes is running, while the tree is being changed.
bool Explorer::in_tree_callback() const {
  for (const FrameState& frame : state_->frames) {
    if (!frame.is_callback || frame.callsite == kEntryCallsite) continue;
    const KfuncProto* proto = kfunc_of(insn_at(frame.callsite));
    if (proto != nullptr && proto->args[0].kind == KfuncArgKind::kRbRoot) return true;
  }
  return false;
}

// The path on which a resilient lock could not be taken: an error in r0.
bool Explorer::push_failed_lock() {
  PathState* failed = push_branch(at_ + 1);
  if (failed == nullptr) return false;
  clear_caller_saved(failed->frame());
  RegState& result = failed->regs()[0];
  // An int: what stands above its 32 bits is nobody's promise.
  result = RegState::unknown();
  result.var.low = Interval<32>::of_signed(-kErrnoMax, -1);
  result.var.sync();
  return true;
}

bool Explorer::check_resilient_lock(const KfuncProto& proto, std::uint8_t index) {
  const RegState& given = reg(index);
  const bool is_value = given.kind == RegKind::kMapValue && given.flags == 0;
  if (!is_value && !is_plain_allocated(given)) {
    return reject(Rule::kLock,
                  fmt::format("arg#{} doesn't point to map value or allocated object", index - 1));
  }
  LockUse use;
  use.is_taken = (proto.flags & kKfSpinLock) != 0;
  use.is_resilient = true;
  use.saves_interrupts = (proto.flags & (kKfIrqSave | kKfIrqRestore)) != 0;
  return check_lock(index, use);
}

}  // namespace lmn
