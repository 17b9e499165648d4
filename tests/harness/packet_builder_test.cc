// SPDX-License-Identifier: Apache-2.0
//
// Goal: the builder's packets are what a real stack sends. Method: packets captured from Linux 6.18
// (two hosts of a private network talking to each other) are rebuilt field by field and must be
// equal to the byte; what was not captured is checked by its checksums, which are 0 when summed
// over.
#include "harness/packet_builder.h"

#include <gtest/gtest.h>

namespace lmn {
namespace {

PacketBytes from_hex(std::string_view text) {
  PacketBytes out;
  std::string digits;
  for (const char c : text) {
    if (c != ' ') digits.push_back(c);
  }
  for (std::size_t i = 0; i + 1 < digits.size(); i += 2) {
    out.push_back(static_cast<std::uint8_t>(std::stoul(digits.substr(i, 2), nullptr, 16)));
  }
  return out;
}

constexpr MacAddress kHostA = {0x02, 0, 0, 0, 0, 0x01};
constexpr MacAddress kHostB = {0x02, 0, 0, 0, 0, 0x02};

TEST(PacketBuilder, ArpEqualsCapture) {
  EXPECT_EQ(PacketBuilder()
                .ethernet({.dst = mac_address("ff:ff:ff:ff:ff:ff")})
                .arp({.operation = 1})
                .build(),
            from_hex("ffff ffff ffff 0200 0000 0001 0806 0001 0800 0604 0001 0200 0000 0001"
                     "c000 0201 0000 0000 0000 c000 0202"));
  EXPECT_EQ(PacketBuilder()
                .ethernet({.dst = kHostA, .src = kHostB})
                .arp({.operation = 2,
                      .sender_mac = kHostB,
                      .sender = ipv4_address("192.0.2.2"),
                      .target_mac = kHostA,
                      .target = ipv4_address("192.0.2.1")})
                .build(),
            from_hex("0200 0000 0001 0200 0000 0002 0806 0001 0800 0604 0002 0200 0000 0002"
                     "c000 0202 0200 0000 0001 c000 0201"));
}

TEST(PacketBuilder, IcmpEqualsCapture) {
  EXPECT_EQ(PacketBuilder()
                .ethernet()
                .ipv4({.id = 45390, .dont_fragment = true})
                .icmp({.id = 14638})
                .filler(9)
                .build(),
            from_hex("0200 0000 0002 0200 0000 0001 0800 4500 0025 b14e 4000 4001 0586 c000 0201"
                     "c000 0202 0800 aac0 392e 0001 0001 0203 0405 0607 08"));
}

TEST(PacketBuilder, Icmpv6EqualsCapture) {
  EXPECT_EQ(PacketBuilder()
                .ethernet()
                .ipv6({.flow_label = 0x911f5})
                .icmp({.type = 128, .id = 14639})
                .filler(9)
                .build(),
            from_hex("0200 0000 0002 0200 0000 0001 86dd 6009 11f5 0011 3a40 2001 0db8 0000 0000"
                     "0000 0000 0000 0001 2001 0db8 0000 0000 0000 0000 0000 0002 8000 d6fe 392f"
                     "0001 0001 0203 0405 0607 08"));
}

TEST(PacketBuilder, UdpEqualsCapture) {
  EXPECT_EQ(PacketBuilder()
                .ethernet()
                .ipv4({.id = 8534, .dont_fragment = true})
                .udp({.src_port = 40000, .dst_port = 53})
                .payload("hello")
                .build(),
            from_hex("0200 0000 0002 0200 0000 0001 0800 4500 0021 2156 4000 4011 9572 c000 0201"
                     "c000 0202 9c40 0035 000d 9b88 6865 6c6c 6f"));
}

TEST(PacketBuilder, TcpEqualsCapture) {
  EXPECT_EQ(PacketBuilder()
                .ethernet({.dst = kHostA, .src = kHostB})
                .ipv6({.src = ipv6_address("2001:db8::2"),
                       .dst = ipv6_address("2001:db8::1"),
                       .flow_label = 0x63188})
                .tcp({.src_port = 80,
                      .dst_port = 40000,
                      .sequence = 0,
                      .acknowledgement = 3220790664,
                      .flags = 0x14,
                      .window = 0})
                .build(),
            from_hex("0200 0000 0001 0200 0000 0002 86dd 6006 3188 0014 0640 2001 0db8 0000 0000"
                     "0000 0000 0000 0002 2001 0db8 0000 0000 0000 0000 0000 0001 0050 9c40 0000"
                     "0000 bff9 5d88 5014 0000 9a49 0000"));
}

TEST(PacketBuilder, HeadersNameWhatFollows) {
  const PacketBytes tagged = PacketBuilder()
                                 .ethernet()
                                 .vlan({.id = 7, .priority = 3, .protocol = 0x88a8})
                                 .vlan({.id = 0xabc})
                                 .ipv6()
                                 .ipv6_extension({.type = 0})
                                 .ipv6_extension({.type = 60, .extra_units = 1})
                                 .udp()
                                 .build();
  const PacketBytes tags(tagged.begin() + 12, tagged.begin() + 22);
  EXPECT_EQ(tags, from_hex("88a8 6007 8100 0abc 86dd"));
  EXPECT_EQ(tagged[22 + 6], 0);        // hop-by-hop
  EXPECT_EQ(tagged[22 + 40], 60);      // destination options
  EXPECT_EQ(tagged[22 + 40 + 8], 17);  // UDP
  EXPECT_EQ(tagged.size(), 22u + 40 + 8 + 16 + 8);
}

TEST(PacketBuilder, SetFieldsStay) {
  const PacketBytes packet = PacketBuilder()
                                 .ethernet({.ethertype = 0x1234})
                                 .ipv4({.protocol = 99, .total_length = 21})
                                 .udp({.has_checksum = false})
                                 .filler(3)
                                 .build();
  EXPECT_EQ(packet[12] << 8 | packet[13], 0x1234);
  EXPECT_EQ(packet[14 + 9], 99);
  EXPECT_EQ(packet[14 + 3], 21);
  EXPECT_EQ(packet[34 + 6] << 8 | packet[34 + 7], 0);
}

TEST(PacketBuilder, ChecksumsHoldForEveryLength) {
  for (std::size_t length = 0; length < 40; ++length) {
    const PacketBytes packet = PacketBuilder()
                                   .ethernet()
                                   .ipv4({.options = {7, 3, 4}})
                                   .tcp()
                                   .filler(length)
                                   .padded_to(60)
                                   .build();
    EXPECT_EQ(packet.size(), std::max<std::size_t>(60, 14 + 24 + 20 + length));
    const auto ip = std::span(packet).subspan(14, 24);
    EXPECT_EQ(internet_checksum(ip), 0) << length;
    const auto segment = std::span(packet).subspan(38, 20 + length);
    const std::uint32_t pseudo =
        (0xc000 + 0x0201) + (0xc000 + 0x0202) + 6 + static_cast<std::uint32_t>(segment.size());
    EXPECT_EQ(internet_checksum(segment, pseudo), 0) << length;
  }
}

TEST(PacketBuilder, UdpChecksumIsNeverSentAsZero) {
  // The two payload bytes are chosen by search so that the sum comes out as 0.
  int found = 0;
  for (int value = 0; value < 0x10000; ++value) {
    const PacketBytes bytes = {static_cast<std::uint8_t>(value >> 8),
                               static_cast<std::uint8_t>(value & 0xff)};
    const PacketBytes packet = PacketBuilder().ethernet().ipv4().udp().payload(bytes).build();
    ASSERT_NE(packet[40] << 8 | packet[41], 0);
    if ((packet[40] << 8 | packet[41]) == 0xffff) ++found;
  }
  EXPECT_GE(found, 1);
}

TEST(PacketBuilder, DnsQuestion) {
  const PacketBytes packet =
      PacketBuilder().ethernet().ipv4().udp({.dst_port = 53}).dns_query({.id = 0xbeef}).build();
  const PacketBytes message(packet.begin() + 42, packet.end());
  EXPECT_EQ(message,
            from_hex("beef 0100 0001 0000 0000 0000 01 61 07 6578616d706c65 00 0001 0001"));
}

}  // namespace
}  // namespace lmn
