// SPDX-License-Identifier: Apache-2.0
//
// HostEvents: a netlink socket on which the kernel tells of changes, message by message.
//
// For tables that are changed by what a message says (connections, bridge entries), unlike
// HostWatch, whose reader reads everything again. The kernel drops messages when the socket is
// full, and says so once: what was read before is then behind, and only a full reading helps. A
// datagram that is not whole counts the same. Messages that come from another process are no word
// of the kernel's and are passed over.
//
//   auto events = HostEvents::create({NETLINK_NETFILTER, kGroups, "connections"});
//   if (events->take(visit).is_lost) read everything again
//
// Threads: one; the namespace is that of the thread that created it.
// Tested by tests/differential/host_events_test.cc. Source: netlink(7), Linux 6.18,
// net/netlink/af_netlink.c (netlink_overrun).
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "packet/host_netlink.h"

namespace lmn {

struct HostEventsOptions {
  int protocol = 0;             // NETLINK_ROUTE, NETLINK_NETFILTER
  std::span<const int> groups;  // RTNLGRP_*, NFNLGRP_*
  std::string_view what;        // for messages: "connections"
  int room_bytes = 4 << 20;     // how much may wait in the socket, as far as the system allows
};

class HostEvents {
 public:
  struct Taken {
    std::size_t messages = 0;
    bool is_lost = false;  // some never came
    bool is_more = false;  // some wait: call again
  };

  // Errors: kPermission, kIo.
  static Result<HostEvents> create(const HostEventsOptions& options);

  // Readable when there is something to take.
  int fd() const { return fd_.get(); }
  // Shows what waits, of a bounded number of datagrams; never waits. Errors of `visit` end it.
  Result<Taken> take(const NetlinkVisitor& visit);

 private:
  explicit HostEvents(UniqueFd fd);
  UniqueFd fd_;
  std::vector<std::uint8_t> room_;
};

}  // namespace lmn
