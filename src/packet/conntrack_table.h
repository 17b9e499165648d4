// SPDX-License-Identifier: Apache-2.0
//
// ConntrackTable: the connections that a host knows, in the shape of the kernel's.
//
// A connection is found by the addresses of either direction within a zone, and has a status, a
// mark and a time at which it is forgotten. Programs make connections and change them by kernel
// functions (src/kfuncs/conntrack.cc); people fill the table from text, or from the host's own. A
// program holds a pointer to a connection and reads its fields: so each connection has an image, a
// piece of memory laid out as `struct nf_conn` in the BTF that the program was relocated for, and
// status, time-out and mark live there and nowhere else. As text, one connection per line:
//
//   tcp 10.0.0.1:40000 10.0.0.2:80 timeout 432000 status assured,seen_reply mark 7
//   udp [fd00::1]:53 [fd00::2]:999 reply [fd00::2]:999 [fd00::9]:53 zone 3 orig
//
// Life of a connection: allocate() gives one that only the caller knows; insert() makes it findable
// and is the last moment for a change of its addresses (set_nat); when its time is over it is taken
// out by the next look-up that meets it, or when room is needed. References keep its memory, not
// its place in the table. A full table forgets an expired connection, else one that is not assured,
// of the few that it looks at; else allocate() fails.
//
// Connections of the host's lie beside those that programs and people made. Whoever comes first has
// the addresses: a program's insertion where the host has a connection is refused, as in the
// kernel, and one that a program made is not touched by what the host tells of the same addresses
// (counted). What a program changes in a connection of the host's holds until the host is heard of
// it again: an event, or the next reading. The host tells of no packet that makes a connection live
// longer, so while it is followed its connections stay a grace longer than was last heard
// (set_host_grace), which the next reading settles.
//
// Invariants: (1) memory is fixed at creation; (2) a connection in the table has a reference of the
// table's; (3) links are positions + 1, so that zeroed memory is an empty table.
// Threads: any; a spin lock is held for each operation. What programs read and write in an image
// directly (mark) is theirs to order, as in the kernel.
// Tested by conntrack_table_test.cc, host_messages_test.cc, src/kfuncs/table_kfuncs_test.cc,
// fuzz/host_messages_fuzz.cc and tests/differential/conntrack_test.cc, host_events_test.cc.
// Source: Linux 6.18, net/netfilter/nf_conntrack_core.c, nf_conntrack_bpf.c, nf_nat_core.c.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/byte_reader.h"
#include "base/mutex.h"
#include "base/result.h"
#include "packet/net_address.h"

namespace lmn {

class NetlinkSource;  // packet/host_netlink.h

// One direction. Ports are in network order.
struct ConntrackTuple {
  IpAddress source{};
  IpAddress destination{};
  std::uint16_t source_port = 0;
  std::uint16_t destination_port = 0;
  IpFamily family = IpFamily::kIpv4;
  std::uint8_t protocol = 0;  // IPPROTO_TCP, IPPROTO_UDP

  ConntrackTuple reversed() const noexcept {
    return {destination, source, destination_port, source_port, family, protocol};
  }
  bool operator==(const ConntrackTuple&) const = default;
};

inline constexpr std::uint8_t kZoneOriginal = 1u << 0;
inline constexpr std::uint8_t kZoneReply = 1u << 1;
inline constexpr std::uint8_t kZoneBoth = kZoneOriginal | kZoneReply;

// Connections of different zones do not know of each other. A zone may count for one direction
// only; the other one is then in zone 0.
struct ConntrackZone {
  std::uint16_t id = 0;
  std::uint8_t directions = kZoneBoth;
  std::uint16_t id_of(std::uint8_t direction) const noexcept {
    return (directions >> direction & 1) != 0 ? id : std::uint16_t{0};
  }
};

// Bits of the status, the kernel's (enum ip_conntrack_status).
enum : std::uint32_t {
  kCtExpected = 1u << 0,
  kCtSeenReply = 1u << 1,
  kCtAssured = 1u << 2,
  kCtConfirmed = 1u << 3,
  kCtSourceNat = 1u << 4,
  kCtDestinationNat = 1u << 5,
  kCtSequenceAdjusted = 1u << 6,
  kCtSourceNatDone = 1u << 7,
  kCtDestinationNatDone = 1u << 8,
  kCtDying = 1u << 9,
  kCtFixedTimeout = 1u << 10,
  kCtTemplate = 1u << 11,
  kCtUntracked = 1u << 12,
  kCtHelper = 1u << 13,
  kCtOffloaded = 1u << 14,
  kCtHardwareOffloaded = 1u << 15,
};

// Where the fields of `struct nf_conn` lie, in bytes from its beginning. Those of a tuple count
// from the tuple's.
struct NfConnLayout {
  std::uint32_t size_bytes = 248;
  std::uint32_t use = 0;
  std::uint32_t timeout = 8;
  std::uint32_t zone = 12;  // id (2 bytes), flags, direction
  std::uint32_t tuples[2] = {32, 88};
  std::uint32_t status = 128;
  std::optional<std::uint32_t> mark = 168;  // kernels may be built without
  std::uint32_t source = 0;
  std::uint32_t source_port = 16;
  std::uint32_t family = 18;
  std::uint32_t destination = 20;
  std::uint32_t destination_port = 36;
  std::uint32_t protocol = 38;
  std::uint32_t direction = 39;
  bool operator==(const NfConnLayout&) const = default;
};

enum class NatKind : std::uint8_t { kSource = 0, kDestination = 1 };

// What is known of a connection, for filling and listing the table.
struct ConntrackRecord {
  ConntrackTuple original;
  ConntrackTuple reply;
  ConntrackZone zone;
  std::uint32_t status = 0;
  std::uint32_t mark = 0;
  std::uint32_t timeout_s = 0;
};

class ConntrackTable {
 public:
  class Connection;  // one, by reference; its fields are read and changed through the table
  struct Options {
    std::uint32_t connections_max = 65'536;
    std::uint64_t seed = 0;
    NfConnLayout layout{};
  };
  // `now` is jiffies everywhere; only its low 32 bits count.
  using Jiffies = std::uint32_t;
  struct Found {
    Connection* connection = nullptr;
    std::uint8_t direction = 0;  // of the tuple that was asked for: 0 original, 1 reply
    ConntrackZone zone{};
  };

  // Errors: kInvalidArgument for 0 or too many connections or a layout whose fields lie outside of
  // the struct, kIo when the memory cannot be had.
  static Result<std::unique_ptr<ConntrackTable>> create(const Options& options);

  // The connection with one more reference, or none.
  Found find(const ConntrackTuple& tuple, const ConntrackZone& zone, Jiffies now) noexcept;
  // A connection of 10 seconds that nobody can find yet, with one reference; null: no room.
  Connection* allocate(const ConntrackTuple& original, const ConntrackTuple& reply,
                       const ConntrackZone& zone, Jiffies now) noexcept;
  // Makes it findable; its time begins. False: there is one with such addresses, and `connection`
  // is gone.
  bool insert(Connection& connection, Jiffies now) noexcept;
  void release(Connection& connection) noexcept;

  // From now on when it is in the table, from the insertion on otherwise.
  void set_timeout(Connection& connection, std::uint64_t jiffies, Jiffies now) noexcept;
  // 0, EPERM for a fixed time, ETIME when it is dying.
  int change_timeout(Connection& connection, std::uint64_t jiffies, Jiffies now) noexcept;
  // 0, or EBUSY for bits that do not change that way.
  int change_status(Connection& connection, std::uint32_t status) noexcept;
  // Rewrites one end: the address, and the port (network order); without one, one is looked for
  // that is free. 0 or ENOMEM; nothing happens to one that is in the table.
  int set_nat(Connection& connection, NatKind kind, const IpAddress& address,
              std::optional<std::uint16_t> port) noexcept;

  // The connection whose image begins at `image`, or null.
  Connection* at(const void* image) noexcept;
  std::uint8_t* image(Connection& connection) noexcept;
  const NfConnLayout& layout() const noexcept { return options_.layout; }
  // Another shape for the images. Errors: kInvalidArgument as create(), and when there are
  // connections already. REQUIRES: nothing runs.
  Result<void> set_layout(const NfConnLayout& layout);

  // Control side. False: no room, or there is one with such addresses.
  bool add(const ConntrackRecord& record, Jiffies now);
  // Adds what `text` says. Errors: kMalformed with the line's number; lines before it are added.
  Result<void> read_text(std::string_view text, Jiffies now);
  // What became of the host's connections that could not be had; only goes up.
  struct HostCounts {
    std::uint64_t left_alone = 0;  // a program or a person had made one of these addresses
    std::uint64_t no_room = 0;
    std::uint64_t malformed = 0;  // messages that lack what every connection has
  };
  // Makes the host's connections of TCP and UDP those of the calling thread's network namespace, as
  // they are now: new ones come, others change, those that the host has no more go. How many it
  // has. Errors: kPermission, kIo; the table is then as it was.
  Result<std::size_t> read_host(Jiffies now);
  // What `netlink` answers in the kernel's place.
  Result<std::size_t> read_netlink(const NetlinkSource& netlink, Jiffies now);
  // The same for one message of the host's (IPCTNL_MSG_CT_*): a connection came, changed or went.
  void take_host_event(std::uint16_t type, ByteSpan body, Jiffies now);
  // How much longer than last heard the host's connections stay; 0 at first.
  void set_host_grace(Jiffies grace) noexcept;
  HostCounts host_counts() noexcept;
  // Takes out what is over, and gives how many connections stay.
  std::size_t expire(Jiffies now) noexcept;
  void for_each(Jiffies now, const std::function<void(const ConntrackRecord&)>& act);
  std::string to_text(Jiffies now);

 private:
  struct Freer {
    void operator()(void* memory) const noexcept { std::free(memory); }
  };
  template <typename T>
  using Memory = std::unique_ptr<T[], Freer>;
  // Lists that a connection can be in: by its two tuples, and by source for finding its NAT again.
  static constexpr std::uint32_t kListCount = 3;
  static constexpr std::uint32_t kBySource = 2;

  explicit ConntrackTable(const Options& options) : options_(options) {}
  std::uint32_t bucket_of_tuple(const ConntrackTuple& tuple) const noexcept;
  std::uint32_t bucket_of_source(const ConntrackTuple& tuple) const noexcept;
  std::uint32_t& head(std::uint32_t list, const Connection& connection) noexcept;
  void link(Connection& connection, std::uint32_t list) noexcept;
  void unlink(Connection& connection, std::uint32_t list) noexcept;
  Connection& connection_of(std::uint32_t link) noexcept;
  std::uint32_t index_of(const Connection& connection) const noexcept;

  bool is_expired(Connection& connection, Jiffies now) noexcept;
  bool has_key(const Connection& connection, std::uint8_t direction, const ConntrackTuple& tuple,
               const ConntrackZone& zone) const noexcept;
  Found find_in_list(const ConntrackTuple& tuple, const ConntrackZone& zone,
                     std::uint16_t list_zone, Jiffies now) noexcept;
  bool is_known(const ConntrackTuple& tuple, const ConntrackZone& zone, std::uint16_t list_zone,
                bool only_own = false) noexcept;
  bool is_taken(const ConntrackTuple& ours, const Connection& ignored) noexcept;
  bool take_same_source(ConntrackTuple& tuple, const Connection& connection,
                        const IpAddress& address, std::optional<std::uint16_t> port) noexcept;
  ConntrackTuple choose_tuple(const ConntrackTuple& current, const Connection& connection,
                              NatKind kind, const IpAddress& address,
                              std::optional<std::uint16_t> port) noexcept;
  void choose_source_port(ConntrackTuple& tuple, const Connection& connection) noexcept;
  bool insert_locked(Connection& connection, Jiffies now) noexcept;
  void confirm(Connection& connection, Jiffies now) noexcept;
  void link_locked(Connection& connection, Jiffies now) noexcept;
  Connection* find_exact(const ConntrackRecord& record) noexcept;
  void set_record(Connection& connection, const ConntrackRecord& record, Jiffies now) noexcept;
  void take_of_host(const ConntrackRecord& record, Jiffies now) noexcept;
  Connection* allocate_of(const ConntrackRecord& record, Jiffies now) noexcept;
  Connection* allocate_locked(const ConntrackTuple& original, const ConntrackTuple& reply,
                              const ConntrackZone& zone, Jiffies now) noexcept;
  bool make_room(Jiffies now, bool only_expired = false) noexcept;
  void forget(Connection& connection) noexcept;
  void drop_reference(Connection& connection) noexcept;
  void set_timeout_locked(Connection& connection, std::uint64_t jiffies, Jiffies now) noexcept;
  void write_tuple(Connection& connection, std::uint8_t direction) noexcept;
  std::uint32_t next_random() noexcept;

  std::uint64_t status_of(Connection& connection) noexcept;
  void set_status(Connection& connection, std::uint64_t status) noexcept;
  template <typename T>
  T field(Connection& connection, std::uint32_t offset) noexcept;
  template <typename T>
  void set_field(Connection& connection, std::uint32_t offset, T value) noexcept;

  Options options_;
  std::uint32_t bucket_mask_ = 0;
  std::uint32_t image_stride_ = 0;
  Memory<Connection> connections_;
  Memory<std::uint8_t> images_;
  Memory<std::uint32_t> tuple_buckets_;
  Memory<std::uint32_t> source_buckets_;
  Memory<std::uint32_t> free_links_;  // a stack of free positions, once used ones
  std::uint32_t free_count_ = 0;
  std::uint32_t used_end_ = 0;  // positions from here on were never used
  std::uint32_t sweep_at_ = 0;
  std::uint64_t random_ = 0;
  Jiffies host_grace_ = 0;
  std::uint32_t reading_ = 0;  // number of the last one of the host
  HostCounts host_counts_;
  SpinLock lock_;
};

}  // namespace lmn
