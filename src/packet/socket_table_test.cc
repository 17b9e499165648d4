// SPDX-License-Identifier: Apache-2.0
//
// Goal: SocketTable chooses the socket that Linux would, and refuses text it does not understand.
// Method: one table from text and questions with the expected socket's line; that Linux indeed
// chooses so is asked in tests/differential/sockets_test.cc.
#include "packet/socket_table.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <string>

namespace lmn {
namespace {

constexpr std::string_view kSockets = R"(
tcp listen 10.0.0.1:80 mark 1
tcp listen 10.0.0.1:80 dev 7 mark 2
tcp listen 0.0.0.0:80 mark 3
tcp listen [::]:80 mark 4              # IPv4 too
tcp listen [::]:81 mark 5
tcp listen [::]:82 v6only mark 6
tcp listen [::ffff:10.0.0.2]:83 mark 7
tcp established 10.0.0.1:80 peer 10.0.0.9:4000 mark 8
tcp established [::ffff:10.0.0.1]:80 peer [::ffff:10.0.0.9]:4001 mark 9
tcp established [fd00::1]:80 peer [fd00::9]:4000 mark 10
tcp time-wait 10.0.0.1:80 peer 10.0.0.9:4002 mark 11
tcp syn-recv 10.0.0.1:80 peer 10.0.0.9:4003 mark 12
tcp established 10.0.0.1:80 peer 10.0.0.9:4004 dev 7 mark 13
udp 0.0.0.0:53 mark 20
udp 10.0.0.1:53 mark 21
udp 10.0.0.1:53 dev 7 mark 22
udp 10.0.0.1:53 peer 10.0.0.9:4000 mark 23
udp [::]:54 mark 24
udp [::]:53 mark 25
udp [fd00::1]:53 peer [fd00::9]:4000 mark 26
)";

SocketTable table_of(std::string_view text) {
  auto table = SocketTable::parse(text);
  EXPECT_TRUE(table.has_value()) << table.error().to_string();
  return table ? std::move(*table) : SocketTable();
}

SocketQuery query_of(SocketProtocol protocol, const std::string& source, std::uint16_t source_port,
                     const std::string& destination, std::uint16_t destination_port,
                     std::uint32_t ifindex) {
  SocketQuery query;
  query.protocol = protocol;
  const bool is_ipv6 = source.find(':') != std::string::npos;
  query.family = is_ipv6 ? IpFamily::kIpv6 : IpFamily::kIpv4;
  const int family = is_ipv6 ? AF_INET6 : AF_INET;
  EXPECT_EQ(::inet_pton(family, source.c_str(), query.source.data()), 1);
  EXPECT_EQ(::inet_pton(family, destination.c_str(), query.destination.data()), 1);
  query.source_port = source_port;
  query.destination_port = destination_port;
  query.ifindex = ifindex;
  return query;
}

struct Row {
  SocketProtocol protocol;
  const char* source;
  std::uint16_t source_port;
  const char* destination;
  std::uint16_t destination_port;
  std::uint32_t ifindex;
  std::uint32_t mark;  // of the socket that is found; 0: none
};

constexpr auto kTcp = SocketProtocol::kTcp;
constexpr auto kUdp = SocketProtocol::kUdp;

class SocketLookup : public testing::TestWithParam<Row> {};

TEST_P(SocketLookup, FindsTheRightOne) {
  const SocketTable table = table_of(kSockets);
  const Row& row = GetParam();
  const Socket* found = table.find(query_of(row.protocol, row.source, row.source_port,
                                            row.destination, row.destination_port, row.ifindex));
  EXPECT_EQ(found != nullptr ? found->fields.mark : 0, row.mark);
  if (found != nullptr) {
    EXPECT_EQ(table.at(&found->fields), found);
  }
}

constexpr Row kRows[] = {
    // Listeners: address before any address, device before none, IPv4 before IPv6.
    {kTcp, "10.0.0.9", 1, "10.0.0.1", 80, 1, 1},
    {kTcp, "10.0.0.9", 1, "10.0.0.1", 80, 7, 2},
    {kTcp, "10.0.0.9", 1, "10.0.0.3", 80, 7, 3},
    {kTcp, "fd00::9", 1, "fd00::2", 80, 1, 4},
    {kTcp, "10.0.0.9", 1, "10.0.0.3", 81, 1, 5},
    {kTcp, "10.0.0.9", 1, "10.0.0.3", 82, 1, 0},
    {kTcp, "fd00::9", 1, "fd00::2", 82, 1, 6},
    {kTcp, "10.0.0.9", 1, "10.0.0.2", 83, 1, 7},
    {kTcp, "10.0.0.9", 1, "10.0.0.3", 83, 1, 0},
    // Connections come first, whatever they are.
    {kTcp, "10.0.0.9", 4000, "10.0.0.1", 80, 7, 8},
    {kTcp, "10.0.0.9", 4001, "10.0.0.1", 80, 1, 9},
    {kTcp, "::ffff:10.0.0.9", 4001, "::ffff:10.0.0.1", 80, 1, 4},
    {kTcp, "fd00::9", 4000, "fd00::1", 80, 1, 10},
    {kTcp, "10.0.0.9", 4002, "10.0.0.1", 80, 1, 11},
    {kTcp, "10.0.0.9", 4003, "10.0.0.1", 80, 1, 12},
    {kTcp, "10.0.0.9", 4004, "10.0.0.1", 80, 7, 13},
    {kTcp, "10.0.0.9", 4004, "10.0.0.1", 80, 1, 1},
    // UDP: every part that fits counts.
    {kUdp, "10.0.0.9", 4000, "10.0.0.1", 53, 1, 23},
    {kUdp, "10.0.0.9", 4001, "10.0.0.1", 53, 1, 21},
    {kUdp, "10.0.0.9", 4001, "10.0.0.1", 53, 7, 22},
    {kUdp, "10.0.0.9", 4001, "10.0.0.3", 53, 1, 20},
    {kUdp, "10.0.0.9", 4001, "10.0.0.3", 54, 1, 24},
    {kUdp, "fd00::9", 4000, "fd00::1", 53, 1, 26},
    {kUdp, "fd00::9", 4001, "fd00::1", 53, 1, 25},
    {kUdp, "fd00::9", 4001, "fd00::1", 55, 1, 0},
};

INSTANTIATE_TEST_SUITE_P(Rows, SocketLookup, testing::ValuesIn(kRows));

TEST(SocketTable, AGroupIsSpreadByThePeer) {
  const SocketTable table = table_of(
      "tcp listen 0.0.0.0:80 group mark 1\n"
      "tcp listen 0.0.0.0:80 group mark 2\n"
      "tcp listen 0.0.0.0:80 group dev 7 mark 3\n");
  std::uint32_t seen = 0;
  for (std::uint16_t port = 1; port < 100; ++port) {
    const SocketQuery query = query_of(kTcp, "10.0.0.9", port, "10.0.0.1", 80, 1);
    const Socket* found = table.find(query);
    ASSERT_NE(found, nullptr);
    EXPECT_EQ(found, table.find(query));
    seen |= 1u << found->fields.mark;
  }
  EXPECT_EQ(seen, 0b110u);
}

TEST(SocketTable, FieldsAreWhatAProgramReads) {
  const SocketTable table =
      table_of("tcp close-wait 10.0.0.1:80 peer 10.0.0.9:4000 dev 7 mark 5 priority 6");
  const Socket* found = table.find(query_of(kTcp, "10.0.0.9", 4000, "10.0.0.1", 80, 7));
  ASSERT_NE(found, nullptr);
  const struct bpf_sock& fields = found->fields;
  EXPECT_EQ(fields.bound_dev_if, 7u);
  EXPECT_EQ(fields.family, static_cast<std::uint32_t>(AF_INET));
  EXPECT_EQ(fields.type, static_cast<std::uint32_t>(SOCK_STREAM));
  EXPECT_EQ(fields.protocol, static_cast<std::uint32_t>(IPPROTO_TCP));
  EXPECT_EQ(fields.mark, 5u);
  EXPECT_EQ(fields.priority, 6u);
  EXPECT_EQ(fields.src_port, 80u);
  EXPECT_EQ(ntohs(fields.dst_port), 4000);
  EXPECT_EQ(ntohl(fields.src_ip4), 0x0a000001u);
  EXPECT_EQ(ntohl(fields.dst_ip4), 0x0a000009u);
  EXPECT_EQ(fields.state, 8u);
  EXPECT_EQ(fields.rx_queue_mapping, -1);
}

TEST(SocketTable, TimesOfCookiesMoveToTheNextTable) {
  const SocketTable old = table_of("tcp listen 10.0.0.1:80\ntcp listen 10.0.0.1:81\n");
  SocketTable next = table_of("tcp listen 10.0.0.1:81\ntcp listen 10.0.0.1:80\n");
  old.find(query_of(kTcp, "10.0.0.9", 1, "10.0.0.1", 80, 1))->set_last_cookie_s(17);
  next.take_cookie_times(old);
  EXPECT_EQ(next.find(query_of(kTcp, "10.0.0.9", 1, "10.0.0.1", 80, 1))->last_cookie_s(), 17u);
  EXPECT_EQ(next.find(query_of(kTcp, "10.0.0.9", 1, "10.0.0.1", 81, 1))->last_cookie_s(), 0u);
}

TEST(SocketTable, OtherAddressesAreNoSockets) {
  const SocketTable table = table_of("tcp listen 10.0.0.1:80\n");
  const Socket* found = table.find(query_of(kTcp, "10.0.0.9", 1, "10.0.0.1", 80, 1));
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(table.at(nullptr), nullptr);
  EXPECT_EQ(table.at(&table), nullptr);
  EXPECT_EQ(table.at(reinterpret_cast<const std::uint8_t*>(&found->fields) + 4), nullptr);
}

TEST(SocketTable, BadTextIsRefusedWithItsLine) {
  struct {
    const char* line;
    const char* word;
  } const rows[] = {
      {"tcp 10.0.0.1:80", "is no state"},
      {"tcp listen 10.0.0.1", "no address with a port"},
      {"tcp listen 10.0.0.1:80 peer 10.0.0.9:1", "a listener none"},
      {"tcp established 10.0.0.1:80", "a connection has a peer"},
      {"tcp established 10.0.0.1:80 peer [fd00::1]:80", "the other family"},
      {"udp 10.0.0.1:70000", "no number that fits"},
      {"udp 10.0.0.1:53 v6only", "'v6only' of an IPv4 socket"},
      {"udp 10.0.0.1:53 colour 3", "'colour'"},
      {"syncookies 3", "0, 1 or 2"},
      {"sctp 10.0.0.1:53", "'sctp'"},
  };
  for (const auto& row : rows) {
    const auto table = SocketTable::parse(std::string("udp 0.0.0.0:1\n") + row.line);
    ASSERT_FALSE(table.has_value()) << row.line;
    const std::string text = table.error().to_string();
    EXPECT_NE(text.find("line 2"), std::string::npos) << text;
    EXPECT_NE(text.find(row.word), std::string::npos) << text;
  }
}

}  // namespace
}  // namespace lmn
