// SPDX-License-Identifier: Apache-2.0
//
// The host's side of FdbTable: the bridges of a network namespace, by rtnetlink.
//
// Three dumps: links say which netdevs are bridges and which are ports of one; the bridges' own
// view of links says which VLAN a port's untagged frames belong to; neighbours of family bridge are
// the entries, with how long ago an address was heard of. Entries without a master belong to a
// device's own filter, not to a bridge. An event about an entry is the dump's message again; one
// about a link only says that links are to be read again, for what it leaves out differs by what
// has changed.
// Threads: any; the lock is taken for one entry at a time.
// Tested by host_messages_test.cc, fuzz/host_messages_fuzz.cc,
// tests/differential/host_fdb_test.cc and host_events_test.cc.
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

#include "packet/fdb_entry.h"
#include "packet/fdb_table.h"
#include "packet/host_netlink.h"

namespace lmn {

struct FdbTable::HostBridges {
  std::vector<FdbBridge> bridges;
  std::vector<FdbPort> ports;
};

struct FdbTable::HostEntry {
  FdbRecord record;
  std::uint64_t age_ns = 0;
};

namespace {

constexpr std::uint32_t kTicksPerSecond = 100;  // USER_HZ, in which netlink tells times
constexpr std::uint64_t kNsPerTick = 1'000'000'000 / kTicksPerSecond;

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

// What a link is to bridges.
struct LinkRole {
  FdbBridge bridge;
  FdbPort port;
  bool is_bridge = false;
  bool is_port = false;
};

LinkRole role_of(const ifinfomsg& link, ByteSpan body) {
  const auto ifindex = static_cast<std::uint32_t>(link.ifi_index);
  LinkRole role{{ifindex, 300, false, true}, {ifindex, 0, 0, true, true}};
  auto& [bridge, port, is_bridge, is_port] = role;
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
  return role;
}

template <typename HostBridges>
Result<void> read_links(const NetlinkSource& netlink, HostBridges& host) {
  const ifinfomsg request{};
  const NetlinkQuestion question{NETLINK_ROUTE,
                                 RTM_GETLINK,
                                 {reinterpret_cast<const std::uint8_t*>(&request), sizeof request},
                                 "links"};
  return netlink.dump(
      question, [&host] { host = {}; },
      [&host](std::uint16_t type, ByteSpan body) -> Result<void> {
        const auto link = netlink_head<ifinfomsg>(body);
        if (type != RTM_NEWLINK || !link) return {};
        const LinkRole role = role_of(*link, body);
        if (role.is_bridge) host.bridges.push_back(role.bridge);
        if (role.is_port && role.port.bridge != 0) host.ports.push_back(role.port);
        return {};
      });
}

// The VLAN of untagged frames, per port.
template <typename HostBridges>
Result<void> read_pvids(const NetlinkSource& netlink, HostBridges& host) {
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
  return netlink.dump(
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

// False: not of a bridge, or without an address.
template <typename HostEntry>
bool read_entry(const ndmsg& head, ByteSpan body, HostEntry& entry) {
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
  return has_master && has_mac;
}

template <typename HostEntry>
Result<void> read_entries(const NetlinkSource& netlink, std::vector<HostEntry>& entries) {
  ndmsg request{};
  request.ndm_family = AF_BRIDGE;
  const NetlinkQuestion question{NETLINK_ROUTE,
                                 RTM_GETNEIGH,
                                 {reinterpret_cast<const std::uint8_t*>(&request), sizeof request},
                                 "bridge entries"};
  return netlink.dump(
      question, [&entries] { entries.clear(); },
      [&entries](std::uint16_t type, ByteSpan body) -> Result<void> {
        const auto head = netlink_head<ndmsg>(body);
        HostEntry entry;
        const bool is_entry = type == RTM_NEWNEIGH && head && read_entry(*head, body, entry);
        if (is_entry) entries.push_back(entry);
        return {};
      });
}

}  // namespace

// The host's bridges and ports, and those of others that the host has none of the same number of.
void FdbTable::take_topology(HostBridges& host) {
  std::ranges::sort(host.ports, {}, &FdbPort::ifindex);
  std::size_t old_bridges = 0;
  std::size_t old_ports = 0;
  {
    const SpinGuard guard(lock_);
    old_bridges = bridges_.size();
    old_ports = ports_.size();
  }
  host.bridges.reserve(host.bridges.size() + old_bridges);
  host.ports.reserve(host.ports.size() + old_ports);
  const SpinGuard guard(lock_);
  for (const FdbBridge& bridge : bridges_) {
    const bool is_there =
        std::ranges::find(host.bridges, bridge.ifindex, &FdbBridge::ifindex) != host.bridges.end();
    if (!bridge.is_of_host && !is_there) host.bridges.push_back(bridge);
  }
  for (const FdbPort& port : ports_) {
    const auto at = std::ranges::lower_bound(host.ports, port.ifindex, {}, &FdbPort::ifindex);
    const bool is_there = at != host.ports.end() && at->ifindex == port.ifindex;
    if (!port.is_of_host && !is_there) host.ports.insert(at, port);
  }
  // What was there before is freed by the caller, outside of the lock.
  std::swap(bridges_, host.bridges);
  std::swap(ports_, host.ports);
}

const FdbBridge* FdbTable::bridge_of_record(const FdbRecord& record) const noexcept {
  const auto port = std::ranges::lower_bound(ports_, record.port, {}, &FdbPort::ifindex);
  const bool is_port = port != ports_.end() && port->ifindex == record.port;
  return bridge_of(is_port ? port->bridge : record.port);
}

void FdbTable::take_entry(const HostEntry& entry, std::uint64_t now_ns) noexcept {
  const FdbRecord& record = entry.record;
  const std::uint64_t seen_ns = now_ns - std::min(entry.age_ns, now_ns);
  const FdbBridge* bridge = bridge_of_record(record);
  if (bridge == nullptr) return;  // its link is gone, or is read next
  Entry* known = look_up(bridge->ifindex, record.mac, record.vlan);
  const bool is_fixed = (record.flags & (kFdbStatic | kFdbLocal | kFdbSticky)) != 0;
  const bool is_ours = known != nullptr && !known->is_of_host;
  if (is_ours && !is_fixed && known->seen_ns > seen_ns) return;
  if (known == nullptr) known = insert(bridge->ifindex, record, seen_ns, now_ns);
  if (known == nullptr) {
    ++host_no_room_;
    return;
  }
  known->port = record.port;
  known->flags = record.flags;
  known->seen_ns = seen_ns;
  known->is_of_host = true;
  known->reading = reading_;
}

bool FdbTable::is_of_bridges(std::uint32_t ifindex) noexcept {
  const SpinGuard guard(lock_);
  return bridge_of_record({.port = ifindex}) != nullptr;
}

FdbTable::HostEvent FdbTable::take_host_event(std::uint16_t type, ByteSpan body,
                                              std::uint64_t now_ns) {
  if (type == RTM_NEWLINK || type == RTM_DELLINK) {
    const auto link = netlink_head<ifinfomsg>(body);
    if (!link) return HostEvent::kNothing;
    const LinkRole role = role_of(*link, body);
    const bool concerns_bridges = link->ifi_family == AF_BRIDGE || role.is_bridge || role.is_port ||
                                  is_of_bridges(static_cast<std::uint32_t>(link->ifi_index));
    return concerns_bridges ? HostEvent::kReadAgain : HostEvent::kNothing;
  }
  const bool is_new = type == RTM_NEWNEIGH;
  const auto head = netlink_head<ndmsg>(body);
  HostEntry entry;
  const bool is_entry = (is_new || type == RTM_DELNEIGH) && head && head->ndm_family == AF_BRIDGE &&
                        read_entry(*head, body, entry);
  if (!is_entry) return HostEvent::kNothing;
  const SpinGuard guard(lock_);
  if (is_new) {
    take_entry(entry, now_ns);
    return HostEvent::kTaken;
  }
  const FdbBridge* bridge = bridge_of_record(entry.record);
  if (bridge == nullptr) return HostEvent::kNothing;
  Entry* known = look_up(bridge->ifindex, entry.record.mac, entry.record.vlan);
  if (known != nullptr && known->is_of_host) remove(*known);
  return HostEvent::kTaken;
}

Result<void> FdbTable::read_host(std::uint64_t now_ns) {
  return read_netlink(HostNetlink{}, now_ns);
}

Result<void> FdbTable::read_netlink(const NetlinkSource& netlink, std::uint64_t now_ns) {
  HostBridges host;
  LMN_CHECK_OK(read_links(netlink, host));
  std::vector<HostEntry> entries;
  if (!host.bridges.empty()) {
    LMN_CHECK_OK(read_pvids(netlink, host));
    LMN_CHECK_OK(read_entries(netlink, entries));
    reserve();
  }
  take_topology(host);
  {
    const SpinGuard guard(lock_);
    ++reading_;
  }
  for (const HostEntry& entry : entries) {
    const SpinGuard guard(lock_);
    take_entry(entry, now_ns);
  }
  for (std::size_t i = 0;; ++i) {
    const SpinGuard guard(lock_);
    if (i >= entries_.size()) break;
    Entry& entry = entries_[i];
    if (!entry.is_used) continue;
    const bool is_unread = entry.is_of_host && entry.reading != reading_;
    // A port that leaves its bridge takes its stations along, whoever has heard of them.
    const FdbBridge* bridge = bridge_of_record({.port = entry.port});
    const bool has_left = bridge == nullptr || bridge->ifindex != entry.bridge;
    if (is_unread || has_left) remove(entry);
  }
  return {};
}

void FdbTable::set_host_grace(std::uint64_t ns) noexcept {
  const SpinGuard guard(lock_);
  host_grace_ns_ = ns;
}

std::uint64_t FdbTable::host_no_room() noexcept {
  const SpinGuard guard(lock_);
  return host_no_room_;
}

}  // namespace lmn
