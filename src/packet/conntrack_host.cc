// SPDX-License-Identifier: Apache-2.0
//
// The host's side of ConntrackTable: the connections of a network namespace, by ctnetlink.
//
// A dump and an event have the same message. TCP and UDP only, which is what programs can ask for;
// a message without both tuples, or with addresses of a length that no family has, is malformed. A
// connection is the host's own one when both tuples and the zone are the same: those do not change
// once it is confirmed. Numbers are in network order.
// A connection that the kernel forwards by itself (flow offload) is shown without a time-out: the
// kernel keeps giving it another day.
// Threads: any; the lock is taken for one connection at a time, so that a long reading does not
// hold up who looks up.
// Tested by host_messages_test.cc, fuzz/host_messages_fuzz.cc,
// tests/differential/conntrack_test.cc and host_events_test.cc.
// Source: Linux 6.18, net/netfilter/nf_conntrack_netlink.c, nf_flow_table_core.c.
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <netinet/in.h>

#include <algorithm>
#include <bit>
#include <optional>
#include <vector>

#include "packet/conntrack_connection.h"
#include "packet/conntrack_table.h"
#include "packet/host_netlink.h"

namespace lmn {
namespace {

constexpr std::uint32_t kOffloadedTimeoutSeconds = 86'400;  // NF_CT_DAY

template <typename T>
T big_endian_number(ByteSpan value) {
  const T number = attribute_number<T>(value);
  return std::endian::native == std::endian::little ? std::byteswap(number) : number;
}

// False: not both addresses of one family, or of another length.
bool read_addresses(ByteSpan nest, ConntrackTuple& tuple) {
  bool is_good = true;
  unsigned seen = 0;
  for_each_attribute(nest, 0, [&](std::uint16_t type, ByteSpan value) {
    if (type < CTA_IP_V4_SRC || type > CTA_IP_V6_DST) return;
    const bool is_source = type == CTA_IP_V4_SRC || type == CTA_IP_V6_SRC;
    const bool is_ipv6 = type == CTA_IP_V6_SRC || type == CTA_IP_V6_DST;
    is_good = is_good && value.size() == (is_ipv6 ? 16 : 4);
    if (!is_good) return;
    seen |= 1u << type;
    std::ranges::copy(value, (is_source ? tuple.source : tuple.destination).begin());
  });
  constexpr unsigned kBothIpv4 = 1u << CTA_IP_V4_SRC | 1u << CTA_IP_V4_DST;
  constexpr unsigned kBothIpv6 = 1u << CTA_IP_V6_SRC | 1u << CTA_IP_V6_DST;
  if (seen == kBothIpv6) tuple.family = IpFamily::kIpv6;
  return is_good && (seen == kBothIpv4 || seen == kBothIpv6);
}

struct HostTuple {
  ConntrackTuple tuple;
  std::uint16_t zone = 0;
  bool is_good = false;
};

HostTuple read_tuple(ByteSpan nest) {
  HostTuple out;
  for_each_attribute(nest, 0, [&out](std::uint16_t type, ByteSpan value) {
    if (type == CTA_TUPLE_IP) out.is_good = read_addresses(value, out.tuple);
    if (type == CTA_TUPLE_ZONE) out.zone = big_endian_number<std::uint16_t>(value);
    if (type != CTA_TUPLE_PROTO) return;
    for_each_attribute(value, 0, [&out](std::uint16_t kind, ByteSpan part) {
      if (kind == CTA_PROTO_NUM) out.tuple.protocol = attribute_number<std::uint8_t>(part);
      if (kind == CTA_PROTO_SRC_PORT) out.tuple.source_port = attribute_number<std::uint16_t>(part);
      if (kind == CTA_PROTO_DST_PORT) {
        out.tuple.destination_port = attribute_number<std::uint16_t>(part);
      }
    });
  });
  return out;
}

enum class Message : std::uint8_t { kGood, kOtherProtocol, kMalformed };

Message read_record(ByteSpan body, ConntrackRecord& record) {
  bool is_good = body.size() >= sizeof(nfgenmsg);
  bool has_timeout = false;
  int tuples = 0;
  for_each_attribute(body, sizeof(nfgenmsg), [&](std::uint16_t type, ByteSpan value) {
    if (type == CTA_TUPLE_ORIG || type == CTA_TUPLE_REPLY) {
      const bool is_original = type == CTA_TUPLE_ORIG;
      const HostTuple read = read_tuple(value);
      (is_original ? record.original : record.reply) = read.tuple;
      if (read.zone != 0) record.zone = {read.zone, is_original ? kZoneOriginal : kZoneReply};
      is_good = is_good && read.is_good;
      tuples |= is_original ? 1 : 2;
    }
    if (type == CTA_STATUS) record.status = big_endian_number<std::uint32_t>(value);
    if (type == CTA_MARK) record.mark = big_endian_number<std::uint32_t>(value);
    if (type == CTA_ZONE) record.zone = {big_endian_number<std::uint16_t>(value), kZoneBoth};
    if (type != CTA_TIMEOUT) return;
    record.timeout_s = big_endian_number<std::uint32_t>(value);
    has_timeout = true;
  });
  if (!has_timeout) record.timeout_s = kOffloadedTimeoutSeconds;
  if (!is_good || tuples != 3) return Message::kMalformed;
  const std::uint8_t protocol = record.original.protocol;
  if (protocol != record.reply.protocol) return Message::kMalformed;
  if (record.original.family != record.reply.family) return Message::kMalformed;
  const bool is_tracked = protocol == IPPROTO_TCP || protocol == IPPROTO_UDP;
  return is_tracked ? Message::kGood : Message::kOtherProtocol;
}

bool is_same_zone(const ConntrackZone& a, const ConntrackZone& b) {
  return a.id == b.id && (a.id == 0 || a.directions == b.directions);
}

}  // namespace

// The one with these tuples in this zone, whosever it is.
ConntrackTable::Connection* ConntrackTable::find_exact(const ConntrackRecord& record) noexcept {
  for (std::uint32_t at = tuple_buckets_[bucket_of_tuple(record.original)]; at != 0;) {
    const auto direction = static_cast<std::uint8_t>((at - 1) % 2);
    Connection& connection = connection_of(at);
    const bool is_it = direction == 0 && connection.tuples[0] == record.original &&
                       connection.tuples[1] == record.reply &&
                       is_same_zone(connection.zone, record.zone);
    if (is_it) return &connection;
    at = connection.next[direction];
  }
  return nullptr;
}

// With zones that count for one direction only, which of two connections is refused depends on
// their order: what the host has is right in any, so only those of others are asked for.
void ConntrackTable::take_of_host(const ConntrackRecord& record, Jiffies now) noexcept {
  Connection* connection = find_exact(record);
  const bool is_own = connection != nullptr && !connection->is_of_host;
  const bool is_taken = is_own ||
                        is_known(record.original, record.zone, record.zone.id_of(0), true) ||
                        is_known(record.reply, record.zone, record.zone.id_of(1), true);
  if (is_taken) {
    ++host_counts_.left_alone;
    return;
  }
  if (connection == nullptr) {
    // None of the host's gives way to another, or each reading of a host with more than there is
    // room for would turn the table over.
    const bool is_full = free_count_ == 0 && used_end_ == options_.connections_max;
    connection = is_full && !make_room(now, true) ? nullptr : allocate_of(record, now);
    if (connection == nullptr) {
      ++host_counts_.no_room;
      return;
    }
    connection->is_of_host = true;
    link_locked(*connection, now);
    drop_reference(*connection);
  } else {
    set_record(*connection, record, now);
  }
  connection->reading = reading_;
}

void ConntrackTable::take_host_event(std::uint16_t type, ByteSpan body, Jiffies now) {
  if (type >> 8 != NFNL_SUBSYS_CTNETLINK) return;
  const bool is_gone = (type & 0xff) == IPCTNL_MSG_CT_DELETE;
  if (!is_gone && (type & 0xff) != IPCTNL_MSG_CT_NEW) return;
  ConntrackRecord record;
  const Message message = read_record(body, record);
  if (message == Message::kOtherProtocol) return;
  const SpinGuard guard(lock_);
  if (message == Message::kMalformed) {
    ++host_counts_.malformed;
    return;
  }
  if (!is_gone) {
    take_of_host(record, now);
    return;
  }
  Connection* connection = find_exact(record);
  if (connection != nullptr && connection->is_of_host) forget(*connection);
}

Result<std::size_t> ConntrackTable::read_host(Jiffies now) {
  return read_netlink(HostNetlink{}, now);
}

Result<std::size_t> ConntrackTable::read_netlink(const NetlinkSource& netlink, Jiffies now) {
  const nfgenmsg request{AF_UNSPEC, NFNETLINK_V0, 0};
  const NetlinkQuestion question{
      NETLINK_NETFILTER,
      static_cast<std::uint16_t>(NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET),
      {reinterpret_cast<const std::uint8_t*>(&request), sizeof request},
      "connections"};
  std::vector<ConntrackRecord> records;
  std::uint64_t malformed = 0;
  LMN_CHECK_OK(netlink.dump(
      question,
      [&] {
        records.clear();
        malformed = 0;
      },
      [&](std::uint16_t, ByteSpan body) -> Result<void> {
        ConntrackRecord record;
        const Message message = read_record(body, record);
        if (message == Message::kGood) records.push_back(record);
        if (message == Message::kMalformed) ++malformed;
        return {};
      }));
  {
    const SpinGuard guard(lock_);
    ++reading_;
    host_counts_.malformed += malformed;
  }
  for (const ConntrackRecord& record : records) {
    const SpinGuard guard(lock_);
    take_of_host(record, now);
  }
  std::uint32_t end = 1;
  for (std::uint32_t i = 0; i < end; ++i) {
    const SpinGuard guard(lock_);
    end = used_end_;
    if (i >= end) break;
    Connection& connection = connections_[i];
    const bool is_unread = connection.is_inserted && connection.is_of_host;
    if (is_unread && connection.reading != reading_) forget(connection);
  }
  return records.size();
}

void ConntrackTable::set_host_grace(Jiffies grace) noexcept {
  const SpinGuard guard(lock_);
  host_grace_ = grace;
}

ConntrackTable::HostCounts ConntrackTable::host_counts() noexcept {
  const SpinGuard guard(lock_);
  return host_counts_;
}

}  // namespace lmn
