// SPDX-License-Identifier: Apache-2.0
//
// SpscRing: a bounded queue from one thread to one other, without locks.
//
// The capacity is exact, not rounded up to a power of two: a queue of 192 places takes 192 and not
// 256, which is what whoever sized it reads in its counters. Each side keeps a copy of the other's
// position and looks at the real one only when the copy says "full" or "empty", so that a busy ring
// moves no cache line per element.
//
// Invariants: (1) head_ - tail_ <= capacity; both only grow; (2) an element is published by the
// release store of head_ and given back by that of tail_. Threads: push() and room() from one,
// pop() from one other, size() from any (exact only while both stand still). Tested by
// spsc_ring_test.cc.
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/assert.h"

namespace lmn {

template <typename T>
class SpscRing {
 public:
  // REQUIRES: capacity > 0.
  explicit SpscRing(std::size_t capacity)
      : slots_(std::bit_ceil(capacity)), mask_(slots_.size() - 1), capacity_(capacity) {
    LMN_ASSERT(capacity > 0);
  }
  SpscRing(const SpscRing&) = delete;
  SpscRing& operator=(const SpscRing&) = delete;

  std::size_t capacity() const noexcept { return capacity_; }
  std::size_t size() const noexcept {
    const std::uint64_t tail = tail_.load(std::memory_order_acquire);
    return static_cast<std::size_t>(head_.load(std::memory_order_acquire) - tail);
  }
  bool is_empty() const noexcept { return size() == 0; }

  // --- the side that fills it
  std::size_t room() noexcept {
    const std::uint64_t head = head_.load(std::memory_order_relaxed);
    if (head - known_tail_ == capacity_) known_tail_ = tail_.load(std::memory_order_acquire);
    return capacity_ - static_cast<std::size_t>(head - known_tail_);
  }
  // False, and nothing happened, when the ring is full.
  bool push(const T& element) noexcept {
    if (room() == 0) return false;
    const std::uint64_t head = head_.load(std::memory_order_relaxed);
    slots_[head & mask_] = element;
    head_.store(head + 1, std::memory_order_release);
    return true;
  }

  // --- the side that empties it
  // False when there is nothing.
  bool pop(T& element) noexcept {
    const std::uint64_t tail = tail_.load(std::memory_order_relaxed);
    if (tail == known_head_) {
      known_head_ = head_.load(std::memory_order_acquire);
      if (tail == known_head_) return false;
    }
    element = slots_[tail & mask_];
    tail_.store(tail + 1, std::memory_order_release);
    return true;
  }

 private:
  static constexpr std::size_t kLineBytes = 64;

  std::vector<T> slots_;
  std::size_t mask_;
  std::size_t capacity_;
  alignas(kLineBytes) std::atomic<std::uint64_t> head_{0};
  std::uint64_t known_tail_ = 0;  // of the side that fills
  alignas(kLineBytes) std::atomic<std::uint64_t> tail_{0};
  std::uint64_t known_head_ = 0;  // of the side that empties
};

}  // namespace lmn
