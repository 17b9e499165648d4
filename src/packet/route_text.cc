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
    } else if (words.take("ipv6-mtu")) {
      device.ipv6_mtu = words.number<std::uint32_t>();
    } else if (words.take("group")) {
      device.group = words.number<std::uint32_t>();
    } else if (words.take("vrf")) {
      device.vrf = words.number<std::uint32_t>();
      if (!words.take("table")) return words.fail("'table' of the VRF is missing");
      device.vrf_table = words.number<std::uint32_t>();
    } else if (words.take("point-to-point")) {
      device.is_point_to_point = true;
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

// Words of a next hop; false when the next one is none of them.
bool read_hop_word(TextWords& words, RouteHop& hop) {
  if (words.take("dev")) {
    hop.ifindex = words.number<std::uint32_t>();
  } else if (words.take("via")) {
    hop.has_gateway = true;
    hop.gateway = words.address(hop.gateway_family);
  } else if (words.take("weight")) {
    hop.weight = words.number<std::uint16_t>();
    if (hop.weight == 0) words.fail("a weight of 0");
  } else if (words.take("encap")) {
    hop.has_encap = true;
  } else {
    return false;
  }
  return true;
}

void check_hop(TextWords& words, const Route& route, const RouteHop& hop) {
  const bool leads_out = route.type == RouteType::kUnicast;
  if (leads_out && hop.ifindex == 0) words.fail("a route without 'dev'");
  if (route.prefix.family == IpFamily::kIpv6 && hop.has_gateway &&
      hop.gateway_family == IpFamily::kIpv4) {
    words.fail("an IPv6 route cannot have an IPv4 gateway");
  }
}

void read_route(TextWords& words, RouteTable& table) {
  Route route;
  route.type = read_route_type(words);
  if (route.type == RouteType::kLocal) route.table = kRouteTableLocal;
  route.prefix = words.prefix();
  RouteHop* hop = &route;
  while (!words.is_empty() && words.error().empty()) {
    IpFamily family{};
    if (words.take("hop")) {
      hop = &route.more_hops.emplace_back();
    } else if (read_hop_word(words, *hop)) {
      continue;
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
  check_hop(words, route, route);
  for (const RouteHop& more : route.more_hops) check_hop(words, route, more);
  table.add_route(route);
}

// "80" or "80-443".
RouteRange read_range(TextWords& words) {
  const std::string_view text = words.next();
  const std::size_t dash = text.find('-');
  RouteRange range;
  range.first = range.last = words.to_number<std::uint32_t>(text.substr(0, dash));
  if (dash != std::string_view::npos) {
    range.last = words.to_number<std::uint32_t>(text.substr(dash + 1));
  }
  return range;
}

// What a rule does; false when the next word says nothing of that.
bool read_rule_action(TextWords& words, RouteRule& rule) {
  if (words.take("table")) {
    rule.table = words.number<std::uint32_t>();
  } else if (words.take("goto")) {
    rule.action = RuleAction::kGoto;
    rule.target = words.number<std::uint32_t>();
    if (rule.target <= rule.priority) words.fail("'goto' leads back");
  } else if (words.take("nop")) {
    rule.action = RuleAction::kNothing;
  } else if (words.take("blackhole")) {
    rule.action = RuleAction::kBlackhole;
  } else if (words.take("unreachable")) {
    rule.action = RuleAction::kUnreachable;
  } else if (words.take("prohibit")) {
    rule.action = RuleAction::kProhibit;
  } else if (words.take("l3mdev")) {
    rule.is_vrf = true;
  } else if (words.take("suppress-prefix")) {
    rule.suppressed_bits = words.number<std::uint32_t>();
  } else if (words.take("suppress-group")) {
    rule.suppressed_group = words.number<std::uint32_t>();
  } else {
    return false;
  }
  return true;
}

// What a rule looks at.
void read_rule_selector(TextWords& words, RouteRule& rule) {
  if (words.take("mark")) {
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
  } else if (words.take("oif")) {
    rule.egress = words.number<std::uint32_t>();
  } else if (words.take("tos")) {
    rule.tos = words.number<std::uint8_t>();
  } else if (words.take("proto")) {
    rule.protocol = words.number<std::uint8_t>();
  } else if (words.take("sport")) {
    rule.source_ports = read_range(words);
  } else if (words.take("dport")) {
    rule.destination_ports = read_range(words);
  } else if (words.take("uid")) {
    rule.users = read_range(words);
  } else if (words.take("not")) {
    rule.is_inverted = true;
  } else {
    words.fail_unknown();
  }
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
    if (!read_rule_action(words, rule)) read_rule_selector(words, rule);
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
