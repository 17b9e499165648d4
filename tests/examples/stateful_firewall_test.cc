// SPDX-License-Identifier: Apache-2.0
//
// Goal: examples/stateful_firewall.c lets out what hosts inside open, lets in the answers, errors
// about them and what is offered, and nothing else. Method: conversations, packet by packet, in the
// kernel (its own connection table, in a network namespace) and in LMN; what ends after a time, in
// LMN under a clock that the test moves.
#include <linux/bpf.h>

#include <functional>

#include "base/clock.h"
#include "engine/engine.h"
#include "examples/example_fixture.h"
#include "examples/test_world.h"
#include "packet/conntrack_table.h"
#include "packet/jiffies.h"

namespace lmn {
namespace {

constexpr std::uint8_t kSyn = 0x02;
constexpr std::uint8_t kAck = 0x10;
constexpr std::uint8_t kRst = 0x04;
constexpr std::uint8_t kFin = 0x01;
constexpr std::uint64_t kSecond = 1'000'000'000;

enum Counter : std::uint32_t {
  kOpened,
  kKnown,
  kPing,
  kError,
  kLink,
  kNew,
  kStray,
  kOther,
  kFull,
  kCounters
};

// One packet of a conversation between a host inside and one outside.
struct Talk {
  bool is_ipv6 = false;
  std::uint16_t inside_port = 40000;
  std::uint16_t outside_port = 80;

  PacketBuilder network(bool is_out) const {
    const Ipv4Address inside4 = {10, 1, 1, 1};
    const Ipv6Address inside6 = ipv6_address("fd00::1");
    PacketBuilder packet;
    packet.ethernet();
    const Ipv4Address outside4 = {192, 0, 2, 2};
    const Ipv6Address outside6 = ipv6_address("2001:db8::2");
    if (is_ipv6 && is_out) return packet.ipv6({.src = inside6, .dst = outside6});
    if (is_ipv6) return packet.ipv6({.src = outside6, .dst = inside6});
    if (is_out) return packet.ipv4({.src = inside4, .dst = outside4});
    return packet.ipv4({.src = outside4, .dst = inside4});
  }
  std::uint16_t source(bool is_out) const { return is_out ? inside_port : outside_port; }
  std::uint16_t target(bool is_out) const { return is_out ? outside_port : inside_port; }
  Bytes tcp(bool is_out, std::uint8_t flags) const {
    return network(is_out)
        .tcp({.src_port = source(is_out), .dst_port = target(is_out), .flags = flags})
        .build();
  }
  Bytes udp(bool is_out) const {
    return network(is_out)
        .udp({.src_port = source(is_out), .dst_port = target(is_out)})
        .filler(9)
        .build();
  }
  Bytes echo(bool is_out, bool is_request, std::uint16_t id) const {
    const auto type =
        static_cast<std::uint8_t>(is_ipv6 ? (is_request ? 128 : 129) : (is_request ? 8 : 0));
    return network(is_out).icmp({.type = type, .id = id}).build();
  }
  // A router's answer to `packet`, which went out: it does not fit.
  Bytes too_big(const Bytes& packet) const {
    return network(false)
        .icmp(is_ipv6 ? IcmpFields{.type = 2, .code = 0} : IcmpFields{.type = 3, .code = 4})
        .payload(std::span(packet).subspan(14, is_ipv6 ? 48 : 28))
        .build();
  }
};

class FirewallUser : public ExampleUser {
 public:
  void trust(std::uint32_t inside, std::uint32_t outside) {
    inside_ = inside;
    outside_ = outside;
    set_entry("trusted", raw(inside), {1});
  }
  void offer(std::uint16_t port, std::uint8_t protocol) {
    set_entry("services",
              {static_cast<std::uint8_t>(port >> 8), static_cast<std::uint8_t>(port), protocol, 0},
              {1});
  }
  bool passes(bool is_out, const Bytes& packet) {
    const PacketResult result = run_from(is_out ? inside_ : outside_, packet);
    EXPECT_EQ(result.packet, packet);
    EXPECT_TRUE(result.verdict == XDP_PASS || result.verdict == XDP_DROP) << result.verdict;
    return result.verdict == XDP_PASS;
  }
  bool leaves(const Bytes& packet) { return passes(true, packet); }
  bool enters(const Bytes& packet) { return passes(false, packet); }
  std::uint64_t count(std::uint32_t what) { return counter("firewall_cnt", what); }

 private:
  std::uint32_t inside_ = 0;
  std::uint32_t outside_ = 0;
};

class StatefulFirewallTest : public ::testing::TestWithParam<RunnerKind>, public FirewallUser {
 protected:
  void SetUp() override {
    if (auto reason = why_no_runner(GetParam())) GTEST_SKIP() << *reason;
  }
  void guard(const std::function<void()>& body) {
    if (GetParam() == RunnerKind::kInterpreter) {
      ASSERT_NO_FATAL_FAILURE(load(GetParam(), "stateful_firewall"));
      trust(2, 3);
      body();
      return;
    }
    std::string lacks;
    const auto why = TestWorld::visit([&](const TestWorld& world) {
      auto opened = open_runner(GetParam(), example_path("stateful_firewall"), "");
      if (!opened) {
        lacks = "the kernel lacks the functions: " + opened.error().to_string();
        return;
      }
      runner_ = *std::move(opened);
      trust(world.left(), world.right());
      body();
      runner_.reset();
    });
    if (why) GTEST_SKIP() << *why;
    if (!lacks.empty()) GTEST_SKIP() << lacks;
  }
};

TEST_P(StatefulFirewallTest, InsideOpensOutsideAnswers) {
  guard([this] {
    for (const bool is_ipv6 : {false, true}) {
      const Talk talk{.is_ipv6 = is_ipv6};
      EXPECT_FALSE(enters(talk.tcp(false, kSyn | kAck))) << "nobody asked";
      EXPECT_TRUE(leaves(talk.tcp(true, kSyn)));
      EXPECT_TRUE(enters(talk.tcp(false, kSyn | kAck)));
      EXPECT_TRUE(leaves(talk.tcp(true, kAck)));
      EXPECT_TRUE(enters(talk.tcp(false, kAck)));
      const Talk other{.is_ipv6 = is_ipv6, .outside_port = 81};
      EXPECT_FALSE(enters(other.tcp(false, kSyn | kAck))) << "another port";
      EXPECT_FALSE(enters(talk.udp(false))) << "another protocol";
      EXPECT_TRUE(leaves(talk.udp(true)));
      EXPECT_TRUE(enters(talk.udp(false)));
    }
    EXPECT_EQ(count(kOpened), 4u);
    EXPECT_EQ(count(kKnown), 8u);
    EXPECT_EQ(count(kNew), 6u);
  });
}

TEST_P(StatefulFirewallTest, OnlySynOpens) {
  guard([this] {
    const Talk talk;
    for (const int flags : {kAck + 0, kSyn | kAck, kRst + 0, kFin | kAck, kSyn | kFin, 0}) {
      EXPECT_FALSE(leaves(talk.tcp(true, static_cast<std::uint8_t>(flags)))) << flags;
    }
    EXPECT_EQ(count(kStray), 6u);
    EXPECT_FALSE(enters(talk.tcp(false, kSyn)));
    EXPECT_FALSE(enters(talk.udp(false)));
    EXPECT_EQ(count(kNew), 2u);
  });
}

TEST_P(StatefulFirewallTest, OfferedServicesAreOpen) {
  guard([this] {
    offer(22, 6);
    const Talk talk{.inside_port = 22, .outside_port = 50000};
    EXPECT_FALSE(enters(talk.tcp(false, kAck)));
    EXPECT_TRUE(enters(talk.tcp(false, kSyn)));
    EXPECT_TRUE(leaves(talk.tcp(true, kSyn | kAck)));
    EXPECT_TRUE(enters(talk.tcp(false, kAck)));
    EXPECT_FALSE(enters(talk.udp(false))) << "TCP is offered, not UDP";
    const Talk other{.inside_port = 23, .outside_port = 50000};
    EXPECT_FALSE(enters(other.tcp(false, kSyn)));
  });
}

TEST_P(StatefulFirewallTest, ErrorsAboutConnectionsEnter) {
  guard([this] {
    for (const bool is_ipv6 : {false, true}) {
      const Talk talk{.is_ipv6 = is_ipv6};
      const Bytes packet = talk.udp(true);
      EXPECT_FALSE(enters(talk.too_big(packet)));
      EXPECT_TRUE(leaves(packet));
      EXPECT_TRUE(enters(talk.too_big(packet)));
      Bytes cut = talk.too_big(packet);
      cut.resize(cut.size() - 6);
      EXPECT_FALSE(enters(cut)) << "no ports in it";
    }
    EXPECT_EQ(count(kError), 2u);
    EXPECT_EQ(count(kOther), 2u);
  });
}

TEST_P(StatefulFirewallTest, PingsAreAnsweredToWhoAsked) {
  guard([this] {
    for (const bool is_ipv6 : {false, true}) {
      const Talk talk{.is_ipv6 = is_ipv6};
      EXPECT_FALSE(enters(talk.echo(false, false, 7)));
      EXPECT_TRUE(leaves(talk.echo(true, true, 7)));
      EXPECT_TRUE(enters(talk.echo(false, false, 7)));
      EXPECT_FALSE(enters(talk.echo(false, false, 8)));
      EXPECT_FALSE(enters(talk.echo(false, true, 7))) << "no questions from outside";
    }
    EXPECT_EQ(count(kPing), 4u);
    EXPECT_EQ(entries("pings").size(), 2u);
  });
}

TEST_P(StatefulFirewallTest, TheLinkWorksAndTheRestDoesNot) {
  guard([this] {
    const auto eth = [] { return PacketBuilder().ethernet(); };
    EXPECT_TRUE(enters(eth().arp().build()));
    for (std::uint8_t type = 133; type <= 137; ++type)
      EXPECT_TRUE(enters(eth().ipv6().icmp({.type = type}).build())) << int{type};
    const Talk talk;
    const Bytes syn = talk.tcp(true, kSyn);
    EXPECT_TRUE(leaves(syn));
    const std::vector<std::pair<const char*, Bytes>> cases = {
        {"unknown EtherType", eth().filler(40).build()},
        {"later fragment", eth().ipv4({.fragment_offset = 5, .protocol = 6}).filler(40).build()},
        {"other transport", eth().ipv4({.protocol = 47}).filler(40).build()},
        {"redirect", eth().ipv4().icmp({.type = 5}).build()},
        {"MLD", eth().ipv6().icmp({.type = 143}).build()},
        {"half a TCP header", Bytes(syn.begin(), syn.begin() + 53)},
        {"half an IP header", Bytes(syn.begin(), syn.begin() + 33)},
        {"half an ICMP header", eth().ipv4({.protocol = 1}).filler(7).build()},
        {"half a UDP header", eth().ipv4({.protocol = 17}).filler(3).build()},
    };
    for (const auto& [what, packet] : cases) EXPECT_FALSE(leaves(packet)) << what;
    EXPECT_EQ(count(kOther), cases.size());
    // Tags and options change nothing.
    const Bytes tagged = eth()
                             .vlan()
                             .ipv4({.src = {10, 1, 1, 1}, .dst = {192, 0, 2, 2}, .options = {1}})
                             .tcp({.flags = kAck})
                             .build();
    EXPECT_TRUE(leaves(tagged));
  });
}

INSTANTIATE_TEST_SUITE_P(Runners, StatefulFirewallTest, ::testing::ValuesIn(kBothRunners),
                         runner_name);

// --- time

class FirewallTimeTest : public ::testing::Test, public FirewallUser {
 protected:
  void SetUp() override {
    auto opened = open_engine_runner(example_path("stateful_firewall"), "", nullptr, &clock_);
    ASSERT_TRUE(opened) << opened.error().to_string();
    runner_ = *std::move(opened);
    trust(2, 3);
  }
  void wait_s(std::uint64_t seconds) { clock_.advance_ns(seconds * kSecond); }
  std::string connections() {
    return runner_->engine()->kernel_tables().conntrack().to_text(
        static_cast<std::uint32_t>(jiffies_of(clock_)));
  }

  FakeClock clock_;
};

TEST_F(FirewallTimeTest, WhatIsNotAnsweredIsForgottenSoon) {
  const Talk talk;
  EXPECT_TRUE(leaves(talk.tcp(true, kSyn)));
  wait_s(29);
  EXPECT_TRUE(leaves(talk.tcp(true, kSyn))) << "asked again: the time goes on";
  wait_s(2);
  EXPECT_FALSE(enters(talk.tcp(false, kSyn | kAck)));
}

TEST_F(FirewallTimeTest, AnAnswerMakesItLastAndTheEndShort) {
  const Talk talk;
  EXPECT_TRUE(leaves(talk.tcp(true, kSyn)));
  EXPECT_TRUE(enters(talk.tcp(false, kSyn | kAck)));
  EXPECT_NE(connections().find("seen_reply,assured"), std::string::npos) << connections();
  wait_s(3599);
  EXPECT_TRUE(enters(talk.tcp(false, kAck)));
  wait_s(3599);
  EXPECT_TRUE(leaves(talk.tcp(true, kFin | kAck)));
  wait_s(9);
  EXPECT_TRUE(enters(talk.tcp(false, kFin | kAck)));
  wait_s(11);
  EXPECT_FALSE(enters(talk.tcp(false, kAck)));
  EXPECT_TRUE(leaves(talk.udp(true)));
  EXPECT_TRUE(enters(talk.udp(false)));
  wait_s(179);
  EXPECT_TRUE(enters(talk.udp(false)));
  wait_s(181);
  EXPECT_FALSE(enters(talk.udp(false)));
}

}  // namespace
}  // namespace lmn
