// SPDX-License-Identifier: Apache-2.0
//
// FdbTable::read_host: the bridges of a network namespace, by rtnetlink.
//
// Three dumps: links say which netdevs are bridges and which are ports of one; the bridges' own
// view of links says which VLAN a port's untagged frames belong to; neighbours of family bridge are
// the entries, with how long ago an address was heard of. Entries without a master belong to a
// device's own filter, not to a bridge.
// Tested by tests/differential/host_fdb_test.cc.
// Source: Linux 6.18, net/bridge/br_netlink.c, br_fdb.c (fdb_fill_info).
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "packet/fdb_table.h"
#include "packet/host_netlink.h"

namespace lmn {
namespace {

constexpr std::uint32_t kTicksPerSecond = 100;  // USER_HZ, in which netlink tells times
constexpr std::uint64_t kNsPerTick = 1'000'000'000 / kTicksPerSecond;

struct HostBridges {
  std::vector<FdbBridge> bridges;
  std::vector<FdbPort> ports;
};

std::string_view text_of(ByteSpan value) {
  const auto* text = reinterpret_cast<const char*>(value.data());
  return {text, ::strnlen(text, value.size())};
}

void read_bridge_data(ByteSpan data, FdbBridge& bridge) {
  for_each_attribute(data, 0, [&bridge](std::uint16_t type, ByteSpan value) {
    if (type == IFLA_BR_AGEING_TIME) {
      bridge.ageing_s = attribute_number<std::uint32_t>(value) / kTicksPerSecond;
    }
    if (type == IFLA_BR_VLAN_FILTERING) {
      bridge.filters_vlans = attribute_number<std::uint8_t>(value) != 0;
    }
  });
}

void read_link(const ifinfomsg& link, ByteSpan body, HostBridges& host) {
  const auto ifindex = static_cast<std::uint32_t>(link.ifi_index);
  FdbBridge bridge{ifindex, 300, false};
  FdbPort port{ifindex, 0, 0, true};
  bool is_bridge = false;
  bool is_port = false;
  const auto read_info = [&](std::uint16_t type, ByteSpan value) {
    if (type == IFLA_INFO_KIND) is_bridge = text_of(value) == "bridge";
    if (type == IFLA_INFO_SLAVE_KIND) is_port = text_of(value) == "bridge";
    if (type == IFLA_INFO_DATA && is_bridge) read_bridge_data(value, bridge);
    if (type != IFLA_INFO_SLAVE_DATA || !is_port) return;
    for_each_attribute(value, 0, [&port](std::uint16_t kind, ByteSpan flag) {
      if (kind == IFLA_BRPORT_LEARNING) port.learns = attribute_number<std::uint8_t>(flag) != 0;
    });
  };
  for_each_attribute(body, sizeof link, [&](std::uint16_t type, ByteSpan value) {
    if (type == IFLA_MASTER) port.bridge = attribute_number<std::uint32_t>(value);
    if (type == IFLA_LINKINFO) for_each_attribute(value, 0, read_info);
  });
  if (is_bridge) host.bridges.push_back(bridge);
  if (is_port && port.bridge != 0) host.ports.push_back(port);
}

Result<void> read_links(HostBridges& host) {
  const ifinfomsg request{};
  const NetlinkQuestion question{NETLINK_ROUTE,
                                 RTM_GETLINK,
                                 {reinterpret_cast<const std::uint8_t*>(&request), sizeof request},
                                 "links"};
  return netlink_dump(
      question, [&host] { host = {}; },
      [&host](std::uint16_t type, ByteSpan body) -> Result<void> {
        const auto link = netlink_head<ifinfomsg>(body);
        if (type == RTM_NEWLINK && link) read_link(*link, body, host);
        return {};
      });
}

// The VLAN of untagged frames, per port.
Result<void> read_pvids(HostBridges& host) {
  struct {
    ifinfomsg link;
    rtattr attribute;
    std::uint32_t mask;
  } request{};
  request.link.ifi_family = AF_BRIDGE;
  request.attribute = {RTA_LENGTH(sizeof request.mask), IFLA_EXT_MASK};
  request.mask = RTEXT_FILTER_BRVLAN;
  const NetlinkQuestion question{NETLINK_ROUTE,
                                 RTM_GETLINK,
                                 {reinterpret_cast<const std::uint8_t*>(&request), sizeof request},
                                 "VLANs of bridges"};
  return netlink_dump(
      question, [] {},
      [&host](std::uint16_t, ByteSpan body) -> Result<void> {
        const auto link = netlink_head<ifinfomsg>(body);
        if (!link) return {};
        const auto port = std::ranges::find(host.ports, static_cast<std::uint32_t>(link->ifi_index),
                                            &FdbPort::ifindex);
        if (port == host.ports.end()) return {};
        for_each_attribute(body, sizeof *link, [&port](std::uint16_t type, ByteSpan value) {
          if (type != IFLA_AF_SPEC) return;
          for_each_attribute(value, 0, [&port](std::uint16_t kind, ByteSpan info) {
            const auto vlan = netlink_head<bridge_vlan_info>(info);
            if (kind != IFLA_BRIDGE_VLAN_INFO || !vlan) return;
            if ((vlan->flags & BRIDGE_VLAN_INFO_PVID) != 0) port->pvid = vlan->vid;
          });
        });
        return {};
      });
}

struct HostEntry {
  FdbRecord record;
  std::uint64_t age_ns = 0;
};

void read_entry(const ndmsg& head, ByteSpan body, std::vector<HostEntry>& entries) {
  HostEntry entry;
  bool has_master = false;
  bool has_mac = false;
  entry.record.port = static_cast<std::uint32_t>(head.ndm_ifindex);
  if ((head.ndm_state & NUD_PERMANENT) != 0) entry.record.flags |= kFdbLocal;
  if ((head.ndm_state & NUD_NOARP) != 0) entry.record.flags |= kFdbStatic;
  if ((head.ndm_flags & NTF_STICKY) != 0) entry.record.flags |= kFdbSticky;
  for_each_attribute(body, sizeof head, [&](std::uint16_t type, ByteSpan value) {
    if (type == NDA_MASTER) has_master = true;
    if (type == NDA_VLAN) entry.record.vlan = attribute_number<std::uint16_t>(value);
    if (type == NDA_LLADDR && value.size() == entry.record.mac.size()) {
      std::ranges::copy(value, entry.record.mac.begin());
      has_mac = true;
    }
    const auto times = netlink_head<nda_cacheinfo>(value);
    if (type == NDA_CACHEINFO && times) entry.age_ns = times->ndm_updated * kNsPerTick;
  });
  if (has_master && has_mac) entries.push_back(entry);
}

Result<void> read_entries(std::vector<HostEntry>& entries) {
  ndmsg request{};
  request.ndm_family = AF_BRIDGE;
  const NetlinkQuestion question{NETLINK_ROUTE,
                                 RTM_GETNEIGH,
                                 {reinterpret_cast<const std::uint8_t*>(&request), sizeof request},
                                 "bridge entries"};
  return netlink_dump(
      question, [&entries] { entries.clear(); },
      [&entries](std::uint16_t type, ByteSpan body) -> Result<void> {
        const auto head = netlink_head<ndmsg>(body);
        if (type == RTM_NEWNEIGH && head) read_entry(*head, body, entries);
        return {};
      });
}

}  // namespace

Result<void> FdbTable::read_host(std::uint64_t now_ns) {
  HostBridges host;
  LMN_CHECK_OK(read_links(host));
  if (host.bridges.empty()) return {};
  LMN_CHECK_OK(read_pvids(host));
  std::vector<HostEntry> entries;
  LMN_CHECK_OK(read_entries(entries));
  for (const FdbBridge& bridge : host.bridges) add_bridge(bridge);
  for (const FdbPort& port : host.ports) add_port(port);
  for (const HostEntry& entry : entries) {
    LMN_CHECK_OK(add(entry.record, now_ns - std::min(entry.age_ns, now_ns)));
  }
  return {};
}

}  // namespace lmn
