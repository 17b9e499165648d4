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
//   route 10.4.0.0/16 dev 2 via 10.0.0.9 weight 2 hop dev 3 via 10.0.1.9
//   neighbour 10.0.0.9 dev 2 mac 02:00:00:00:00:09
//   rule inet 100 table 100 mark 5/0xff from 10.0.0.0/8 to 10.2.0.0/16 iif 2
//   rule inet 200 not proto 6 dport 80-443 prohibit
//
// A `local` route without a table goes to table "local"; mtu is a locked one, the only kind that
// Linux's forwarding looks at.
//
// Invariant: routes of a prefix are in the order in which they are tried. Threads: filled by one
// thread, then only read, by any number; a change is a new table. Nothing here allocates in a
// look-up.
// The host's own tables are read by from_host() (route_host.cc).
// Of several next hops of a route a flow stays with one, chosen by its addresses; Linux chooses by
// a hash with a secret, so that it may be another one there. Not done yet: learned path MTUs,
// routes by source (IPv6 "from"), nexthop objects of type blackhole, rules by tunnel or flow label,
// the room that a tunnel takes from the MTU. Tested by route_table_test.cc,
// tests/differential/fib_lookup_test.cc and tests/differential/host_tables_test.cc. Source:
// Linux 6.18, net/ipv4/fib_trie.c, net/ipv6/route.c (answers, by experiment).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "packet/net_address.h"

namespace lmn {

class NetlinkSource;  // packet/host_netlink.h

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
  std::uint32_t ipv6_mtu = 0;   // 0: the same
  std::uint32_t vrf = 0;        // ifindex of the VRF that it belongs to or is; 0: none
  std::uint32_t vrf_table = 0;  // and the table of that
  std::uint32_t group = 0;
  bool forwards_ipv4 = false;
  bool forwards_ipv6 = false;
  // Loopback, tunnels: one IPv4 neighbour for all addresses.
  bool is_point_to_point = false;
};

// Where a route leads.
struct RouteHop {
  std::uint32_t ifindex = 0;
  bool has_gateway = false;
  bool has_encap = false;                     // a tunnel that only the host's stack can make
  IpFamily gateway_family = IpFamily::kIpv4;  // an IPv4 route may have an IPv6 gateway
  std::uint16_t weight = 1;                   // among several
  IpAddress gateway{};
};

// A route is its first hop, and may have more.
struct Route : RouteHop {
  IpPrefix prefix;
  RouteType type = RouteType::kUnicast;
  std::uint32_t table = kRouteTableMain;
  std::uint32_t metric = 0;
  std::uint8_t tos = 0;  // IPv4; 0: any
  std::uint16_t locked_mtu = 0;
  std::optional<IpAddress> source{};
  std::vector<RouteHop> more_hops{};
};

// Numbers from `first` to `last`.
struct RouteRange {
  std::uint32_t first = 0;
  std::uint32_t last = 0;
  bool has(std::uint32_t number) const noexcept { return first <= number && number <= last; }
};

enum class RuleAction : std::uint8_t {
  kTable,
  kGoto,
  kNothing,
  kBlackhole,
  kUnreachable,
  kProhibit
};

struct RouteRule {
  IpFamily family = IpFamily::kIpv4;
  RuleAction action = RuleAction::kTable;
  std::uint32_t priority = 0;
  std::uint32_t table = kRouteTableMain;
  std::uint32_t target = 0;  // kGoto: the priority to go on with
  std::uint32_t mark = 0;
  std::uint32_t mark_mask = 0;
  std::uint32_t ingress = 0;  // 0: any
  std::uint32_t egress = 0;   // 0: any
  std::uint8_t tos = 0;       // 0: any
  std::uint8_t protocol = 0;  // 0: any
  bool is_inverted = false;   // "not"
  bool is_vrf = false;        // "l3mdev": packets of a VRF, and its table
  std::optional<IpPrefix> from{};
  std::optional<IpPrefix> to{};
  std::optional<RouteRange> source_ports{};
  std::optional<RouteRange> destination_ports{};
  std::optional<RouteRange> users{};
  // IPv4: what the table gives does not count when its prefix is no longer than this, or it leads
  // out by a device of that group.
  std::optional<std::uint32_t> suppressed_bits{};
  std::optional<std::uint32_t> suppressed_group{};
};

struct RouteQuery {
  IpFamily family = IpFamily::kIpv4;
  IpAddress destination{};
  IpAddress source{};
  std::uint32_t ingress = 0;
  std::uint32_t egress = 0;  // 0: any
  std::uint8_t tos = 0;
  std::uint8_t protocol = 0;
  std::uint16_t source_port = 0;  // numbers
  std::uint16_t destination_port = 0;
  bool has_source = true;  // false: rules by source do not match
  std::uint32_t mark = 0;
  std::optional<std::uint32_t> table{};  // this one, and no rules
};

class RouteTable {
 public:
  RouteTable();

  // From text as above; '#' begins a comment. Errors: kMalformed with the line's number.
  static Result<RouteTable> parse(std::string_view text);
  // The tables of the calling thread's network namespace. What could not be taken over is added to
  // `left_out`, a sentence each. Errors: kPermission, kIo.
  static Result<RouteTable> from_host(std::vector<std::string>& left_out);
  // What `netlink` answers in the kernel's place.
  static Result<RouteTable> from_netlink(const NetlinkSource& netlink,
                                         std::vector<std::string>& left_out);

  void add_device(const RouteDevice& device);
  void add_address(std::uint32_t ifindex, const IpPrefix& network, const IpAddress& address);
  void add_route(const Route& route);
  void add_rule(const RouteRule& rule);
  // All rules there are, those included that are always there. Before the routes are added.
  void set_rules(const std::vector<RouteRule>& rules);
  void add_neighbour(std::uint32_t ifindex, IpFamily family, const IpAddress& address,
                     const MacAddress& mac);

  // Null when there is none.
  const RouteDevice* find_device(std::uint32_t ifindex) const noexcept;
  // The route that a packet takes; null when no rule leads to one. It may be of any type but throw.
  const Route* find_route(const RouteQuery& query) const noexcept;
  const MacAddress* find_neighbour(std::uint32_t ifindex, IpFamily family,
                                   const IpAddress& address) const noexcept;
  // The hop of `route` that such a packet takes.
  static const RouteHop& choose_hop(const Route& route, const RouteQuery& query) noexcept;
  // The address that the host would send from along `route` to `destination`; null without one.
  const IpAddress* select_source(const Route& route, const RouteHop& hop,
                                 const IpAddress& destination) const noexcept;
  // The largest packet that fits along `route`.
  std::uint32_t mtu_of(const Route& route, const RouteHop& hop) const noexcept;

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
  bool applies(const RouteRule& rule, const RouteQuery& query,
               const RouteDevice* vrf) const noexcept;
  const RouteDevice* vrf_of(const RouteQuery& query) const noexcept;
  bool is_suppressed(const RouteRule& rule, const Route& route) const noexcept;
  std::uint32_t stored_number(IpFamily family, std::uint32_t number) const noexcept;
  void separate_local_table();
  void insert_rule(const RouteRule& rule);
  const IpAddress* select_ipv4_source(const RouteHop& hop) const noexcept;
  const IpAddress* select_ipv6_source(const RouteHop& hop,
                                      const IpAddress& destination) const noexcept;
  std::uint32_t vrf_of_device(std::uint32_t ifindex) const noexcept;

  std::vector<RouteDevice> devices_;
  std::vector<OwnAddress> addresses_;
  std::vector<Table> tables_;
  std::vector<RouteRule> rules_;  // by priority
  std::unordered_multimap<IpAddress, Neighbour, IpAddressHash> neighbours_;
  bool has_ipv4_rules_ = false;
};

}  // namespace lmn
