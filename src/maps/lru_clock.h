// SPDX-License-Identifier: Apache-2.0
//
// LruClock: which element of a full LRU map goes: the clock algorithm, also called second chance.
//
// Elements stand in a circle. A use marks an element, by one plain store and without a lock
// (hash_touch in hash_fast.h). When room is needed, a hand goes round: it takes the first element
// without a mark and clears the marks that it passes. So an element that is used between two
// passes stays, and a new one has a whole round to be used in. (An exact list would need a lock and
// six stores to other elements' lines for every packet; the kernel too marks and goes round, in
// lists per CPU.) The hit rate on a Zipf trace is that of an exact LRU within 2 %: lru_test.cc.
// Marks are bytes, so that workers store them without read-modify-write; 64 are judged at once. A
// pass looks at no more than kBlocksPerPass * 64 elements: if all of those were used, the one that
// the hand then points to goes.
//
// Invariants: (1) is_linked says which elements may be taken; marks of others mean nothing.
// Threads: marks are written by any; the rest under the owning map's lock.
// Tested by lru_test.cc.
#pragma once

#include <linux/bpf.h>

#include <bit>
#include <cstdint>

#include "base/platform_simd.h"
#include "maps/map_memory.h"
#include "spec/map_spec.h"

namespace lmn {

class LruClock {
 public:
  // For elements 1 to `element_count`. Errors: kLimitExceeded with ENOMEM.
  static Result<LruClock> create(std::uint64_t element_count) {
    LruClock clock;
    clock.block_count_ = element_count / kBlock + 1;
    LMN_TRY(clock.marks_, MapMemory::create(clock.block_count_ * kBlock));
    LMN_TRY(clock.linked_, MapMemory::create(clock.block_count_ * sizeof(std::uint64_t)));
    return clock;
  }

  // Byte n belongs to element n: 1 when used since the hand passed.
  std::uint8_t* marks() const { return marks_.data(); }

  void link(std::uint32_t element, bool is_used) noexcept {
    linked(element / kBlock) |= 1ull << element % kBlock;
    __atomic_store_n(marks() + element, is_used ? 1 : 0, __ATOMIC_RELAXED);
  }
  void unlink(std::uint32_t element) noexcept {
    linked(element / kBlock) &= ~(1ull << element % kBlock);
  }
  // Chooses the element to go and moves the hand behind it; 0 when none is linked. The caller
  // unlinks it.
  std::uint32_t choose() noexcept {
    for (std::uint64_t looked = 0; looked <= block_count_ + kBlocksPerPass; ++looked) {
      const std::uint64_t ahead = linked(hand_ / kBlock) & ~0ull << hand_ % kBlock;
      const std::uint64_t unused =
          looked < kBlocksPerPass ? ahead & unmarked(hand_ / kBlock) : ahead;
      if (unused != 0) return take(static_cast<unsigned>(std::countr_zero(unused)));
      clear_marks(hand_ % kBlock, kBlock);
      hand_ = (hand_ / kBlock + 1) % block_count_ * kBlock;
    }
    return 0;
  }
  // The nth element that will be chosen if nothing is used till then, as far as the hand's block
  // tells; 0 for unknown.
  std::uint32_t peek(unsigned nth) const noexcept {
    std::uint64_t unused =
        linked(hand_ / kBlock) & unmarked(hand_ / kBlock) & ~0ull << hand_ % kBlock;
    for (; nth > 0 && unused != 0; --nth) unused &= unused - 1;
    const auto place = static_cast<unsigned>(std::countr_zero(unused));
    return unused == 0 ? 0 : static_cast<std::uint32_t>(hand_ / kBlock * kBlock + place);
  }

 private:
  static constexpr std::uint64_t kBlock = 64;
  static constexpr std::uint64_t kBlocksPerPass = 1024;

  std::uint64_t& linked(std::uint64_t block) const {
    return reinterpret_cast<std::uint64_t*>(linked_.data())[block];
  }
  std::uint64_t* mark_words(std::uint64_t block) const {
    return reinterpret_cast<std::uint64_t*>(marks() + block * kBlock);
  }
  // Bit i: element i of the block has no mark.
  std::uint64_t unmarked(std::uint64_t block) const noexcept {
    const std::uint64_t* words = mark_words(block);
    std::uint64_t bits = 0;
    for (unsigned pair = 0; pair < 4; ++pair) {
      const std::uint64_t low = __atomic_load_n(&words[2 * pair], __ATOMIC_RELAXED);
      const std::uint64_t high = __atomic_load_n(&words[2 * pair + 1], __ATOMIC_RELAXED);
      bits |= std::uint64_t{equal_bytes(low, high, 0)} << (16 * pair);
    }
    return bits;
  }
  std::uint32_t take(unsigned place) noexcept {
    const std::uint64_t block = hand_ / kBlock;
    clear_marks(hand_ % kBlock, place + 1);
    const std::uint64_t element = block * kBlock + place;
    hand_ = (element + 1) % (block_count_ * kBlock);
    return static_cast<std::uint32_t>(element);
  }
  // Of the places [from, end) of the hand's block.
  void clear_marks(std::uint64_t from, std::uint64_t end) noexcept {
    std::uint8_t* mark = marks() + hand_ / kBlock * kBlock;
    for (; from < end && from % 8 != 0; ++from) __atomic_store_n(mark + from, 0, __ATOMIC_RELAXED);
    for (; from + 8 <= end; from += 8) {
      __atomic_store_n(&mark_words(hand_ / kBlock)[from / 8], 0, __ATOMIC_RELAXED);
    }
    for (; from < end; ++from) __atomic_store_n(mark + from, 0, __ATOMIC_RELAXED);
  }

  MapMemory marks_;
  MapMemory linked_;
  std::uint64_t block_count_ = 0;
  std::uint64_t hand_ = 0;  // the element to look at next; number 0 is never linked
};

// max_entries as the kernel rounds it for lists per CPU: up, or down where that would wrap.
inline MapSpec with_rounded_entries(MapSpec spec, std::uint32_t cpu_count) {
  if ((spec.map_flags & BPF_F_NO_COMMON_LRU) == 0) return spec;
  const std::uint64_t up =
      (std::uint64_t{spec.max_entries} + cpu_count - 1) / cpu_count * cpu_count;
  spec.max_entries =
      up <= UINT32_MAX ? static_cast<std::uint32_t>(up) : spec.max_entries / cpu_count * cpu_count;
  return spec;
}

}  // namespace lmn
