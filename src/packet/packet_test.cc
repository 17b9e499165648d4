// SPDX-License-Identifier: Apache-2.0
//
// Goal: frames keep their geometry and are never lost or doubled; random numbers replay. Method:
// walk a small pool to exhaustion and back, turn buffs to frames and back.
#include <gtest/gtest.h>

#include <set>

#include "packet/frame_batch.h"
#include "packet/frame_pool.h"
#include "packet/run_context.h"
#include "packet/xdp_buff.h"

namespace lmn {
namespace {

TEST(FramePool, HandsOutEachFrameOnceAndStaggers) {
  auto pool = FramePool::create(8);
  ASSERT_TRUE(pool.has_value());
  std::set<std::uint8_t*> frames;
  std::set<std::uintptr_t> page_offsets;
  for (int i = 0; i < 8; ++i) {
    std::uint8_t* frame = pool->allocate();
    ASSERT_NE(frame, nullptr);
    frame[limits::kFrameBytes - 1] = 1;
    frames.insert(frame);
    page_offsets.insert(reinterpret_cast<std::uintptr_t>(frame) % 4096);
  }
  EXPECT_EQ(frames.size(), 8u);
  EXPECT_EQ(page_offsets.size(), 8u) << "frames at one page offset fight for cache sets";
  EXPECT_EQ(pool->allocate(), nullptr);
  EXPECT_EQ(pool->in_use(), 8u);
  for (std::uint8_t* frame : frames) pool->free(frame);
  EXPECT_EQ(pool->in_use(), 0u);
  EXPECT_FALSE(FramePool::create(0).has_value());
}

#ifdef LMN_DCHECKS
TEST(FramePoolDeathTest, DoubleFreeIsCaught) {
  auto pool = FramePool::create(2);
  std::uint8_t* frame = pool->allocate();
  pool->free(frame);
  EXPECT_DEATH(pool->free(frame), "assertion failed");
}
#endif

TEST(XdpBuff, RestsAsFrameAndComesBack) {
  auto pool = FramePool::create(1);
  const RxQueueInfo rxq{7, 0};
  XdpBuff buff = make_xdp_buff(*pool, pool->allocate(), rxq);
  EXPECT_EQ(buff.hard_end() - buff.data, static_cast<std::ptrdiff_t>(limits::kPacketBytesMax));
  buff.data_end += 60;
  buff.data_meta -= 8;
  buff.data[0] = 0xab;
  XdpFrame* frame = to_frame(buff);
  EXPECT_EQ(frame->length, 60);
  EXPECT_EQ(frame->ingress_ifindex, 7u);
  EXPECT_EQ(frame->data()[0], 0xab);
  const XdpBuff back = to_buff(*frame, rxq);
  EXPECT_EQ(back.data, buff.data);
  EXPECT_EQ(back.metadata_length(), 8u);
  free_frame(frame);
  EXPECT_EQ(pool->in_use(), 0u);
}

TEST(Prandom, SameSeedSameNumbers) {
  PrandomState a;
  PrandomState b;
  a.seed(1);
  b.seed(1);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(a.next(), b.next());
  b.seed(2);
  EXPECT_NE(a.next(), b.next());
}

}  // namespace
}  // namespace lmn
