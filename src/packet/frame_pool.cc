// SPDX-License-Identifier: Apache-2.0
//
// FramePool: one block of shared memory cut into staggered frames. Tested by packet_test.cc.
#include "packet/frame_pool.h"

namespace lmn {

Result<FramePool> FramePool::create(std::size_t frame_count) {
  if (frame_count == 0) return make_error(ErrorCode::kInvalidArgument, "frame pool of 0 frames");
  FramePool pool;
  LMN_TRY(pool.memory_, SharedMemory::create("lmn-frames", frame_count * kStrideBytes));
  pool.frame_count_ = frame_count;
  pool.free_.resize(frame_count);
  // Last first, so that frames are handed out in address order: a fresh pool is walked with the
  // prefetcher.
  for (std::size_t i = frame_count; i-- > 0;)
    pool.free_[pool.free_count_++] = pool.memory_.data() + i * kStrideBytes;
  if constexpr (kHasDchecks) pool.used_.assign(frame_count, false);
  return pool;
}

void FramePool::check_and_mark(const std::uint8_t* frame, bool used) noexcept {
  LMN_ASSERT(owns(frame));
  const auto offset = static_cast<std::size_t>(frame - memory_.data());
  LMN_ASSERT(offset % kStrideBytes == 0);
  LMN_ASSERT(used_[offset / kStrideBytes] != used);
  used_[offset / kStrideBytes] = used;
}

}  // namespace lmn
