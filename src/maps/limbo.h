// SPDX-License-Identifier: Apache-2.0
//
// Limbo: numbers of what was taken out of a map and may still be read, oldest first.
//
// internal; of LPM_TRIE's values and BPF_F_NO_PREALLOC's elements, which the kernel frees after a
// grace period: a program that looked a value up goes on seeing it until its batch ends. With an
// Epoch a number comes out when its readers have passed; without one (a map that no engine made)
// when kQuarantine others have gone in behind it.
// Invariant: what comes out went in first. Threads: under the owning map's lock; Epoch's calls
// never wait. Tested by maps_concurrency_test.cc and maps_test.cc.
#pragma once

#include <cstdint>

#include "base/epoch.h"
#include "maps/map_memory.h"

namespace lmn {

class Limbo {
 public:
  static constexpr std::uint32_t kQuarantine = 64;

  // For at most `capacity` numbers at once. Errors: kLimitExceeded with ENOMEM.
  static Result<Limbo> create(std::uint32_t capacity, Epoch* epoch) {
    Limbo limbo;
    limbo.capacity_ = capacity;
    limbo.epoch_ = epoch;
    LMN_TRY(limbo.ring_, MapMemory::create(std::uint64_t{capacity} * sizeof(Entry)));
    return limbo;
  }

  void push(std::uint32_t number) noexcept {
    at(end_++) = {.stamp = epoch_ == nullptr ? 0 : epoch_->stamp(), .number = number};
  }
  // The oldest number if nobody reads it any more, else 0.
  std::uint32_t pop() noexcept {
    if (first_ == end_) return 0;
    const bool is_free =
        epoch_ != nullptr ? epoch_->has_passed(at(first_).stamp) : end_ - first_ > kQuarantine;
    return is_free ? at(first_++).number : 0;
  }
  // The oldest number, read or not; 0 when there is none.
  std::uint32_t pop_anyway() noexcept { return first_ == end_ ? 0 : at(first_++).number; }

 private:
  struct Entry {
    Epoch::Stamp stamp;
    std::uint32_t number;
  };
  Entry& at(std::uint64_t position) const {
    return reinterpret_cast<Entry*>(ring_.data())[position % capacity_];
  }

  MapMemory ring_;
  Epoch* epoch_ = nullptr;
  std::uint32_t capacity_ = 0;
  std::uint64_t first_ = 0;
  std::uint64_t end_ = 0;
};

}  // namespace lmn
