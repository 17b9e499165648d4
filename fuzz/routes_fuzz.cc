// SPDX-License-Identifier: Apache-2.0
//
// Feeds text to RouteTable::parse and asks what it accepted about destinations made of the same
// bytes: the answer covers the destination, is a route to follow, and gives way to a route for that
// one address.
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "packet/route_table.h"

namespace {

void expect(bool condition) {
  if (!condition) std::abort();
}

void ask(lmn::RouteTable& table, const lmn::RouteQuery& query) {
  const lmn::Route* route = table.find_route(query);
  if (route != nullptr) {
    expect(route->prefix.family == query.family);
    expect(route->prefix.covers(query.destination));
    expect(route->type != lmn::RouteType::kThrow);
    const lmn::RouteHop& hop = lmn::RouteTable::choose_hop(*route, query);
    table.mtu_of(*route, hop);
    table.select_source(*route, hop, query.destination);
  }
  if (!query.table) return;
  lmn::Route exact;
  exact.prefix = {query.family,
                  static_cast<std::uint8_t>(query.family == lmn::IpFamily::kIpv4 ? 32 : 128),
                  query.destination};
  exact.type = lmn::RouteType::kBlackhole;
  exact.table = *query.table;
  const bool was_exact = route != nullptr && route->prefix.bits == exact.prefix.bits;
  const bool was_thrown = route == nullptr;
  table.add_route(exact);
  const lmn::Route* now = table.find_route(query);
  // A route for the same address that was there first may still win.
  if (!was_thrown) expect(now != nullptr && now->prefix.bits == exact.prefix.bits);
  if (!was_thrown && !was_exact) expect(now->type == lmn::RouteType::kBlackhole);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  auto table = lmn::RouteTable::parse({reinterpret_cast<const char*>(data), size});
  if (!table) return 0;
  for (std::size_t at = 0; at + 20 <= size && at < 200; at += 7) {
    lmn::RouteQuery query;
    query.family = data[at] % 2 == 0 ? lmn::IpFamily::kIpv4 : lmn::IpFamily::kIpv6;
    const std::size_t bytes = query.family == lmn::IpFamily::kIpv4 ? 4 : 16;
    std::memcpy(query.destination.data(), data + at, bytes);
    query.tos = data[at + 16];
    query.egress = data[at + 17] % 4;
    query.mark = data[at + 18];
    if (data[at + 19] % 2 == 0) query.table = data[at + 19];
    ask(*table, query);
  }
  return 0;
}
