// SPDX-License-Identifier: Apache-2.0
//
// FramePool: one block of shared memory cut into staggered frames. Tested by packet_test.cc.
#include "packet/frame_pool.h"

#include "base/assert.h"

namespace lmn {

Result<FramePool> FramePool::create(std::size_t frame_count) {
  if (frame_count == 0) return make_error(ErrorCode::kInvalidArgument, "frame pool of 0 frames");
  FramePool pool;
  LMN_TRY(pool.memory_, SharedMemory::create("lmn-frames", frame_count * kStrideBytes));
  pool.frame_count_ = frame_count;
  pool.free_.reserve(frame_count);
  // Last first, so that frames are handed out in address order: a fresh pool is walked with the
  // prefetcher.
  for (std::size_t i = frame_count; i-- > 0;)
    pool.free_.push_back(pool.memory_.data() + i * kStrideBytes);
#ifdef LMN_DCHECKS
  pool.used_.assign(frame_count, false);
#endif
  return pool;
}

void FramePool::mark([[maybe_unused]] const std::uint8_t* frame,
                     [[maybe_unused]] bool used) noexcept {
#ifdef LMN_DCHECKS
  LMN_ASSERT(owns(frame));
  const auto offset = static_cast<std::size_t>(frame - memory_.data());
  LMN_ASSERT(offset % kStrideBytes == 0);
  LMN_ASSERT(used_[offset / kStrideBytes] != used);
  used_[offset / kStrideBytes] = used;
#endif
}

}  // namespace lmn
