// SPDX-License-Identifier: Apache-2.0
//
// SocketTable::from_host: the sockets of a network namespace, as the kernel's socket monitor shows
// them (sock_diag, what ss(8) uses).
//
// What it does not show stays as it is in a new socket: the receive queue (rx_queue_mapping, -1).
// Marks are shown to CAP_NET_ADMIN only. Whether listeners share an address by SO_REUSEPORT is not
// said, but two could not be found by the same packet without.
// Tested by tests/differential/host_tables_test.cc.
// Source: Linux 6.18, net/ipv4/inet_diag.c, include/uapi/linux/inet_diag.h.
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <vector>

#include "base/file.h"
#include "packet/host_netlink.h"
#include "packet/socket_table.h"

namespace lmn {
namespace {

constexpr std::uint8_t kTimerTimeWait = 3;  // idiag_timer of a connection's remnant
constexpr std::uint32_t kSynRecv = 3;       // how a request is shown

std::uint32_t state_of(SocketProtocol protocol, const inet_diag_msg& message) {
  if (protocol == SocketProtocol::kUdp) return message.idiag_state;
  if (message.idiag_timer == kTimerTimeWait) return kTcpTimeWait;
  return message.idiag_state == kSynRecv ? kTcpNewSynRecv : message.idiag_state;
}

// `words` holds an address of the socket's family.
void set_address(const inet_diag_msg& message, const __be32 (&words)[4], __u32& ipv4,
                 __u32 (&ipv6)[4]) {
  if (message.idiag_family == AF_INET) {
    ipv4 = words[0];
    return;
  }
  std::memcpy(ipv6, words, sizeof ipv6);
}

Socket socket_of(SocketProtocol protocol, const inet_diag_msg& message, ByteSpan body) {
  Socket socket;
  struct bpf_sock& fields = socket.fields;
  socket.protocol = protocol;
  fields.bound_dev_if = message.id.idiag_if;
  fields.family = message.idiag_family;
  fields.type = protocol == SocketProtocol::kTcp ? SOCK_STREAM : SOCK_DGRAM;
  fields.protocol = protocol == SocketProtocol::kTcp ? IPPROTO_TCP : IPPROTO_UDP;
  fields.src_port = ntohs(message.id.idiag_sport);
  fields.dst_port = message.id.idiag_dport;
  fields.state = state_of(protocol, message);
  fields.rx_queue_mapping = -1;
  set_address(message, message.id.idiag_src, fields.src_ip4, fields.src_ip6);
  set_address(message, message.id.idiag_dst, fields.dst_ip4, fields.dst_ip6);
  for_each_attribute(body, sizeof message, [&](std::uint16_t type, ByteSpan value) {
    if (type == INET_DIAG_MARK) fields.mark = attribute_number<std::uint32_t>(value);
    if (type == INET_DIAG_CLASS_ID) fields.priority = attribute_number<std::uint32_t>(value);
    if (type == INET_DIAG_SKV6ONLY)
      socket.is_ipv6_only = attribute_number<std::uint8_t>(value) != 0;
  });
  return socket;
}

bool is_any_ipv6(const Socket& socket) {
  const auto& words = socket.fields.src_ip6;
  return socket.fields.family == AF_INET6 && (words[0] | words[1] | words[2] | words[3]) == 0;
}

bool is_any_ipv4(const Socket& socket) {
  return socket.fields.family == AF_INET && socket.fields.src_ip4 == 0;
}

bool takes_both_families(const Socket& socket) {
  return is_any_ipv6(socket) && !socket.is_ipv6_only;
}

// Whether two listeners could both be given a packet, so that they could not be there together but
// for SO_REUSEPORT on both.
bool needs_group(const Socket& a, const Socket& b) {
  if (a.fields.src_port != b.fields.src_port) return false;
  const std::uint32_t a_device = a.fields.bound_dev_if;
  const std::uint32_t b_device = b.fields.bound_dev_if;
  if (a_device != b_device && a_device != 0 && b_device != 0) return false;
  if (a.fields.family != b.fields.family) {
    return (takes_both_families(a) && is_any_ipv4(b)) || (takes_both_families(b) && is_any_ipv4(a));
  }
  return a.fields.src_ip4 == b.fields.src_ip4 &&
         std::memcmp(a.fields.src_ip6, b.fields.src_ip6, sizeof a.fields.src_ip6) == 0;
}

void mark_groups(std::vector<Socket>& sockets) {
  std::vector<Socket*> listeners;
  for (Socket& socket : sockets) {
    if (socket.protocol != SocketProtocol::kTcp || socket.fields.state != kTcpListen) continue;
    for (Socket* other : listeners) {
      if (needs_group(socket, *other)) socket.is_in_group = other->is_in_group = true;
    }
    listeners.push_back(&socket);
  }
}

Result<void> read_sockets(const NetlinkSource& netlink, std::uint8_t family,
                          SocketProtocol protocol, std::vector<Socket>& sockets) {
  inet_diag_req_v2 request{};
  request.sdiag_family = family;
  request.sdiag_protocol = protocol == SocketProtocol::kTcp ? IPPROTO_TCP : IPPROTO_UDP;
  request.idiag_states = ~0u;
  // The traffic class brings the class id with it, which is the priority where no cgroup sets one.
  request.idiag_ext = 1u << (INET_DIAG_TCLASS - 1);
  NetlinkQuestion question;
  question.protocol = NETLINK_SOCK_DIAG;
  question.type = SOCK_DIAG_BY_FAMILY;
  question.body = {reinterpret_cast<const std::uint8_t*>(&request), sizeof request};
  question.what = protocol == SocketProtocol::kTcp ? "TCP sockets" : "UDP sockets";
  const std::size_t before = sockets.size();
  return netlink.dump(
      question, [&] { sockets.resize(before); },
      [&](std::uint16_t, ByteSpan body) -> Result<void> {
        const auto message = netlink_head<inet_diag_msg>(body);
        if (!message) return make_error(system_error(question.what, EPROTO));
        // Asked for one family, sockets of the other may come too (a request of IPv4 to an IPv6
        // listener): they are in that one's dump.
        if (message->idiag_family != family) return {};
        sockets.push_back(socket_of(protocol, *message, body));
        return {};
      });
}

}  // namespace

Result<SocketTable> SocketTable::from_host() { return from_netlink(HostNetlink{}); }

Result<SocketTable> SocketTable::from_netlink(const NetlinkSource& netlink) {
  std::vector<Socket> sockets;
  for (const SocketProtocol protocol : {SocketProtocol::kTcp, SocketProtocol::kUdp}) {
    for (const int family : {AF_INET, AF_INET6}) {
      LMN_CHECK_OK(read_sockets(netlink, static_cast<std::uint8_t>(family), protocol, sockets));
    }
  }
  mark_groups(sockets);
  SocketTable table;
  for (const Socket& socket : sockets) table.add(socket);
  // Where the setting cannot be read the kernel was built without cookies.
  const auto setting = read_file("/proc/sys/net/ipv4/tcp_syncookies", 16);
  table.set_syncookies(setting && !setting->empty() ? std::uint32_t{(*setting)[0]} - '0' : 0);
  return table;
}

}  // namespace lmn
