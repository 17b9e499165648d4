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
// Invariants: (1) memory of entries is fixed at creation; a full table gives up an aged entry of
// the few it looks at, else learns nothing new. (2) bridges and ports change only while nothing
// runs. Threads: look-ups and learning from any; a spin lock is held for each.
// Tested by fdb_table_test.cc and tests/differential/host_fdb_test.cc.
// Source: Linux 6.18, net/bridge/br_fdb.c (br_fdb_update), br_vlan.c (what a tag means).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "packet/net_address.h"

namespace lmn {

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
};

struct FdbPort {
  std::uint32_t ifindex = 0;
  std::uint32_t bridge = 0;
  std::uint16_t pvid = 1;  // 0: frames without a tag belong nowhere
  bool learns = true;
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

  // Control side, while nothing runs.
  void add_bridge(const FdbBridge& bridge);
  void add_port(const FdbPort& port);
  // Replaces an entry of the same address and VLAN. `seen_ns` is when it was last heard of. Errors:
  // kInvalidArgument for ports of no bridge, kLimitExceeded without room.
  Result<void> add(const FdbRecord& record, std::uint64_t seen_ns);
  // Errors: kMalformed with the line's number; lines before it are added.
  Result<void> read_text(std::string_view text, std::uint64_t now_ns);
  // Bridges, ports and entries of the host's, beside what is there. Errors: kIo, kPermission.
  Result<void> read_host(std::uint64_t now_ns);
  // Takes out what is too old, and gives how many entries stay.
  std::size_t expire(std::uint64_t now_ns) noexcept;
  std::string to_text(std::uint64_t now_ns);

 private:
  struct Entry;
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
  bool is_aged(const Entry& entry, std::uint64_t now_ns) const noexcept;

  Options options_;
  std::vector<FdbBridge> bridges_;
  std::vector<FdbPort> ports_;          // by ifindex
  std::vector<std::uint32_t> buckets_;  // position + 1 of the first entry
  std::vector<Entry> entries_;
  std::uint32_t free_ = 0;  // position + 1 of the first free entry that was used once
  std::uint32_t sweep_at_ = 0;
  SpinLock lock_;
};

}  // namespace lmn
