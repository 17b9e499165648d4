// SPDX-License-Identifier: Apache-2.0
//
// Filling a RouteTable by calls, and the look-ups. From text: route_text.cc. Tested by
// route_table_test.cc and tests/differential/fib_lookup_test.cc.
#include "packet/route_table.h"

#include <algorithm>
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

// Routes are tried in order; the first that fits wins. Null: a shorter prefix may have one.
const Route* choose_ipv4(std::span<const Route> routes, const RouteQuery& query) {
  for (const Route& route : routes) {
    if (route.tos != 0 && route.tos != query.tos) continue;
    const bool leads_out = route.type == RouteType::kUnicast || route.type == RouteType::kLocal;
    if (leads_out && query.egress != 0 && route.ifindex != query.egress) continue;
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
    if (route.ifindex == preferred) return &route;
  }
  return &routes.front();
}

bool applies(const RouteRule& rule, const RouteQuery& query) {
  if (rule.family != query.family) return false;
  if ((query.mark & rule.mark_mask) != rule.mark) return false;
  if (rule.ingress != 0 && rule.ingress != query.ingress) return false;
  if (rule.from && !rule.from->covers(query.source)) return false;
  return !rule.to || rule.to->covers(query.destination);
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
  // Of equal priorities the one that was there first.
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
  auto [at, end] = neighbours_.equal_range(address);
  for (; at != end; ++at) {
    const Neighbour& neighbour = at->second;
    if (neighbour.ifindex == ifindex && neighbour.family == family) return &neighbour.mac;
  }
  return nullptr;
}

const Route* RouteTable::find_route(const RouteQuery& query) const noexcept {
  if (query.table) return look_into(*query.table, query);
  for (const RouteRule& rule : rules_) {
    if (!applies(rule, query)) continue;
    const Route* route = look_into(rule.table, query);
    if (route != nullptr) return route;
  }
  return nullptr;
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

std::uint32_t RouteTable::mtu_of(const Route& route) const noexcept {
  const RouteDevice* device = find_device(route.ifindex);
  const std::uint32_t device_mtu = device != nullptr ? device->mtu : 0;
  if (route.prefix.family == IpFamily::kIpv4) {
    return route.locked_mtu != 0 ? route.locked_mtu : std::min(device_mtu, kIpv4MtuMax);
  }
  const std::uint32_t mtu = route.locked_mtu != 0 ? route.locked_mtu : device_mtu;
  return route.locked_mtu != 0 ? mtu : std::clamp(mtu, kIpv6MtuMin, kIpv6MtuMax);
}

const IpAddress* RouteTable::select_source(const Route& route,
                                           const IpAddress& destination) const noexcept {
  if (route.source) return &*route.source;
  return route.prefix.family == IpFamily::kIpv4 ? select_ipv4_source(route)
                                                : select_ipv6_source(route, destination);
}

// The device's address in the gateway's network, else its first one, else another device's.
const IpAddress* RouteTable::select_ipv4_source(const Route& route) const noexcept {
  const bool has_gateway = route.has_gateway && route.gateway_family == IpFamily::kIpv4;
  const IpAddress* first = nullptr;
  const IpAddress* elsewhere = nullptr;
  for (const OwnAddress& own : addresses_) {
    if (own.network.family != IpFamily::kIpv4) continue;
    if (own.ifindex != route.ifindex) {
      if (elsewhere == nullptr) elsewhere = &own.address;
      continue;
    }
    if (!has_gateway || own.network.covers(route.gateway)) return &own.address;
    if (first == nullptr) first = &own.address;
  }
  return first != nullptr ? first : elsewhere;
}

// By scope, then by device, then by the length of the common prefix (RFC 6724, as far as the table
// knows what it judges by).
const IpAddress* RouteTable::select_ipv6_source(const Route& route,
                                                const IpAddress& destination) const noexcept {
  const IpAddress* best = nullptr;
  std::uint32_t best_rank = 0;
  for (const OwnAddress& own : addresses_) {
    if (own.network.family != IpFamily::kIpv6) continue;
    const bool fits_scope = is_link_local(own.address) == is_link_local(destination);
    const bool is_on_device = own.ifindex == route.ifindex;
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
