// SPDX-License-Identifier: Apache-2.0
//
// Goal: facts of a netdev are read as `ip` set them, and changes arrive. Method: a veth in a
// network namespace of the test's own; the parser of addresses by table.
#include "ports/netdev/netdev.h"

#include <gtest/gtest.h>
#include <net/if_arp.h>
#include <sys/socket.h>

#include "ports/testing/netns.h"

namespace lmn {
namespace {

using testing_support::Netns;
using testing_support::shell;
using testing_support::write_sysctl;

TEST(InterfaceAddress, IsParsedOrRefused) {
  const auto v4 = parse_interface_address("10.0.0.1/24");
  ASSERT_TRUE(v4.has_value());
  EXPECT_EQ(v4->family, AF_INET);
  EXPECT_EQ(v4->bytes[0], 10);
  EXPECT_EQ(v4->bytes[3], 1);
  EXPECT_EQ(v4->prefix_length, 24);
  EXPECT_EQ(parse_interface_address("10.0.0.1")->prefix_length, 32);
  const auto v6 = parse_interface_address("fd00::1/64");
  ASSERT_TRUE(v6.has_value());
  EXPECT_EQ(v6->family, AF_INET6);
  EXPECT_EQ(v6->bytes[15], 1);
  EXPECT_EQ(parse_interface_address("fd00::1/128")->prefix_length, 128);
  for (const char* bad : {"", "10.0.0.1/33", "10.0.0.1/", "10.0.0.1/x", "10.0.0.1/24x", "10.0.0/24",
                          "fd00::1/129", "host/24", "/24"}) {
    const auto refused = parse_interface_address(bad);
    ASSERT_FALSE(refused.has_value()) << bad;
    EXPECT_EQ(refused.error().message, "'" + std::string(bad) + "' is no interface address");
  }
}

TEST(Netdev, FactsAndChanges) {
  if (const auto why = Netns::refusal()) GTEST_SKIP() << *why;
  Netns::create()->run([] {
    EXPECT_EQ(read_netdev("t0").error().code, ErrorCode::kNotFound);
    ASSERT_TRUE(shell("ip link add t0 address 02:00:00:00:00:07 mtu 1400 type veth peer name t1"));
    auto facts = read_netdev("t0");
    ASSERT_TRUE(facts.has_value()) << facts.error().to_string();
    EXPECT_EQ(facts->mtu, 1400u);
    EXPECT_EQ(facts->mac, (std::array<std::uint8_t, 6>{2, 0, 0, 0, 0, 7}));
    EXPECT_EQ(facts->link_type, ARPHRD_ETHER);
    EXPECT_EQ(facts->master_ifindex, 0u);
    EXPECT_FALSE(facts->is_up);
    ASSERT_TRUE(set_netdev_mtu(*facts, 1300).has_value());
    ASSERT_TRUE(set_netdev_up(*facts).has_value());
    ASSERT_TRUE(add_netdev_address(*facts, *parse_interface_address("10.1.2.3/24")).has_value());
    EXPECT_FALSE(set_netdev_mtu(*facts, 70'000).has_value());
    ASSERT_TRUE(shell("ip link add br0 type bridge && ip link set t0 master br0"));
    facts = read_netdev("t0");
    EXPECT_EQ(facts->mtu, 1300u);
    EXPECT_TRUE(facts->is_up);
    EXPECT_EQ(facts->master_ifindex, read_netdev("br0")->ifindex);
    EXPECT_EQ(read_netdev_addresses("t0"), std::vector<std::string>{"10.1.2.3"});
    EXPECT_TRUE(read_netdev_addresses("t1").empty());
    EXPECT_FALSE(is_forwarding("t0"));
    ASSERT_TRUE(write_sysctl("net/ipv4/conf/t0/forwarding", "1"));
    EXPECT_TRUE(is_forwarding("t0"));
    const UniqueFd any(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(query_netdev_state(any.get(), "t0"), NetdevState::kUp);
    EXPECT_EQ(query_netdev_state(any.get(), "t1"), NetdevState::kDown);
    ASSERT_TRUE(shell("ip link del t0"));
    EXPECT_EQ(query_netdev_state(any.get(), "t0"), NetdevState::kGone);
  });
}

}  // namespace
}  // namespace lmn
