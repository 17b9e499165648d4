// SPDX-License-Identifier: Apache-2.0
//
// SocketTable::parse: lines of words, as socket_table.h shows them. Tested by
// socket_table_test.cc.
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "packet/socket_table.h"
#include "packet/text_words.h"

namespace lmn {
namespace {

struct StateName {
  std::string_view name;
  std::uint32_t state;
};

// As ss(8) writes them.
constexpr StateName kStates[] = {{"listen", kTcpListen},
                                 {"established", kTcpEstablished},
                                 {"syn-sent", 2},
                                 {"syn-recv", kTcpNewSynRecv},
                                 {"fin-wait-1", 4},
                                 {"fin-wait-2", 5},
                                 {"time-wait", kTcpTimeWait},
                                 {"close-wait", 8},
                                 {"last-ack", 9},
                                 {"closing", 11}};

// An address of either family into the fields that hold it.
void set_address(__u32& ipv4, __u32 (&ipv6)[4], IpFamily family, const IpAddress& address) {
  if (family == IpFamily::kIpv4) {
    std::memcpy(&ipv4, address.data(), sizeof ipv4);
  } else {
    std::memcpy(ipv6, address.data(), sizeof ipv6);
  }
}

void read_options(TextWords& words, Socket& socket) {
  while (!words.is_empty() && words.error().empty()) {
    if (words.take("dev")) {
      socket.fields.bound_dev_if = words.number<std::uint32_t>();
    } else if (words.take("mark")) {
      socket.fields.mark = words.number<std::uint32_t>();
    } else if (words.take("priority")) {
      socket.fields.priority = words.number<std::uint32_t>();
    } else if (words.take("v6only")) {
      socket.is_ipv6_only = true;
    } else if (words.take("group")) {
      socket.is_in_group = true;
    } else {
      words.fail_unknown();
    }
  }
  if (socket.is_ipv6_only && socket.fields.family != AF_INET6) {
    words.fail("'v6only' of an IPv4 socket");
  }
}

void read_socket(TextWords& words, SocketProtocol protocol, SocketTable& table) {
  Socket socket;
  struct bpf_sock& fields = socket.fields;
  const bool is_tcp = protocol == SocketProtocol::kTcp;
  socket.protocol = protocol;
  fields.type = is_tcp ? SOCK_STREAM : SOCK_DGRAM;
  fields.protocol = is_tcp ? IPPROTO_TCP : IPPROTO_UDP;
  fields.state = kTcpClose;
  fields.rx_queue_mapping = -1;
  if (is_tcp) {
    const std::string_view word = words.next();
    const auto* state = std::ranges::find(kStates, word, &StateName::name);
    if (state == std::end(kStates)) {
      return words.fail(fmt::format("'{}' is no state of a TCP socket", word));
    }
    fields.state = state->state;
  }
  IpFamily family{};
  std::uint16_t port = 0;
  const IpAddress local = words.endpoint(family, port);
  fields.family = family == IpFamily::kIpv4 ? AF_INET : AF_INET6;
  fields.src_port = ntohs(port);
  set_address(fields.src_ip4, fields.src_ip6, family, local);

  const bool has_peer = words.take("peer");
  if (is_tcp && (fields.state == kTcpListen) == has_peer) {
    return words.fail("a connection has a peer, a listener none");
  }
  if (has_peer) {
    IpFamily peer_family{};
    std::uint16_t peer_port = 0;
    const IpAddress peer = words.endpoint(peer_family, peer_port);
    if (peer_family != family) words.fail("the peer is of the other family");
    set_address(fields.dst_ip4, fields.dst_ip6, family, peer);
    fields.dst_port = peer_port;
    if (!is_tcp) fields.state = kTcpEstablished;
  }
  read_options(words, socket);
  if (words.error().empty()) table.add(socket);
}

}  // namespace

Result<SocketTable> SocketTable::parse(std::string_view text) {
  SocketTable table;
  LMN_CHECK_OK(read_text_lines(text, "sockets", [&](TextWords& words) {
    if (words.take("tcp")) {
      read_socket(words, SocketProtocol::kTcp, table);
    } else if (words.take("udp")) {
      read_socket(words, SocketProtocol::kUdp, table);
    } else if (words.take("syncookies")) {
      const auto setting = words.number<std::uint32_t>();
      if (setting > 2) words.fail(fmt::format("'syncookies {}': 0, 1 or 2", setting));
      table.set_syncookies(setting);
    } else {
      words.fail_unknown();
    }
  }));
  return table;
}

}  // namespace lmn
