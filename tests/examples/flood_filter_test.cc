// SPDX-License-Identifier: Apache-2.0
//
// Goal: examples/flood_filter.c holds floods to the configured rate, to the packet, and lets
// everybody else through. Method: rates by LMN's engine under a clock that the test moves; what
// does not depend on time (lists, classes, bursts, headers in front) in the kernel and in LMN
// alike.
#include "examples/flood_filter.h"

#include <linux/bpf.h>

#include "base/clock.h"
#include "examples/example_fixture.h"

namespace lmn {
namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr std::uint64_t kHour = 3600 * kSecond;

PacketBuilder eth() { return PacketBuilder().ethernet(); }
Bytes syn(const char* source) { return eth().ipv4({.src = ipv4_address(source)}).tcp().build(); }
Bytes syn6(const char* source) { return eth().ipv6({.src = ipv6_address(source)}).tcp().build(); }
Bytes limit(std::uint64_t interval_ns, std::uint64_t burst) { return raw(interval_ns, burst); }
Bytes port(std::uint16_t number) {
  return {static_cast<std::uint8_t>(number >> 8), static_cast<std::uint8_t>(number)};
}

// --- rates, under a clock of our own

class FloodRateTest : public ::testing::Test, public ExampleUser {
 protected:
  void SetUp() override {
    auto opened = open_engine_runner(example_path("flood_filter"), "", nullptr, &clock_);
    ASSERT_TRUE(opened) << opened.error().to_string();
    runner_ = *std::move(opened);
  }
  bool passes(const Bytes& packet) { return verdict_of_untouched(packet) == XDP_PASS; }

  FakeClock clock_;
};

// 10,000 SYNs a second for two seconds against a rate of 100 with bursts of 20, while somebody else
// opens 50 connections a second.
TEST_F(FloodRateTest, AFloodGetsItsRateAndGoodSourcesPass) {
  set_entry("limits", raw(std::uint32_t{FLOOD_SYN}), limit(kSecond / 100, 20));
  int flood_passed = 0;
  int good_passed = 0;
  for (int i = 0; i < 20'000; ++i) {
    flood_passed += passes(syn("198.51.100.1"));
    if (i % 200 == 0) good_passed += passes(syn("203.0.113.5"));
    clock_.advance_ns(kSecond / 10'000);
  }
  EXPECT_EQ(flood_passed, 20 + 199);  // the burst, and one for each 10 ms after the first moment
  EXPECT_EQ(good_passed, 100);
  EXPECT_EQ(counter("flood_cnt", PASSED_IN_RATE), 319u);
  EXPECT_EQ(counter("flood_cnt", DROPPED_OVER_RATE), 20'000u - 219);
  EXPECT_EQ(counter("flood_cnt", DROPPED_OVER_RATE, 1), (20'000u - 219) * syn("1.1.1.1").size());
}

TEST_F(FloodRateTest, ABurstComesBackAfterSilenceAndNoMoreThanThat) {
  set_entry("limits", raw(std::uint32_t{FLOOD_SYN}), limit(kSecond / 10, 5));
  for (int round = 0; round < 3; ++round) {
    int passed = 0;
    for (int i = 0; i < 50; ++i) passed += passes(syn("198.51.100.1"));
    EXPECT_EQ(passed, 5) << round;
    clock_.advance_ns(kSecond * 3600);
  }
  // Half of it after half the time.
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(passes(syn("198.51.100.2")));
  clock_.advance_ns(kSecond / 10 * 2);
  EXPECT_TRUE(passes(syn("198.51.100.2")));
  EXPECT_TRUE(passes(syn("198.51.100.2")));
  EXPECT_FALSE(passes(syn("198.51.100.2")));
}

// More forged sources than the table has room for: none is refused for want of room, and a rate
// still holds for who keeps coming.
TEST_F(FloodRateTest, ForgedSourcesDoNotFillTheTable) {
  set_entry("limits", raw(std::uint32_t{FLOOD_SYN}), limit(kSecond, 3));
  int attacker_passed = 0;
  for (std::uint32_t i = 0; i < 80'000; ++i) {
    Bytes packet = syn("10.0.0.0");
    packet[27] = static_cast<std::uint8_t>(i >> 16);
    packet[28] = static_cast<std::uint8_t>(i >> 8);
    packet[29] = static_cast<std::uint8_t>(i);
    ASSERT_TRUE(passes(packet)) << i;
    if (i % 100 == 0) attacker_passed += passes(syn("198.51.100.1"));
  }
  EXPECT_EQ(attacker_passed, 3);
}

// --- what no clock changes, in the kernel too: the next packet would be allowed in an hour

class FloodFilterTest : public ExamplesTest {
 protected:
  void load_with_bursts(std::uint64_t syns, std::uint64_t reflected, std::uint64_t fragments) {
    ASSERT_NO_FATAL_FAILURE(load("flood_filter"));
    set_entry("limits", raw(std::uint32_t{FLOOD_SYN}), limit(kHour, syns));
    set_entry("limits", raw(std::uint32_t{FLOOD_REFLECTED}), limit(kHour, reflected));
    set_entry("limits", raw(std::uint32_t{FLOOD_FRAGMENT}), limit(kHour, fragments));
    for (const int number : {53, 123, 11211})
      set_entry("reflectors", port(static_cast<std::uint16_t>(number)), raw(std::uint8_t{1}));
  }
  // How many of `count` pass.
  int passed(const Bytes& packet, int count) {
    int passed = 0;
    for (int i = 0; i < count; ++i) passed += verdict_of_untouched(packet) == XDP_PASS;
    return passed;
  }
};

TEST_P(FloodFilterTest, EmptyMapsPassAllThatIsWellFormed) {
  ASSERT_NO_FATAL_FAILURE(load("flood_filter"));
  EXPECT_EQ(passed(syn("198.51.100.1"), 50), 50);
  EXPECT_EQ(passed(eth().arp().build(), 1), 1);
  EXPECT_EQ(counter("flood_cnt", PASSED_OTHER), 51u);
}

TEST_P(FloodFilterTest, EachClassHasItsOwnBucket) {
  ASSERT_NO_FATAL_FAILURE(load_with_bursts(2, 3, 4));
  const Bytes dns = eth().ipv4().udp({.src_port = 53}).filler(400).build();
  const Bytes memcached = eth().ipv4().udp({.src_port = 11211}).filler(400).build();
  const Bytes rest = eth().ipv4({.fragment_offset = 100, .protocol = 17}).filler(400).build();
  EXPECT_EQ(passed(syn("192.0.2.1"), 10), 2);
  EXPECT_EQ(passed(dns, 2), 2);
  EXPECT_EQ(passed(memcached, 10), 1);  // the same class as DNS
  EXPECT_EQ(passed(rest, 10), 4);
  // Not of a class: answers to SYNs, data, UDP from other ports.
  EXPECT_EQ(passed(eth().ipv4().tcp({.flags = 0x12}).build(), 10), 10);
  EXPECT_EQ(passed(eth().ipv4().tcp({.flags = 0x10}).filler(9).build(), 10), 10);
  EXPECT_EQ(passed(eth().ipv4().udp({.dst_port = 53}).build(), 10), 10);
  EXPECT_EQ(entries("buckets").size(), 3u);
}

TEST_P(FloodFilterTest, NothingInFrontHidesASyn) {
  ASSERT_NO_FATAL_FAILURE(load_with_bursts(1, 1, 1));
  EXPECT_EQ(passed(syn("192.0.2.1"), 1), 1);
  const std::vector<std::pair<const char*, Bytes>> same_source = {
      {"a tag", eth().vlan().ipv4().tcp().build()},
      {"two tags", eth().vlan({.protocol = 0x88a8}).vlan().ipv4().tcp().build()},
      {"options", eth().ipv4({.options = Bytes(40, 1)}).tcp().build()},
      {"a first fragment", eth().ipv4({.more_fragments = true}).tcp().build()},
  };
  for (const auto& [what, packet] : same_source)
    EXPECT_EQ(verdict_of_untouched(packet), XDP_DROP) << what;
  EXPECT_EQ(passed(syn6("2001:db8::1"), 1), 1);
  EXPECT_EQ(verdict_of_untouched(eth()
                                     .vlan()
                                     .ipv6()
                                     .ipv6_extension({.type = 0})
                                     .ipv6_extension({.type = 43, .extra_units = 2})
                                     .ipv6_extension({.type = 60, .extra_units = 31})
                                     .ipv6_extension({.type = 44})
                                     .tcp()
                                     .build()),
            XDP_DROP);
}

TEST_P(FloodFilterTest, AnIpv6SourceIsItsNetwork) {
  ASSERT_NO_FATAL_FAILURE(load_with_bursts(2, 1, 1));
  EXPECT_EQ(passed(syn6("2001:db8:1:2::1"), 1), 1);
  EXPECT_EQ(passed(syn6("2001:db8:1:2:ffff::9"), 5), 1);
  EXPECT_EQ(passed(syn6("2001:db8:1:3::1"), 5), 2);
  // The IPv4 address of the same bits is somebody else.
  EXPECT_EQ(passed(syn6("2001:db8::1"), 5), 2);
  EXPECT_EQ(passed(syn("32.1.13.184"), 5), 2);
}

TEST_P(FloodFilterTest, TheLongestPrefixDecides) {
  ASSERT_NO_FATAL_FAILURE(load_with_bursts(1, 1, 1));
  const auto v4 = [&](const char* address, std::uint32_t bits, std::uint32_t verdict) {
    set_entry("list4", raw(bits, ipv4_address(address)), raw(verdict));
  };
  const auto v6 = [&](const char* address, std::uint32_t bits, std::uint32_t verdict) {
    set_entry("list6", raw(bits, ipv6_address(address)), raw(verdict));
  };
  v4("198.51.0.0", 16, LISTED_DENY);
  v4("198.51.100.7", 32, LISTED_ALLOW);
  v6("2001:db8:bad::", 48, LISTED_DENY);
  v6("2001:db8:bad:900d::", 64, LISTED_ALLOW);
  EXPECT_EQ(passed(syn("198.51.7.7"), 3), 0);
  EXPECT_EQ(passed(eth().ipv4({.src = ipv4_address("198.51.7.7")}).icmp().build(), 3), 0);
  EXPECT_EQ(passed(syn("198.51.100.7"), 9), 9);  // no rate for who is allowed
  EXPECT_EQ(passed(syn("198.52.0.1"), 9), 1);
  EXPECT_EQ(passed(syn6("2001:db8:bad::1"), 3), 0);
  EXPECT_EQ(passed(syn6("2001:db8:bad:900d::1"), 9), 9);
  EXPECT_EQ(counter("flood_cnt", DROPPED_DENIED), 9u);
  EXPECT_EQ(counter("flood_cnt", PASSED_ALLOWED), 18u);
}

TEST_P(FloodFilterTest, HeadersThatCannotBeAreDropped) {
  ASSERT_NO_FATAL_FAILURE(load("flood_filter"));
  const Bytes v4 = syn("192.0.2.1");
  const Bytes v6 = eth().ipv6().ipv6_extension().tcp().build();
  for (const std::size_t length : {15u, 33u})
    EXPECT_EQ(verdict_of_untouched(Bytes(v4.begin(), v4.begin() + length)), XDP_DROP) << length;
  for (const std::size_t length : {16u, 53u, 57u})
    EXPECT_EQ(verdict_of_untouched(Bytes(v6.begin(), v6.begin() + length)), XDP_DROP) << length;
  Bytes short_header = v4;
  short_header[14] = 0x44;
  EXPECT_EQ(verdict_of_untouched(short_header), XDP_DROP);
  EXPECT_EQ(counter("flood_cnt", DROPPED_MALFORMED), 6u);
  // No whole TCP header: not a SYN that anybody would answer.
  EXPECT_EQ(verdict_of_untouched(Bytes(v4.begin(), v4.begin() + 53)), XDP_PASS);
}

INSTANTIATE_TEST_SUITE_P(Runners, FloodFilterTest, ::testing::ValuesIn(kBothRunners), runner_name);

}  // namespace
}  // namespace lmn
