// SPDX-License-Identifier: Apache-2.0
//
// FdbTable: which port of a bridge an Ethernet address is behind (forwarding database).
//
// A bridge forwards by what it has seen: a frame that came in by a port tells that its source is
// behind that port, until the bridge has not heard of it for its ageing time. Programs ask and
// teach by kernel functions of LMN's own (src/kfuncs/fdb.cc), which Linux does not offer to XDP;
// people fill the table from text or from the host's bridges. As text, one thing per line:
//
//   bridge 10 ageing 300 vlan_filtering
//   port 3 bridge 10 pvid 1
//   entry 02:00:00:00:00:01 port 3 vlan 5 static        (static, local, sticky)
//
// A bridge that does not look at VLANs keeps all its entries in VLAN 0; in one that does, a frame
// without a tag belongs to its port's pvid. Static entries do not age; local ones are addresses of
// the bridge itself; an address may move to another port unless its entry is local or sticky.
//
// Bridges, ports and entries of the host's lie beside those of text and of programs. A bridge or
// port of the host's replaces one of the same ifindex. Of an address that a program has learned and
// the host tells of, the one that was heard of last counts, as on a bridge whose station moves; but
// what the host has as static or local is the host's. When the host forgets an address, one that a
// program learned stays, until its port leaves the bridge. The host does not tell of each frame
// that keeps an address young, so while it is followed its entries stay a grace longer
// (set_host_grace), which the next reading settles.
//
// Invariants: (1) memory of entries is fixed when the first bridge comes; a full table gives up an
// aged entry of the few it looks at, else learns nothing new. Threads: any; a spin lock is held for
// each operation. Tested by fdb_table_test.cc, fuzz/host_messages_fuzz.cc and
// tests/differential/host_fdb_test.cc, host_events_test.cc.
// Source: Linux 6.18, net/bridge/br_fdb.c (br_fdb_update, fdb_notify), br_vlan.c (what a tag
// means).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/byte_reader.h"
#include "base/mutex.h"
#include "base/result.h"
#include "packet/net_address.h"

namespace lmn {

class NetlinkSource;  // packet/host_netlink.h

// Of an entry; the numbers are what programs see (include/lmn/bpf/kfuncs.h).
enum : std::uint32_t {
  kFdbStatic = 1u << 0,
  kFdbLocal = 1u << 1,
  kFdbSticky = 1u << 2,
};

struct FdbBridge {
  std::uint32_t ifindex = 0;
  std::uint32_t ageing_s = 300;
  bool filters_vlans = false;
  bool is_of_host = false;
};

struct FdbPort {
  std::uint32_t ifindex = 0;
  std::uint32_t bridge = 0;
  std::uint16_t pvid = 1;  // 0: frames without a tag belong nowhere
  bool learns = true;
  bool is_of_host = false;
};

struct FdbRecord {
  MacAddress mac{};
  std::uint16_t vlan = 0;
  std::uint32_t port = 0;  // the bridge's own ifindex for addresses of the bridge
  std::uint32_t flags = 0;
};

class FdbTable {
 public:
  struct Options {
    std::uint32_t entries_max = 65'536;
    std::uint64_t seed = 0;
  };
  struct Answer {
    int error = 0;  // positive errno
    std::uint32_t port = 0;
    std::uint32_t flags = 0;
  };

  // Errors: kInvalidArgument for 0 or too many entries, kIo when the memory cannot be had.
  static Result<std::unique_ptr<FdbTable>> create(const Options& options);
  ~FdbTable();

  // Where frames to `mac` go that came in by `port` with the tag of `vlan` (0: none). Errors:
  // ENODEV not a port of a bridge, EINVAL no VLAN for them, ENOENT nobody knows: flood.
  Answer find(std::uint32_t port, const MacAddress& mac, std::uint16_t vlan,
              std::uint64_t now_ns) noexcept;
  // `mac` is behind `port`. Errors as find(), and EADDRNOTAVAIL no address of a sender, EPERM the
  // port does not learn, EEXIST the address stays where it is, ENOSPC no room.
  int learn(std::uint32_t port, const MacAddress& mac, std::uint16_t vlan,
            std::uint64_t now_ns) noexcept;

  // Control side.
  void add_bridge(const FdbBridge& bridge);
  void add_port(const FdbPort& port);
  // Replaces an entry of the same address and VLAN. `seen_ns` is when it was last heard of. Errors:
  // kInvalidArgument for ports of no bridge, kLimitExceeded without room.
  Result<void> add(const FdbRecord& record, std::uint64_t seen_ns);
  // Errors: kMalformed with the line's number; lines before it are added.
  Result<void> read_text(std::string_view text, std::uint64_t now_ns);
  // Makes the host's bridges, ports and entries those of the calling thread's network namespace, as
  // they are now; those that the host has no more go. Errors: kIo, kPermission; the table is then
  // as it was.
  Result<void> read_host(std::uint64_t now_ns);
  // What `netlink` answers in the kernel's place.
  Result<void> read_netlink(const NetlinkSource& netlink, std::uint64_t now_ns);
  // One message of the host's (RTM_*). kReadAgain: what bridges and ports there are may have
  // changed; that is not taken from the message.
  enum class HostEvent : std::uint8_t { kNothing, kTaken, kReadAgain };
  HostEvent take_host_event(std::uint16_t type, ByteSpan body, std::uint64_t now_ns);
  // How much longer than last heard the host's entries stay; 0 at first.
  void set_host_grace(std::uint64_t ns) noexcept;
  // Entries of the host's that there was no room for; only goes up.
  std::uint64_t host_no_room() noexcept;
  // Takes out what is too old, and gives how many entries stay.
  std::size_t expire(std::uint64_t now_ns) noexcept;
  std::string to_text(std::uint64_t now_ns);

 private:
  struct Entry;
  struct HostBridges;
  struct HostEntry;
  struct Place {
    const FdbBridge* bridge = nullptr;
    const FdbPort* port = nullptr;
    std::uint16_t vlan = 0;
    int error = 0;
  };
  explicit FdbTable(const Options& options);
  Place place_of(std::uint32_t port, std::uint16_t vlan) const noexcept;
  const FdbBridge* bridge_of(std::uint32_t ifindex) const noexcept;
  std::uint32_t& bucket(std::uint32_t bridge, const MacAddress& mac, std::uint16_t vlan) noexcept;
  Entry* look_up(std::uint32_t bridge, const MacAddress& mac, std::uint16_t vlan) noexcept;
  Entry* insert(std::uint32_t bridge, const FdbRecord& record, std::uint64_t seen_ns,
                std::uint64_t now_ns) noexcept;
  void remove(Entry& entry) noexcept;
  bool make_room(std::uint64_t now_ns) noexcept;
  void reserve();
  void take_topology(HostBridges& host);
  void take_entry(const HostEntry& entry, std::uint64_t now_ns) noexcept;
  const FdbBridge* bridge_of_record(const FdbRecord& record) const noexcept;
  bool is_of_bridges(std::uint32_t ifindex) noexcept;
  bool is_aged(const Entry& entry, std::uint64_t now_ns) const noexcept;

  Options options_;
  std::vector<FdbBridge> bridges_;
  std::vector<FdbPort> ports_;          // by ifindex
  std::vector<std::uint32_t> buckets_;  // position + 1 of the first entry
  std::vector<Entry> entries_;
  std::uint32_t free_ = 0;  // position + 1 of the first free entry that was used once
  std::uint32_t sweep_at_ = 0;
  std::uint32_t reading_ = 0;  // number of the last one of the host
  std::uint64_t host_grace_ns_ = 0;
  std::uint64_t host_no_room_ = 0;
  SpinLock lock_;
};

}  // namespace lmn
