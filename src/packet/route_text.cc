// SPDX-License-Identifier: Apache-2.0
//
// RouteTable::parse: lines of words, as route_table.h shows them. Tested by route_table_test.cc.
#include "packet/route_table.h"
#include "packet/text_words.h"

namespace lmn {
namespace {

void read_device(TextWords& words, RouteTable& table) {
  RouteDevice device;
  device.ifindex = words.number<std::uint32_t>();
  while (!words.is_empty() && words.error().empty()) {
    if (words.take("mac")) {
      device.mac = words.mac();
    } else if (words.take("mtu")) {
      device.mtu = words.number<std::uint32_t>();
    } else if (words.take("forward")) {
      const bool is_ipv6 = words.take("inet6");
      if (!is_ipv6 && !words.take("inet")) return words.fail_unknown();
      (is_ipv6 ? device.forwards_ipv6 : device.forwards_ipv4) = true;
    } else {
      words.fail_unknown();
    }
  }
  table.add_device(device);
}

void read_address(TextWords& words, RouteTable& table) {
  IpAddress address{};
  const IpPrefix network = words.prefix(&address);
  if (!words.take("dev")) return words.fail("'dev' is missing");
  table.add_address(words.number<std::uint32_t>(), network, address);
}

void read_neighbour(TextWords& words, RouteTable& table) {
  IpFamily family{};
  const IpAddress address = words.address(family);
  if (!words.take("dev")) return words.fail("'dev' is missing");
  const auto ifindex = words.number<std::uint32_t>();
  if (!words.take("mac")) return words.fail("'mac' is missing");
  table.add_neighbour(ifindex, family, address, words.mac());
}

RouteType read_route_type(TextWords& words) {
  if (words.take("blackhole")) return RouteType::kBlackhole;
  if (words.take("unreachable")) return RouteType::kUnreachable;
  if (words.take("prohibit")) return RouteType::kProhibit;
  if (words.take("throw")) return RouteType::kThrow;
  if (words.take("local")) return RouteType::kLocal;
  return RouteType::kUnicast;
}

void read_route(TextWords& words, RouteTable& table) {
  Route route;
  route.type = read_route_type(words);
  if (route.type == RouteType::kLocal) route.table = kRouteTableLocal;
  route.prefix = words.prefix();
  while (!words.is_empty() && words.error().empty()) {
    IpFamily family{};
    if (words.take("dev")) {
      route.ifindex = words.number<std::uint32_t>();
    } else if (words.take("via")) {
      route.has_gateway = true;
      route.gateway = words.address(route.gateway_family);
    } else if (words.take("metric")) {
      route.metric = words.number<std::uint32_t>();
    } else if (words.take("table")) {
      route.table = words.number<std::uint32_t>();
    } else if (words.take("tos")) {
      route.tos = words.number<std::uint8_t>();
    } else if (words.take("mtu")) {
      route.locked_mtu = words.number<std::uint16_t>();
    } else if (words.take("src")) {
      route.source = words.address(family);
      if (family != route.prefix.family) words.fail("'src' is of the other family");
    } else {
      words.fail_unknown();
    }
  }
  const bool leads_out = route.type == RouteType::kUnicast;
  if (leads_out && route.ifindex == 0) words.fail("a route without 'dev'");
  if (route.prefix.family == IpFamily::kIpv6 && route.has_gateway &&
      route.gateway_family == IpFamily::kIpv4) {
    words.fail("an IPv6 route cannot have an IPv4 gateway");
  }
  table.add_route(route);
}

void read_rule(TextWords& words, RouteTable& table) {
  RouteRule rule;
  if (words.take("inet6")) {
    rule.family = IpFamily::kIpv6;
  } else if (!words.take("inet")) {
    return words.fail_unknown();
  }
  rule.priority = words.number<std::uint32_t>();
  while (!words.is_empty() && words.error().empty()) {
    if (words.take("table")) {
      rule.table = words.number<std::uint32_t>();
    } else if (words.take("mark")) {
      const std::string_view text = words.next();
      const std::size_t slash = text.find('/');
      rule.mark = words.to_number<std::uint32_t>(text.substr(0, slash));
      rule.mark_mask = UINT32_MAX;
      if (slash != std::string_view::npos) {
        rule.mark_mask = words.to_number<std::uint32_t>(text.substr(slash + 1));
      }
    } else if (words.take("from")) {
      rule.from = words.prefix();
    } else if (words.take("to")) {
      rule.to = words.prefix();
    } else if (words.take("iif")) {
      rule.ingress = words.number<std::uint32_t>();
    } else {
      words.fail_unknown();
    }
  }
  for (const auto& prefix : {rule.from, rule.to}) {
    if (prefix && prefix->family != rule.family) words.fail("a prefix of the other family");
  }
  table.add_rule(rule);
}

}  // namespace

Result<RouteTable> RouteTable::parse(std::string_view text) {
  RouteTable table;
  LMN_CHECK_OK(read_text_lines(text, "routes", [&table](TextWords& words) {
    if (words.take("device")) {
      read_device(words, table);
    } else if (words.take("address")) {
      read_address(words, table);
    } else if (words.take("route")) {
      read_route(words, table);
    } else if (words.take("neighbour")) {
      read_neighbour(words, table);
    } else if (words.take("rule")) {
      read_rule(words, table);
    } else {
      words.fail_unknown();
    }
  }));
  return table;
}

}  // namespace lmn
