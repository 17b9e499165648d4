// SPDX-License-Identifier: Apache-2.0
//
// FramePool: the fixed set of frames that packets live in.
//
// One frame is kFrameBytes of room: 256 bytes of head-room, the packet, and a tail-room kept for
// shared info. Frames are staggered: each starts one cache line later in its page than its
// neighbour, because frames that all begin at the same page offset fight for the same cache sets
// (3.6x on our machines). The memory is a sealed memfd, so that a pool can be shared later without
// moving a byte.
//
//   head-room 256 | packet ................................ | tail-room 320
//   ^ hard_start    ^ data                       data_end ^   ^ hard_end
//
// A frame has one owner at any time: the pool, an XdpBuff in a batch, an XdpFrame in a queue, or a
// port's ring. It moves by ownership, never by copy. in_use() is the pool's half of the frame
// accounting. Invariants: (1) a frame is allocated or free, never both (checked in DCHECK builds by
// a bitmap); (2) allocate() returns memory whose contents are unspecified but initialised. Threads:
// one owner, the worker (threads of CPU queues hand frames back to it); pools shared by workers
// come with per-worker caches later. Tested by packet_test.cc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "abi/limits.h"
#include "base/assert.h"
#include "base/result.h"
#include "base/shared_memory.h"

namespace lmn {

class FramePool {
 public:
  // Distance between frames: the room plus one line of stagger.
  static constexpr std::size_t kStrideBytes = limits::kFrameBytes + 64;

  // Errors: kInvalidArgument for 0 frames, kIo when the memory cannot be had.
  static Result<FramePool> create(std::size_t frame_count);

  // hard_start of a frame, or null when all are in use.
  std::uint8_t* allocate() noexcept {
    if (free_count_ == 0) return nullptr;
    std::uint8_t* frame = free_[--free_count_];
    mark(frame, true);
    return frame;
  }

  // REQUIRES: `hard_start` came from allocate() of this pool and was not freed since.
  void free(std::uint8_t* hard_start) noexcept {
    mark(hard_start, false);
    free_[free_count_++] = hard_start;
  }

  std::size_t frame_count() const { return frame_count_; }
  std::size_t in_use() const { return frame_count_ - free_count_; }
  bool owns(const std::uint8_t* address) const {
    return address >= memory_.data() && address < memory_.data() + memory_.size();
  }

 private:
  void mark(const std::uint8_t* frame, bool used) noexcept {
    if constexpr (kHasDchecks) check_and_mark(frame, used);
  }
  void check_and_mark(const std::uint8_t* frame, bool used) noexcept;

  SharedMemory memory_;
  std::vector<std::uint8_t*> free_;  // the first free_count_ of frame_count_
  std::size_t free_count_ = 0;
  std::vector<bool> used_;  // DCHECK builds only
  std::size_t frame_count_ = 0;
};

}  // namespace lmn
