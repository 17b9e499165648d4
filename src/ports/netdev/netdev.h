// SPDX-License-Identifier: Apache-2.0
//
// Kernel netdevs as drivers see them: facts asked and changes made over rtnetlink.
//
// Control side only: every call opens its own netlink socket, sends one request and waits for the
// kernel's answer (which comes at once). The calling thread's network namespace is the one meant.
// Errors: kPermission names CAP_NET_ADMIN; kNotFound names the netdev.
// Threads: plain functions; any control thread. Tested by netdev_test.cc.
// Source: rtnetlink(7); include/uapi/linux/rtnetlink.h of Linux 6.18.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace lmn {

struct NetdevFacts {
  std::string name;
  std::uint32_t ifindex = 0;
  std::uint32_t mtu = 0;
  std::uint32_t master_ifindex = 0;  // of a bridge or bond, 0 when free
  std::uint16_t link_type = 0;       // ARPHRD_ETHER ...
  bool is_up = false;                // IFF_UP: the administrator's will, not the carrier
  std::array<std::uint8_t, 6> mac{};
};

Result<NetdevFacts> read_netdev(const std::string& name);
// "10.0.0.1", "fe80::1", in the kernel's order.
std::vector<std::string> read_netdev_addresses(const std::string& name);
// Whether the kernel routes packets that come in there (the sysctl `forwarding`), IPv4 or IPv6.
bool is_forwarding(const std::string& name);

struct InterfaceAddress {
  int family = 0;  // AF_INET, AF_INET6
  std::array<std::uint8_t, 16> bytes{};
  std::uint8_t prefix_length = 0;
};
// "10.0.0.1/24", "fd00::1/64". Errors: kInvalidArgument.
Result<InterfaceAddress> parse_interface_address(std::string_view text);

Result<void> add_netdev_address(const NetdevFacts& netdev, const InterfaceAddress& address);
Result<void> set_netdev_mtu(const NetdevFacts& netdev, std::uint32_t mtu);
Result<void> set_netdev_up(const NetdevFacts& netdev);

// The state of a netdev that a driver watches while it runs, without allocation: one ioctl.
// `socket_fd` is any socket of the right namespace.
enum class NetdevState : std::uint8_t { kUp, kDown, kGone };
NetdevState query_netdev_state(int socket_fd, std::string_view name) noexcept;

}  // namespace lmn
