// SPDX-License-Identifier: Apache-2.0
//
// ConntrackTable::read_host: the connections of a network namespace, by ctnetlink.
//
// TCP and UDP only, which is what programs can ask for. Numbers are in network order.
// Tested by tests/differential/conntrack_test.cc.
// Source: Linux 6.18, net/netfilter/nf_conntrack_netlink.c.
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <netinet/in.h>

#include <algorithm>
#include <bit>
#include <vector>

#include "packet/conntrack_table.h"
#include "packet/host_netlink.h"

namespace lmn {
namespace {

template <typename T>
T big_endian_number(ByteSpan value) {
  const T number = attribute_number<T>(value);
  return std::endian::native == std::endian::little ? std::byteswap(number) : number;
}

void read_addresses(ByteSpan nest, ConntrackTuple& tuple) {
  for_each_attribute(nest, 0, [&tuple](std::uint16_t type, ByteSpan value) {
    const bool is_source = type == CTA_IP_V4_SRC || type == CTA_IP_V6_SRC;
    const bool is_ipv6 = type == CTA_IP_V6_SRC || type == CTA_IP_V6_DST;
    IpAddress& address = is_source ? tuple.source : tuple.destination;
    if (is_ipv6) tuple.family = IpFamily::kIpv6;
    std::copy_n(value.begin(), std::min(value.size(), address.size()), address.begin());
  });
}

struct HostTuple {
  ConntrackTuple tuple;
  std::uint16_t zone = 0;
};

HostTuple read_tuple(ByteSpan nest) {
  HostTuple out;
  for_each_attribute(nest, 0, [&out](std::uint16_t type, ByteSpan value) {
    if (type == CTA_TUPLE_IP) read_addresses(value, out.tuple);
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

ConntrackRecord read_record(ByteSpan body) {
  ConntrackRecord record;
  for_each_attribute(body, sizeof(nfgenmsg), [&record](std::uint16_t type, ByteSpan value) {
    if (type == CTA_TUPLE_ORIG || type == CTA_TUPLE_REPLY) {
      const bool is_original = type == CTA_TUPLE_ORIG;
      const HostTuple read = read_tuple(value);
      (is_original ? record.original : record.reply) = read.tuple;
      if (read.zone != 0) record.zone = {read.zone, is_original ? kZoneOriginal : kZoneReply};
    }
    if (type == CTA_STATUS) record.status = big_endian_number<std::uint32_t>(value);
    if (type == CTA_TIMEOUT) record.timeout_s = big_endian_number<std::uint32_t>(value);
    if (type == CTA_MARK) record.mark = big_endian_number<std::uint32_t>(value);
    if (type == CTA_ZONE) record.zone = {big_endian_number<std::uint16_t>(value), kZoneBoth};
  });
  return record;
}

}  // namespace

Result<std::size_t> ConntrackTable::read_host(Jiffies now) {
  const nfgenmsg request{AF_UNSPEC, NFNETLINK_V0, 0};
  const NetlinkQuestion question{
      NETLINK_NETFILTER,
      static_cast<std::uint16_t>(NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET),
      {reinterpret_cast<const std::uint8_t*>(&request), sizeof request},
      "connections"};
  std::vector<ConntrackRecord> records;
  LMN_CHECK_OK(netlink_dump(
      question, [&records] { records.clear(); },
      [&records](std::uint16_t, ByteSpan body) -> Result<void> {
        ConntrackRecord record = read_record(body);
        const std::uint8_t protocol = record.original.protocol;
        if (protocol == IPPROTO_TCP || protocol == IPPROTO_UDP) records.push_back(record);
        return {};
      }));
  std::size_t added = 0;
  for (const ConntrackRecord& record : records) added += add_of_host(record, now) ? 1 : 0;
  return added;
}

}  // namespace lmn
