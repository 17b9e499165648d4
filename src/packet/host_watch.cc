// SPDX-License-Identifier: Apache-2.0
//
// One netlink socket in the groups of what RouteTable holds. Tested by
// tests/differential/host_tables_test.cc.
#include "packet/host_watch.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstdint>

namespace lmn {
namespace {

constexpr int kGroups[] = {RTNLGRP_LINK,         RTNLGRP_NEIGH,     RTNLGRP_IPV4_IFADDR,
                           RTNLGRP_IPV4_ROUTE,   RTNLGRP_IPV4_RULE, RTNLGRP_IPV6_IFADDR,
                           RTNLGRP_IPV6_ROUTE,   RTNLGRP_IPV6_RULE, RTNLGRP_IPV4_NETCONF,
                           RTNLGRP_IPV6_NETCONF, RTNLGRP_NEXTHOP};

}  // namespace

Result<HostWatch> HostWatch::create() {
  constexpr const char* kWhat = "changes of the host's routes";
  UniqueFd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE));
  if (!fd.is_open()) return make_error(system_error(kWhat, errno));
  // Without a number of its own the socket would be passed over.
  sockaddr_nl own{};
  own.nl_family = AF_NETLINK;
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&own), sizeof own) != 0) {
    return make_error(system_error(kWhat, errno));
  }
  for (const int group : kGroups) {
    if (::setsockopt(fd.get(), SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group) != 0) {
      return make_error(system_error(kWhat, errno));
    }
  }
  return HostWatch(std::move(fd));
}

bool HostWatch::take_changes() noexcept {
  std::array<std::uint8_t, 64> message;  // what it says does not matter
  bool is_changed = false;
  while (true) {
    const ssize_t got = ::recv(fd_.get(), message.data(), message.size(), 0);
    if (got < 0 && errno != ENOBUFS && errno != EINTR) return is_changed;
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) ++overflow_count_;
    is_changed = true;
  }
}

}  // namespace lmn
