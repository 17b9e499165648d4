// SPDX-License-Identifier: Apache-2.0
//
// Goal: examples/load_balancer.c spreads flows evenly, keeps each where it is, and sends packets
// that a backend can unwrap, checksums included; what cannot be sent is counted by its reason.
// Method: packets in the kernel (in a network namespace with routes and neighbours) and in LMN
// (with the same in a route table); what must come out is made by PacketBuilder.
#include "examples/load_balancer.h"

#include <linux/bpf.h>

#include <algorithm>
#include <functional>
#include <map>
#include <set>

#include "engine/engine.h"
#include "examples/example_fixture.h"
#include "examples/test_world.h"
#include "packet/route_table.h"
#include "ports/testing/netns.h"

namespace lmn {
namespace {

constexpr std::uint32_t kService4 = 0;  // rings
constexpr std::uint32_t kService6 = 1;
// Backends 1 to 5 are neighbours, by tunnel; the others are what their names say.
constexpr std::uint32_t kBehindRouter = 6;
constexpr std::uint32_t kSameLink = 7;
constexpr std::uint32_t kOtherPort = 8;
constexpr std::uint32_t kNoRoute = 9;
constexpr std::uint32_t kNoNeighbour = 10;
constexpr std::uint32_t kDown = 11;
constexpr std::uint32_t kSixth = 20;  // 21 to 23: of IPv6

constexpr const char* kRoutes = R"(
device 2 mac 02:00:00:00:aa:01 mtu 1500 forward inet forward inet6
device 3 mac 02:00:00:00:aa:02 mtu 1500 forward inet forward inet6
route 10.0.0.0/24 dev 2
route 10.1.0.0/24 dev 3
route 10.50.0.0/16 dev 2 via 10.0.0.9
route 2001:db8:1::/64 dev 2 metric 256
neighbour 10.0.0.9 dev 2 mac 02:00:00:00:00:09
neighbour 10.0.0.11 dev 2 mac 02:00:00:00:00:11
neighbour 10.0.0.12 dev 2 mac 02:00:00:00:00:12
neighbour 10.0.0.13 dev 2 mac 02:00:00:00:00:13
neighbour 10.0.0.14 dev 2 mac 02:00:00:00:00:14
neighbour 10.0.0.15 dev 2 mac 02:00:00:00:00:15
neighbour 10.1.0.18 dev 3 mac 02:00:00:00:00:18
neighbour 2001:db8:1::21 dev 2 mac 02:00:00:00:00:21
neighbour 2001:db8:1::22 dev 2 mac 02:00:00:00:00:22
neighbour 2001:db8:1::23 dev 2 mac 02:00:00:00:00:23
)";

bool make_same_routes_in_kernel() {
  bool is_done = TestWorld::enable_ipv6() &&
                 testing_support::write_sysctl("net/ipv4/ip_forward", "1") &&
                 testing_support::write_sysctl("net/ipv6/conf/all/forwarding", "1") &&
                 TestWorld::ip("addr add 10.0.0.1/24 dev left") &&
                 TestWorld::ip("addr add 10.1.0.1/24 dev right") &&
                 TestWorld::ip("addr add 2001:db8:1::1/64 dev left nodad") &&
                 TestWorld::ip("route add 10.50.0.0/16 via 10.0.0.9");
  const std::vector<std::pair<std::string, std::string>> neighbours = {
      {"10.0.0.9", "09"},       {"10.0.0.11", "11"},      {"10.0.0.12", "12"},
      {"10.0.0.13", "13"},      {"10.0.0.14", "14"},      {"10.0.0.15", "15"},
      {"2001:db8:1::21", "21"}, {"2001:db8:1::22", "22"}, {"2001:db8:1::23", "23"}};
  for (const auto& [address, mac] : neighbours) {
    is_done = is_done && TestWorld::ip("neigh add " + address + " lladdr 02:00:00:00:00:" + mac +
                                       " dev left nud permanent");
  }
  return is_done &&
         TestWorld::ip("neigh add 10.1.0.18 lladdr 02:00:00:00:00:18 dev right nud permanent");
}

MacAddress neighbour_mac(std::uint8_t last) { return {0x02, 0, 0, 0, 0, last}; }
constexpr MacAddress kLeftMac = {0x02, 0, 0, 0, 0xaa, 0x01};
constexpr MacAddress kRightMac = {0x02, 0, 0, 0, 0xaa, 0x02};
constexpr Ipv4Address kTunnelSource = {10, 0, 0, 1};

PacketBuilder eth() { return PacketBuilder().ethernet(); }

// A packet of flow `number` to the service.
Bytes request(std::uint32_t number, std::uint8_t flags = 0x10) {
  const auto client = static_cast<std::uint8_t>(number >> 12);
  return eth()
      .ipv4({.src = {203, 0, 113, client}})
      .tcp({.src_port = static_cast<std::uint16_t>(1024 + (number & 0xfff)), .flags = flags})
      .build();
}

class LoadBalancerTest : public ExamplesTest {
 protected:
  // Runs `body` where the balancer has its maps and routes.
  void balance(const std::function<void()>& body) {
    if (GetParam() == RunnerKind::kInterpreter) {
      left_ = 2;
      ASSERT_NO_FATAL_FAILURE(load("load_balancer"));
      auto routes = RouteTable::parse(kRoutes);
      ASSERT_TRUE(routes) << routes.error().to_string();
      runner_->engine()->set_routes(std::move(*routes));
      ASSERT_NO_FATAL_FAILURE(fill());
      body();
      return;
    }
    const auto why = TestWorld::visit([&](const TestWorld& world) {
      left_ = world.left();
      ASSERT_TRUE(make_same_routes_in_kernel());
      ASSERT_NO_FATAL_FAILURE(load("load_balancer"));
      ASSERT_NO_FATAL_FAILURE(fill());
      body();
      runner_.reset();
    });
    if (why) GTEST_SKIP() << *why;
  }

  void set_backend(std::uint32_t number, const char* address, std::uint32_t way) {
    struct backend backend = {};
    if (std::string_view(address).find(':') == std::string_view::npos) {
      const Ipv4Address bytes = ipv4_address(address);
      std::memcpy(backend.address, bytes.data(), bytes.size());
    } else {
      const Ipv6Address bytes = ipv6_address(address);
      std::memcpy(backend.address, bytes.data(), bytes.size());
    }
    backend.way = way;
    set_entry("backends", raw(number), raw(backend));
  }

  void set_service(std::span<const std::uint8_t> address, std::uint8_t version,
                   std::uint32_t ring) {
    struct service_key key = {};
    std::memcpy(key.address, address.data(), address.size());
    key.port = 80 << 8;
    key.protocol = 6;
    key.version = version;
    set_entry("services", raw(key), raw(ring));
  }

  void set_ring(std::uint32_t ring, const std::vector<std::uint32_t>& members) {
    std::vector<std::uint32_t> slots(RING_SLOTS);
    fill_ring(slots.data(), members.data(), static_cast<std::uint32_t>(members.size()));
    for (std::uint32_t i = 0; i < RING_SLOTS; ++i) {
      ASSERT_NO_FATAL_FAILURE(set_entry("rings", raw(ring * RING_SLOTS + i), raw(slots[i])));
    }
  }

  void fill() {
    for (std::uint32_t i = 1; i <= 5; ++i) {
      set_backend(i, ("10.0.0.1" + std::to_string(i)).c_str(), BACKEND_TUNNEL);
    }
    set_backend(kBehindRouter, "10.50.0.1", BACKEND_TUNNEL);
    set_backend(kSameLink, "10.0.0.12", BACKEND_SAME_LINK);
    set_backend(kOtherPort, "10.1.0.18", BACKEND_TUNNEL);
    set_backend(kNoRoute, "10.77.0.1", BACKEND_TUNNEL);
    set_backend(kNoNeighbour, "10.0.0.77", BACKEND_TUNNEL);
    set_backend(kDown, "10.0.0.11", BACKEND_DOWN);
    for (std::uint32_t i = 1; i <= 3; ++i) {
      set_backend(kSixth + i, ("2001:db8:1::2" + std::to_string(i)).c_str(), BACKEND_TUNNEL);
    }
    set_entry("tunnel_source", raw(std::uint32_t{0}), raw(kTunnelSource, std::array<char, 12>{}));
    set_entry("tunnel_source", raw(std::uint32_t{1}), raw(ipv6_address("2001:db8:1::1")));
    set_service(Ipv4Fields().dst, 4, kService4);
    set_service(Ipv6Fields().dst, 6, kService6);
  }

  PacketResult send(const Bytes& packet) { return run_from(left_, packet); }
  // The last byte of the backend's address that the packet went to in a tunnel; 0: nowhere.
  int backend_of(const Bytes& packet) {
    const PacketResult result = send(packet);
    return result.verdict == XDP_TX && result.packet.size() > 34 ? result.packet[33] : 0;
  }
  std::uint64_t count(std::uint32_t what) { return counter("balancer_cnt", what); }
  // What becomes of a packet when the service has this one backend.
  std::uint32_t verdict_with(std::uint32_t backend, const Bytes& packet) {
    set_ring(kService4, {backend});
    return send(packet).verdict;
  }

  std::uint32_t left_ = 0;
};

TEST_P(LoadBalancerTest, FlowsAreSpreadEvenlyAndStay) {
  balance([this] {
    constexpr std::uint32_t kFlows = 5'000;
    set_ring(kService4, {1, 2, 3, 4, 5});
    std::map<int, int> flows_of;
    std::vector<int> backend(kFlows);
    for (std::uint32_t i = 0; i < kFlows; ++i) {
      backend[i] = backend_of(request(i, 0x02));
      ++flows_of[backend[i]];
    }
    ASSERT_EQ(flows_of.size(), 5u);
    for (const auto& [number, flows] : flows_of) EXPECT_NEAR(flows, 1000, 100) << number;
    EXPECT_EQ(count(SENT_NEW), kFlows);
    // One backend fewer in the table: who is connected stays, also with the one that goes.
    set_ring(kService4, {1, 2, 3, 4});
    for (std::uint32_t i = 0; i < kFlows; i += 7)
      ASSERT_EQ(backend_of(request(i)), backend[i]) << i;
    // New connections do not go there, those of the others stay for the most part.
    int moved = 0;
    for (std::uint32_t i = 0; i < kFlows; i += 7) {
      const int now = backend_of(request(i, 0x02));
      EXPECT_NE(now, 15);
      moved += backend[i] != 15 && now != backend[i];
    }
    EXPECT_LT(moved, 60);  // of about 570
  });
}

TEST_P(LoadBalancerTest, ABackendThatIsDownLosesItsConnections) {
  balance([this] {
    set_ring(kService4, {1});
    EXPECT_EQ(backend_of(request(1, 0x02)), 11);
    set_ring(kService4, {2});
    EXPECT_EQ(backend_of(request(1)), 11);
    set_backend(1, "10.0.0.11", BACKEND_DOWN);
    EXPECT_EQ(backend_of(request(1)), 12);
    set_backend(1, "10.0.0.11", BACKEND_TUNNEL);
    EXPECT_EQ(backend_of(request(1)), 12) << "it has moved";
    EXPECT_EQ(verdict_with(kDown, request(2)), XDP_DROP);
    EXPECT_EQ(count(LOST_NOBODY), 1u);
  });
}

TEST_P(LoadBalancerTest, TheTunnelIsAHeaderInFrontAndNothingElse) {
  balance([this] {
    set_ring(kService4, {3});
    set_ring(kService6, {kSixth + 2});
    const auto v4 = [](PacketBuilder packet) {
      return packet.ipv4({.src = {203, 0, 113, 9}, .ttl = 61, .tos = 0xb9, .id = 7})
          .tcp({.flags = 0x18})
          .filler(33);
    };
    const PacketResult result = send(v4(eth()).build());
    EXPECT_EQ(result.verdict, XDP_TX);
    PacketBuilder outer;
    outer.ethernet({.dst = neighbour_mac(0x13), .src = kLeftMac})
        .ipv4({.src = kTunnelSource, .dst = {10, 0, 0, 13}, .tos = 0xb9, .dont_fragment = true});
    EXPECT_EQ(result.packet, v4(outer).build());
    // Padding stays behind the packet, in no header's length.
    const PacketResult padded = send(eth().ipv4().tcp({.flags = 0x10}).padded_to(60).build());
    EXPECT_EQ(padded.packet.size(), 80u);
    EXPECT_EQ(padded.packet[17], 60) << "20 + 40 bytes";

    const auto v6 = [](PacketBuilder packet) {
      return packet.ipv6({.traffic_class = 0x2e, .flow_label = 0x12345})
          .ipv6_extension()
          .tcp({.flags = 0x10})
          .filler(9);
    };
    const PacketResult result6 = send(v6(eth()).build());
    EXPECT_EQ(result6.verdict, XDP_TX);
    PacketBuilder outer6;
    outer6.ethernet({.dst = neighbour_mac(0x22), .src = kLeftMac})
        .ipv6({.src = ipv6_address("2001:db8:1::1"),
               .dst = ipv6_address("2001:db8:1::22"),
               .traffic_class = 0x2e,
               .flow_label = 0x12345});
    EXPECT_EQ(result6.packet, v6(outer6).build());
  });
}

TEST_P(LoadBalancerTest, OtherWaysToABackend) {
  balance([this] {
    const Bytes packet = request(1);
    set_ring(kService4, {kBehindRouter});
    PacketResult result = send(packet);
    EXPECT_EQ(result.verdict, XDP_TX);
    EXPECT_TRUE(
        std::equal(result.packet.begin(), result.packet.begin() + 6, neighbour_mac(0x09).begin()));
    const Bytes address(result.packet.begin() + 30, result.packet.begin() + 34);
    EXPECT_EQ(address, (Bytes{10, 50, 0, 1})) << "the backend's, not the router's";

    set_ring(kService4, {kSameLink});
    result = send(request(2));
    Bytes expected = request(2);
    std::ranges::copy(neighbour_mac(0x12), expected.begin());
    std::ranges::copy(kLeftMac, expected.begin() + 6);
    EXPECT_EQ(result.verdict, XDP_TX);
    EXPECT_EQ(result.packet, expected);

    set_ring(kService4, {kOtherPort});
    result = send(request(3));
    EXPECT_EQ(result.verdict, XDP_REDIRECT);
    EXPECT_TRUE(
        std::equal(result.packet.begin(), result.packet.begin() + 6, neighbour_mac(0x18).begin()));
    EXPECT_TRUE(std::equal(kRightMac.begin(), kRightMac.end(), result.packet.begin() + 6));
  });
}

TEST_P(LoadBalancerTest, ComplaintsGoWhereTheConnectionIs) {
  balance([this] {
    set_ring(kService4, {1, 2, 3, 4, 5});
    set_ring(kService6, {kSixth + 1, kSixth + 2, kSixth + 3});
    std::set<int> seen;
    for (std::uint32_t i = 0; i < 40; ++i) {
      const Bytes asked = request(i, 0x02);
      const int backend = backend_of(asked);
      seen.insert(backend);
      // What the backend sent to the client, with the first bytes of TCP, too long for a router.
      const Bytes answered =
          PacketBuilder()
              .ipv4({.src = Ipv4Fields().dst, .dst = {203, 0, 113, 0}})
              .tcp(
                  {.src_port = 80, .dst_port = static_cast<std::uint16_t>(1024 + i), .flags = 0x10})
              .build();
      const Bytes complaint = eth()
                                  .ipv4({.src = {198, 18, 0, 1}})
                                  .icmp({.type = 3, .code = 4})
                                  .payload(std::span(answered).first(28))
                                  .build();
      EXPECT_EQ(backend_of(complaint), backend) << i;
    }
    EXPECT_EQ(seen.size(), 5u);
    const Bytes answered6 = PacketBuilder()
                                .ipv6({.src = Ipv6Fields().dst, .dst = Ipv6Fields().src})
                                .tcp({.src_port = 80, .dst_port = 40000})
                                .build();
    const Bytes too_big = eth().ipv6().icmp({.type = 2}).payload(answered6).build();
    const PacketResult asked6 = send(eth().ipv6().tcp().build());
    const PacketResult told6 = send(too_big);
    EXPECT_EQ(told6.verdict, XDP_TX);
    EXPECT_EQ(told6.packet[53], asked6.packet[53]);
    EXPECT_EQ(entries("connections").size(), 41u) << "a complaint is no connection";
  });
}

TEST_P(LoadBalancerTest, WhatIsForNoServicePasses) {
  balance([this] {
    set_ring(kService4, {1});
    const Bytes good = request(1);
    const std::vector<std::pair<const char*, Bytes>> cases = {
        {"another address", eth().ipv4({.dst = {192, 0, 2, 3}}).tcp().build()},
        {"another port", eth().ipv4().tcp({.dst_port = 443}).build()},
        {"another protocol", eth().ipv4().udp({.dst_port = 80}).build()},
        {"echo", eth().ipv4().icmp().build()},
        {"complaint of ICMP",
         eth().ipv4().icmp({.type = 3}).payload(PacketBuilder().ipv4().icmp().build()).build()},
        {"complaint cut short", eth().ipv4().icmp({.type = 3}).filler(10).build()},
        {"later fragment", eth().ipv4({.fragment_offset = 1, .protocol = 6}).filler(20).build()},
        {"VLAN tag", eth().vlan().ipv4().tcp().build()},
        {"ARP", eth().arp().build()},
        {"cut in TCP", Bytes(good.begin(), good.begin() + 53)},
        {"cut in IP", Bytes(good.begin(), good.begin() + 33)},
    };
    for (const auto& [what, packet] : cases) {
      const PacketResult result = send(packet);
      EXPECT_EQ(result.verdict, XDP_PASS) << what;
      EXPECT_EQ(result.packet, packet) << what;
    }
    EXPECT_EQ(count(NOT_OURS), cases.size());
  });
}

TEST_P(LoadBalancerTest, WhatCannotBeSentIsCountedByItsReason) {
  balance([this] {
    EXPECT_EQ(verdict_with(kNoRoute, request(1)), XDP_DROP);
    EXPECT_EQ(verdict_with(kNoNeighbour, request(2)), XDP_DROP);
    EXPECT_EQ(count(LOST_ROUTE), 2u);
    // 1,500 bytes with the tunnel's header, and one more.
    const auto of_bytes = [](std::size_t bytes) {
      return eth().ipv4().tcp({.flags = 0x10}).filler(bytes - 40).build();
    };
    EXPECT_EQ(verdict_with(1, of_bytes(1480)), XDP_TX);
    EXPECT_EQ(verdict_with(1, of_bytes(1481)), XDP_DROP);
    EXPECT_EQ(count(LOST_TOO_BIG), 1u);
    const Bytes whole = request(3);
    EXPECT_EQ(verdict_with(1, Bytes(whole.begin(), whole.end() - 1)), XDP_PASS) << "TCP is cut";
    EXPECT_EQ(verdict_with(1, eth().ipv4({.total_length = 41}).tcp({.flags = 0x10}).build()),
              XDP_DROP);
    EXPECT_EQ(verdict_with(1, eth().ipv4({.total_length = 19}).tcp({.flags = 0x10}).build()),
              XDP_DROP);
    EXPECT_EQ(count(LOST_BROKEN), 2u);
  });
}

INSTANTIATE_TEST_SUITE_P(Runners, LoadBalancerTest, ::testing::ValuesIn(kBothRunners), runner_name);

// --- the ring by itself

TEST(BalancerRing, SharesAreEqualToASlotAndFewMove) {
  std::vector<std::uint32_t> before(RING_SLOTS);
  std::vector<std::uint32_t> after(RING_SLOTS);
  for (const std::uint32_t count : {1u, 2u, 7u, 40u, 256u}) {
    std::vector<std::uint32_t> members(count);
    for (std::uint32_t i = 0; i < count; ++i) members[i] = i * 3 % 256;
    fill_ring(before.data(), members.data(), count);
    std::map<std::uint32_t, std::uint32_t> slots;
    for (const std::uint32_t member : before) ++slots[member];
    EXPECT_EQ(slots.size(), count);
    for (const auto& [member, share] : slots) {
      EXPECT_GE(share, RING_SLOTS / count) << member;
      EXPECT_LE(share, RING_SLOTS / count + 1) << member;
    }
    if (count < 7) continue;
    fill_ring(after.data(), members.data(), count - 1);
    std::uint32_t moved = 0;
    for (std::uint32_t i = 0; i < RING_SLOTS; ++i)
      moved += before[i] != members[count - 1] && before[i] != after[i];
    EXPECT_LT(moved, RING_SLOTS / 8) << count;
  }
  fill_ring(after.data(), nullptr, 0);
  EXPECT_TRUE(std::ranges::all_of(after, [](std::uint32_t slot) { return slot == NOBODY; }));
}

}  // namespace
}  // namespace lmn
