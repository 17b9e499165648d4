// SPDX-License-Identifier: Apache-2.0
//
// Address translation of a new connection: which addresses its replies will carry.
//
// One end of the connection is to be seen under another address. The addresses as the far side will
// see them are the reply's, turned around; of these one end is replaced, and the port of that end
// too when the caller names one. A source keeps what an earlier connection of the same source was
// given, so that a peer sees one address per client; without a port, one is kept if nobody else has
// it, and otherwise another of the same class (below 512, below 1024, the rest) is looked for.
// Tested by conntrack_table_test.cc and tests/differential/conntrack_test.cc.
// Source: Linux 6.18, net/netfilter/nf_nat_core.c (nf_nat_setup_info and what it calls).
#include <bit>
#include <cerrno>

#include "packet/conntrack_connection.h"

namespace lmn {
namespace {

constexpr std::uint32_t kPortTries = 128;

std::uint16_t swap_to_network(std::uint16_t port) {
  return std::endian::native == std::endian::little ? std::byteswap(port) : port;
}

struct PortRange {
  std::uint32_t first;
  std::uint32_t count;
};

// The ports that may stand in for `port`.
PortRange class_of(std::uint16_t port) {
  if (port < 512) return {1, 511};
  if (port < 1024) return {600, 424};
  return {1024, 64'512};
}

bool has_source(const ConntrackTuple& tuple, const IpAddress& address,
                std::optional<std::uint16_t> port) {
  return tuple.source == address && (!port || tuple.source_port == *port);
}

}  // namespace

// xorshift64, Marsaglia 2003.
std::uint32_t ConntrackTable::next_random() noexcept {
  random_ ^= random_ << 13;
  random_ ^= random_ >> 7;
  random_ ^= random_ << 17;
  return static_cast<std::uint32_t>(random_ >> 32);
}

// Whether replies to `ours` would be taken for those of another connection.
bool ConntrackTable::is_taken(const ConntrackTuple& ours, const Connection& ignored) noexcept {
  const ConntrackTuple reply = ours.reversed();
  for (std::uint32_t at = tuple_buckets_[bucket_of_tuple(reply)]; at != 0;) {
    const auto direction = static_cast<std::uint8_t>((at - 1) % 2);
    const Connection& other = connection_of(at);
    at = other.next[direction];
    if (!has_key(other, direction, reply, ignored.zone)) continue;
    if (ignored.zone.id_of(direction) != ignored.zone.id_of(1)) continue;  // as in is_known()
    const bool is_same =
        other.tuples[0] == ignored.tuples[0] && other.zone.id_of(0) == ignored.zone.id_of(0);
    if (!is_same) return true;
  }
  return false;
}

// What an earlier connection from the same source was made to look like, if that is allowed here.
bool ConntrackTable::take_same_source(ConntrackTuple& tuple, const Connection& connection,
                                      const IpAddress& address,
                                      std::optional<std::uint16_t> port) noexcept {
  const ConntrackTuple current = tuple;
  for (std::uint32_t at = source_buckets_[bucket_of_source(current)]; at != 0;) {
    const Connection& other = connection_of(at);
    at = other.next[kBySource];
    const ConntrackTuple& original = other.tuples[0];
    if (original.protocol != current.protocol || original.source != current.source ||
        original.source_port != current.source_port ||
        other.zone.id_of(0) != connection.zone.id_of(0)) {
      continue;
    }
    ConntrackTuple result = other.tuples[1].reversed();
    result.destination = current.destination;
    result.destination_port = current.destination_port;
    if (!has_source(result, address, port)) continue;
    tuple = result;
    return true;
  }
  return false;
}

void ConntrackTable::choose_source_port(ConntrackTuple& tuple,
                                        const Connection& connection) noexcept {
  const PortRange range = class_of(swap_to_network(tuple.source_port));
  std::uint32_t offset = next_random();
  for (std::uint32_t i = 0; i < kPortTries; ++i, ++offset) {
    tuple.source_port =
        swap_to_network(static_cast<std::uint16_t>(range.first + offset % range.count));
    if (!is_taken(tuple, connection)) return;
  }
}

ConntrackTuple ConntrackTable::choose_tuple(const ConntrackTuple& current,
                                            const Connection& connection, NatKind kind,
                                            const IpAddress& address,
                                            std::optional<std::uint16_t> port) noexcept {
  ConntrackTuple tuple = current;
  if (kind == NatKind::kDestination) {
    tuple.destination = address;
    if (port) tuple.destination_port = *port;
    return tuple;
  }
  if (has_source(current, address, port)) {
    if (!is_taken(current, connection)) return current;
  } else if (take_same_source(tuple, connection, address, port)) {
    if (!is_taken(tuple, connection)) return tuple;
  }
  tuple = current;
  tuple.source = address;
  if (port) {
    tuple.source_port = *port;
  } else if (is_taken(tuple, connection)) {
    choose_source_port(tuple, connection);
  }
  return tuple;
}

int ConntrackTable::set_nat(Connection& connection, NatKind kind, const IpAddress& address,
                            std::optional<std::uint16_t> port) noexcept {
  const SpinGuard guard(lock_);
  const std::uint64_t status = status_of(connection);
  if ((status & kCtConfirmed) != 0) return 0;
  const bool is_source = kind == NatKind::kSource;
  const std::uint64_t done = is_source ? kCtSourceNatDone : kCtDestinationNatDone;
  if ((status & done) != 0) return ENOMEM;
  const ConntrackTuple current = connection.tuples[1].reversed();
  const ConntrackTuple chosen = choose_tuple(current, connection, kind, address, port);
  std::uint64_t added = done;
  if (!(chosen == current)) {
    connection.tuples[1] = chosen.reversed();
    write_tuple(connection, 1);
    added |= is_source ? kCtSourceNat : kCtDestinationNat;
  }
  if (is_source) {
    link(connection, kBySource);
    connection.is_by_source = true;
  }
  set_status(connection, status | added);
  return 0;
}

}  // namespace lmn
