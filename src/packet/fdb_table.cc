// SPDX-License-Identifier: Apache-2.0
//
// The forwarding database. Text is in fdb_text.cc, the host's bridges in fdb_host.cc. Tested by
// fdb_table_test.cc.
#include "packet/fdb_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

#include "packet/fdb_entry.h"

namespace lmn {
namespace {

constexpr std::uint32_t kEntriesMax = 1u << 24;
constexpr std::uint32_t kVictimsLookedAt = 64;
constexpr std::uint64_t kNsPerSecond = 1'000'000'000;

// A sender's address: of one station, and not all zeros.
bool is_of_station(const MacAddress& mac) {
  return (mac[0] & 1) == 0 && std::ranges::any_of(mac, [](std::uint8_t byte) { return byte != 0; });
}

}  // namespace

FdbTable::FdbTable(const Options& options) : options_(options) {}

FdbTable::~FdbTable() = default;

Result<std::unique_ptr<FdbTable>> FdbTable::create(const Options& options) {
  if (options.entries_max == 0 || options.entries_max > kEntriesMax) {
    return make_error(ErrorCode::kInvalidArgument,
                      fmt::format("a table of {} entries: 1 to {} are possible",
                                  options.entries_max, kEntriesMax));
  }
  return std::unique_ptr<FdbTable>(new FdbTable(options));
}

// The memory of entries is had outside of the lock.
void FdbTable::reserve() {
  {
    const SpinGuard guard(lock_);
    if (!buckets_.empty()) return;
  }
  std::vector<Entry> entries;
  entries.reserve(options_.entries_max);
  std::vector<std::uint32_t> buckets(std::bit_ceil(options_.entries_max));
  const SpinGuard guard(lock_);
  if (!buckets_.empty()) return;
  entries_ = std::move(entries);
  buckets_ = std::move(buckets);
}

void FdbTable::add_bridge(const FdbBridge& bridge) {
  reserve();
  const SpinGuard guard(lock_);
  std::erase_if(bridges_, [&](const FdbBridge& old) { return old.ifindex == bridge.ifindex; });
  bridges_.push_back(bridge);
}

void FdbTable::add_port(const FdbPort& port) {
  const SpinGuard guard(lock_);
  std::erase_if(ports_, [&](const FdbPort& old) { return old.ifindex == port.ifindex; });
  ports_.insert(std::ranges::lower_bound(ports_, port.ifindex, {}, &FdbPort::ifindex), port);
}

const FdbBridge* FdbTable::bridge_of(std::uint32_t ifindex) const noexcept {
  const auto found = std::ranges::find(bridges_, ifindex, &FdbBridge::ifindex);
  return found == bridges_.end() ? nullptr : &*found;
}

FdbTable::Place FdbTable::place_of(std::uint32_t port, std::uint16_t vlan) const noexcept {
  constexpr std::uint16_t kVlanMax = 4094;
  const auto found = std::ranges::lower_bound(ports_, port, {}, &FdbPort::ifindex);
  Place place;
  if (found == ports_.end() || found->ifindex != port) {
    place.error = ENODEV;
    return place;
  }
  place.port = &*found;
  place.bridge = bridge_of(found->bridge);
  if (place.bridge == nullptr) {
    place.error = ENODEV;
    return place;
  }
  if (!place.bridge->filters_vlans) return place;
  place.vlan = vlan == 0 ? found->pvid : vlan;
  if (place.vlan == 0 || place.vlan > kVlanMax) place.error = EINVAL;
  return place;
}

std::uint32_t& FdbTable::bucket(std::uint32_t bridge, const MacAddress& mac,
                                std::uint16_t vlan) noexcept {
  std::uint64_t key = vlan;
  for (const std::uint8_t byte : mac) key = key << 8 | byte;
  key = (key ^ options_.seed ^ std::uint64_t{bridge} << 32) * 0x9fb21c651e98df25u;
  key = (key ^ (key >> 32)) * 0x9fb21c651e98df25u;
  return buckets_[(key >> 32) & (buckets_.size() - 1)];
}

FdbTable::Entry* FdbTable::look_up(std::uint32_t bridge, const MacAddress& mac,
                                   std::uint16_t vlan) noexcept {
  for (std::uint32_t at = bucket(bridge, mac, vlan); at != 0; at = entries_[at - 1].next) {
    Entry& entry = entries_[at - 1];
    if (entry.bridge == bridge && entry.mac == mac && entry.vlan == vlan) return &entry;
  }
  return nullptr;
}

bool FdbTable::is_aged(const Entry& entry, std::uint64_t now_ns) const noexcept {
  if ((entry.flags & (kFdbStatic | kFdbLocal)) != 0) return false;
  const FdbBridge* bridge = bridge_of(entry.bridge);
  if (bridge == nullptr) return true;
  const std::uint64_t grace_ns = entry.is_of_host ? host_grace_ns_ : 0;
  const std::uint64_t life_ns = bridge->ageing_s * kNsPerSecond + grace_ns;
  return now_ns >= entry.seen_ns && now_ns - entry.seen_ns >= life_ns;
}

void FdbTable::remove(Entry& entry) noexcept {
  const auto link = static_cast<std::uint32_t>(&entry - entries_.data()) + 1;
  std::uint32_t* at = &bucket(entry.bridge, entry.mac, entry.vlan);
  while (*at != link) at = &entries_[*at - 1].next;
  *at = entry.next;
  entry.is_used = false;
  entry.next = free_;
  free_ = link;
}

bool FdbTable::make_room(std::uint64_t now_ns) noexcept {
  const auto count = static_cast<std::uint32_t>(entries_.size());
  for (std::uint32_t i = 0; i < std::min(kVictimsLookedAt, count); ++i) {
    sweep_at_ = sweep_at_ + 1 >= count ? 0 : sweep_at_ + 1;
    if (!entries_[sweep_at_].is_used || !is_aged(entries_[sweep_at_], now_ns)) continue;
    remove(entries_[sweep_at_]);
    return true;
  }
  return false;
}

FdbTable::Entry* FdbTable::insert(std::uint32_t bridge, const FdbRecord& record,
                                  std::uint64_t seen_ns, std::uint64_t now_ns) noexcept {
  const bool is_full = free_ == 0 && entries_.size() == options_.entries_max;
  if (is_full && !make_room(now_ns)) return nullptr;
  std::uint32_t link = free_;
  if (link != 0) {
    free_ = entries_[link - 1].next;
  } else {
    entries_.emplace_back();  // within what add_bridge() reserved
    link = static_cast<std::uint32_t>(entries_.size());
  }
  std::uint32_t& first = bucket(bridge, record.mac, record.vlan);
  Entry& entry = entries_[link - 1];
  entry = {bridge, record.port, record.flags, record.mac, record.vlan, seen_ns, first, true};
  first = link;
  return &entry;
}

FdbTable::Answer FdbTable::find(std::uint32_t port, const MacAddress& mac, std::uint16_t vlan,
                                std::uint64_t now_ns) noexcept {
  const SpinGuard guard(lock_);
  const Place place = place_of(port, vlan);
  if (place.error != 0) return {place.error};
  const Entry* entry = look_up(place.bridge->ifindex, mac, place.vlan);
  if (entry == nullptr || is_aged(*entry, now_ns)) return {ENOENT};
  return {0, entry->port, entry->flags};
}

int FdbTable::learn(std::uint32_t port, const MacAddress& mac, std::uint16_t vlan,
                    std::uint64_t now_ns) noexcept {
  const SpinGuard guard(lock_);
  const Place place = place_of(port, vlan);
  if (place.error != 0) return place.error;
  if (!is_of_station(mac)) return EADDRNOTAVAIL;
  if (!place.port->learns || place.bridge->ageing_s == 0) return EPERM;
  Entry* entry = look_up(place.bridge->ifindex, mac, place.vlan);
  if (entry == nullptr) {
    const FdbRecord record{mac, place.vlan, port, 0};
    return insert(place.bridge->ifindex, record, now_ns, now_ns) == nullptr ? ENOSPC : 0;
  }
  if ((entry->flags & kFdbLocal) != 0) return EEXIST;
  if (entry->port != port && (entry->flags & kFdbSticky) != 0) return EEXIST;
  entry->port = port;
  entry->seen_ns = now_ns;
  entry->is_of_host = false;
  return 0;
}

Result<void> FdbTable::add(const FdbRecord& record, std::uint64_t seen_ns) {
  const SpinGuard guard(lock_);
  const FdbBridge* bridge = bridge_of_record(record);
  if (bridge == nullptr) {
    return make_error(ErrorCode::kInvalidArgument,
                      fmt::format("port {} belongs to no bridge", record.port));
  }
  if (Entry* old = look_up(bridge->ifindex, record.mac, record.vlan)) remove(*old);
  if (insert(bridge->ifindex, record, seen_ns, seen_ns) != nullptr) return {};
  return make_error(ErrorCode::kLimitExceeded,
                    fmt::format("more than {} entries", options_.entries_max));
}

std::size_t FdbTable::expire(std::uint64_t now_ns) noexcept {
  const SpinGuard guard(lock_);
  std::size_t count = 0;
  for (Entry& entry : entries_) {
    if (!entry.is_used) continue;
    const bool is_old = is_aged(entry, now_ns);
    if (is_old) remove(entry);
    count += is_old ? 0 : 1;
  }
  return count;
}

}  // namespace lmn
