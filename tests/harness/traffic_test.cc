// SPDX-License-Identifier: Apache-2.0
//
// Goal: the generator repeats itself and reaches what its comment promises. Method: count kinds of
// packets by reading their bytes.
#include "harness/traffic.h"

#include <gtest/gtest.h>

#include <map>

namespace lmn {
namespace {

std::uint16_t ethertype_behind_tags(const PacketBytes& packet, std::size_t& tags) {
  std::size_t at = 12;
  tags = 0;
  while (at + 4 < packet.size()) {
    const int type = packet[at] << 8 | packet[at + 1];
    if (type != 0x8100 && type != 0x88a8) break;
    at += 4;
    ++tags;
  }
  return at + 2 <= packet.size() ? static_cast<std::uint16_t>(packet[at] << 8 | packet[at + 1]) : 0;
}

TEST(TrafficGenerator, SameSeedSamePackets) {
  TrafficGenerator one(7);
  TrafficGenerator other(7);
  TrafficGenerator different(8);
  int differences = 0;
  for (int i = 0; i < 1000; ++i) {
    const PacketBytes packet = one.next();
    ASSERT_EQ(packet, other.next());
    if (packet != different.next()) ++differences;
  }
  EXPECT_GT(differences, 990);
}

TEST(TrafficGenerator, ReachesEveryKind) {
  TrafficGenerator traffic(1);
  std::map<std::uint16_t, int> types;
  std::map<std::size_t, int> depths;
  std::size_t shortest = 10000;
  std::size_t longest = 0;
  for (int i = 0; i < 20000; ++i) {
    const PacketBytes packet = traffic.next();
    std::size_t tags = 0;
    ++types[ethertype_behind_tags(packet, tags)];
    ++depths[tags];
    shortest = std::min(shortest, packet.size());
    longest = std::max(longest, packet.size());
  }
  EXPECT_EQ(shortest, 14u);
  EXPECT_GT(longest, 1000u);
  EXPECT_LE(longest, TrafficGenerator::kPacketBytesMax);
  EXPECT_GT(types[0x0800], 5000);
  EXPECT_GT(types[0x86dd], 5000);
  EXPECT_GT(types[0x0806], 500);
  for (std::size_t depth = 0; depth <= 5; ++depth) EXPECT_GT(depths[depth], 100) << depth;
}

}  // namespace
}  // namespace lmn
