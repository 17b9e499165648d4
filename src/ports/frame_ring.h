// SPDX-License-Identifier: Apache-2.0
//
// FrameRing: a bounded first-in first-out queue of resting frames, for drivers that hold some.
//
// Memory is taken once, at creation; push() refuses when full, and the caller drops and counts. The
// ring owns what is in it: its destructor gives the frames back to their pools.
// Invariant: head_ - tail_ <= capacity; both only grow (64 bits do not wrap in a machine's life).
// Threads: one owner. Tested by ports_contract_test.cc.
#pragma once

#include <bit>
#include <cstdint>
#include <vector>

#include "base/assert.h"
#include "packet/xdp_buff.h"

namespace lmn {

class FrameRing {
 public:
  // REQUIRES: capacity is a power of two.
  explicit FrameRing(std::size_t capacity) : slots_(capacity) {
    LMN_ASSERT(std::has_single_bit(capacity));
  }
  FrameRing(const FrameRing&) = delete;
  FrameRing& operator=(const FrameRing&) = delete;
  ~FrameRing() { clear(); }

  std::size_t size() const noexcept { return static_cast<std::size_t>(head_ - tail_); }
  bool is_empty() const noexcept { return head_ == tail_; }
  bool is_full() const noexcept { return size() == slots_.size(); }

  // False, and the frame stays the caller's, when the ring is full.
  bool push(XdpFrame* frame) noexcept {
    if (is_full()) return false;
    slots_[head_++ & (slots_.size() - 1)] = frame;
    return true;
  }
  // The oldest frame, now the caller's, or null.
  XdpFrame* pop() noexcept { return is_empty() ? nullptr : slots_[tail_++ & (slots_.size() - 1)]; }
  // The frame `index` places behind the oldest. REQUIRES: index < size().
  XdpFrame* peek(std::size_t index) const noexcept {
    return slots_[(tail_ + index) & (slots_.size() - 1)];
  }
  // Gives every frame back to its pool; returns how many there were.
  std::size_t clear() noexcept {
    const std::size_t count = size();
    while (XdpFrame* frame = pop()) free_frame(frame);
    return count;
  }

 private:
  std::vector<XdpFrame*> slots_;
  std::uint64_t head_ = 0;
  std::uint64_t tail_ = 0;
};

}  // namespace lmn
