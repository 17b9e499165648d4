// SPDX-License-Identifier: Apache-2.0
//
// RouteTable: where IP packets go: devices, routes, rules and neighbours, as bpf_fib_lookup asks.
//
// It answers what Linux's routing would for the same contents: rules choose a table, in it the
// longest prefix wins, of equal ones the type of service and then the smaller metric. IPv4 and IPv6
// differ in details that programs see, and both are kept: an IPv4 route must lead out of the asked
// device and IPv6 only prefers one that does; IPv4's tables "local" and "main" are one until
// somebody adds a rule. The table is filled by calls or from text, one thing per line:
//
//   device 2 mac 02:00:00:00:00:02 mtu 1500 forward inet forward inet6
//   address 10.0.0.1/24 dev 2
//   route 10.2.0.0/16 dev 2 via 10.0.0.9 metric 20 table 100 tos 4 mtu 1400 src 10.0.0.1
//   route blackhole 10.3.0.0/16          (unreachable, prohibit, throw, local)
//   neighbour 10.0.0.9 dev 2 mac 02:00:00:00:00:09
//   rule inet 100 table 100 mark 5/0xff from 10.0.0.0/8 to 10.2.0.0/16 iif 2
//
// A `local` route without a table goes to table "local"; mtu is a locked one, the only kind that
// Linux's forwarding looks at.
//
// Invariant: routes of a prefix are in the order in which they are tried. Threads: filled by one
// thread, then only read, by any number; a change is a new table. Nothing here allocates in a
// look-up.
// Not done yet: several next hops of one route, encapsulating routes, VRFs, learned path MTUs,
// rules by port, protocol or user; following the host's tables by netlink.
// Tested by route_table_test.cc and tests/differential/fib_lookup_test.cc.
// Source: Linux 6.18, net/ipv4/fib_trie.c, net/ipv6/route.c (answers, by experiment).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "packet/net_address.h"

namespace lmn {

enum class RouteType : std::uint8_t {
  kUnicast,
  kLocal,
  kBlackhole,
  kUnreachable,
  kProhibit,
  kThrow,  // look on in the next rule's table
};

inline constexpr std::uint32_t kRouteTableDefault = 253;
inline constexpr std::uint32_t kRouteTableMain = 254;
inline constexpr std::uint32_t kRouteTableLocal = 255;

struct RouteDevice {
  std::uint32_t ifindex = 0;
  MacAddress mac{};
  std::uint32_t mtu = 1500;
  bool forwards_ipv4 = false;
  bool forwards_ipv6 = false;
};

struct Route {
  IpPrefix prefix;
  RouteType type = RouteType::kUnicast;
  std::uint32_t table = kRouteTableMain;
  std::uint32_t metric = 0;
  std::uint32_t ifindex = 0;  // where it leads out
  std::uint8_t tos = 0;       // IPv4; 0: any
  std::uint16_t locked_mtu = 0;
  bool has_gateway = false;
  IpFamily gateway_family = IpFamily::kIpv4;  // an IPv4 route may have an IPv6 gateway
  IpAddress gateway{};
  std::optional<IpAddress> source{};
};

struct RouteRule {
  IpFamily family = IpFamily::kIpv4;
  std::uint32_t priority = 0;
  std::uint32_t table = kRouteTableMain;
  std::uint32_t mark = 0;
  std::uint32_t mark_mask = 0;
  std::uint32_t ingress = 0;  // 0: any
  std::optional<IpPrefix> from{};
  std::optional<IpPrefix> to{};
};

struct RouteQuery {
  IpFamily family = IpFamily::kIpv4;
  IpAddress destination{};
  IpAddress source{};
  std::uint32_t ingress = 0;
  std::uint32_t egress = 0;  // 0: any
  std::uint8_t tos = 0;
  std::uint32_t mark = 0;
  std::optional<std::uint32_t> table{};  // this one, and no rules
};

class RouteTable {
 public:
  RouteTable();

  // From text as above; '#' begins a comment. Errors: kMalformed with the line's number.
  static Result<RouteTable> parse(std::string_view text);

  void add_device(const RouteDevice& device);
  void add_address(std::uint32_t ifindex, const IpPrefix& network, const IpAddress& address);
  void add_route(const Route& route);
  void add_rule(const RouteRule& rule);
  void add_neighbour(std::uint32_t ifindex, IpFamily family, const IpAddress& address,
                     const MacAddress& mac);

  // Null when there is none.
  const RouteDevice* find_device(std::uint32_t ifindex) const noexcept;
  // The route that a packet takes; null when no rule leads to one. It may be of any type but throw.
  const Route* find_route(const RouteQuery& query) const noexcept;
  const MacAddress* find_neighbour(std::uint32_t ifindex, IpFamily family,
                                   const IpAddress& address) const noexcept;
  // The address that the host would send from along `route` to `destination`; null without one.
  const IpAddress* select_source(const Route& route, const IpAddress& destination) const noexcept;
  // The largest packet that fits along `route`.
  std::uint32_t mtu_of(const Route& route) const noexcept;

 private:
  // The routes of one prefix length.
  struct Level {
    std::uint8_t bits = 0;
    std::unordered_map<IpAddress, std::vector<Route>, IpAddressHash> routes;
  };
  struct Table {
    IpFamily family;
    std::uint32_t number;
    std::vector<Level> levels;  // the longest first
  };
  struct OwnAddress {
    std::uint32_t ifindex;
    IpPrefix network;
    IpAddress address;
  };
  struct Neighbour {
    std::uint32_t ifindex;
    IpFamily family;
    IpAddress address;
    MacAddress mac;
  };

  const Table* find_table(IpFamily family, std::uint32_t number) const noexcept;
  const Route* look_into(std::uint32_t number, const RouteQuery& query) const noexcept;
  std::uint32_t stored_number(IpFamily family, std::uint32_t number) const noexcept;
  void separate_local_table();
  const IpAddress* select_ipv4_source(const Route& route) const noexcept;
  const IpAddress* select_ipv6_source(const Route& route,
                                      const IpAddress& destination) const noexcept;

  std::vector<RouteDevice> devices_;
  std::vector<OwnAddress> addresses_;
  std::vector<Table> tables_;
  std::vector<RouteRule> rules_;  // by priority
  std::unordered_multimap<IpAddress, Neighbour, IpAddressHash> neighbours_;
  bool has_ipv4_rules_ = false;
};

}  // namespace lmn
