// SPDX-License-Identifier: Apache-2.0
//
// The table of connections: lists, references, time. What rewrites addresses is in
// conntrack_nat.cc, text in conntrack_text.cc. Tested by conntrack_table_test.cc.
#include "packet/conntrack_table.h"

#include <fmt/format.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <sys/socket.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <climits>
#include <vector>

#include "packet/conntrack_connection.h"
#include "packet/jiffies.h"

namespace lmn {
namespace {

constexpr bool is_same(std::uint32_t ours, std::uint32_t uapi) { return ours == uapi; }
static_assert(is_same(kCtExpected, IPS_EXPECTED) && is_same(kCtSeenReply, IPS_SEEN_REPLY));
static_assert(is_same(kCtAssured, IPS_ASSURED) && is_same(kCtConfirmed, IPS_CONFIRMED));
static_assert(is_same(kCtSourceNat, IPS_SRC_NAT) && is_same(kCtDestinationNat, IPS_DST_NAT));
static_assert(is_same(kCtSourceNatDone, IPS_SRC_NAT_DONE));
static_assert(is_same(kCtDestinationNatDone, IPS_DST_NAT_DONE));
static_assert(is_same(kCtDying, IPS_DYING) && is_same(kCtFixedTimeout, IPS_FIXED_TIMEOUT));
static_assert(is_same(kCtOffloaded, IPS_OFFLOAD) && is_same(kCtHelper, IPS_HELPER));
static_assert(is_same(kCtHardwareOffloaded, IPS_HW_OFFLOAD));

constexpr std::uint32_t kConnectionsMax = 1u << 26;
constexpr std::uint32_t kFirstTimeoutSeconds = 10;
constexpr std::uint32_t kVictimsLookedAt = 64;  // when a full table needs room

// Bits that nobody changes once they are there, or not.
constexpr std::uint64_t kFixedBits = kCtExpected | kCtConfirmed | kCtDying;
// Bits that may come but not go.
constexpr std::uint64_t kStickyBits = kCtSeenReply | kCtAssured;
// Bits that are the table's own: asking for them changes nothing.
constexpr std::uint64_t kOwnBits = kFixedBits | kCtSourceNat | kCtDestinationNat |
                                   kCtSourceNatDone | kCtDestinationNatDone | kCtSequenceAdjusted |
                                   kCtTemplate | kCtUntracked | kCtOffloaded | kCtHardwareOffloaded;

constexpr std::uint64_t mix(std::uint64_t hash, std::uint64_t word) noexcept {
  hash = (hash ^ word) * 0x9fb21c651e98df25u;
  return hash ^ (hash >> 29);
}

std::uint64_t hash_address(std::uint64_t hash, const IpAddress& address) noexcept {
  std::uint64_t words[2];
  std::memcpy(words, address.data(), sizeof words);
  return mix(mix(hash, words[0]), words[1]);
}

// Whether every field lies within the struct.
bool is_sound(const NfConnLayout& layout) {
  const auto fits = [&layout](std::uint32_t at, std::uint32_t bytes) {
    return at <= layout.size_bytes && bytes <= layout.size_bytes - at;
  };
  bool is_good = fits(layout.use, 4) && fits(layout.timeout, 4) && fits(layout.zone, 4) &&
                 fits(layout.status, 8) && (!layout.mark || fits(*layout.mark, 4));
  for (const std::uint32_t tuple : layout.tuples) {
    const auto inside = [&](std::uint32_t at, std::uint32_t bytes) {
      return at <= layout.size_bytes && fits(tuple + at, bytes);
    };
    is_good = is_good && tuple <= layout.size_bytes && inside(layout.source, 16) &&
              inside(layout.source_port, 2) && inside(layout.family, 2) &&
              inside(layout.destination, 16) && inside(layout.destination_port, 2) &&
              inside(layout.protocol, 1) && inside(layout.direction, 1);
  }
  return is_good;
}

template <typename T>
T* zeroed(std::size_t count) {
  return static_cast<T*>(std::calloc(count, sizeof(T)));
}

}  // namespace

Result<std::unique_ptr<ConntrackTable>> ConntrackTable::create(const Options& options) {
  if (options.connections_max == 0 || options.connections_max > kConnectionsMax) {
    return make_error(ErrorCode::kInvalidArgument,
                      fmt::format("a table of {} connections: 1 to {} are possible",
                                  options.connections_max, kConnectionsMax));
  }
  if (!is_sound(options.layout)) {
    return make_error(ErrorCode::kInvalidArgument, "fields of nf_conn lie outside of it");
  }
  std::unique_ptr<ConntrackTable> table(new ConntrackTable(options));
  const std::uint32_t buckets = std::bit_ceil(options.connections_max);
  table->bucket_mask_ = buckets - 1;
  table->image_stride_ = (options.layout.size_bytes + 63) & ~63u;
  table->random_ = options.seed | 1;
  const std::size_t count = options.connections_max;
  table->connections_.reset(zeroed<Connection>(count));
  table->images_.reset(zeroed<std::uint8_t>(count * table->image_stride_));
  table->tuple_buckets_.reset(zeroed<std::uint32_t>(buckets));
  table->source_buckets_.reset(zeroed<std::uint32_t>(buckets));
  table->free_links_.reset(zeroed<std::uint32_t>(count));
  if (!table->connections_ || !table->images_ || !table->tuple_buckets_ ||
      !table->source_buckets_ || !table->free_links_) {
    return make_error(ErrorCode::kIo, fmt::format("no memory for {} connections", count));
  }
  return table;
}

Result<void> ConntrackTable::set_layout(const NfConnLayout& layout) {
  if (layout == options_.layout) return {};
  if (!is_sound(layout)) {
    return make_error(ErrorCode::kInvalidArgument, "fields of nf_conn lie outside of it");
  }
  const SpinGuard guard(lock_);
  if (free_count_ != used_end_) {
    return make_error(ErrorCode::kInvalidArgument,
                      "connections have the shape of another kernel's nf_conn already");
  }
  const std::uint32_t stride = (layout.size_bytes + 63) & ~63u;
  Memory<std::uint8_t> images(zeroed<std::uint8_t>(std::size_t{options_.connections_max} * stride));
  if (!images) return make_error(ErrorCode::kIo, "no memory for connections");
  images_ = std::move(images);
  image_stride_ = stride;
  options_.layout = layout;
  return {};
}

// --- lists

std::uint32_t ConntrackTable::bucket_of_source(const ConntrackTuple& tuple) const noexcept {
  const auto rest = static_cast<std::uint64_t>(tuple.protocol) << 32 | tuple.source_port;
  return static_cast<std::uint32_t>(mix(hash_address(options_.seed, tuple.source), rest) >> 20) &
         bucket_mask_;
}

std::uint32_t ConntrackTable::bucket_of_tuple(const ConntrackTuple& tuple) const noexcept {
  const std::uint64_t ends =
      hash_address(hash_address(options_.seed, tuple.source), tuple.destination);
  const auto rest = static_cast<std::uint64_t>(tuple.protocol) << 32 |
                    std::uint64_t{tuple.source_port} << 16 | tuple.destination_port;
  return static_cast<std::uint32_t>(mix(ends, rest) >> 20) & bucket_mask_;
}

std::uint32_t ConntrackTable::index_of(const Connection& connection) const noexcept {
  return static_cast<std::uint32_t>(&connection - connections_.get());
}

ConntrackTable::Connection& ConntrackTable::connection_of(std::uint32_t link) noexcept {
  return connections_[(link - 1) / 2];
}

std::uint32_t& ConntrackTable::head(std::uint32_t list, const Connection& connection) noexcept {
  if (list == kBySource) return source_buckets_[bucket_of_source(connection.tuples[0])];
  return tuple_buckets_[bucket_of_tuple(connection.tuples[list])];
}

void ConntrackTable::link(Connection& connection, std::uint32_t list) noexcept {
  std::uint32_t& first = head(list, connection);
  connection.next[list] = first;
  first = index_of(connection) * 2 + (list == kBySource ? 0 : list) + 1;
}

void ConntrackTable::unlink(Connection& connection, std::uint32_t list) noexcept {
  const std::uint32_t wanted = index_of(connection) * 2 + (list == kBySource ? 0 : list) + 1;
  std::uint32_t* at = &head(list, connection);
  while (*at != wanted) {
    const std::uint32_t node = list == kBySource ? kBySource : (*at - 1) % 2;
    at = &connection_of(*at).next[node];
  }
  *at = connection.next[list];
}

// --- life

std::uint64_t ConntrackTable::status_of(Connection& connection) noexcept {
  return field<std::uint64_t>(connection, options_.layout.status);
}

void ConntrackTable::set_status(Connection& connection, std::uint64_t status) noexcept {
  set_field(connection, options_.layout.status, status);
}

bool ConntrackTable::is_expired(Connection& connection, Jiffies now) noexcept {
  const auto timeout = field<std::uint32_t>(connection, options_.layout.timeout);
  const std::int64_t grace = connection.is_of_host ? host_grace_ : 0;
  return static_cast<std::int32_t>(timeout - now) + grace <= 0;
}

void ConntrackTable::drop_reference(Connection& connection) noexcept {
  --connection.references;
  set_field(connection, options_.layout.use,
            connection.is_inserted ? connection.references : std::uint32_t{0});
  if (connection.references != 0) return;
  if (connection.is_by_source) unlink(connection, kBySource);
  connection.is_used = false;
  free_links_[free_count_++] = index_of(connection) + 1;
}

// Out of the table. REQUIRES: it is in it.
void ConntrackTable::forget(Connection& connection) noexcept {
  unlink(connection, 0);
  unlink(connection, 1);
  connection.is_inserted = false;
  set_status(connection, status_of(connection) | kCtDying);
  drop_reference(connection);
}

bool ConntrackTable::make_room(Jiffies now, bool only_expired) noexcept {
  Connection* victim = nullptr;
  for (std::uint32_t i = 0; i < std::min(kVictimsLookedAt, used_end_); ++i) {
    sweep_at_ = sweep_at_ + 1 >= used_end_ ? 0 : sweep_at_ + 1;
    Connection& candidate = connections_[sweep_at_];
    if (!candidate.is_inserted || candidate.references != 1) continue;
    const bool is_over = is_expired(candidate, now);
    if (!is_over && (only_expired || (status_of(candidate) & kCtAssured) != 0)) continue;
    victim = &candidate;
    if (is_over) break;
  }
  if (victim == nullptr) return false;
  forget(*victim);
  return true;
}

ConntrackTable::Connection* ConntrackTable::allocate_locked(const ConntrackTuple& original,
                                                            const ConntrackTuple& reply,
                                                            const ConntrackZone& zone,
                                                            Jiffies now) noexcept {
  const bool is_full = free_count_ == 0 && used_end_ == options_.connections_max;
  if (is_full && !make_room(now)) return nullptr;
  const std::uint32_t index = free_count_ > 0 ? free_links_[--free_count_] - 1 : used_end_++;
  Connection& connection = connections_[index];
  connection = Connection{};
  connection.tuples[0] = original;
  connection.tuples[1] = reply;
  connection.zone = zone;
  connection.references = 1;
  connection.is_used = true;
  std::memset(image(connection), 0, options_.layout.size_bytes);
  const std::uint32_t timeout = kFirstTimeoutSeconds * kJiffiesPerSecond;
  set_field(connection, options_.layout.timeout, timeout);
  set_field(connection, options_.layout.zone, zone.id);
  set_field(connection, options_.layout.zone + 3, zone.directions);
  write_tuple(connection, 0);
  write_tuple(connection, 1);
  return &connection;
}

void ConntrackTable::write_tuple(Connection& connection, std::uint8_t direction) noexcept {
  const ConntrackTuple& tuple = connection.tuples[direction];
  const NfConnLayout& layout = options_.layout;
  const std::uint32_t base = layout.tuples[direction];
  const bool is_ipv6 = tuple.family == IpFamily::kIpv6;
  set_field(connection, base + layout.source, tuple.source);
  set_field(connection, base + layout.destination, tuple.destination);
  set_field(connection, base + layout.source_port, tuple.source_port);
  set_field(connection, base + layout.destination_port, tuple.destination_port);
  set_field(connection, base + layout.family,
            static_cast<std::uint16_t>(is_ipv6 ? AF_INET6 : AF_INET));
  set_field(connection, base + layout.protocol, tuple.protocol);
  set_field(connection, base + layout.direction, direction);
}

bool ConntrackTable::has_key(const Connection& connection, std::uint8_t direction,
                             const ConntrackTuple& tuple,
                             const ConntrackZone& zone) const noexcept {
  return connection.tuples[direction] == tuple &&
         connection.zone.id_of(direction) == zone.id_of(direction);
}

// Whether a connection has it in either direction, expired or not. The kernel's lists are by the
// zone of the direction too: one that counts in another zone for this direction is not met.
// `only_own`: those of the host do not count.
bool ConntrackTable::is_known(const ConntrackTuple& tuple, const ConntrackZone& zone,
                              std::uint16_t list_zone, bool only_own) noexcept {
  for (std::uint32_t at = tuple_buckets_[bucket_of_tuple(tuple)]; at != 0;) {
    const auto direction = static_cast<std::uint8_t>((at - 1) % 2);
    const Connection& other = connection_of(at);
    const bool counts = !only_own || !other.is_of_host;
    if (counts && has_key(other, direction, tuple, zone) && zone.id_of(direction) == list_zone) {
      return true;
    }
    at = other.next[direction];
  }
  return false;
}

bool ConntrackTable::insert_locked(Connection& connection, Jiffies now) noexcept {
  for (std::uint8_t direction = 0; direction < 2; ++direction) {
    const std::uint16_t list_zone = connection.zone.id_of(direction);
    if (!is_known(connection.tuples[direction], connection.zone, list_zone)) continue;
    confirm(connection, now);
    return false;
  }
  link_locked(connection, now);
  return true;
}

// What is refused has been marked as well: its timeout is a point in time from then on.
void ConntrackTable::confirm(Connection& connection, Jiffies now) noexcept {
  const std::uint64_t status = status_of(connection);
  const auto timeout = field<std::uint32_t>(connection, options_.layout.timeout);
  const bool is_confirmed = (status & kCtConfirmed) != 0;
  set_field(connection, options_.layout.timeout, is_confirmed ? timeout : timeout + now);
  set_status(connection, status | kCtConfirmed);
}

void ConntrackTable::link_locked(Connection& connection, Jiffies now) noexcept {
  confirm(connection, now);
  connection.is_inserted = true;
  connection.references = 2;
  set_field(connection, options_.layout.use, connection.references);
  link(connection, 0);
  link(connection, 1);
}

void ConntrackTable::set_timeout_locked(Connection& connection, std::uint64_t jiffies,
                                        Jiffies now) noexcept {
  const auto bounded = static_cast<std::uint32_t>(std::min<std::uint64_t>(jiffies, INT_MAX));
  const bool is_confirmed = (status_of(connection) & kCtConfirmed) != 0;
  set_field(connection, options_.layout.timeout, is_confirmed ? now + bounded : bounded);
}

// --- what programs call

// One pass over the list of a tuple, for connections that count in `list_zone` there.
ConntrackTable::Found ConntrackTable::find_in_list(const ConntrackTuple& tuple,
                                                   const ConntrackZone& zone,
                                                   std::uint16_t list_zone, Jiffies now) noexcept {
  for (std::uint32_t at = tuple_buckets_[bucket_of_tuple(tuple)]; at != 0;) {
    const auto direction = static_cast<std::uint8_t>((at - 1) % 2);
    Connection& connection = connection_of(at);
    at = connection.next[direction];
    if (is_expired(connection, now)) {
      // Its other direction may be the next in this list.
      if (at != 0 && &connection_of(at) == &connection) at = connection.next[direction ^ 1u];
      forget(connection);
      continue;
    }
    if (!has_key(connection, direction, tuple, zone)) continue;
    if (zone.id_of(direction) != list_zone) continue;
    ++connection.references;
    set_field(connection, options_.layout.use, connection.references);
    return {&connection, direction, connection.zone};
  }
  return {};
}

ConntrackTable::Found ConntrackTable::find(const ConntrackTuple& tuple, const ConntrackZone& zone,
                                           Jiffies now) noexcept {
  const SpinGuard guard(lock_);
  const Found found = find_in_list(tuple, zone, zone.id_of(0), now);
  if (found.connection != nullptr || zone.id_of(0) == zone.id_of(1)) return found;
  return find_in_list(tuple, zone, zone.id_of(1), now);
}

ConntrackTable::Connection* ConntrackTable::allocate(const ConntrackTuple& original,
                                                     const ConntrackTuple& reply,
                                                     const ConntrackZone& zone,
                                                     Jiffies now) noexcept {
  const SpinGuard guard(lock_);
  return allocate_locked(original, reply, zone, now);
}

bool ConntrackTable::insert(Connection& connection, Jiffies now) noexcept {
  const SpinGuard guard(lock_);
  if (insert_locked(connection, now)) return true;
  drop_reference(connection);
  return false;
}

void ConntrackTable::release(Connection& connection) noexcept {
  const SpinGuard guard(lock_);
  drop_reference(connection);
}

void ConntrackTable::set_timeout(Connection& connection, std::uint64_t jiffies,
                                 Jiffies now) noexcept {
  const SpinGuard guard(lock_);
  set_timeout_locked(connection, jiffies, now);
}

int ConntrackTable::change_timeout(Connection& connection, std::uint64_t jiffies,
                                   Jiffies now) noexcept {
  const SpinGuard guard(lock_);
  if ((status_of(connection) & kCtFixedTimeout) != 0) return EPERM;
  set_timeout_locked(connection, jiffies, now);
  return (status_of(connection) & kCtDying) != 0 ? ETIME : 0;
}

int ConntrackTable::change_status(Connection& connection, std::uint32_t status) noexcept {
  const SpinGuard guard(lock_);
  const std::uint64_t before = status_of(connection);
  const std::uint64_t changed = before ^ status;
  if ((changed & kFixedBits) != 0) return EBUSY;
  if ((changed & kStickyBits & ~std::uint64_t{status}) != 0) return EBUSY;
  set_status(connection, before | (status & ~kOwnBits & 0xffff));
  return 0;
}

ConntrackTable::Connection* ConntrackTable::at(const void* image) noexcept {
  const SpinGuard guard(lock_);
  const auto offset =
      static_cast<std::size_t>(static_cast<const std::uint8_t*>(image) - images_.get());
  const std::size_t index = offset / image_stride_;
  if (offset % image_stride_ != 0 || index >= used_end_) return nullptr;
  return connections_[index].is_used ? &connections_[index] : nullptr;
}

std::uint8_t* ConntrackTable::image(Connection& connection) noexcept {
  return images_.get() + std::size_t{index_of(connection)} * image_stride_;
}

// --- what people call

// The connection of a record, not inserted; null when there is no room.
ConntrackTable::Connection* ConntrackTable::allocate_of(const ConntrackRecord& record,
                                                        Jiffies now) noexcept {
  Connection* connection = allocate_locked(record.original, record.reply, record.zone, now);
  if (connection != nullptr) set_record(*connection, record, now);
  return connection;
}

// What changes in a connection's life. Whether it is in the table stays as it is.
void ConntrackTable::set_record(Connection& connection, const ConntrackRecord& record,
                                Jiffies now) noexcept {
  constexpr std::uint64_t kTables = kCtConfirmed | kCtDying;
  set_timeout_locked(connection, record.timeout_s * kJiffiesPerSecond, now);
  set_status(connection, (record.status & ~kTables) | (status_of(connection) & kTables));
  if (options_.layout.mark) set_field(connection, *options_.layout.mark, record.mark);
}

bool ConntrackTable::add(const ConntrackRecord& record, Jiffies now) {
  const SpinGuard guard(lock_);
  Connection* connection = allocate_of(record, now);
  if (connection == nullptr) return false;
  const bool is_new = insert_locked(*connection, now);
  drop_reference(*connection);
  return is_new;
}

std::size_t ConntrackTable::expire(Jiffies now) noexcept {
  const SpinGuard guard(lock_);
  std::size_t count = 0;
  for (std::uint32_t i = 0; i < used_end_; ++i) {
    if (!connections_[i].is_inserted) continue;
    const bool is_over = is_expired(connections_[i], now);
    if (is_over) forget(connections_[i]);
    count += is_over ? 0 : 1;
  }
  return count;
}

void ConntrackTable::for_each(Jiffies now, const std::function<void(const ConntrackRecord&)>& act) {
  std::vector<ConntrackRecord> records;
  {
    const SpinGuard guard(lock_);
    for (std::uint32_t i = 0; i < used_end_; ++i) {
      Connection& connection = connections_[i];
      if (!connection.is_inserted || is_expired(connection, now)) continue;
      ConntrackRecord record{connection.tuples[0], connection.tuples[1], connection.zone};
      record.status = static_cast<std::uint32_t>(status_of(connection));
      if (options_.layout.mark) {
        record.mark = field<std::uint32_t>(connection, *options_.layout.mark);
      }
      const std::uint32_t left = field<std::uint32_t>(connection, options_.layout.timeout) - now;
      record.timeout_s = static_cast<std::uint32_t>(left / kJiffiesPerSecond);
      records.push_back(record);
    }
  }
  std::ranges::for_each(records, act);
}

}  // namespace lmn
