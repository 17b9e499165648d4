// SPDX-License-Identifier: Apache-2.0
//
// Goal: examples/drop_log.c drops what it says, tells of each drop, and loses count of none, in the
// kernel and in LMN. Method: a packet for each reason; the records are read as their reader would,
// by libbpf from the kernel and by the map's own reader from LMN.
#include "examples/drop_log.h"

#include <linux/bpf.h>

#include <algorithm>

#include "examples/example_fixture.h"

namespace lmn {
namespace {

constexpr std::uint32_t kLoopback = 1;

struct Case {
  const char* what;
  Bytes packet;
  std::uint32_t reason;
};

PacketBuilder eth() { return PacketBuilder().ethernet(); }

Bytes cut(Bytes packet, std::size_t length) {
  packet.resize(length);
  return packet;
}

Bytes changed(Bytes packet, std::size_t at, std::uint8_t byte) {
  packet[at] = byte;
  return packet;
}

std::vector<Case> bad_packets() {
  const Bytes tcp = eth().ipv4().tcp().filler(40).build();
  const Bytes udp6 = eth().ipv6().udp().filler(40).build();
  const Ipv4Address self = {192, 0, 2, 9};
  const Ipv6Address self6 = ipv6_address("2001:db8::9");
  return {
      {"cut in the IPv4 header", cut(tcp, 33), DROP_CUT},
      {"IPv4 header of 16 bytes", changed(tcp, 14, 0x44), DROP_CUT},
      {"version 6 in an IPv4 frame", changed(tcp, 14, 0x65), DROP_CUT},
      {"cut in the IPv6 header", cut(udp6, 53), DROP_CUT},
      {"cut in a VLAN tag", cut(eth().vlan().ipv4().build(), 17), DROP_CUT},
      {"cut in an extension header", cut(eth().ipv6().ipv6_extension().udp().build(), 55),
       DROP_CUT},
      {"TCP header of 19 bytes", eth().ipv4({.protocol = 6}).filler(19).build(), DROP_CUT},
      {"IPv4 longer than the frame", cut(tcp, tcp.size() - 1), DROP_LENGTH},
      {"IPv4 shorter than its header", eth().ipv4({.total_length = 19}).udp().build(), DROP_LENGTH},
      {"IPv6 longer than the frame", cut(udp6, udp6.size() - 1), DROP_LENGTH},
      {"from a group", eth().ipv4({.src = {224, 0, 0, 1}}).udp().build(), DROP_SOURCE},
      {"from broadcast", eth().ipv4({.src = {255, 255, 255, 255}}).udp().build(), DROP_SOURCE},
      {"from nobody", eth().ipv4({.src = {0, 0, 0, 0}}).udp().build(), DROP_SOURCE},
      {"from its receiver", eth().ipv4({.src = self, .dst = self}).tcp().build(), DROP_SOURCE},
      {"from an IPv6 group", eth().ipv6({.src = ipv6_address("ff02::1")}).udp().build(),
       DROP_SOURCE},
      {"from its IPv6 receiver", eth().ipv6({.src = self6, .dst = self6}).udp().build(),
       DROP_SOURCE},
      {"TTL 0", eth().ipv4({.ttl = 0}).udp().build(), DROP_EXPIRED},
      {"hop limit 0", eth().ipv6({.hop_limit = 0}).udp().build(), DROP_EXPIRED},
      {"no TCP flags", eth().ipv4().tcp({.flags = 0}).build(), DROP_TCP_FLAGS},
      {"SYN and FIN", eth().ipv4().tcp({.flags = 0x03}).build(), DROP_TCP_FLAGS},
      {"SYN and RST", eth().vlan().ipv6().tcp({.flags = 0x06}).build(), DROP_TCP_FLAGS},
      {"FIN alone", eth().ipv6().ipv6_extension().tcp({.flags = 0x01}).build(), DROP_TCP_FLAGS},
      {"all flags", eth().ipv4({.options = {1, 1, 1, 0}}).tcp({.flags = 0x3f}).build(),
       DROP_TCP_FLAGS},
      {"small first fragment",
       eth().ipv4({.more_fragments = true, .protocol = 6}).filler(8).build(), DROP_SMALL_FRAGMENT},
  };
}

class DropLogTest : public ExamplesTest {
 protected:
  std::vector<struct drop_record> records() {
    std::vector<struct drop_record> all;
    const auto read = runner_->records("drops");
    EXPECT_TRUE(read) << read.error().to_string();
    if (!read) return all;
    for (const Bytes& bytes : *read) {
      struct drop_record record = {};
      EXPECT_EQ(bytes.size(), sizeof record);
      std::memcpy(&record, bytes.data(), std::min(bytes.size(), sizeof record));
      all.push_back(record);
    }
    return all;
  }
};

TEST_P(DropLogTest, EachReasonIsCountedAndTold) {
  ASSERT_NO_FATAL_FAILURE(load("drop_log"));
  std::array<std::uint64_t, DROP_COUNTERS> expected{};
  std::uint64_t last_ns = 0;
  for (const Case& each : bad_packets()) {
    ASSERT_EQ(verdict_of_untouched(each.packet), XDP_DROP) << each.what;
    ++expected[each.reason];
    const auto told = records();
    ASSERT_EQ(told.size(), 1u) << each.what;
    EXPECT_EQ(told[0].reason, each.reason) << each.what;
    EXPECT_EQ(told[0].ifindex, kLoopback);
    EXPECT_EQ(told[0].queue, 0u);
    EXPECT_EQ(told[0].packet_bytes, each.packet.size()) << each.what;
    EXPECT_EQ(told[0].captured_bytes, std::min<std::size_t>(each.packet.size(), DROP_BYTES_MAX));
    EXPECT_EQ(told[0].lost_before, 0u);
    EXPECT_GE(told[0].time_ns, last_ns);
    last_ns = told[0].time_ns;
    Bytes captured = each.packet;
    captured.resize(DROP_BYTES_MAX);
    EXPECT_TRUE(std::ranges::equal(captured, told[0].bytes)) << each.what;
  }
  for (std::uint32_t reason = 0; reason < DROP_COUNTERS; ++reason) {
    EXPECT_EQ(counter("drop_cnt", reason), expected[reason]) << "reason " << reason;
    EXPECT_EQ(expected[reason] > 0, reason != DROPS_LOST) << "no packet for reason " << reason;
  }
}

TEST_P(DropLogTest, HonestPacketsPass) {
  ASSERT_NO_FATAL_FAILURE(load("drop_log"));
  const std::vector<std::pair<const char*, Bytes>> cases = {
      {"ARP", eth().arp().build()},
      {"bare frame", eth().build()},
      {"SYN", eth().ipv4().tcp().build()},
      {"ACK with data", eth().vlan().ipv6().tcp({.flags = 0x18}).filler(9).build()},
      {"FIN and ACK", eth().ipv4().tcp({.flags = 0x11}).build()},
      {"RST", eth().ipv4().tcp({.flags = 0x04}).build()},
      {"Ethernet's padding", eth().ipv4().tcp().padded_to(60).build()},
      {"later fragment", eth().ipv4({.fragment_offset = 1, .protocol = 6}).filler(8).build()},
      {"DHCP", eth().ipv4({.src = {}, .dst = {255, 255, 255, 255}}).udp().build()},
      {"duplicate address detection",
       eth().ipv6({.src = {}, .dst = ipv6_address("ff02::1:ff00:1")}).icmp({.type = 135}).build()},
      {"options", eth().ipv4({.options = Bytes(40, 1)}).tcp().build()},
  };
  for (const auto& [what, packet] : cases)
    EXPECT_EQ(verdict_of_untouched(packet), XDP_PASS) << what;
  EXPECT_TRUE(records().empty());
}

// A ring of 64 KiB takes 630 records of 96 bytes and 8 of header.
TEST_P(DropLogTest, WhatFindsNoRoomIsCountedAndTheNextRecordSaysSo) {
  ASSERT_NO_FATAL_FAILURE(load("drop_log"));
  const Bytes bad = eth().ipv4({.ttl = 0}).udp().build();
  for (int i = 0; i < 700; ++i) ASSERT_EQ(verdict_of_untouched(bad), XDP_DROP);
  EXPECT_EQ(counter("drop_cnt", DROP_EXPIRED), 700u);
  EXPECT_EQ(counter("drop_cnt", DROPS_LOST), 70u);
  EXPECT_EQ(records().size(), 630u);
  run(bad);
  const auto after = records();
  ASSERT_EQ(after.size(), 1u);
  EXPECT_EQ(after[0].lost_before, 70u);
}

INSTANTIATE_TEST_SUITE_P(Runners, DropLogTest, ::testing::ValuesIn(kBothRunners), runner_name);

}  // namespace
}  // namespace lmn
