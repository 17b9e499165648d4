// SPDX-License-Identifier: Apache-2.0
//
// Filling a SocketTable and the look-ups. From text: socket_text.cc. Tested by
// socket_table_test.cc and tests/differential/sockets_test.cc.
#include "packet/socket_table.h"

#include <sys/socket.h>

#include <cstring>
#include <span>

namespace lmn {
namespace {

constexpr std::size_t kMappedAt = 12;  // where the IPv4 address lies in ::ffff:a.b.c.d

IpAddress ipv4_address(const __u32& word) {
  IpAddress address{};
  std::memcpy(address.data(), &word, sizeof word);
  return address;
}

IpAddress ipv6_address(const __u32 (&words)[4]) {
  IpAddress address{};
  std::memcpy(address.data(), words, sizeof words);
  return address;
}

bool is_any(const IpAddress& address) { return address == IpAddress{}; }

bool is_mapped(const IpAddress& address) {
  constexpr IpAddress kPrefix = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  return std::memcmp(address.data(), kPrefix.data(), kMappedAt) == 0;
}

IpAddress unmapped(const IpAddress& address) {
  IpAddress ipv4{};
  std::memcpy(ipv4.data(), address.data() + kMappedAt, sizeof(std::uint32_t));
  return ipv4;
}

// What Linux keeps as the IPv4 address of an IPv6 socket: the mapped one, or a mark that says
// "not this family" (LOOPBACK4_IPV6), which programs can read.
__u32 ipv4_of(const __u32 (&ipv6)[4]) {
  constexpr std::uint8_t kNotIpv4[] = {127, 0, 0, 6};
  const IpAddress address = ipv6_address(ipv6);
  __u32 word = 0;
  if (is_any(address)) return word;
  std::memcpy(&word, is_mapped(address) ? address.data() + kMappedAt : kNotIpv4, sizeof word);
  return word;
}

std::uint16_t host_order(std::uint16_t port) {
  return static_cast<std::uint16_t>(port << 8 | port >> 8);
}

bool is_on_device(const Socket& socket, std::uint32_t ifindex) {
  return socket.fields.bound_dev_if == 0 || socket.fields.bound_dev_if == ifindex;
}

constexpr int kNoMatch = -1;

// How well a listener fits. Its address and port do. Source: compute_score of inet_hashtables.c and
// of inet6_hashtables.c.
int score_of_listener(const Socket& socket, const SocketQuery& query) {
  if (!is_on_device(socket, query.ifindex)) return kNoMatch;
  int score = socket.fields.bound_dev_if != 0 ? 2 : 1;
  if (query.family == IpFamily::kIpv4 && socket.fields.family == AF_INET) ++score;
  return score;
}

// The same of a UDP socket, which may have a peer. Source: compute_score of udp.c, for both
// families.
int score_of_udp(const Socket& socket, const SocketQuery& query) {
  const struct bpf_sock& fields = socket.fields;
  const bool is_ipv4 = query.family == IpFamily::kIpv4;
  const int step = is_ipv4 ? 4 : 1;
  int score = is_ipv4 ? (fields.family == AF_INET ? 2 : 1) : 0;
  const IpAddress peer = is_ipv4 ? ipv4_address(fields.dst_ip4) : ipv6_address(fields.dst_ip6);
  if (!is_any(peer)) {
    if (peer != query.source) return kNoMatch;
    score += step;
  }
  if (fields.dst_port != 0) {
    if (host_order(fields.dst_port) != query.source_port) return kNoMatch;
    score += step;
  }
  if (!is_on_device(socket, query.ifindex)) return kNoMatch;
  if (fields.bound_dev_if != 0) score += step;
  return score;
}

// Whether a listener or bound socket works for the group that `first` is in.
bool is_in_group_of(const Socket& socket, const Socket& first) {
  return socket.is_in_group && socket.fields.family == first.fields.family &&
         socket.fields.bound_dev_if == first.fields.bound_dev_if && socket.fields.dst_port == 0;
}

// One of the group that `first` belongs to, by the addresses of the packet. Linux spreads by a hash
// with a secret, so which one it is says nothing; that a flow stays with its own does.
const Socket* one_of_group(std::span<const Socket* const> sockets, const Socket& first,
                           const SocketQuery& query) {
  std::size_t count = 0;
  for (const Socket* socket : sockets) count += is_in_group_of(*socket, first) ? 1 : 0;
  const std::size_t hash = IpAddressHash()(query.source) * 31 + query.source_port;
  std::size_t chosen = count != 0 ? hash % count : 0;
  for (const Socket* socket : sockets) {
    if (!is_in_group_of(*socket, first)) continue;
    if (chosen == 0) return socket;
    --chosen;
  }
  return &first;
}

}  // namespace

std::size_t SocketTable::KeyHash::operator()(const Key& key) const noexcept {
  const std::size_t ports = std::size_t{key.local_port} << 16 | key.remote_port;
  const std::size_t kind =
      static_cast<std::size_t>(key.protocol) << 33 | static_cast<std::size_t>(key.family) << 32;
  return (IpAddressHash()(key.local) * 31 + IpAddressHash()(key.remote)) * 31 + (ports ^ kind);
}

void SocketTable::add(const Socket& added) {
  Socket& socket = sockets_.emplace_back(added);
  struct bpf_sock& fields = socket.fields;
  by_address_.emplace(&fields, &socket);
  const auto port = static_cast<std::uint16_t>(fields.src_port);
  const bool is_ipv6 = fields.family == AF_INET6;
  // Requests have no queue of their own, and show this instead of "none".
  if (fields.state == kTcpNewSynRecv) fields.rx_queue_mapping = 0;
  if (is_ipv6) {
    fields.src_ip4 = ipv4_of(fields.src_ip6);
    fields.dst_ip4 = ipv4_of(fields.dst_ip6);
  }
  const IpAddress local = is_ipv6 ? ipv6_address(fields.src_ip6) : ipv4_address(fields.src_ip4);
  const IpAddress remote = is_ipv6 ? ipv6_address(fields.dst_ip6) : ipv4_address(fields.dst_ip4);

  if (socket.protocol == SocketProtocol::kTcp && fields.state != kTcpListen) {
    // A connection of IPv4 over an IPv6 socket is known by its IPv4 addresses only.
    const bool by_ipv4 = !is_ipv6 || is_mapped(remote);
    const IpFamily family = by_ipv4 ? IpFamily::kIpv4 : IpFamily::kIpv6;
    const bool is_unmapped = is_ipv6 && by_ipv4;
    connections_[{socket.protocol, family, port, host_order(fields.dst_port),
                  is_unmapped ? unmapped(local) : local, is_unmapped ? unmapped(remote) : remote}]
        .push_back(&socket);
    return;
  }
  if (socket.protocol == SocketProtocol::kTcp) listeners_.push_back(&socket);
  const auto bind = [&](IpFamily family, const IpAddress& address) {
    Sockets& sockets = bound_[{socket.protocol, family, port, 0, address, {}}];
    if (socket.is_in_group) join_group(socket, sockets);
    sockets.push_back(&socket);
  };
  if (!is_ipv6) return bind(IpFamily::kIpv4, local);
  bind(IpFamily::kIpv6, local);
  if (socket.is_ipv6_only) return;
  if (is_any(local)) bind(IpFamily::kIpv4, {});
  if (is_mapped(local)) bind(IpFamily::kIpv4, unmapped(local));
}

void SocketTable::join_group(Socket& socket, const Sockets& sockets) {
  for (const Socket* other : sockets) {
    if (is_in_group_of(*other, socket)) socket.first_of_group_ = &other->counting();
  }
}

void SocketTable::take_cookie_times(const SocketTable& old) noexcept {
  for (const Socket* before : old.listeners_) {
    if (before->last_cookie_s() == 0) continue;
    for (const Socket* listener : listeners_) {
      if (std::memcmp(&before->fields, &listener->fields, sizeof before->fields) != 0) continue;
      listener->set_last_cookie_s(before->last_cookie_s());
    }
  }
}

const Socket* SocketTable::at(const void* address) const noexcept {
  const auto found = by_address_.find(address);
  return found != by_address_.end() ? found->second : nullptr;
}

const Socket* SocketTable::find(const SocketQuery& query) const noexcept {
  if (query.protocol == SocketProtocol::kTcp) {
    if (const Socket* connection = find_connection(query); connection != nullptr) {
      return connection;
    }
  }
  return find_bound(query);
}

const Socket* SocketTable::find_listener(const SocketQuery& query) const noexcept {
  return find_bound(query);
}

const Socket* SocketTable::find_connection(const SocketQuery& query) const noexcept {
  const auto found = connections_.find({query.protocol, query.family, query.destination_port,
                                        query.source_port, query.destination, query.source});
  if (found == connections_.end()) return nullptr;
  for (const Socket* socket : found->second) {
    if (is_on_device(*socket, query.ifindex)) return socket;
  }
  return nullptr;
}

const Socket* SocketTable::find_bound(const SocketQuery& query) const noexcept {
  const Socket* exact = best_of(query.destination, query);
  if (exact != nullptr || is_any(query.destination)) return exact;
  return best_of({}, query);
}

const Socket* SocketTable::best_of(const IpAddress& local,
                                   const SocketQuery& query) const noexcept {
  const auto found =
      bound_.find({query.protocol, query.family, query.destination_port, 0, local, {}});
  if (found == bound_.end()) return nullptr;
  const bool is_tcp = query.protocol == SocketProtocol::kTcp;
  const Socket* best = nullptr;
  int best_score = is_tcp ? 0 : kNoMatch;
  for (const Socket* socket : found->second) {
    const int score = is_tcp ? score_of_listener(*socket, query) : score_of_udp(*socket, query);
    if (score <= best_score) continue;
    best = socket;
    best_score = score;
    // The first group that fits ends the search for a listener; of UDP sockets a better one may
    // follow.
    if (is_tcp && socket->is_in_group) break;
  }
  const bool is_connected = best != nullptr && best->fields.dst_port != 0;
  if (best == nullptr || !best->is_in_group || is_connected) return best;
  return one_of_group(found->second, *best, query);
}

}  // namespace lmn
