// SPDX-License-Identifier: Apache-2.0
//
// Filling a RouteTable by calls, and the look-ups. From text: route_text.cc. Tested by
// route_table_test.cc and tests/differential/fib_lookup_test.cc.
#include "packet/route_table.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <span>
#include <utility>

namespace lmn {
namespace {

constexpr std::uint32_t kIpv4MtuMax = 0xffff;
constexpr std::uint32_t kIpv6MtuMin = 1280;
constexpr std::uint32_t kIpv6MtuMax = 0xffff + 40;

std::uint32_t common_bits(const IpAddress& a, const IpAddress& b) {
  std::uint32_t bits = 0;
  while (bits < 128 && ((a[bits / 8] ^ b[bits / 8]) & (0x80u >> (bits % 8))) == 0) ++bits;
  return bits;
}

bool is_link_local(const IpAddress& address) {
  return address[0] == 0xfe && (address[1] & 0xc0) == 0x80;
}

bool has_hop_by(const Route& route, std::uint32_t ifindex) {
  if (route.ifindex == ifindex) return true;
  return std::ranges::find(route.more_hops, ifindex, &RouteHop::ifindex) != route.more_hops.end();
}

// Routes are tried in order; the first that fits wins. Null: a shorter prefix may have one.
const Route* choose_ipv4(std::span<const Route> routes, const RouteQuery& query) {
  for (const Route& route : routes) {
    if (route.tos != 0 && route.tos != query.tos) continue;
    const bool leads_out = route.type == RouteType::kUnicast || route.type == RouteType::kLocal;
    if (leads_out && query.egress != 0 && !has_hop_by(route, query.egress)) continue;
    return &route;
  }
  return nullptr;
}

// Of the routes with the smallest metric the one over the asked device, else the first. Linux
// passes the ingress device where a packet that comes in asks. REQUIRES: not empty.
const Route* choose_ipv6(std::span<const Route> routes, const RouteQuery& query) {
  const std::uint32_t preferred = query.egress != 0 ? query.egress : query.ingress;
  for (const Route& route : routes) {
    if (route.metric != routes.front().metric) break;
    if (has_hop_by(route, preferred)) return &route;
  }
  return &routes.front();
}

// What a rule that looks into no table means to bpf_fib_lookup, as a route that leads nowhere. Of
// IPv6 rules, and of "unreachable", it only says that nothing is forwarded.
const Route* route_of_action(const RouteRule& rule) {
  static constexpr auto kTypes =
      std::to_array<RouteType>({RouteType::kBlackhole, RouteType::kProhibit, RouteType::kLocal});
  static const std::array<Route, kTypes.size()> kRoutes = [] {
    std::array<Route, kTypes.size()> routes;
    for (std::size_t i = 0; i < routes.size(); ++i) routes[i].type = kTypes[i];
    return routes;
  }();
  if (rule.family == IpFamily::kIpv6) return &kRoutes[2];
  if (rule.action == RuleAction::kBlackhole) return &kRoutes[0];
  return rule.action == RuleAction::kProhibit ? &kRoutes[1] : &kRoutes[2];
}

}  // namespace

RouteTable::RouteTable() {
  for (const auto& [priority, table] :
       {std::pair(0u, kRouteTableLocal), std::pair(32766u, kRouteTableMain)}) {
    for (const IpFamily family : {IpFamily::kIpv4, IpFamily::kIpv6}) {
      rules_.push_back({.family = family, .priority = priority, .table = table});
    }
  }
  rules_.push_back({.family = IpFamily::kIpv4, .priority = 32767, .table = kRouteTableDefault});
}

void RouteTable::add_device(const RouteDevice& device) {
  std::erase_if(devices_, [&](const RouteDevice& d) { return d.ifindex == device.ifindex; });
  devices_.push_back(device);
}

void RouteTable::add_address(std::uint32_t ifindex, const IpPrefix& network,
                             const IpAddress& address) {
  addresses_.push_back({ifindex, network, address});
}

void RouteTable::add_neighbour(std::uint32_t ifindex, IpFamily family, const IpAddress& address,
                               const MacAddress& mac) {
  neighbours_.insert({address, {ifindex, family, address, mac}});
}

void RouteTable::add_rule(const RouteRule& rule) {
  if (rule.family == IpFamily::kIpv4 && !has_ipv4_rules_) separate_local_table();
  insert_rule(rule);
}

// Of equal priorities the one that was there first.
void RouteTable::insert_rule(const RouteRule& rule) {
  rules_.insert(std::ranges::upper_bound(rules_, rule.priority, {}, &RouteRule::priority), rule);
}

// Until there is a rule, IPv4's tables "local" and "main" are stored as one. 0 is "main" too.
std::uint32_t RouteTable::stored_number(IpFamily family, std::uint32_t number) const noexcept {
  if (number == 0) number = kRouteTableMain;
  const bool is_shared = family == IpFamily::kIpv4 && !has_ipv4_rules_;
  return is_shared && number == kRouteTableLocal ? kRouteTableMain : number;
}

void RouteTable::separate_local_table() {
  std::vector<Route> routes;
  for (Table& table : tables_) {
    if (table.family != IpFamily::kIpv4 || table.number != kRouteTableMain) continue;
    for (Level& level : table.levels) {
      for (auto& [prefix, of_prefix] : level.routes) {
        routes.insert(routes.end(), of_prefix.begin(), of_prefix.end());
      }
    }
    table.levels.clear();
  }
  has_ipv4_rules_ = true;
  for (const Route& route : routes) add_route(route);
}

void RouteTable::add_route(const Route& route) {
  const IpFamily family = route.prefix.family;
  const std::uint32_t number = stored_number(family, route.table);
  auto table = std::ranges::find_if(
      tables_, [&](const Table& t) { return t.family == family && t.number == number; });
  if (table == tables_.end()) table = tables_.insert(tables_.end(), Table{family, number, {}});
  auto level =
      std::ranges::lower_bound(table->levels, route.prefix.bits, std::greater<>(), &Level::bits);
  if (level == table->levels.end() || level->bits != route.prefix.bits) {
    level = table->levels.insert(level, Level{route.prefix.bits, {}});
  }
  std::vector<Route>& routes = level->routes[route.prefix.address];
  const auto rank = [](const Route& r) { return std::pair(0xff - r.tos, r.metric); };
  routes.insert(std::ranges::upper_bound(routes, rank(route), {}, rank), route);
}

const RouteTable::Table* RouteTable::find_table(IpFamily family,
                                                std::uint32_t number) const noexcept {
  const std::uint32_t stored = stored_number(family, number);
  for (const Table& table : tables_) {
    if (table.family == family && table.number == stored) return &table;
  }
  return nullptr;
}

const RouteDevice* RouteTable::find_device(std::uint32_t ifindex) const noexcept {
  const auto device = std::ranges::find(devices_, ifindex, &RouteDevice::ifindex);
  return device != devices_.end() ? &*device : nullptr;
}

const MacAddress* RouteTable::find_neighbour(std::uint32_t ifindex, IpFamily family,
                                             const IpAddress& address) const noexcept {
  const RouteDevice* device = find_device(ifindex);
  const bool has_one = device != nullptr && device->is_point_to_point;
  const bool is_any = has_one && family == IpFamily::kIpv4;
  auto [at, end] = neighbours_.equal_range(is_any ? IpAddress{} : address);
  for (; at != end; ++at) {
    const Neighbour& neighbour = at->second;
    if (neighbour.ifindex == ifindex && neighbour.family == family) return &neighbour.mac;
  }
  return nullptr;
}

void RouteTable::set_rules(const std::vector<RouteRule>& rules) {
  constexpr std::size_t kIpv4Default = 3;
  rules_.clear();
  for (const RouteRule& rule : rules) insert_rule(rule);
  const auto is_ipv4 = [](const RouteRule& rule) { return rule.family == IpFamily::kIpv4; };
  const auto is_default = [](const RouteRule& rule) {
    return rule.table == kRouteTableLocal || rule.table == kRouteTableMain ||
           rule.table == kRouteTableDefault;
  };
  const bool is_untouched =
      std::ranges::count_if(rules_, is_ipv4) == kIpv4Default &&
      std::ranges::all_of(rules_, [&](const RouteRule& r) { return !is_ipv4(r) || is_default(r); });
  if (!is_untouched && !has_ipv4_rules_) separate_local_table();
}

std::uint32_t RouteTable::vrf_of_device(std::uint32_t ifindex) const noexcept {
  const RouteDevice* device = find_device(ifindex);
  return device != nullptr ? device->vrf : 0;
}

// The VRF that a packet is in: of the device it shall leave by, or came in by. Null: none.
const RouteDevice* RouteTable::vrf_of(const RouteQuery& query) const noexcept {
  const RouteDevice* device = find_device(query.egress != 0 ? query.egress : query.ingress);
  return device != nullptr && device->vrf != 0 ? device : nullptr;
}

bool RouteTable::applies(const RouteRule& rule, const RouteQuery& query,
                         const RouteDevice* vrf) const noexcept {
  constexpr std::uint32_t kRoot = 0;  // the user that the kernel looks routes up for
  const auto matches = [&] {
    if (rule.ingress != 0) {
      const RouteDevice* device = find_device(rule.ingress);
      const bool is_vrf = device != nullptr && device->vrf == rule.ingress;
      const std::uint32_t ingress = is_vrf ? (vrf != nullptr ? vrf->vrf : 0) : query.ingress;
      if (rule.ingress != ingress) return false;
    }
    if (rule.egress != 0 && rule.egress != query.egress) return false;
    if (((query.mark ^ rule.mark) & rule.mark_mask) != 0) return false;
    if (rule.is_vrf && vrf == nullptr) return false;
    if (rule.users && !rule.users->has(kRoot)) return false;
    if (rule.from && (!query.has_source || !rule.from->covers(query.source))) return false;
    if (rule.to && !rule.to->covers(query.destination)) return false;
    if (rule.tos != 0 && rule.tos != query.tos) return false;
    if (rule.protocol != 0 && rule.protocol != query.protocol) return false;
    if (rule.source_ports && !rule.source_ports->has(query.source_port)) return false;
    return !rule.destination_ports || rule.destination_ports->has(query.destination_port);
  };
  return matches() != rule.is_inverted;
}

bool RouteTable::is_suppressed(const RouteRule& rule, const Route& route) const noexcept {
  const bool leads_on = route.type == RouteType::kUnicast || route.type == RouteType::kLocal;
  if (rule.family == IpFamily::kIpv6 || !leads_on) return false;
  if (rule.suppressed_bits && route.prefix.bits <= *rule.suppressed_bits) return true;
  if (!rule.suppressed_group) return false;
  const RouteDevice* device = find_device(route.ifindex);
  return device != nullptr && device->group == *rule.suppressed_group;
}

const Route* RouteTable::find_route(const RouteQuery& query) const noexcept {
  if (query.table) return look_into(*query.table, query);
  const RouteDevice* vrf = vrf_of(query);
  std::uint32_t from_priority = 0;
  for (const RouteRule& rule : rules_) {
    if (rule.family != query.family || rule.priority < from_priority) continue;
    if (!applies(rule, query, vrf)) continue;
    switch (rule.action) {
      case RuleAction::kNothing:
        continue;
      case RuleAction::kGoto:
        from_priority = rule.target;
        continue;
      case RuleAction::kBlackhole:
      case RuleAction::kUnreachable:
      case RuleAction::kProhibit:
        return route_of_action(rule);
      case RuleAction::kTable:
        break;
    }
    const Route* route =
        look_into(rule.is_vrf && vrf != nullptr ? vrf->vrf_table : rule.table, query);
    if (route != nullptr && !is_suppressed(rule, *route)) return route;
  }
  return nullptr;
}

// By weight; hops are chosen for a flow's addresses, which is Linux's default policy.
const RouteHop& RouteTable::choose_hop(const Route& route, const RouteQuery& query) noexcept {
  if (route.more_hops.empty()) return route;
  if (query.egress != 0) {
    if (route.ifindex == query.egress) return route;
    const auto hop = std::ranges::find(route.more_hops, query.egress, &RouteHop::ifindex);
    if (hop != route.more_hops.end()) return *hop;
  }
  std::size_t total = route.weight;
  for (const RouteHop& hop : route.more_hops) total += hop.weight;
  const IpAddressHash hash;
  const std::uint64_t mixed =
      (hash(query.source) * 31 + hash(query.destination)) * 0x9e3779b97f4a7c15ull;
  std::size_t left = (mixed >> 32) * total >> 32;
  if (left < route.weight) return route;
  left -= route.weight;
  for (const RouteHop& hop : route.more_hops) {
    if (left < hop.weight) return hop;
    left -= hop.weight;
  }
  return route;
}

const Route* RouteTable::look_into(std::uint32_t number, const RouteQuery& query) const noexcept {
  const Table* table = find_table(query.family, number);
  if (table == nullptr) return nullptr;
  for (const Level& level : table->levels) {
    const auto found = level.routes.find(masked(query.destination, level.bits));
    if (found == level.routes.end()) continue;
    const Route* route = query.family == IpFamily::kIpv4 ? choose_ipv4(found->second, query)
                                                         : choose_ipv6(found->second, query);
    if (route == nullptr) continue;
    return route->type != RouteType::kThrow ? route : nullptr;
  }
  return nullptr;
}

std::uint32_t RouteTable::mtu_of(const Route& route, const RouteHop& hop) const noexcept {
  if (route.locked_mtu != 0) return route.locked_mtu;
  const RouteDevice* device = find_device(hop.ifindex);
  const std::uint32_t device_mtu = device != nullptr ? device->mtu : 0;
  if (route.prefix.family == IpFamily::kIpv4) return std::min(device_mtu, kIpv4MtuMax);
  const bool has_own = device != nullptr && device->ipv6_mtu != 0;
  return std::clamp(has_own ? device->ipv6_mtu : device_mtu, kIpv6MtuMin, kIpv6MtuMax);
}

const IpAddress* RouteTable::select_source(const Route& route, const RouteHop& hop,
                                           const IpAddress& destination) const noexcept {
  if (route.source) return &*route.source;
  return route.prefix.family == IpFamily::kIpv4 ? select_ipv4_source(hop)
                                                : select_ipv6_source(hop, destination);
}

// The device's address in the gateway's network, else its first one, else that of another device in
// the same VRF.
const IpAddress* RouteTable::select_ipv4_source(const RouteHop& hop) const noexcept {
  const bool has_gateway = hop.has_gateway && hop.gateway_family == IpFamily::kIpv4;
  const std::uint32_t vrf = vrf_of_device(hop.ifindex);
  const IpAddress* first = nullptr;
  const IpAddress* elsewhere = nullptr;
  for (const OwnAddress& own : addresses_) {
    if (own.network.family != IpFamily::kIpv4) continue;
    if (own.ifindex != hop.ifindex) {
      const bool is_near = vrf_of_device(own.ifindex) == vrf;
      if (elsewhere == nullptr && is_near) elsewhere = &own.address;
      continue;
    }
    if (!has_gateway || own.network.covers(hop.gateway)) return &own.address;
    if (first == nullptr) first = &own.address;
  }
  return first != nullptr ? first : elsewhere;
}

// By scope, then by device, then by the length of the common prefix (RFC 6724, as far as the table
// knows what it judges by).
const IpAddress* RouteTable::select_ipv6_source(const RouteHop& hop,
                                                const IpAddress& destination) const noexcept {
  const IpAddress* best = nullptr;
  std::uint32_t best_rank = 0;
  const std::uint32_t vrf = vrf_of_device(hop.ifindex);
  for (const OwnAddress& own : addresses_) {
    if (own.network.family != IpFamily::kIpv6) continue;
    const bool fits_scope = is_link_local(own.address) == is_link_local(destination);
    const bool is_on_device = own.ifindex == hop.ifindex;
    if (vrf_of_device(own.ifindex) != vrf) continue;
    if (is_link_local(own.address) && !is_on_device) continue;
    const std::uint32_t rank = 1 + common_bits(own.address, destination) +
                               (is_on_device ? 1u << 8 : 0) + (fits_scope ? 1u << 9 : 0);
    if (rank <= best_rank) continue;
    best = &own.address;
    best_rank = rank;
  }
  return best;
}

}  // namespace lmn
