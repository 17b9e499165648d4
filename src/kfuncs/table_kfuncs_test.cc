// SPDX-License-Identifier: Apache-2.0
//
// Goal: kernel functions over tables and port metadata answer what the table or the port says, each
// refusal with its errno. Method: bodies called as an engine calls them, on small tables; time is a
// FakeClock. That conntrack answers as the kernel does is tests/differential/conntrack_test.cc.
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include "kfuncs/kfuncs.h"
#include "packet/conntrack_table.h"
#include "packet/fdb_table.h"
#include "packet/flow_table.h"

namespace lmn {
namespace {

class TableKfuncs : public testing::Test {
 protected:
  void SetUp() override {
    conntrack_ = *ConntrackTable::create({16, 1, {}});
    fdb_ = *FdbTable::create({16, 1});
    ASSERT_TRUE(fdb_->read_text("bridge 10\nport 1 bridge 10\nport 2 bridge 10\n"
                                "entry 02:00:00:00:00:05 port 2 static\n",
                                clock_.monotonic_ns())
                    .has_value());
    ASSERT_TRUE(flows_
                    .read_text("tcp 10.0.0.1:1 10.0.0.2:2 iif 1 oif 2\n"
                               "udp [fd00::1]:1 [fd00::2]:2 iif 1 oif 2\n")
                    .has_value());
    rxq_ = {1, 0, 0};
    buff_.rxq = &rxq_;
    context_.buff = &buff_;
    context_.clock = &clock_;
    context_.conntrack = conntrack_.get();
    context_.fdb = fdb_.get();
    context_.flows = &flows_;
  }
  void set_packet(std::vector<std::uint8_t> bytes) {
    packet_ = std::move(bytes);
    buff_.data = buff_.data_meta = packet_.data();
    buff_.data_end = packet_.data() + packet_.size();
  }
  template <typename... Args>
  std::uint64_t call_long(std::string_view name, Args... args) {
    std::uint64_t r[5] = {to_register(args)...};
    return kfunc_function(name)(r[0], r[1], r[2], r[3], r[4], &context_);
  }
  template <typename... Args>
  int call(std::string_view name, Args... args) {
    return static_cast<int>(call_long(name, args...));
  }
  static std::uint64_t to_register(void* pointer) {
    return reinterpret_cast<std::uintptr_t>(pointer);
  }
  static std::uint64_t to_register(std::uint64_t number) { return number; }

  FakeClock clock_;
  std::unique_ptr<ConntrackTable> conntrack_;
  std::unique_ptr<FdbTable> fdb_;
  FlowTable flows_;
  RxQueueInfo rxq_;
  XdpBuff buff_;
  RunContext context_;
  std::vector<std::uint8_t> packet_;
};

constexpr std::uint64_t kNone = 0;

struct Fdb {
  std::uint8_t mac[6];
  std::uint16_t vlan_id;
  std::uint32_t ifindex;
  std::uint32_t flags;
  std::uint32_t more;
};

TEST_F(TableKfuncs, BridgesAnswerForThePortOfThePacketOrAnother) {
  Fdb fdb{{2, 0, 0, 0, 0, 5}, 0, 0, 0, 0};
  EXPECT_EQ(call("bpf_lmn_fdb_lookup", kNone, &fdb, 16u), 0);
  EXPECT_EQ(fdb.ifindex, 2u);
  EXPECT_EQ(fdb.flags, kFdbStatic);
  fdb = {{2, 0, 0, 0, 0, 9}, 0, 0, 0, 0};
  EXPECT_EQ(call("bpf_lmn_fdb_lookup", kNone, &fdb, 16u), -ENOENT);
  EXPECT_EQ(call("bpf_lmn_fdb_learn", kNone, &fdb, 16u), 0);
  fdb.ifindex = 2;
  EXPECT_EQ(call("bpf_lmn_fdb_lookup", kNone, &fdb, 16u), 0);
  EXPECT_EQ(fdb.ifindex, 1u) << "learned at the port of the packet";
  clock_.advance_ns(300'000'000'000);
  fdb.ifindex = 2;
  EXPECT_EQ(call("bpf_lmn_fdb_lookup", kNone, &fdb, 16u), -ENOENT) << "aged";
}

TEST_F(TableKfuncs, BridgesRefuseByErrno) {
  Fdb fdb{{2, 0, 0, 0, 0, 5}, 0, 7, 0, 0};
  EXPECT_EQ(call("bpf_lmn_fdb_lookup", kNone, &fdb, 16u), -ENODEV);
  EXPECT_EQ(call("bpf_lmn_fdb_lookup", kNone, &fdb, 15u), -EINVAL);
  fdb.ifindex = 1;
  EXPECT_EQ(call("bpf_lmn_fdb_lookup", kNone, &fdb, 20u), 0) << "longer, and zero";
  fdb.more = 1;
  EXPECT_EQ(call("bpf_lmn_fdb_lookup", kNone, &fdb, 20u), -E2BIG);
  fdb = {{1, 0, 0, 0, 0, 5}, 0, 1, 0, 0};
  EXPECT_EQ(call("bpf_lmn_fdb_learn", kNone, &fdb, 16u), -EADDRNOTAVAIL);
  context_.fdb = nullptr;
  EXPECT_EQ(call("bpf_lmn_fdb_lookup", kNone, &fdb, 16u), -ENODEV);
}

TEST_F(TableKfuncs, FlowsAreFoundByTheFieldsOfARouteQuestion) {
  struct bpf_fib_lookup asked = {};
  asked.family = AF_INET;
  asked.l4_protocol = IPPROTO_TCP;
  asked.sport = htons(1);
  asked.dport = htons(2);
  asked.ifindex = 1;
  asked.ipv4_src = htonl(0x0a000001);
  asked.ipv4_dst = htonl(0x0a000002);
  std::int32_t error = 0;
  const std::uint64_t flow = call_long("bpf_xdp_flow_lookup", kNone, &asked, &error, 4u);
  ASSERT_NE(flow, 0u);
  std::uint32_t egress = 0;
  std::memcpy(&egress, reinterpret_cast<void*>(flow + 64), sizeof egress);
  EXPECT_EQ(egress, 2u);
  asked.dport = htons(3);
  EXPECT_EQ(call_long("bpf_xdp_flow_lookup", kNone, &asked, &error, 4u), 0u);
  EXPECT_EQ(error, -ENOENT);
  asked.family = AF_UNIX;
  EXPECT_EQ(call_long("bpf_xdp_flow_lookup", kNone, &asked, &error, 4u), 0u);
  EXPECT_EQ(error, -EAFNOSUPPORT);
  EXPECT_EQ(call_long("bpf_xdp_flow_lookup", kNone, &asked, &error, 5u), 0u);
  EXPECT_EQ(error, -EINVAL);
  error = 7;
  EXPECT_EQ(call_long("bpf_xdp_flow_lookup", kNone, &asked, &error, 3u), 0u);
  EXPECT_EQ(error, 7) << "no room to say why";
  asked.family = AF_INET6;
  asked.l4_protocol = IPPROTO_UDP;
  asked.dport = htons(2);
  asked.ipv6_src[0] = asked.ipv6_dst[0] = htonl(0xfd000000);
  asked.ipv6_src[3] = htonl(1);
  asked.ipv6_dst[3] = htonl(2);
  EXPECT_NE(call_long("bpf_xdp_flow_lookup", kNone, &asked, &error, 4u), 0u);
}

TEST_F(TableKfuncs, MetadataIsWhatThePortTold) {
  std::uint32_t hash = 1, type = 2, number = 3;
  std::uint64_t time = 4;
  std::uint16_t protocol = 5, tag = 6;
  const auto all = [&](int expected) {
    EXPECT_EQ(call("bpf_xdp_metadata_rx_hash", kNone, &hash, &type), expected);
    EXPECT_EQ(call("bpf_xdp_metadata_rx_timestamp", kNone, &time), expected);
    EXPECT_EQ(call("bpf_xdp_metadata_rx_vlan_tag", kNone, &protocol, &tag), expected);
    EXPECT_EQ(call("bpf_lmn_metadata_rx_csum", kNone, &number), expected);
    EXPECT_EQ(call("bpf_lmn_metadata_rx_mark", kNone, &number), expected);
  };
  all(-EOPNOTSUPP);
  rxq_.metadata = kMetaHash | kMetaTime | kMetaVlan | kMetaChecksum | kMetaMark;
  all(-ENODATA);
  EXPECT_EQ(hash + type + number, 6u) << "left alone";
  EXPECT_EQ(time, 4u);
  EXPECT_EQ(protocol + tag, 11);
  buff_.rx_time_ns = 77;
  buff_.meta.known = kMetaHash | kMetaVlan | kMetaChecksum | kMetaMark;
  buff_.meta.hash = 0xabc;
  buff_.meta.hash_type = 9;
  buff_.meta.vlan_proto = htons(0x8100);
  buff_.meta.vlan_tci = 0x2064;
  buff_.meta.checksum = ChecksumState::kUnnecessary;
  buff_.meta.mark = 42;
  all(0);
  EXPECT_EQ(hash, 0xabcu);
  EXPECT_EQ(type, 9u);
  EXPECT_EQ(time, 77u);
  EXPECT_EQ(protocol, htons(0x8100));
  EXPECT_EQ(tag, 0x2064);
  EXPECT_EQ(number, 42u) << "the mark, asked last";
  context_.buff->rxq = nullptr;
  EXPECT_EQ(call("bpf_lmn_metadata_rx_mark", kNone, &number), -EOPNOTSUPP);
}

struct Offsets {
  std::uint16_t l3, l4, payload, l3_proto;
  std::uint8_t l4_proto, flags;
  std::uint16_t reserved;
};

std::vector<std::uint8_t> frame(std::vector<std::uint8_t> protocol_and_rest, std::size_t length) {
  std::vector<std::uint8_t> out(12);
  out.insert(out.end(), protocol_and_rest.begin(), protocol_and_rest.end());
  out.resize(length);
  return out;
}

TEST_F(TableKfuncs, OffsetsAreFoundInThePacket) {
  struct Case {
    const char* name;
    std::vector<std::uint8_t> packet;
    int error;
    Offsets expected;
  };
  const std::uint16_t ipv4 = htons(0x0800);
  const std::uint16_t ipv6 = htons(0x86dd);
  const Case cases[] = {
      {"too short", std::vector<std::uint8_t>(13), -ENODATA, {}},
      {"arp", frame({8, 6}, 60), 0, {14, 0, 0, htons(0x0806), 0, 0, 0}},
      {"udp",
       frame({8, 0, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17}, 60),
       0,
       {14, 34, 42, ipv4, 17, 0, 0}},
      {"tcp without room",
       frame({8, 0, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, 6}, 53),
       0,
       {14, 0, 0, ipv4, 6, 0, 0}},
      {"ip options",
       frame({8, 0, 0x46, 0, 0, 0, 0, 0, 0, 0, 64, 1}, 60),
       0,
       {14, 38, 46, ipv4, 1, 0, 0}},
      {"later fragment",
       frame({8, 0, 0x45, 0, 0, 0, 0, 0, 0, 5, 64, 17}, 60),
       0,
       {14, 0, 0, ipv4, 17, 2, 0}},
      {"first fragment",
       frame({8, 0, 0x45, 0, 0, 0, 0, 0, 0x20, 0, 64, 17}, 60),
       0,
       {14, 34, 42, ipv4, 17, 2, 0}},
      {"two tags",
       frame({0x88, 0xa8, 0, 1, 0x81, 0, 0, 2, 8, 0, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17}, 64),
       0,
       {22, 42, 50, ipv4, 17, 1, 0}},
      {"bad version", frame({8, 0, 0x55}, 60), 0, {14, 0, 0, ipv4, 0, 0, 0}},
      {"ipv6 udp",
       frame({0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, 17, 64}, 80),
       0,
       {14, 54, 62, ipv6, 17, 0, 0}},
      {"ipv6 unknown",
       frame({0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, 99, 64}, 80),
       0,
       {14, 54, 54, ipv6, 99, 0, 0}},
  };
  for (const Case& c : cases) {
    set_packet(c.packet);
    Offsets out{};
    EXPECT_EQ(call("bpf_lmn_metadata_rx_offsets", kNone, &out, 12u), c.error) << c.name;
    EXPECT_EQ(out.l3, c.expected.l3) << c.name;
    // A transport that nobody knows has no header to point at.
    const bool is_known = c.expected.l4_proto != 99;
    EXPECT_EQ(out.l4, is_known ? c.expected.l4 : 0) << c.name;
    EXPECT_EQ(out.payload, is_known ? c.expected.payload : 0) << c.name;
    EXPECT_EQ(out.l3_proto, c.expected.l3_proto) << c.name;
    EXPECT_EQ(out.l4_proto, c.expected.l4_proto) << c.name;
    EXPECT_EQ(out.flags, c.expected.flags) << c.name;
  }
  Offsets out{};
  EXPECT_EQ(call("bpf_lmn_metadata_rx_offsets", kNone, &out, 11u), -EINVAL);
}

// As far as they can be seen: what is cut, or no header, has no place.
TEST_F(TableKfuncs, OffsetsOfHeadersThatAreCut) {
  struct Case {
    const char* name;
    std::vector<std::uint8_t> packet;
    int error;
    Offsets expected;
  };
  const std::uint16_t ipv4 = htons(0x0800);
  const std::uint16_t ipv6 = htons(0x86dd);
  const Case cases[] = {
      {"ipv4 cut", frame({8, 0, 0x45}, 30), 0, {14, 0, 0, ipv4, 0, 0, 0}},
      {"ipv4 of 16 bytes", frame({8, 0, 0x44}, 60), 0, {14, 0, 0, ipv4, 0, 0, 0}},
      {"ip options cut", frame({8, 0, 0x4f}, 60), 0, {14, 0, 0, ipv4, 0, 0, 0}},
      {"tag cut", frame({0x81, 0}, 16), 0, {14, 0, 0, htons(0x8100), 0, 0, 0}},
      {"udp cut",
       frame({8, 0, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17}, 40),
       0,
       {14, 0, 0, ipv4, 17, 0, 0}},
      {"nothing behind ip",
       frame({8, 0, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17}, 34),
       0,
       {14, 0, 0, ipv4, 17, 0, 0}},
      {"ipv6 cut", frame({0x86, 0xdd, 0x60}, 50), 0, {14, 0, 0, ipv6, 0, 0, 0}},
      {"ipv6 of another version", frame({0x86, 0xdd, 0x45}, 80), 0, {14, 0, 0, ipv6, 0, 0, 0}},
      {"icmpv6",
       frame({0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, 58, 64}, 80),
       0,
       {14, 54, 62, ipv6, 58, 0, 0}},
      {"sctp",
       frame({0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, 132, 64}, 80),
       0,
       {14, 54, 66, ipv6, 132, 0, 0}},
      {"routing header cut",
       frame({0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, 43, 64}, 58),
       0,
       {14, 0, 0, ipv6, 43, 0, 0}},
      {"extensions without end",  // each says that another one follows
       frame({0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, 0, 64}, 160),
       0,
       {14, 0, 0, ipv6, 0, 0, 0}},
  };
  for (const Case& c : cases) {
    set_packet(c.packet);
    Offsets out{};
    EXPECT_EQ(call("bpf_lmn_metadata_rx_offsets", kNone, &out, 12u), c.error) << c.name;
    EXPECT_EQ(out.l3, c.expected.l3) << c.name;
    EXPECT_EQ(out.l4, c.expected.l4) << c.name;
    EXPECT_EQ(out.payload, c.expected.payload) << c.name;
    EXPECT_EQ(out.l3_proto, c.expected.l3_proto) << c.name;
    EXPECT_EQ(out.l4_proto, c.expected.l4_proto) << c.name;
    EXPECT_EQ(out.flags, c.expected.flags) << c.name;
  }
}

TEST_F(TableKfuncs, OffsetsGoBehindIpv6Extensions) {
  auto packet = frame({0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, 0, 64}, 120);
  packet[54] = 44;  // hop-by-hop options of 8 bytes, then a fragment header
  packet[62] = 6;
  packet[64] = 0;
  packet[65] = 1;  // the first of several
  packet[70 + 12] = 0x50;
  set_packet(packet);
  Offsets out{};
  EXPECT_EQ(call("bpf_lmn_metadata_rx_offsets", kNone, &out, 12u), 0);
  EXPECT_EQ(out.l4, 70);
  EXPECT_EQ(out.payload, 90);
  EXPECT_EQ(out.l4_proto, 6);
  EXPECT_EQ(out.flags, 2);
  packet_[65] = 9;
  EXPECT_EQ(call("bpf_lmn_metadata_rx_offsets", kNone, &out, 12u), 0);
  EXPECT_EQ(out.l4, 0) << "a later fragment";
  EXPECT_EQ(out.l4_proto, 6);
}

TEST_F(TableKfuncs, ConnectionsWithoutATableAreNotThere) {
  struct {
    std::int32_t netns = -1;
    std::int32_t error = 0;
    std::uint8_t protocol = IPPROTO_TCP;
    std::uint8_t rest[7] = {};
  } options;
  struct bpf_sock_tuple tuple = {};
  context_.conntrack = nullptr;
  EXPECT_EQ(call_long("bpf_xdp_ct_lookup", kNone, &tuple, 12u, &options, 16u), 0u);
  EXPECT_EQ(options.error, -ENOENT);
  context_.conntrack = conntrack_.get();
  options.error = 5;
  EXPECT_EQ(call_long("bpf_xdp_ct_lookup", kNone, &tuple, 12u, &options, 4u), 0u);
  EXPECT_EQ(options.error, 5) << "no room to say why";
}

// A packet's addresses are tuples as they stand, at odd places (meaningful under UBSan).
TEST_F(TableKfuncs, TuplesAndOptionsMayLieAnywhere) {
  alignas(8) std::array<std::uint8_t, 64> memory{};
  std::uint8_t* tuple = &memory[1];
  std::uint8_t* options = &memory[33];
  const std::int32_t netns = -1;
  std::memcpy(options, &netns, sizeof netns);
  options[8] = IPPROTO_TCP;
  EXPECT_NE(call_long("bpf_xdp_ct_alloc", kNone, tuple, 12u, options, 16u), 0u);
  EXPECT_EQ(options[12], 3) << "a zone for both directions";
  EXPECT_EQ(call_long("bpf_xdp_ct_lookup", kNone, tuple, 12u, options, 16u), 0u);
  std::int32_t error = 0;
  std::memcpy(&error, options + 4, sizeof error);
  EXPECT_EQ(error, -ENOENT) << "not inserted";
  std::array<std::uint8_t, sizeof(struct bpf_fib_lookup) + 1> asked{};
  EXPECT_EQ(call_long("bpf_xdp_flow_lookup", kNone, &asked[1], &error, 4u), 0u);
  EXPECT_EQ(error, -EAFNOSUPPORT);
}

TEST_F(TableKfuncs, AFullTableOfConnectionsIsSaid) {
  struct {
    std::int32_t netns = -1;
    std::int32_t error = 0;
    std::uint8_t protocol = IPPROTO_TCP;
    std::uint8_t rest[7] = {};
  } options;
  struct bpf_sock_tuple tuple = {};
  for (int i = 0; i < 16; ++i) {
    tuple.ipv4.sport = static_cast<std::uint16_t>(i);
    EXPECT_NE(call_long("bpf_xdp_ct_alloc", kNone, &tuple, 12u, &options, 16u), 0u);
  }
  EXPECT_EQ(call_long("bpf_xdp_ct_alloc", kNone, &tuple, 12u, &options, 16u), 0u);
  EXPECT_EQ(options.error, -ENOMEM);
}

}  // namespace
}  // namespace lmn
