// SPDX-License-Identifier: Apache-2.0
//
// Helpers of socket look-up: which socket of the host would get a packet.
//
// The answer is a struct bpf_sock of the run's SocketTable, which the program may read and must
// give back (sk_release). bpf_sk_lookup_tcp gives sockets in full only: a request leads to its
// listener, the remnant of a closed connection to none. bpf_skc_lookup_tcp gives those two as they
// are. The table has one network namespace: every id but "this one" is one that nobody knows.
// Tested by sockets_test.cc and tests/differential/sockets_test.cc.
// Source: Linux 6.18, net/core/filter.c (bpf_xdp_sk_lookup_tcp and its like, __bpf_skc_lookup).
#include <linux/bpf.h>

#include <cstring>
#include <optional>

#include "base/byte_reader.h"
#include "helpers/bodies.h"
#include "packet/socket_table.h"

namespace lmn {
namespace {

std::uint16_t port_at(const std::uint8_t* bytes) {
  return load_unaligned<std::uint16_t>(bytes, std::endian::big);
}

// What the program asks; nothing when it cannot be answered.
std::optional<SocketQuery> query_of(const RunContext& context, SocketProtocol protocol,
                                    std::uint64_t tuple, std::uint64_t tuple_bytes,
                                    std::uint64_t namespace_id, std::uint64_t flags) {
  const bool is_current_namespace = helper::as_s32(namespace_id) < 0;
  if (flags != 0 || !is_current_namespace || context.sockets == nullptr) return std::nullopt;
  SocketQuery query;
  query.protocol = protocol;
  query.ifindex = context.buff->rxq != nullptr ? context.buff->rxq->ifindex : 0;
  std::size_t address_bytes = 0;
  switch (helper::as_u32(tuple_bytes)) {
    case sizeof(bpf_sock_tuple::ipv4):
      query.family = IpFamily::kIpv4;
      address_bytes = sizeof(bpf_sock_tuple::ipv4.saddr);
      break;
    case sizeof(bpf_sock_tuple::ipv6):
      query.family = IpFamily::kIpv6;
      address_bytes = sizeof(bpf_sock_tuple::ipv6.saddr);
      break;
    default:
      return std::nullopt;
  }
  const auto* bytes = helper::as_pointer<const std::uint8_t>(tuple);
  std::memcpy(query.source.data(), bytes, address_bytes);
  std::memcpy(query.destination.data(), bytes + address_bytes, address_bytes);
  query.source_port = port_at(bytes + 2 * address_bytes);
  query.destination_port = port_at(bytes + 2 * address_bytes + sizeof query.source_port);
  return query;
}

std::uint64_t address_of(const Socket* socket) {
  return socket != nullptr ? reinterpret_cast<std::uintptr_t>(&socket->fields) : 0;
}

std::uint64_t look_up(const RunContext& context, const std::optional<SocketQuery>& query) {
  if (!query) return 0;
  const Socket* socket = context.sockets->find(*query);
  if (socket == nullptr || socket->is_full()) return address_of(socket);
  if (socket->fields.state == kTcpTimeWait) return 0;
  return address_of(context.sockets->find_listener(*query));
}

}  // namespace

LMN_HELPER_BODY(sk_lookup_tcp) {
  return look_up(*context, query_of(*context, SocketProtocol::kTcp, r2, r3, r4, r5));
}

LMN_HELPER_BODY(sk_lookup_udp) {
  return look_up(*context, query_of(*context, SocketProtocol::kUdp, r2, r3, r4, r5));
}

LMN_HELPER_BODY(skc_lookup_tcp) {
  const auto query = query_of(*context, SocketProtocol::kTcp, r2, r3, r4, r5);
  return query ? address_of(context->sockets->find(*query)) : 0;
}

// Nothing is counted: the table outlives the run.
LMN_HELPER_BODY(sk_release) { return 0; }

}  // namespace lmn
