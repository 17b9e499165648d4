// SPDX-License-Identifier: Apache-2.0
//
// Goal: examples/syn_proxy.c answers SYNs so that a client's TCP takes the answer for a server's,
// and lets through only who got one. Method: packets in the kernel and in LMN; cookies are secret,
// so they are read from the answer, and everything else in it must be as written here.
#include <linux/bpf.h>

#include "base/byte_reader.h"
#include "examples/example_fixture.h"

namespace lmn {
namespace {

constexpr std::uint8_t kSyn = 0x02;
constexpr std::uint8_t kAck = 0x10;
constexpr std::uint8_t kRst = 0x04;
constexpr std::uint8_t kFin = 0x01;
constexpr std::uint32_t kSequence = 0xfffffffe;  // one more wraps in 32 bits, but not to 0

enum Counter : std::uint32_t { kAnswered, kVerified, kKnown, kOther, kBadCookie, kBroken };

class SynProxyTest : public ExamplesTest {
 protected:
  void SetUp() override {
    ExamplesTest::SetUp();
    if (IsSkipped()) return;
    ASSERT_NO_FATAL_FAILURE(load("syn_proxy"));
    set_entry("protected_ports", {0, 80}, {1});
  }

  static PacketBuilder network(bool is_ipv6, bool is_answer) {
    const MacAddress client_mac = EthernetFields().src;
    const MacAddress server_mac = EthernetFields().dst;
    PacketBuilder packet;
    if (is_answer) {
      packet.ethernet({.dst = client_mac, .src = server_mac});
    } else {
      packet.ethernet();
    }
    const Ipv4Fields v4;
    const Ipv6Fields v6;
    if (is_ipv6 && is_answer) return packet.ipv6({.src = v6.dst, .dst = v6.src});
    if (is_ipv6) return packet.ipv6();
    if (is_answer) return packet.ipv4({.src = v4.dst, .dst = v4.src, .dont_fragment = true});
    return packet.ipv4();
  }

  static Bytes from_client(bool is_ipv6, std::uint8_t flags, std::uint32_t acknowledgement = 0,
                           std::uint16_t port = 40000) {
    const std::uint32_t sequence = (flags & kSyn) != 0 ? kSequence : kSequence + 1;
    return network(is_ipv6, false)
        .tcp({.src_port = port,
              .sequence = sequence,
              .acknowledgement = acknowledgement,
              .flags = flags})
        .build();
  }

  // A SYN with options in the place of the last bytes of `options`.
  static Bytes syn_with(bool is_ipv6, Bytes options) {
    Bytes packet = network(is_ipv6, false)
                       .tcp({.sequence = kSequence, .flags = kSyn})
                       .payload(options)
                       .build();
    packet[(is_ipv6 ? 54 : 34) + 12] = static_cast<std::uint8_t>((20 + options.size()) / 4 << 4);
    return packet;
  }

  // Sends the SYN; the answer's cookie, after a look at all the rest of it.
  std::uint32_t cookie_for(bool is_ipv6, const Bytes& syn, std::uint16_t mss) {
    const PacketResult result = run(syn);
    EXPECT_EQ(result.verdict, XDP_TX);
    const std::size_t tcp = is_ipv6 ? 54 : 34;
    if (result.packet.size() != tcp + 24) {
      ADD_FAILURE() << "an answer of " << result.packet.size() << " bytes";
      return 0;
    }
    const auto cookie =
        load_unaligned<std::uint32_t>(result.packet.data() + tcp + 4, std::endian::big);
    const Bytes option = {2, 4, static_cast<std::uint8_t>(mss >> 8),
                          static_cast<std::uint8_t>(mss)};
    Bytes expected = network(is_ipv6, true)
                         .tcp({.src_port = 80,
                               .dst_port = 40000,
                               .sequence = cookie,
                               .acknowledgement = kSequence + 1,
                               .flags = kSyn | kAck,
                               .window = 0})
                         .payload(option)
                         .build();
    expected[tcp + 12] = 6 << 4;
    // The header's length is in the checksum: 0x5000 became 0x6000.
    const auto sum = load_unaligned<std::uint16_t>(expected.data() + tcp + 16, std::endian::big);
    std::uint32_t mended = sum + 0xffffu - 0x1000u;
    mended = (mended & 0xffff) + (mended >> 16);
    store_unaligned(expected.data() + tcp + 16, static_cast<std::uint16_t>(mended),
                    std::endian::big);
    EXPECT_EQ(result.packet, expected);
    return cookie;
  }
};

TEST_P(SynProxyTest, WhoAnswersTheAnswerMayPass) {
  for (const bool is_ipv6 : {false, true}) {
    const std::uint32_t cookie =
        cookie_for(is_ipv6, from_client(is_ipv6, kSyn), is_ipv6 ? 1220 : 536);
    const Bytes data = from_client(is_ipv6, kAck | 8, cookie + 1);
    EXPECT_EQ(entries("verified").size(), is_ipv6 ? 1u : 0u) << "a SYN is not remembered";
    // Four sizes are in the cookie by their number, so a few more than the right one are right.
    EXPECT_EQ(verdict_of_untouched(from_client(is_ipv6, kAck, cookie)), XDP_DROP);
    EXPECT_EQ(verdict_of_untouched(from_client(is_ipv6, kAck, cookie + 9)), XDP_DROP);
    EXPECT_EQ(verdict_of_untouched(from_client(is_ipv6, kAck, cookie + 1, 40001)), XDP_DROP)
        << "another connection's cookie";
    EXPECT_EQ(verdict_of_untouched(from_client(is_ipv6, kAck, cookie + 1)), XDP_PASS);
    // From now on by the table, whatever they acknowledge.
    EXPECT_EQ(verdict_of_untouched(from_client(is_ipv6, kAck, cookie + 1000)), XDP_PASS);
    EXPECT_EQ(verdict_of_untouched(data), XDP_PASS);
    EXPECT_EQ(verdict_of_untouched(from_client(is_ipv6, kFin | kAck, cookie + 1)), XDP_PASS);
  }
  EXPECT_EQ(counter("proxy_cnt", kAnswered), 2u);
  EXPECT_EQ(counter("proxy_cnt", kVerified), 2u);
  EXPECT_EQ(counter("proxy_cnt", kKnown), 6u);
  EXPECT_EQ(counter("proxy_cnt", kBadCookie), 6u);
}

TEST_P(SynProxyTest, AResetEndsTheNote) {
  const std::uint32_t cookie = cookie_for(false, from_client(false, kSyn), 536);
  EXPECT_EQ(verdict_of_untouched(from_client(false, kRst)), XDP_DROP) << "nothing to reset yet";
  EXPECT_EQ(verdict_of_untouched(from_client(false, kAck, cookie + 1)), XDP_PASS);
  EXPECT_EQ(verdict_of_untouched(from_client(false, kRst)), XDP_PASS);
  EXPECT_TRUE(entries("verified").empty());
  EXPECT_EQ(verdict_of_untouched(from_client(false, kAck, 12345)), XDP_DROP);
}

// The answer's own segment size is the largest of the kernel's few that the client's allows.
TEST_P(SynProxyTest, TheSegmentSizeIsTheClients) {
  EXPECT_NE(cookie_for(false, syn_with(false, {2, 4, 0x05, 0xb4}), 1460), 0u);
  EXPECT_NE(cookie_for(false, syn_with(false, {1, 1, 1, 1, 2, 4, 0x05, 0xaf, 1, 1, 1, 1}), 1440),
            0u);
  Bytes all(40, 1);
  all[36] = 2;
  all[37] = 4;
  all[38] = 0x05;
  all[39] = 0xb4;
  EXPECT_NE(cookie_for(false, syn_with(false, all), 1460), 0u);
  EXPECT_NE(cookie_for(true, syn_with(true, {2, 4, 0x05, 0xa0}), 1440), 0u);
}

TEST_P(SynProxyTest, TheAnswerHasItsOwnLength) {
  // Padding, and data that came with the SYN, do not go back.
  Bytes padded = network(false, false).tcp({.sequence = kSequence}).padded_to(60).build();
  EXPECT_NE(cookie_for(false, padded, 536), 0u);
  padded = network(true, false).tcp({.sequence = kSequence}).filler(700).build();
  EXPECT_NE(cookie_for(true, padded, 1220), 0u);
}

TEST_P(SynProxyTest, EverythingElsePasses) {
  const auto eth = [] { return PacketBuilder().ethernet(); };
  const std::vector<std::pair<const char*, Bytes>> cases = {
      {"another port", eth().ipv4().tcp({.dst_port = 81}).build()},
      {"UDP", eth().ipv4().udp({.dst_port = 80}).build()},
      {"ARP", eth().arp().build()},
      {"VLAN tag", eth().vlan().ipv4().tcp().build()},
      {"options", eth().ipv4({.options = {1}}).tcp().build()},
      {"extension", eth().ipv6().ipv6_extension().tcp().build()},
      {"first fragment", eth().ipv4({.more_fragments = true}).tcp().build()},
      {"later fragment", eth().ipv4({.fragment_offset = 9, .protocol = 6}).filler(30).build()},
  };
  for (const auto& [what, packet] : cases)
    EXPECT_EQ(verdict_of_untouched(packet), XDP_PASS) << what;
  const Bytes syn = eth().ipv4().tcp().build();
  EXPECT_EQ(verdict_of_untouched(Bytes(syn.begin(), syn.begin() + 30)), XDP_PASS);
}

TEST_P(SynProxyTest, HalfATcpHeaderIsDropped) {
  const Bytes syn = from_client(false, kSyn);
  for (const std::size_t length : {34u, 47u, 53u})
    EXPECT_EQ(verdict_of_untouched(Bytes(syn.begin(), syn.begin() + length)), XDP_DROP);
  Bytes longer = syn;
  longer[46] = 15 << 4;  // 60 bytes of header, 20 there
  EXPECT_EQ(verdict_of_untouched(longer), XDP_DROP);
  Bytes shorter = syn;
  shorter[46] = 4 << 4;
  EXPECT_EQ(verdict_of_untouched(shorter), XDP_DROP);
  EXPECT_EQ(counter("proxy_cnt", kBroken), 5u);
}

INSTANTIATE_TEST_SUITE_P(Runners, SynProxyTest, ::testing::ValuesIn(kBothRunners), runner_name);

}  // namespace
}  // namespace lmn
