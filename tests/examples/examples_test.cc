// SPDX-License-Identifier: Apache-2.0
//
// Goal: every program in examples/ does what its comment says, in the kernel and in LMN alike.
// Method: packets in; verdict, packet out and map contents are compared with what is written here,
// for each runner. So the two are not only equal to each other but right. The larger examples have
// files of their own here; on_traffic_test.cc gives both sides packets that nobody thought of.
#include <linux/bpf.h>

#include <cstring>
#include <string>

#include "examples/example_fixture.h"

namespace lmn {
namespace {

Bytes udp_packet() { return PacketBuilder().ethernet().ipv4().udp().filler(18).build(); }
Bytes udp6_packet() { return PacketBuilder().ethernet().ipv6().udp().filler(6).build(); }

// --- ethertype_count

TEST_P(ExamplesTest, EthertypeCountCountsEveryPacketOfEachType) {
  ASSERT_NO_FATAL_FAILURE(load("ethertype_count"));
  EXPECT_TRUE(entries("ethertype_cnt").empty());
  const Bytes arp = PacketBuilder().ethernet().arp().padded_to(60).build();
  const Bytes tagged = PacketBuilder().ethernet().vlan().ipv4().udp().build();
  const Bytes only_header = PacketBuilder().ethernet({.ethertype = 0x0800}).build();
  for (const Bytes& packet : {udp_packet(), arp, udp6_packet(), only_header, tagged, udp_packet()})
    EXPECT_EQ(verdict_of_untouched(packet), XDP_PASS);

  const auto key = [](std::uint16_t ethertype) { return raw(ethertype); };
  const auto packets = [](std::uint64_t count) { return raw(count); };
  EXPECT_EQ(entry("ethertype_cnt", key(0x0800)), packets(3));
  EXPECT_EQ(entry("ethertype_cnt", key(0x0806)), packets(1));
  EXPECT_EQ(entry("ethertype_cnt", key(0x86dd)), packets(1));
  EXPECT_EQ(entry("ethertype_cnt", key(0x8100)), packets(1));
  EXPECT_EQ(entries("ethertype_cnt").size(), 4u);
}

TEST_P(ExamplesTest, EthertypeCountSaysWhatItCouldNotCount) {
  ASSERT_NO_FATAL_FAILURE(load("ethertype_count"));
  for (unsigned type = 0; type < 260; ++type) {
    const Bytes packet =
        PacketBuilder().ethernet({.ethertype = static_cast<std::uint16_t>(type)}).build();
    ASSERT_EQ(verdict_of_untouched(packet), XDP_PASS);
  }
  EXPECT_EQ(entries("ethertype_cnt").size(), 256u);
  EXPECT_EQ(entry(".bss", raw(std::uint32_t{0})), raw(std::uint64_t{4}));
}

// --- icmp_echo_drop

struct EchoCase {
  const char* what;
  Bytes packet;
  std::uint32_t verdict;
};

std::vector<EchoCase> echo_cases() {
  const auto eth = [] { return PacketBuilder().ethernet(); };
  const Bytes request = eth().ipv4().icmp().filler(20).build();
  return {
      {"echo request", request, XDP_DROP},
      {"behind IPv4 options", eth().ipv4({.options = {1, 1, 1, 0}}).icmp().build(), XDP_DROP},
      {"behind the longest IPv4 header", eth().ipv4({.options = Bytes(40, 1)}).icmp().build(),
       XDP_DROP},
      {"first fragment", eth().ipv4({.more_fragments = true}).icmp().filler(16).build(), XDP_DROP},
      {"later fragment", eth().ipv4({.fragment_offset = 3}).icmp().filler(16).build(), XDP_PASS},
      {"echo reply", eth().ipv4().icmp({.type = 0}).build(), XDP_PASS},
      {"other protocol", udp_packet(), XDP_PASS},
      {"cut in the ICMP header", Bytes(request.begin(), request.begin() + 37), XDP_PASS},
      {"cut in the IPv4 header", Bytes(request.begin(), request.begin() + 33), XDP_PASS},
      {"IPv6 echo request", eth().ipv6().icmp({.type = 128}).build(), XDP_DROP},
      {"IPv6 echo reply", eth().ipv6().icmp({.type = 129}).build(), XDP_PASS},
      {"IPv6 behind an extension", eth().ipv6().ipv6_extension().icmp({.type = 128}).build(),
       XDP_PASS},
      {"ARP", eth().arp().build(), XDP_PASS},
  };
}

TEST_P(ExamplesTest, IcmpEchoDropDropsRequestsOnly) {
  ASSERT_NO_FATAL_FAILURE(load("icmp_echo_drop"));
  for (const EchoCase& each : echo_cases())
    EXPECT_EQ(verdict_of_untouched(each.packet), each.verdict) << each.what;
  const auto count = [](std::uint64_t seen, std::uint64_t dropped) {
    return on_cpu0(raw(seen, dropped));
  };
  EXPECT_EQ(entry("echo_cnt", raw(std::uint32_t{0})), count(4, 4));
  EXPECT_EQ(entry("echo_cnt", raw(std::uint32_t{1})), count(1, 1));
}

TEST_P(ExamplesTest, IcmpDropEverySecondCountsPerFamily) {
  ASSERT_NO_FATAL_FAILURE(load("icmp_drop_every_second"));
  const Bytes v4 = PacketBuilder().ethernet().ipv4().icmp().build();
  const Bytes v6 = PacketBuilder().ethernet().ipv6().icmp({.type = 128}).build();
  for (int round = 0; round < 5; ++round) {
    EXPECT_EQ(verdict_of_untouched(v4), XDP_PASS) << round;
    if (round == 0) {
      EXPECT_EQ(verdict_of_untouched(v6), XDP_PASS);
    }
    EXPECT_EQ(verdict_of_untouched(v4), XDP_DROP) << round;
  }
  EXPECT_EQ(entry("echo_cnt", raw(std::uint32_t{0})),
            on_cpu0(raw(std::uint64_t{10}, std::uint64_t{5})));
  EXPECT_EQ(entry("echo_cnt", raw(std::uint32_t{1})),
            on_cpu0(raw(std::uint64_t{1}, std::uint64_t{0})));
}

// --- vlan_push, vlan_pop

TEST_P(ExamplesTest, VlanPushTagsUntaggedFrames) {
  ASSERT_NO_FATAL_FAILURE(load("vlan_push"));
  const PacketResult v4 = run(udp_packet());
  EXPECT_EQ(v4.verdict, XDP_PASS);
  EXPECT_EQ(v4.packet,
            PacketBuilder().ethernet().vlan({.id = 100}).ipv4().udp().filler(18).build());
  // Nothing but an Ethernet header: the shortest packet there is.
  const PacketResult shortest = run(PacketBuilder().ethernet().build());
  EXPECT_EQ(shortest.verdict, XDP_PASS);
  EXPECT_EQ(shortest.packet, PacketBuilder().ethernet().vlan({.id = 100}).build());
  for (const std::uint16_t protocol : {std::uint16_t{0x8100}, std::uint16_t{0x88a8}}) {
    const Bytes tagged = PacketBuilder().ethernet().vlan({.protocol = protocol}).ipv4().build();
    EXPECT_EQ(verdict_of_untouched(tagged), XDP_PASS);
  }
}

TEST_P(ExamplesTest, VlanPopTakesTheOuterTagOnly) {
  ASSERT_NO_FATAL_FAILURE(load("vlan_pop"));
  const PacketResult one =
      run(PacketBuilder().ethernet().vlan({.id = 7, .priority = 5}).ipv6().udp().filler(6).build());
  EXPECT_EQ(one.verdict, XDP_PASS);
  EXPECT_EQ(one.packet, udp6_packet());
  const PacketResult two =
      run(PacketBuilder().ethernet().vlan({.id = 9, .protocol = 0x88a8}).vlan({.id = 7}).build());
  EXPECT_EQ(two.verdict, XDP_PASS);
  EXPECT_EQ(two.packet, PacketBuilder().ethernet().vlan({.id = 7}).build());
  run(two.packet);
  EXPECT_EQ(verdict_of_untouched(udp_packet()), XDP_PASS);

  const std::vector<MapEntry> counts = {{raw(std::uint16_t{7}), on_cpu0(raw(std::uint64_t{2}))},
                                        {raw(std::uint16_t{9}), on_cpu0(raw(std::uint64_t{1}))}};
  EXPECT_EQ(entries("vlan_cnt"), counts);
}

TEST_P(ExamplesTest, VlanPopUndoesVlanPush) {
  ASSERT_NO_FATAL_FAILURE(load("vlan_push"));
  const PacketResult pushed = run(udp_packet());
  ASSERT_NO_FATAL_FAILURE(load("vlan_pop"));
  EXPECT_EQ(run(pushed.packet).packet, udp_packet());
}

// --- mac_swap_tx

TEST_P(ExamplesTest, MacSwapSendsUnicastBack) {
  ASSERT_NO_FATAL_FAILURE(load("mac_swap_tx"));
  const MacAddress here = mac_address("02:aa:bb:cc:dd:ee");
  const MacAddress there = mac_address("02:11:22:33:44:55");
  const PacketResult result =
      run(PacketBuilder().ethernet({.dst = here, .src = there}).ipv4().udp().build());
  EXPECT_EQ(result.verdict, XDP_TX);
  EXPECT_EQ(result.packet,
            PacketBuilder().ethernet({.dst = there, .src = here}).ipv4().udp().build());
  for (const char* group : {"ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "33:33:00:00:00:01"}) {
    const Bytes packet = PacketBuilder().ethernet({.dst = mac_address(group)}).arp().build();
    EXPECT_EQ(verdict_of_untouched(packet), XDP_PASS) << group;
  }
}

// --- redirect_forward

TEST_P(ExamplesTest, RedirectForwardPassesUntilThePortHasATarget) {
  ASSERT_NO_FATAL_FAILURE(load("redirect_forward"));
  const Bytes ingress = raw(std::uint32_t{1});
  const auto count = [](std::uint64_t packets, std::uint64_t bytes, std::uint64_t passed) {
    return on_cpu0(raw(packets, bytes, passed));
  };
  EXPECT_EQ(verdict_of_untouched(udp_packet()), XDP_PASS);
  EXPECT_EQ(verdict_of_untouched(udp_packet()), XDP_PASS);
  EXPECT_EQ(entry("port_cnt", ingress), count(0, 0, 2));
  ASSERT_NO_FATAL_FAILURE(set_entry("out_port", ingress, raw(runner_->redirect_ifindex())));
  EXPECT_EQ(verdict_of_untouched(udp_packet()), XDP_REDIRECT);
  EXPECT_EQ(verdict_of_untouched(udp6_packet()), XDP_REDIRECT);
  EXPECT_EQ(entry("port_cnt", ingress), count(2, udp_packet().size() + udp6_packet().size(), 2));
  EXPECT_EQ(entry("port_cnt", raw(std::uint32_t{0})), count(0, 0, 0));
}

// --- dns_reply

Bytes dns_key(std::string_view name) {
  Bytes key = dns_wire_name(name);
  key.resize(64);
  return key;
}

Bytes dns_question(const DnsQueryFields& question, std::size_t padded = 0) {
  return PacketBuilder()
      .ethernet()
      .ipv4({.id = 77, .dont_fragment = true})
      .udp({.dst_port = 53})
      .dns_query(question)
      .padded_to(padded)
      .build();
}

// What the answer to dns_question() must be, written independently of the program.
Bytes dns_answer(const DnsQueryFields& question, const Ipv4Address& address, std::uint32_t ttl) {
  const Bytes wire_name = dns_wire_name(question.name);
  Bytes message = {0, 0, 0x84, 0, 0, 1, 0, 1, 0, 0, 0, 0};
  message[0] = static_cast<std::uint8_t>(question.id >> 8);
  message[1] = static_cast<std::uint8_t>(question.id & 0xff);
  message[2] = static_cast<std::uint8_t>(message[2] | question.flags >> 8);
  message.insert(message.end(), wire_name.begin(), wire_name.end());
  const Bytes rest = {0, 1, 0, 1, 0xc0, 0x0c, 0, 1, 0, 1};
  message.insert(message.end(), rest.begin(), rest.end());
  for (const int shift : {24, 16, 8, 0}) message.push_back(static_cast<std::uint8_t>(ttl >> shift));
  message.insert(message.end(), {0, 4});
  message.insert(message.end(), address.begin(), address.end());
  const EthernetFields eth;
  const Ipv4Fields ip;
  return PacketBuilder()
      .ethernet({.dst = eth.src, .src = eth.dst})
      .ipv4({.src = ip.dst, .dst = ip.src, .ttl = 64, .id = 77, .dont_fragment = true})
      .udp({.src_port = 53, .dst_port = 40000, .has_checksum = false})
      .payload(message)
      .build();
}

class DnsReplyTest : public ExamplesTest {
 protected:
  static constexpr Ipv4Address kAddress = {192, 0, 2, 7};

  void load_with_records(std::initializer_list<std::string_view> names) {
    ASSERT_NO_FATAL_FAILURE(load("dns_reply"));
    std::uint32_t address = 0;
    std::memcpy(&address, kAddress.data(), sizeof address);
    for (const std::string_view name : names) {
      ASSERT_NO_FATAL_FAILURE(set_entry("dns_records", dns_key(name),
                                        raw(address, std::uint32_t{60}, std::uint64_t{0})));
    }
  }

  std::uint64_t answered(std::string_view name) {
    const Bytes value = entry("dns_records", dns_key(name));
    std::uint64_t count = 0;
    if (value.size() == 16) std::memcpy(&count, value.data() + 8, sizeof count);
    return count;
  }
};

TEST_P(DnsReplyTest, AnswersQuestionsInTheTable) {
  const std::string longest = std::string(30, 'x') + "." + std::string(31, 'y');  // 64 on the wire
  ASSERT_NO_FATAL_FAILURE(load_with_records({"a.example", "", longest}));
  const std::vector<DnsQueryFields> questions = {
      {.name = "a.example", .id = 0xbeef}, {.name = "A.eXamPLE", .flags = 0}, {.name = longest}};
  for (const DnsQueryFields& question : questions) {
    const PacketResult result = run(dns_question(question));
    EXPECT_EQ(result.verdict, XDP_TX) << question.name;
    EXPECT_EQ(result.packet, dns_answer(question, kAddress, 60)) << question.name;
  }
  EXPECT_EQ(answered("a.example"), 2u);
  EXPECT_EQ(answered(longest), 1u);
  // Padding behind the datagram goes: less than the answer needs, and more.
  for (const std::size_t padded : {60u, 75u, 400u}) {
    const PacketResult result = run(dns_question({.name = ""}, padded));
    EXPECT_EQ(result.verdict, XDP_TX) << padded;
    EXPECT_EQ(result.packet, dns_answer({.name = ""}, kAddress, 60)) << padded;
  }
}

TEST_P(DnsReplyTest, PassesEverythingElseUntouched) {
  const std::string too_long = std::string(31, 'x') + "." + std::string(31, 'y');
  ASSERT_NO_FATAL_FAILURE(load_with_records({"a.example"}));
  const auto eth = [] { return PacketBuilder().ethernet(); };
  const Bytes good = dns_question({});
  Bytes pointer = good;
  pointer[54] = 0xc0;  // a compressed name
  Bytes edns = good;
  edns[53] = 1;  // one additional record
  Bytes more = good;
  more[47] = 2;  // two questions
  const std::vector<std::pair<const char*, Bytes>> cases = {
      {"unknown name", dns_question({.name = "b.example"})},
      {"name longer than a key", dns_question({.name = too_long})},
      {"type AAAA", dns_question({.type = 28})},
      {"class CH", dns_question({.dns_class = 3})},
      {"a response", dns_question({.flags = 0x8180})},
      {"opcode UPDATE", dns_question({.flags = 0x2800})},
      {"compressed name", pointer},
      {"additional record", edns},
      {"two questions", more},
      {"name cut", Bytes(good.begin(), good.begin() + 60)},
      {"question cut", Bytes(good.begin(), good.end() - 1)},
      {"bytes behind the question",
       eth().ipv4().udp({.dst_port = 53}).dns_query().payload("x").build()},
      {"other port", eth().ipv4().udp({.dst_port = 54}).dns_query().build()},
      {"TCP", eth().ipv4().tcp({.dst_port = 53}).dns_query().build()},
      {"fragment", eth().ipv4({.more_fragments = true}).udp({.dst_port = 53}).dns_query().build()},
      {"IPv4 options", eth().ipv4({.options = {1}}).udp({.dst_port = 53}).dns_query().build()},
      {"VLAN tag", eth().vlan().ipv4().udp({.dst_port = 53}).dns_query().build()},
      {"IPv6", eth().ipv6().udp({.dst_port = 53}).dns_query().build()},
  };
  for (const auto& [what, packet] : cases)
    EXPECT_EQ(verdict_of_untouched(packet), XDP_PASS) << what;
  EXPECT_EQ(answered("a.example"), 0u);
  EXPECT_EQ(run(good).verdict, XDP_TX);
}

INSTANTIATE_TEST_SUITE_P(Runners, ExamplesTest, ::testing::ValuesIn(kBothRunners), runner_name);
INSTANTIATE_TEST_SUITE_P(Runners, DnsReplyTest, ::testing::ValuesIn(kBothRunners), runner_name);

}  // namespace
}  // namespace lmn
