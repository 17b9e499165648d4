// SPDX-License-Identifier: Apache-2.0
//
// SlotArray: numbered slots of pointers to what other objects own: programs, maps, events, sockets.
//
// internal; the inside of the array types whose values are handles. A slot is one pointer, loaded
// and exchanged atomically, so that a reader sees the old object or the new one. The array knows
// how many slots are occupied: emptying a large empty map walks nothing. Invariant: occupied() is
// the number of non-null slots, but for the moment of an exchange. Threads: any. What a reader got
// must stay alive for a grace period after its release: the host's duty. Tested by maps_test.cc.
#pragma once

#include <atomic>
#include <cstdint>

#include "maps/map_memory.h"

namespace lmn {

template <typename T>
class SlotArray {
 public:
  static Result<SlotArray> create(std::uint32_t slot_count) {
    SlotArray array;
    LMN_TRY(array.memory_, MapMemory::create(std::uint64_t{slot_count} * sizeof(Slot)));
    array.slot_count_ = slot_count;
    return array;
  }
  SlotArray(SlotArray&& other) noexcept
      : memory_(std::move(other.memory_)),
        slot_count_(other.slot_count_),
        occupied_(other.occupied_.load(std::memory_order_relaxed)) {}

  // What the slot holds, or null: also for an index out of range.
  T* load(std::uint64_t index) const noexcept {
    if (index >= slot_count_) return nullptr;
    return slot(static_cast<std::uint32_t>(index)).load(std::memory_order_acquire);
  }
  // Puts `fresh` into the slot and gives what was there. REQUIRES: index in range.
  T* exchange(std::uint32_t index, T* fresh) noexcept {
    if (fresh != nullptr) occupied_.fetch_add(1, std::memory_order_relaxed);
    T* old = slot(index).exchange(fresh, std::memory_order_acq_rel);
    if (old != nullptr) occupied_.fetch_sub(1, std::memory_order_relaxed);
    return old;
  }
  std::uint32_t occupied() const noexcept { return occupied_.load(std::memory_order_relaxed); }

  // Empties the array, giving each object to `release`.
  template <typename Release>
  void clear(Release release) noexcept {
    for (std::uint32_t index = 0; index < slot_count_ && occupied() > 0; ++index) {
      if (T* old = exchange(index, nullptr)) release(old);
    }
  }

 private:
  using Slot = std::atomic<T*>;
  static_assert(sizeof(Slot) == sizeof(T*) && Slot::is_always_lock_free,
                "zeroed memory is an array of empty slots");
  SlotArray() = default;
  Slot& slot(std::uint32_t index) const { return reinterpret_cast<Slot*>(memory_.data())[index]; }

  MapMemory memory_;
  std::uint32_t slot_count_ = 0;
  std::atomic<std::uint32_t> occupied_{0};
};

}  // namespace lmn
