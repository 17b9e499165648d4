// SPDX-License-Identifier: Apache-2.0
//
// Goal: checksums are completed and super-frames cut exactly as a network device would, and no
// offload request, however wrong, is followed outside the packet. Method: each piece is compared
// byte for byte with the packet that the builder makes for it; tables of wrong requests; random
// requests (ASan in the asan preset). The kernel's own cutting is the oracle in
// tests/system/ports_packet_test.cc.
#include <gtest/gtest.h>

#include <random>

#include "abi/limits.h"
#include "harness/packet_builder.h"
#include "ports/offload/checksum.h"
#include "ports/offload/super_frame.h"

namespace lmn {
namespace {

using Cut = OffloadRequest::Cut;
constexpr std::uint8_t kAck = 0x10;
constexpr std::uint8_t kPshFinCwr = 0x08 | 0x01 | 0x80;

TEST(Checksum, SumsAsTheRfcDoes) {
  std::mt19937 random(7);
  for (std::size_t length = 0; length < 200; ++length) {
    std::vector<std::uint8_t> bytes(length);
    for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(random());
    const std::uint16_t expected = internet_checksum(bytes);  // inverted, in network order
    const std::uint16_t sum = ones_complement_sum(bytes);
    EXPECT_EQ(static_cast<std::uint16_t>(~sum), __builtin_bswap16(expected)) << length;
  }
}

TEST(Checksum, CompletesInsideTheFrameOnly) {
  struct Row {
    std::size_t length, start, offset;
    bool is_done;
  };
  const Row rows[] = {{60, 34, 16, true},        {60, 34, 24, true},     {60, 34, 25, false},
                      {60, 60, 0, false},        {60, 61, 0, false},     {60, 0, 58, true},
                      {60, 65535, 65535, false}, {60, 34, 65535, false}, {2, 0, 0, true},
                      {1, 0, 0, false},          {0, 0, 0, false}};
  for (const Row& row : rows) {
    std::vector<std::uint8_t> frame(row.length, 0x11);
    const std::vector<std::uint8_t> before = frame;
    EXPECT_EQ(complete_checksum(frame, row.start, row.offset), row.is_done) << row.offset;
    EXPECT_EQ(frame != before, row.is_done);
  }
}

TEST(Checksum, ZeroIsStoredAsItsOtherForm) {
  std::vector<std::uint8_t> frame = {0xff, 0xff, 0, 0};
  ASSERT_TRUE(complete_checksum(frame, 0, 2));
  EXPECT_EQ(frame[2], 0xff);
  EXPECT_EQ(frame[3], 0xff);
}

// Replaces a complete checksum by the sum of the pseudo header alone.
void make_partial(PacketBytes& packet, std::size_t start, std::size_t offset) {
  const std::uint16_t complete = load_unaligned<std::uint16_t>(packet.data() + start + offset);
  store_unaligned<std::uint16_t>(packet.data() + start + offset, 0);
  const std::uint16_t rest = ones_complement_sum(ByteSpan(packet).subspan(start));
  std::uint8_t parts[4];
  store_unaligned(parts, static_cast<std::uint16_t>(~complete));
  store_unaligned(parts + 2, static_cast<std::uint16_t>(~rest));
  store_unaligned(packet.data() + start + offset, ones_complement_sum(parts));
}

struct Flow {
  bool is_ipv6 = false;
  bool is_udp = false;
  bool has_vlan = false;
  std::size_t option_bytes = 0;
};

PacketBytes build(const Flow& flow, std::span<const std::uint8_t> payload, std::uint32_t index,
                  std::size_t piece_bytes, std::uint8_t flags) {
  PacketBuilder builder;
  builder.ethernet();
  if (flow.has_vlan) builder.vlan({.id = 7});
  if (flow.is_ipv6) {
    builder.ipv6();
    if (flow.option_bytes > 0) builder.ipv6_extension();
  } else {
    // The identification wraps on the way.
    builder.ipv4({.id = static_cast<std::uint16_t>(65530 + index),
                  .options = PacketBytes(flow.option_bytes, 1)});
  }
  if (flow.is_udp) {
    builder.udp();
  } else {
    builder.tcp({.sequence = static_cast<std::uint32_t>(0xfffff000u + index * piece_bytes),
                 .flags = flags});
  }
  return builder.payload(payload).build();
}

OffloadRequest request_of(const Flow& flow, std::size_t piece_bytes) {
  OffloadRequest request;
  request.cut = flow.is_udp ? Cut::kUdp : flow.is_ipv6 ? Cut::kTcp6 : Cut::kTcp4;
  request.needs_checksum = true;
  const std::size_t ip =
      flow.is_ipv6 ? 40 + (flow.option_bytes > 0 ? 8 : 0) : 20 + flow.option_bytes;
  request.checksum_start = static_cast<std::uint16_t>(14 + (flow.has_vlan ? 4 : 0) + ip);
  request.checksum_offset = flow.is_udp ? 6 : 16;
  request.piece_bytes = static_cast<std::uint16_t>(piece_bytes);
  return request;
}

PacketBytes super_frame_of(const Flow& flow, std::span<const std::uint8_t> payload) {
  PacketBytes packet = build(flow, payload, 0, 0, kAck | kPshFinCwr);
  const OffloadRequest request = request_of(flow, 1);
  make_partial(packet, request.checksum_start, request.checksum_offset);
  return packet;
}

TEST(SuperFrame, PiecesAreWhatAWireWouldCarry) {
  std::vector<std::uint8_t> payload(9000);
  for (std::size_t i = 0; i < payload.size(); ++i) payload[i] = static_cast<std::uint8_t>(i * 31);
  const Flow flows[] = {{},
                        {.is_ipv6 = true},
                        {.is_udp = true},
                        {.is_ipv6 = true, .is_udp = true},
                        {.has_vlan = true},
                        {.option_bytes = 12},
                        {.is_ipv6 = true, .option_bytes = 8}};
  for (const Flow& flow : flows) {
    for (const std::size_t piece_bytes : {1u, 536u, 1448u, 3000u, 8999u, 9000u, 9001u}) {
      const PacketBytes packet = super_frame_of(flow, payload);
      SuperFrame super;
      ASSERT_TRUE(super.start(packet, request_of(flow, piece_bytes)));
      std::vector<std::uint8_t> out(super.piece_length_max());
      std::uint32_t index = 0;
      std::size_t done = 0;
      for (; !super.is_done(); ++index) {
        const std::size_t part = std::min(piece_bytes, payload.size() - done);
        const std::size_t length = super.next(out);
        std::uint8_t flags = kAck;
        if (index == 0) flags |= 0x80;
        if (done + part == payload.size()) flags |= 0x09;
        const PacketBytes expected =
            build(flow, std::span(payload).subspan(done, part), index, piece_bytes, flags);
        ASSERT_EQ(PacketBytes(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(length)),
                  expected)
            << "piece " << index << " of " << piece_bytes << " bytes";
        done += part;
      }
      EXPECT_EQ(done, payload.size());
    }
  }
}

TEST(SuperFrame, RequestsThatFitNoPacketAreRefused) {
  const std::vector<std::uint8_t> payload(5000, 1);
  const Flow tcp4;
  const PacketBytes good = super_frame_of(tcp4, payload);
  SuperFrame super;
  ASSERT_TRUE(super.start(good, request_of(tcp4, 1448)));
  struct Row {
    const char* name;
    void (*spoil)(PacketBytes&, OffloadRequest&);
  };
  const Row rows[] = {
      {"no cut", [](PacketBytes&, OffloadRequest& r) { r.cut = Cut::kNone; }},
      {"unknown cut", [](PacketBytes&, OffloadRequest& r) { r.cut = Cut::kUnknown; }},
      {"no checksum", [](PacketBytes&, OffloadRequest& r) { r.needs_checksum = false; }},
      {"pieces of nothing", [](PacketBytes&, OffloadRequest& r) { r.piece_bytes = 0; }},
      {"TCPv6 on IPv4", [](PacketBytes&, OffloadRequest& r) { r.cut = Cut::kTcp6; }},
      {"UDP checksum place", [](PacketBytes&, OffloadRequest& r) { r.cut = Cut::kUdp; }},
      {"start in front", [](PacketBytes&, OffloadRequest& r) { r.checksum_start = 33; }},
      {"start behind", [](PacketBytes&, OffloadRequest& r) { r.checksum_start = 65535; }},
      {"wrong offset", [](PacketBytes&, OffloadRequest& r) { r.checksum_offset = 18; }},
      {"IP version", [](PacketBytes& p, OffloadRequest&) { p[14] = 0x65; }},
      {"IP header of 16", [](PacketBytes& p, OffloadRequest&) { p[14] = 0x44; }},
      {"IP header of 24", [](PacketBytes& p, OffloadRequest&) { p[14] = 0x46; }},
      {"TCP header of 16", [](PacketBytes& p, OffloadRequest&) { p[46] = 0x40; }},
      {"ARP", [](PacketBytes& p, OffloadRequest&) { p[13] = 0x06; }},
      {"VLAN to the end",
       [](PacketBytes& p, OffloadRequest&) {
         for (std::size_t i = 12; i + 1 < p.size(); i += 2) p[i] = 0x81, p[i + 1] = 0;
       }},
      {"cut at 13", [](PacketBytes& p, OffloadRequest&) { p.resize(13); }},
      {"cut in IP", [](PacketBytes& p, OffloadRequest&) { p.resize(33); }},
      {"cut in TCP", [](PacketBytes& p, OffloadRequest&) { p.resize(53); }},
      {"no payload", [](PacketBytes& p, OffloadRequest&) { p.resize(54); }},
      {"empty", [](PacketBytes& p, OffloadRequest&) { p.clear(); }},
  };
  for (const Row& row : rows) {
    PacketBytes packet = good;
    OffloadRequest request = request_of(tcp4, 1448);
    row.spoil(packet, request);
    packet.shrink_to_fit();
    EXPECT_FALSE(super.start(packet, request)) << row.name;
    EXPECT_TRUE(super.is_done()) << row.name;
  }
}

TEST(SuperFrame, RandomRequestsStayInside) {
  std::mt19937 random(11);
  const std::vector<std::uint8_t> payload(3000, 1);
  std::size_t taken = 0;
  std::vector<std::uint8_t> out(1 << 16);
  for (int round = 0; round < 20'000; ++round) {
    const Flow flow{
        .is_ipv6 = round % 2 == 0, .is_udp = round % 3 == 0, .has_vlan = round % 5 == 0};
    PacketBytes packet = super_frame_of(flow, std::span(payload).first(random() % 3000 + 1));
    std::uint8_t header[kOffloadHeaderBytes] = {};
    const OffloadRequest good = request_of(flow, random() % 1500 + 1);
    header[0] = 1;
    header[1] = flow.is_udp ? 5 : flow.is_ipv6 ? 4 : 1;
    store_unaligned(header + 4, good.piece_bytes);
    store_unaligned(header + 6, good.checksum_start);
    store_unaligned(header + 8, good.checksum_offset);
    if (random() % 2 == 0) header[random() % sizeof header] = static_cast<std::uint8_t>(random());
    if (random() % 2 == 0) packet[12 + random() % 40] = static_cast<std::uint8_t>(random());
    if (random() % 4 == 0) packet.resize(random() % packet.size() + 1);
    packet.shrink_to_fit();
    SuperFrame super;
    if (!super.start(packet, parse_offload_header(header))) continue;
    ++taken;
    std::size_t pieces = 0;
    while (!super.is_done()) {
      ASSERT_LE(super.next(std::span(out).first(super.piece_length_max())), packet.size());
      ASSERT_LE(++pieces, packet.size());
    }
  }
  EXPECT_GT(taken, 2'000u);
  EXPECT_LT(taken, 18'000u);
}

TEST(SuperFrame, HeadersAreReadAsTheSpecificationSays) {
  std::uint8_t header[kOffloadHeaderBytes] = {1, 0x81};
  store_unaligned<std::uint16_t>(header + 2, 54);
  store_unaligned<std::uint16_t>(header + 4, 1448);
  store_unaligned<std::uint16_t>(header + 6, 34);
  store_unaligned<std::uint16_t>(header + 8, 16);
  const OffloadRequest request = parse_offload_header(header);
  EXPECT_EQ(request.cut, Cut::kTcp4) << "with the ECN flag";
  EXPECT_TRUE(request.needs_checksum);
  EXPECT_EQ(request.piece_bytes, 1448);
  EXPECT_EQ(request.checksum_start, 34);
  EXPECT_EQ(request.checksum_offset, 16);
  header[1] = 3;  // fragments of UDP: long gone from Linux
  EXPECT_EQ(parse_offload_header(header).cut, Cut::kUnknown);
}

}  // namespace
}  // namespace lmn
