// SPDX-License-Identifier: Apache-2.0
//
// Goal: the text form of a RouteTable and its look-ups, and what is not a route table is refused
// with its line.
// Method: one table, many questions. That Linux answers them so is
// tests/differential/fib_lookup_test.cc.
#include "packet/route_table.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>

#include <string>

namespace lmn {
namespace {

constexpr std::string_view kText = R"(# two networks and a way out
device 2 mac 02:00:00:00:00:02 mtu 1500 forward inet forward inet6
device 3 mac 02:00:00:00:00:03 mtu 9000
address 10.0.0.1/24 dev 2
address 10.0.1.1/24 dev 3
address fd00::1/64 dev 2
route local 10.0.0.1 dev 2
route 10.0.0.0/24 dev 2 src 10.0.0.1
route 10.0.1.0/24 dev 3 src 10.0.1.1
route 0.0.0.0/0 dev 2 via 10.0.0.9 metric 100
route 0.0.0.0/0 dev 3 via 10.0.1.9 metric 200
route 10.7.0.0/16 dev 3 tos 8 mtu 1400
route blackhole 10.8.0.0/16
route throw 10.9.0.0/16
route 10.1.2.0/24 dev 3 table 100
route throw 10.1.2.128/25 table 100
route fd00::/64 dev 2 metric 256
route fd01::/64 dev 2 metric 10
route fd01::/64 dev 3 metric 10
rule inet 100 table 100 mark 1/0xf from 10.0.0.0/8 iif 2
neighbour 10.0.0.9 dev 2 mac 02:00:00:00:00:99
)";

IpAddress address(const std::string& text) {
  IpAddress bytes{};
  const int family = text.find(':') != std::string::npos ? AF_INET6 : AF_INET;
  EXPECT_EQ(::inet_pton(family, text.c_str(), bytes.data()), 1) << text;
  return bytes;
}

class RouteTables : public testing::Test {
 protected:
  void SetUp() override {
    auto parsed = RouteTable::parse(kText);
    ASSERT_TRUE(parsed.has_value()) << parsed.error().to_string();
    table_ = std::move(*parsed);
  }
  RouteQuery query(const std::string& destination) {
    RouteQuery query;
    query.family = destination.find(':') != std::string::npos ? IpFamily::kIpv6 : IpFamily::kIpv4;
    query.destination = address(destination);
    return query;
  }
  // "dev metric", or "none".
  std::string ask(const RouteQuery& query) {
    const Route* route = table_.find_route(query);
    if (route == nullptr) return "none";
    if (route->type != RouteType::kUnicast)
      return "type " + std::to_string(static_cast<int>(route->type));
    return std::to_string(route->ifindex) + " " + std::to_string(route->metric);
  }

  RouteTable table_;
};

TEST_F(RouteTables, TheLongestPrefixAndThenTheSmallestMetric) {
  EXPECT_EQ(ask(query("10.0.0.5")), "2 0");
  EXPECT_EQ(ask(query("10.0.1.5")), "3 0");
  EXPECT_EQ(ask(query("10.0.0.1")), "type 1") << "local";
  EXPECT_EQ(ask(query("10.8.1.1")), "type 2") << "blackhole";
  EXPECT_EQ(ask(query("192.0.2.1")), "2 100");
  EXPECT_EQ(ask(query("fd00::2")), "2 256");
  EXPECT_EQ(ask(query("fd02::2")), "none");
}

TEST_F(RouteTables, TypeOfService) {
  RouteQuery asked = query("10.7.0.1");
  EXPECT_EQ(ask(asked), "2 100");
  asked.tos = 8;
  EXPECT_EQ(ask(asked), "3 0");
}

TEST_F(RouteTables, TheAskedDeviceDecidesIpv4AndIsPreferredByIpv6) {
  RouteQuery asked = query("192.0.2.1");
  asked.egress = 3;
  EXPECT_EQ(ask(asked), "3 200");
  asked = query("fd01::1");
  EXPECT_EQ(ask(asked), "2 10");
  asked.egress = 3;
  EXPECT_EQ(ask(asked), "3 10");
  asked.egress = 7;
  EXPECT_EQ(ask(asked), "2 10") << "none leads there";
}

TEST_F(RouteTables, RulesChooseTheTable) {
  RouteQuery asked = query("10.1.2.3");
  asked.source = address("10.5.5.5");
  asked.ingress = 2;
  asked.mark = 0x31;
  EXPECT_EQ(ask(asked), "3 0");
  asked.mark = 0x32;
  EXPECT_EQ(ask(asked), "2 100");
  asked.mark = 1;
  asked.ingress = 3;
  EXPECT_EQ(ask(asked), "2 100");
  asked.ingress = 2;
  asked.source = address("11.5.5.5");
  EXPECT_EQ(ask(asked), "2 100");
  asked.source = address("10.5.5.5");
  asked.destination = address("10.1.2.200");
  EXPECT_EQ(ask(asked), "2 100") << "thrown out of table 100";
  asked.destination = address("10.9.0.1");
  EXPECT_EQ(ask(asked), "none") << "thrown out of the last table";
}

TEST_F(RouteTables, OneTableAndNoRules) {
  RouteQuery asked = query("10.1.2.3");
  asked.table = 100;
  EXPECT_EQ(ask(asked), "3 0");
  asked.table = 77;
  EXPECT_EQ(ask(asked), "none");
  asked = query("10.0.0.1");
  asked.table = kRouteTableMain;
  EXPECT_EQ(ask(asked), "2 0") << "the local table is one of its own when there are rules";
}

TEST_F(RouteTables, LocalAndMainAreOneUntilThereIsARule) {
  auto parsed = RouteTable::parse("route local 10.0.0.1 dev 2\nroute 10.0.0.0/24 dev 2");
  ASSERT_TRUE(parsed.has_value());
  table_ = std::move(*parsed);
  RouteQuery asked = query("10.0.0.1");
  asked.table = kRouteTableMain;
  EXPECT_EQ(ask(asked), "type 1");
  table_.add_rule({.family = IpFamily::kIpv4, .priority = 5, .table = 9});
  EXPECT_EQ(ask(asked), "2 0");
}

TEST_F(RouteTables, DevicesNeighboursAndSources) {
  ASSERT_NE(table_.find_device(2), nullptr);
  EXPECT_TRUE(table_.find_device(2)->forwards_ipv4);
  EXPECT_FALSE(table_.find_device(3)->forwards_ipv6);
  EXPECT_EQ(table_.find_device(4), nullptr);
  EXPECT_NE(table_.find_neighbour(2, IpFamily::kIpv4, address("10.0.0.9")), nullptr);
  EXPECT_EQ(table_.find_neighbour(3, IpFamily::kIpv4, address("10.0.0.9")), nullptr);
  EXPECT_EQ(table_.find_neighbour(2, IpFamily::kIpv6, address("10.0.0.9")), nullptr);
  const Route* out = table_.find_route(query("192.0.2.1"));
  ASSERT_NE(out, nullptr);
  EXPECT_EQ(*table_.select_source(*out, *out, address("192.0.2.1")), address("10.0.0.1"));
  EXPECT_EQ(table_.mtu_of(*out, *out), 1500u);
}

// One table of its own for each: what its rules and hops do to a packet to 10.1.2.3 from 10.9.0.1.
struct RuleCase {
  const char* text;
  std::uint8_t protocol;
  std::uint16_t port;  // of source and destination
  std::uint32_t mark;
  std::uint32_t ingress;
  const char* answer;
};

constexpr const char* kTwoWays =
    "device 2\ndevice 3 group 9\ndevice 4 vrf 5 table 100\ndevice 5 vrf 5 table 100\n"
    "route 0.0.0.0/0 dev 2\nroute 0.0.0.0/0 dev 3 table 100\n";

class RouteRules : public RouteTables, public testing::WithParamInterface<RuleCase> {};

TEST_P(RouteRules, ChooseTheTable) {
  const RuleCase& row = GetParam();
  auto parsed = RouteTable::parse(std::string(kTwoWays) + row.text);
  ASSERT_TRUE(parsed.has_value()) << parsed.error().to_string();
  table_ = std::move(*parsed);
  RouteQuery asked = query("10.1.2.3");
  asked.source = address("10.9.0.1");
  asked.protocol = row.protocol;
  asked.source_port = asked.destination_port = row.port;
  asked.mark = row.mark;
  asked.ingress = row.ingress;
  EXPECT_EQ(ask(asked), row.answer) << row.text;
}

INSTANTIATE_TEST_SUITE_P(
    Rows, RouteRules,
    testing::Values(RuleCase{"", 6, 80, 0, 2, "2 0"},
                    RuleCase{"rule inet 5 proto 6 table 100", 6, 80, 0, 2, "3 0"},
                    RuleCase{"rule inet 5 proto 6 table 100", 17, 80, 0, 2, "2 0"},
                    RuleCase{"rule inet 5 not proto 6 table 100", 17, 80, 0, 2, "3 0"},
                    RuleCase{"rule inet 5 dport 80-90 table 100", 6, 90, 0, 2, "3 0"},
                    RuleCase{"rule inet 5 dport 80-90 table 100", 6, 91, 0, 2, "2 0"},
                    RuleCase{"rule inet 5 sport 80 table 100", 6, 80, 0, 2, "3 0"},
                    RuleCase{"rule inet 5 sport 80 table 100", 6, 79, 0, 2, "2 0"},
                    RuleCase{"rule inet 5 uid 0-7 table 100", 6, 80, 0, 2, "3 0"},
                    RuleCase{"rule inet 5 uid 1-7 table 100", 6, 80, 0, 2, "2 0"},
                    RuleCase{"rule inet 5 tos 4 table 100", 6, 80, 0, 2, "2 0"},
                    RuleCase{"rule inet 5 oif 3 table 100", 6, 80, 0, 2, "2 0"},
                    RuleCase{"rule inet 5 l3mdev", 6, 80, 0, 2, "2 0"},
                    RuleCase{"rule inet 5 l3mdev", 6, 80, 0, 4, "3 0"},
                    RuleCase{"rule inet 5 not l3mdev", 6, 80, 0, 2, "2 0"},
                    RuleCase{"rule inet 5 iif 5 table 100", 6, 80, 0, 4, "3 0"},
                    RuleCase{"rule inet 5 iif 5 table 100", 6, 80, 0, 2, "2 0"},
                    RuleCase{"rule inet 5 blackhole", 6, 80, 0, 2, "type 2"},
                    RuleCase{"rule inet 5 prohibit", 6, 80, 0, 2, "type 4"},
                    RuleCase{"rule inet 5 unreachable", 6, 80, 0, 2, "type 1"},
                    RuleCase{"rule inet 5 nop", 6, 80, 0, 2, "2 0"},
                    RuleCase{"rule inet 5 goto 7\nrule inet 6 blackhole\nrule inet 7 table 100", 6,
                             80, 0, 2, "3 0"},
                    RuleCase{"rule inet 5 table 100 suppress-prefix 0", 6, 80, 0, 2, "2 0"},
                    RuleCase{"rule inet 5 table 100 suppress-group 9", 6, 80, 0, 2, "2 0"},
                    RuleCase{"rule inet 5 table 100 suppress-group 8", 6, 80, 0, 2, "3 0"},
                    RuleCase{"rule inet 5 mark 5 table 100", 6, 80, 5, 2, "3 0"}));

TEST(RouteHops, AFlowStaysWithOneAndWeightsCount) {
  auto parsed = RouteTable::parse(
      "route 10.0.0.0/8 dev 2 via 10.0.0.9 weight 3 hop dev 3 via 10.0.1.9 encap\n");
  ASSERT_TRUE(parsed.has_value()) << parsed.error().to_string();
  RouteQuery asked;
  int first = 0;
  for (int i = 0; i < 1000; ++i) {
    asked.destination = {10, 1, static_cast<std::uint8_t>(i >> 8), static_cast<std::uint8_t>(i)};
    const Route* route = parsed->find_route(asked);
    ASSERT_NE(route, nullptr);
    const RouteHop& hop = RouteTable::choose_hop(*route, asked);
    EXPECT_EQ(&hop, &RouteTable::choose_hop(*route, asked));
    EXPECT_EQ(hop.has_encap, hop.ifindex == 3);
    first += hop.ifindex == 2 ? 1 : 0;
  }
  EXPECT_GT(first, 650);
  EXPECT_LT(first, 850);
  asked.egress = 3;
  EXPECT_EQ(RouteTable::choose_hop(*parsed->find_route(asked), asked).ifindex, 3u);
  asked.egress = 2;
  EXPECT_EQ(RouteTable::choose_hop(*parsed->find_route(asked), asked).ifindex, 2u);
}

TEST(RouteText, SaysWhatIsWrongAndWhere) {
  const struct {
    const char* text;
    const char* message;
  } kCases[] = {
      {"gateway 1.2.3.4", "line 1: 'gateway' is not known here"},
      {"\n\nroute 10.0.0.0/33 dev 1", "line 3: a prefix of 33 bits, there are 32"},
      {"route 10.0.0.1/24 dev 1", "'10.0.0.1/24' has bits behind its prefix"},
      {"route 10.0.0.0/24", "a route without 'dev'"},
      {"route 10.0.0.0/24 dev", "a word is missing at the end"},
      {"route 10.0.0.0/24 dev x", "'x' is no number"},
      {"route 10.0.0.0/24 dev 4294967296", "is no number that fits here"},
      {"route 10.0.0/24 dev 1", "'10.0.0' is no IP address"},
      {"route fd00::/64 dev 1 via 10.0.0.1", "an IPv6 route cannot have an IPv4 gateway"},
      {"route 10.0.0.0/24 dev 1 src fd00::1", "'src' is of the other family"},
      {"device 1 mac 02:00:00:00:00", "'02:00:00:00:00' is no MAC address"},
      {"device 1 mac 02-00:00:00:00:00", "is no MAC address"},
      {"device 1 forward ipx", "'ipx' is not known here"},
      {"neighbour 10.0.0.1 mac 02:00:00:00:00:01", "'dev' is missing"},
      {"rule inet 1 from fd00::/8", "a prefix of the other family"},
      {"route 10.0.0.0/24 dev 1 hop via 10.0.0.9", "a route without 'dev'"},
      {"route 10.0.0.0/24 dev 1 weight 0", "a weight of 0"},
      {"rule inet 9 goto 9", "'goto' leads back"},
      {"rule inet 9 colour 3", "'colour' is not known here"},
      {"device 1 vrf 5", "'table' of the VRF is missing"},
      {"address 10.0.0.1/24 dev 1 2", "'2' is not known here"},
  };
  for (const auto& test : kCases) {
    const auto parsed = RouteTable::parse(test.text);
    ASSERT_FALSE(parsed.has_value()) << test.text;
    EXPECT_NE(parsed.error().to_string().find(test.message), std::string::npos)
        << test.text << ": " << parsed.error().to_string();
  }
  EXPECT_TRUE(RouteTable::parse("").has_value());
  EXPECT_TRUE(RouteTable::parse("  # nothing\n\n").has_value());
}

}  // namespace
}  // namespace lmn
