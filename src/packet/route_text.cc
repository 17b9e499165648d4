// SPDX-License-Identifier: Apache-2.0
//
// RouteTable::parse: lines of words, as route_table.h shows them. Tested by route_table_test.cc.
#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <string>

#include "packet/route_table.h"

namespace lmn {
namespace {

// The words of one line, taken from left to right. The first error stays.
class Words {
 public:
  explicit Words(std::string_view line) : rest_(line.substr(0, line.find('#'))) { skip(); }

  bool is_empty() const { return rest_.empty(); }
  std::string_view next() {
    const std::string_view word = rest_.substr(0, rest_.find_first_of(" \t\r"));
    rest_.remove_prefix(word.size());
    skip();
    if (word.empty()) fail("a word is missing at the end");
    return word;
  }
  // Takes the next word when it is `word`.
  bool take(std::string_view word) {
    const std::string_view before = rest_;
    if (is_empty() || next() != word) {
      rest_ = before;
      return false;
    }
    return true;
  }
  template <typename T>
  T number() {
    return to_number<T>(next());
  }
  template <typename T>
  T to_number(std::string_view text) {
    const bool is_hex = text.starts_with("0x");
    const std::string_view digits = text.substr(is_hex ? 2 : 0);
    T value{};
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), value, is_hex ? 16 : 10);
    if (error != std::errc() || end != digits.data() + digits.size()) {
      fail(fmt::format("'{}' is no number that fits here", text));
    }
    return value;
  }
  IpAddress address(IpFamily& family) { return to_address(next(), family); }
  // Also with host bits set: `host`, when asked for, gets the address as it was written.
  IpPrefix prefix(IpAddress* host = nullptr);
  MacAddress mac();

  void fail(std::string text) {
    if (error_.empty()) error_ = std::move(text);
  }
  const std::string& error() const { return error_; }

 private:
  IpAddress to_address(std::string_view text, IpFamily& family);
  void skip() {
    const std::size_t at = rest_.find_first_not_of(" \t\r");
    rest_.remove_prefix(std::min(at, rest_.size()));
  }

  std::string_view rest_;
  std::string error_;
};

IpAddress Words::to_address(std::string_view text, IpFamily& family) {
  IpAddress address{};
  family = text.find(':') != std::string_view::npos ? IpFamily::kIpv6 : IpFamily::kIpv4;
  const int system_family = family == IpFamily::kIpv6 ? AF_INET6 : AF_INET;
  if (::inet_pton(system_family, std::string(text).c_str(), address.data()) != 1) {
    fail(fmt::format("'{}' is no IP address", text));
  }
  return address;
}

IpPrefix Words::prefix(IpAddress* host) {
  const std::string_view word = next();
  const std::size_t slash = word.find('/');
  IpPrefix prefix;
  IpAddress address = to_address(word.substr(0, slash), prefix.family);
  const std::uint8_t bits_max = prefix.family == IpFamily::kIpv4 ? 32 : 128;
  prefix.bits = bits_max;
  if (slash != std::string_view::npos) {
    prefix.bits = to_number<std::uint8_t>(word.substr(slash + 1));
  }
  if (prefix.bits > bits_max) {
    fail(fmt::format("a prefix of {} bits, there are {}", prefix.bits, bits_max));
    return prefix;
  }
  if (host != nullptr) *host = address;
  for (std::uint32_t bit = prefix.bits; bit < 128; ++bit) {
    const auto mask = static_cast<std::uint8_t>(0x80u >> (bit % 8));
    if (host == nullptr && (address[bit / 8] & mask) != 0) {
      fail(fmt::format("'{}' has bits behind its prefix", word));
    }
    address[bit / 8] &= static_cast<std::uint8_t>(~mask);
  }
  prefix.address = address;
  return prefix;
}

MacAddress Words::mac() {
  const std::string_view word = next();
  MacAddress mac{};
  for (std::size_t i = 0; i < mac.size(); ++i) {
    const char* digits = word.data() + i * 3;
    const bool has_room = word.size() == mac.size() * 3 - 1;
    const bool is_separated = i == 0 || !has_room || digits[-1] == ':';
    const bool is_byte = has_room && is_separated &&
                         std::from_chars(digits, digits + 2, mac[i], 16).ptr == digits + 2;
    if (!is_byte) fail(fmt::format("'{}' is no MAC address", word));
  }
  return mac;
}

void unknown(Words& words) { words.fail(fmt::format("'{}' is not known here", words.next())); }

void read_device(Words& words, RouteTable& table) {
  RouteDevice device;
  device.ifindex = words.number<std::uint32_t>();
  while (!words.is_empty() && words.error().empty()) {
    if (words.take("mac")) {
      device.mac = words.mac();
    } else if (words.take("mtu")) {
      device.mtu = words.number<std::uint32_t>();
    } else if (words.take("forward")) {
      const bool is_ipv6 = words.take("inet6");
      if (!is_ipv6 && !words.take("inet")) return unknown(words);
      (is_ipv6 ? device.forwards_ipv6 : device.forwards_ipv4) = true;
    } else {
      unknown(words);
    }
  }
  table.add_device(device);
}

void read_address(Words& words, RouteTable& table) {
  IpAddress address{};
  const IpPrefix network = words.prefix(&address);
  if (!words.take("dev")) return words.fail("'dev' is missing");
  table.add_address(words.number<std::uint32_t>(), network, address);
}

void read_neighbour(Words& words, RouteTable& table) {
  IpFamily family{};
  const IpAddress address = words.address(family);
  if (!words.take("dev")) return words.fail("'dev' is missing");
  const auto ifindex = words.number<std::uint32_t>();
  if (!words.take("mac")) return words.fail("'mac' is missing");
  table.add_neighbour(ifindex, family, address, words.mac());
}

RouteType read_route_type(Words& words) {
  if (words.take("blackhole")) return RouteType::kBlackhole;
  if (words.take("unreachable")) return RouteType::kUnreachable;
  if (words.take("prohibit")) return RouteType::kProhibit;
  if (words.take("throw")) return RouteType::kThrow;
  if (words.take("local")) return RouteType::kLocal;
  return RouteType::kUnicast;
}

void read_route(Words& words, RouteTable& table) {
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
      unknown(words);
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

void read_rule(Words& words, RouteTable& table) {
  RouteRule rule;
  if (words.take("inet6")) {
    rule.family = IpFamily::kIpv6;
  } else if (!words.take("inet")) {
    return unknown(words);
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
      unknown(words);
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
  std::size_t line_number = 0;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    ++line_number;
    Words words(line);
    if (words.is_empty()) continue;
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
      unknown(words);
    }
    if (words.error().empty() && !words.is_empty()) unknown(words);
    if (!words.error().empty()) {
      return make_error(ErrorCode::kMalformed,
                        fmt::format("routes: line {}: {}", line_number, words.error()));
    }
  }
  return table;
}

}  // namespace lmn
