// SPDX-License-Identifier: Apache-2.0
//
// ValueFields. Tested by tests/contract/maps_contract_test.cc.
// Source: Linux 6.18, include/linux/bpf.h (bpf_obj_memcpy), kernel/bpf/syscall.c
// (bpf_obj_free_fields).
#include "maps/value_fields.h"

#include <atomic>
#include <cstring>
#include <utility>

#include "maps/deferred_calls.h"
#include "maps/map_memory.h"
#include "maps/object_heap.h"
#include "maps/value_lock.h"

namespace lmn {
namespace {

std::uint64_t address_of(const void* bytes) { return reinterpret_cast<std::uintptr_t>(bytes); }

std::uint64_t take_word(std::uint8_t* at) {
  return std::atomic_ref(*reinterpret_cast<std::uint64_t*>(at)).exchange(0);
}

// Bytes of any alignment in a value that others read and write: aligned words move whole.
template <typename Copy>
void for_each_piece(std::uint32_t offset, std::uint32_t size, Copy copy) {
  const std::uint32_t end = offset + size;
  const std::uint32_t first_word = std::min(end, (offset + 7) / 8 * 8);
  for (std::uint32_t at = offset; at < first_word;) {
    const std::uint32_t step = at % 4 == 0 && first_word - at >= 4 ? 4 : 1;
    copy(at, step);
    at += step;
  }
  if (first_word < end) copy(first_word, end - first_word);
}

}  // namespace

ValueFields::ValueFields(MapFields fields, std::uint32_t value_size)
    : fields_(std::move(fields)), value_size_(value_size) {
  std::uint32_t at = 0;
  for (const MapField& field : fields_.fields) {
    if (field.offset > at) plain_.push_back({at, field.offset - at});
    at = field.offset + field.size;
  }
  if (at < value_size) plain_.push_back({at, value_size - at});
}

std::uint32_t* ValueFields::lock_of(void* value) const noexcept {
  const MapField* lock = fields_.find(MapFieldKind::kSpinLock);
  if (lock == nullptr) return nullptr;
  return reinterpret_cast<std::uint32_t*>(static_cast<std::uint8_t*>(value) + lock->offset);
}

void ValueFields::copy_in(void* value, const void* from) const noexcept {
  auto* to = static_cast<std::uint8_t*>(value);
  const auto* source = static_cast<const std::uint8_t*>(from);
  for (const Span& span : plain_) {
    for_each_piece(span.offset, span.size, [&](std::uint32_t at, std::uint32_t size) {
      store_value(to + at, source + at, size);
    });
  }
}

void ValueFields::copy_out(void* to, const void* value) const noexcept {
  auto* target = static_cast<std::uint8_t*>(to);
  const auto* from = static_cast<const std::uint8_t*>(value);
  std::memset(target, 0, value_size_);
  if (const MapField* count = fields_.find(MapFieldKind::kRefcount); count != nullptr) {
    target[count->offset] = 1;  // as a fresh one
  }
  for (const Span& span : plain_) {
    for_each_piece(span.offset, span.size, [&](std::uint32_t at, std::uint32_t size) {
      load_value(target + at, from + at, size);
    });
  }
}

void ValueFields::retire(void* value, const ValueOwners& owners) const noexcept {
  auto* bytes = static_cast<std::uint8_t*>(value);
  std::uint32_t* lock = lock_of(value);
  for (const MapField& field : fields_.fields) {
    retire_one(field, bytes + field.offset, lock, owners);
  }
}

void ValueFields::retire_one(const MapField& field, std::uint8_t* at, std::uint32_t* lock,
                             const ValueOwners& owners) const noexcept {
  switch (field.kind) {
    case MapFieldKind::kTimer:
    case MapFieldKind::kWorkqueue:
      if (owners.deferred != nullptr) owners.deferred->forget(address_of(at));
      zero_value(at, field.size);
      return;
    case MapFieldKind::kKptr: {
      const std::uint64_t object = take_word(at);
      if (object == 0 || owners.objects == nullptr) return;
      if (field.kptr == KptrKind::kReferenced || field.kptr == KptrKind::kPercpu) {
        owners.objects->release(object);
      }
      return;
    }
    case MapFieldKind::kListHead:
    case MapFieldKind::kTreeRoot: {
      // A program may be at the list at this moment.
      const bool is_locked = lock != nullptr && take_value_lock(*lock);
      if (owners.objects != nullptr) owners.objects->empty_head(address_of(at));
      zero_value(at, field.size);
      if (is_locked) open_value_lock(*lock);
      return;
    }
    case MapFieldKind::kSpinLock:
    case MapFieldKind::kResilientSpinLock:
    case MapFieldKind::kTaskWork:
    case MapFieldKind::kListNode:
    case MapFieldKind::kTreeNode:
    case MapFieldKind::kRefcount:
      return;
  }
}

}  // namespace lmn
