// SPDX-License-Identifier: Apache-2.0
//
// Goal: a port over a netdev passes on what the kernel told of a frame beside its bytes. Method: a
// veth pair in a network namespace of its own, tagged and plain frames from the far end.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <poll.h>

#include "ports/port.h"
#include "ports/testing/netns.h"

namespace lmn {
namespace {

using testing_support::make_test_frame;
using testing_support::Netns;
using testing_support::RawSocket;
using testing_support::shell;

std::vector<std::uint8_t> with_tag(std::vector<std::uint8_t> frame, std::uint16_t protocol,
                                   std::uint16_t control) {
  const std::uint8_t tag[] = {
      static_cast<std::uint8_t>(protocol >> 8), static_cast<std::uint8_t>(protocol),
      static_cast<std::uint8_t>(control >> 8), static_cast<std::uint8_t>(control)};
  frame.insert(frame.begin() + 12, std::begin(tag), std::end(tag));
  return frame;
}

TEST(PortMetadata, ThePacketPortTellsTagsTimesAndSums) {
  if (const auto why = Netns::refusal()) GTEST_SKIP() << *why;
  Netns::create()->run([] {
    ASSERT_TRUE(
        shell("ip link add near type veth peer name far && ip link set near up && "
              "ip link set far up"));
    FramePool pool = *FramePool::create(64);
    const SystemClock clock;
    PortResources resources;
    resources.pool = &pool;
    resources.clock = &clock;
    auto ports = open_port(*parse_port_spec("packet:near"), resources);
    ASSERT_TRUE(ports.has_value()) << ports.error().to_string();
    RxQueue& rx = ports->front()->rx_queue();
    auto far = RawSocket::open("far");
    ASSERT_TRUE(far.has_value());
    const auto plain = make_test_frame(100, 1);
    ASSERT_TRUE(far->send(with_tag(plain, 0x88a8, 5 << 13 | 7)));
    ASSERT_TRUE(far->send(plain));
    FrameBatch batch;
    while (batch.count < 2) {
      if (rx.receive(batch) > 0) continue;
      pollfd ready{rx.poll_fd(), POLLIN, 0};
      ASSERT_GT(::poll(&ready, 1, 2000), 0);
    }
    EXPECT_EQ(rx.info().metadata, kMetaTime | kMetaVlan | kMetaChecksum);
    const FrameMeta& first = batch.buffs[0].meta;
    EXPECT_EQ(first.known, kMetaVlan | kMetaChecksum);
    EXPECT_EQ(first.vlan_tci, 5 << 13 | 7);
    EXPECT_EQ(first.vlan_proto, htons(0x88a8));
    EXPECT_EQ(batch.buffs[1].meta.known, kMetaChecksum);
    EXPECT_NE(batch.buffs[1].rx_time_ns, 0u);
    for (std::size_t i = 0; i < 2; ++i) pool.free(batch.buffs[i].hard_start);
  });
}

}  // namespace
}  // namespace lmn
