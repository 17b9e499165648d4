// SPDX-License-Identifier: Apache-2.0
//
// ValueFields: how the values of one map are copied and given up when they hold more than bytes.
//
// A value may hold locks, timers, pointers to objects, lists and trees (btf/map_fields.h). Copying
// such a value from or to people leaves those parts alone: in the map they keep what they hold, in
// the copy they are zero. Giving a value up (its element is deleted, replaced, evicted) frees what
// hangs in it: timers are cancelled, objects lose a reference.
//
//   fields.copy_in(value, from);      // an update
//   fields.copy_out(out, value);      // a lookup
//   fields.retire(value, owners);     // the element goes; the parts are zero afterwards
//
// The kernel's record and functions on it, by another name: copy_map_value,
// check_and_init_map_value, bpf_obj_free_fields.
// Threads: immutable; copies move words as relaxed atomics, as plain values do (map_memory.h).
// Tested by tests/contract/maps_contract_test.cc.
// Source: Linux 6.18, include/linux/bpf.h, kernel/bpf/syscall.c (bpf_obj_free_fields).
#pragma once

#include <cstdint>
#include <vector>

#include "btf/map_fields.h"

namespace lmn {

class DeferredCalls;  // maps/deferred_calls.h
class ObjectHeap;     // maps/object_heap.h

// Who keeps what a value's parts stand for. Null: there is none of it.
struct ValueOwners {
  ObjectHeap* objects = nullptr;
  DeferredCalls* deferred = nullptr;
};

class ValueFields {
 public:
  ValueFields(MapFields fields, std::uint32_t value_size);

  const MapFields& fields() const { return fields_; }
  // The word of the value's bpf_spin_lock, or null when the type has none.
  std::uint32_t* lock_of(void* value) const noexcept;

  // Plain bytes only. REQUIRES: `value` is 8-byte aligned.
  void copy_in(void* value, const void* from) const noexcept;
  // The same the other way, zeros for the rest.
  void copy_out(void* to, const void* value) const noexcept;
  // Frees what hangs in the value, and zeroes all parts but locks.
  void retire(void* value, const ValueOwners& owners) const noexcept;

 private:
  struct Span {
    std::uint32_t offset;
    std::uint32_t size;
  };
  void retire_one(const MapField& field, std::uint8_t* at, std::uint32_t* lock,
                  const ValueOwners& owners) const noexcept;

  MapFields fields_;
  std::vector<Span> plain_;  // what lies between the fields
  std::uint32_t value_size_;
};

}  // namespace lmn
