// SPDX-License-Identifier: Apache-2.0
//
// RouteTable::from_host: devices, addresses, routes, rules and neighbours of a network namespace,
// read by rtnetlink dumps.
//
// The kernel's dumps show what its look-ups see, with a few words to translate: a device's
// forwarding is in its per-family attributes, rules name devices where look-ups compare numbers,
// an address is one that packets are sent from only when it is primary and usable.
// Dumps of the six tables follow each other, so that a change between them can give a table that
// never was; whoever follows the host reads again when it is told of one (HostWatch).
// Tested by tests/differential/host_tables_test.cc.
// Source: Linux 6.18, net/core/rtnetlink.c, net/ipv4/fib_semantics.c (fib_dump_info),
// net/ipv6/route.c (rt6_fill_node), net/core/fib_rules.c (fib_nl_fill_rule), net/core/neighbour.c.
#include <fmt/format.h>
#include <linux/fib_rules.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/lwtunnel.h>
#include <linux/neighbour.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <map>

#include "base/file.h"
#include "packet/host_netlink.h"
#include "packet/route_table.h"

namespace lmn {
namespace {

// Attributes that the headers in third_party do not have yet (linux/fib_rules.h of 6.18).
constexpr std::uint16_t kRuleDscp = 25;
constexpr std::uint16_t kRuleFlowLabel = 26;
constexpr std::uint16_t kRuleSourcePortMask = 28;
constexpr std::uint16_t kRuleDestinationPortMask = 29;
constexpr std::uint16_t kRuleDscpMask = 30;
constexpr int kDscpShift = 2;

constexpr std::uint16_t kValidNeighbour =
    NUD_PERMANENT | NUD_NOARP | NUD_REACHABLE | NUD_PROBE | NUD_STALE | NUD_DELAY;

std::optional<IpFamily> family_of(std::uint8_t family) {
  if (family == AF_INET) return IpFamily::kIpv4;
  if (family == AF_INET6) return IpFamily::kIpv6;
  return std::nullopt;
}

// No prefix of a family is longer than its addresses.
bool is_length(IpFamily family, std::uint8_t bits) {
  return bits <= (family == IpFamily::kIpv4 ? 32 : 128);
}

IpAddress address_of(ByteSpan value) {
  IpAddress address{};
  std::copy_n(value.begin(), std::min(value.size(), address.size()), address.begin());
  return address;
}

std::string name_of(ByteSpan value) {
  const auto end = std::ranges::find(value, 0);
  return {value.begin(), end};
}

// The `index`-th number of an array of them; 0 when it is shorter.
std::uint32_t word_at(ByteSpan value, std::size_t index) {
  const std::size_t at = index * sizeof(std::uint32_t);
  return at + sizeof(std::uint32_t) <= value.size()
             ? load_unaligned<std::uint32_t>(value.data() + at)
             : 0;
}

class HostReader {
 public:
  HostReader(const NetlinkSource& netlink, std::vector<std::string>& left_out)
      : netlink_(netlink), left_out_(left_out) {}

  Result<RouteTable> read();

 private:
  struct Link {
    RouteDevice device;
    std::uint32_t master = 0;
    std::uint32_t own_vrf_table = 0;  // of a VRF device
  };

  template <typename Fixed>
  Result<void> dump(std::uint16_t type, std::uint8_t family, std::string_view what,
                    const std::function<void()>& forget,
                    const std::function<void(const Fixed&, ByteSpan)>& read_one);
  void read_link(const ifinfomsg& message, ByteSpan body);
  static void read_link_families(Link& link, ByteSpan families);
  void read_address(const ifaddrmsg& message, ByteSpan body, RouteTable& table) const;
  void read_route(const rtmsg& message, ByteSpan body, std::vector<Route>& routes);
  bool read_hops(ByteSpan value, Route& route);
  static void read_hop_attribute(std::uint16_t type, ByteSpan value, RouteHop& hop,
                                 IpFamily family);
  void read_rule(const fib_rule_hdr& message, ByteSpan body, std::vector<RouteRule>& rules);
  bool read_rule_attribute(std::uint16_t type, ByteSpan value, RouteRule& rule) const;
  static bool read_rule_range(std::uint16_t type, ByteSpan value, RouteRule& rule);
  std::optional<std::uint32_t> ifindex_of(ByteSpan name) const;
  void leave_out(std::string_view what) { ++left_out_counts_[std::string(what)]; }

  std::map<std::uint32_t, Link> links_;
  std::map<std::string, std::uint32_t> ifindexes_;
  std::map<std::string, int> left_out_counts_;
  const NetlinkSource& netlink_;
  std::vector<std::string>& left_out_;
  bool uses_path_mtu_ = false;
};

template <typename Fixed>
Result<void> HostReader::dump(std::uint16_t type, std::uint8_t family, std::string_view what,
                              const std::function<void()>& forget,
                              const std::function<void(const Fixed&, ByteSpan)>& read_one) {
  // The family is the first byte of every fixed part.
  std::array<std::uint8_t, sizeof(Fixed)> request{};
  request[0] = family;
  NetlinkQuestion question;
  question.protocol = NETLINK_ROUTE;
  question.type = type;
  question.body = request;
  question.what = what;
  return netlink_.dump(question, forget, [&](std::uint16_t, ByteSpan body) -> Result<void> {
    const auto message = netlink_head<Fixed>(body);
    if (!message) return make_error(system_error(what, EPROTO));
    read_one(*message, body);
    return {};
  });
}

// IFLA_AF_SPEC: settings of a device per family; forwarding and the MTU of IPv6 are among them.
void HostReader::read_link_families(Link& link, ByteSpan families) {
  for_each_attribute(families, 0, [&](std::uint16_t family, ByteSpan settings) {
    for_each_attribute(settings, 0, [&](std::uint16_t type, ByteSpan values) {
      if (family == AF_INET && type == IFLA_INET_CONF) {
        link.device.forwards_ipv4 = word_at(values, IPV4_DEVCONF_FORWARDING - 1) != 0;
      } else if (family == AF_INET6 && type == IFLA_INET6_CONF) {
        link.device.forwards_ipv6 = word_at(values, DEVCONF_FORWARDING) != 0;
        link.device.ipv6_mtu = word_at(values, DEVCONF_MTU6);
      }
    });
  });
}

void HostReader::read_link(const ifinfomsg& message, ByteSpan body) {
  Link link;
  link.device.ifindex = static_cast<std::uint32_t>(message.ifi_index);
  link.device.is_point_to_point = (message.ifi_flags & (IFF_LOOPBACK | IFF_POINTOPOINT)) != 0;
  bool is_vrf = false;
  for_each_attribute(body, sizeof message, [&](std::uint16_t type, ByteSpan value) {
    switch (type) {
      case IFLA_IFNAME:
        ifindexes_[name_of(value)] = link.device.ifindex;
        break;
      case IFLA_MTU:
        link.device.mtu = attribute_number<std::uint32_t>(value);
        break;
      case IFLA_MASTER:
        link.master = attribute_number<std::uint32_t>(value);
        break;
      case IFLA_GROUP:
        link.device.group = attribute_number<std::uint32_t>(value);
        break;
      case IFLA_ADDRESS:
        if (value.size() == link.device.mac.size()) {
          std::ranges::copy(value, link.device.mac.begin());
        }
        break;
      case IFLA_AF_SPEC:
        read_link_families(link, value);
        break;
      case IFLA_LINKINFO:
        for_each_attribute(value, 0, [&](std::uint16_t info, ByteSpan inner) {
          if (info == IFLA_INFO_KIND) is_vrf = name_of(inner) == "vrf";
          if (info != IFLA_INFO_DATA || !is_vrf) return;
          for_each_attribute(inner, 0, [&](std::uint16_t data, ByteSpan number) {
            if (data == IFLA_VRF_TABLE)
              link.own_vrf_table = attribute_number<std::uint32_t>(number);
          });
        });
        break;
      default:
        break;
    }
  });
  links_[link.device.ifindex] = link;
}

void HostReader::read_address(const ifaddrmsg& message, ByteSpan body, RouteTable& table) const {
  const auto family = family_of(message.ifa_family);
  if (!family || !is_length(*family, message.ifa_prefixlen)) return;
  std::uint32_t flags = message.ifa_flags;
  std::optional<IpAddress> own;
  IpAddress network{};
  for_each_attribute(body, sizeof message, [&](std::uint16_t type, ByteSpan value) {
    if (type == IFA_LOCAL) own = address_of(value);
    if (type == IFA_ADDRESS) network = address_of(value);
    if (type == IFA_FLAGS) flags = attribute_number<std::uint32_t>(value);
  });
  const bool is_usable = (flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED)) == 0;
  const bool is_secondary = *family == IpFamily::kIpv4 && (flags & IFA_F_SECONDARY) != 0;
  if (!is_usable || is_secondary) return;
  const IpPrefix prefix{*family, message.ifa_prefixlen, masked(network, message.ifa_prefixlen)};
  table.add_address(message.ifa_index, prefix, own.value_or(network));
}

void HostReader::read_hop_attribute(std::uint16_t type, ByteSpan value, RouteHop& hop,
                                    IpFamily family) {
  switch (type) {
    case RTA_OIF:
      hop.ifindex = attribute_number<std::uint32_t>(value);
      break;
    case RTA_GATEWAY:
      hop.has_gateway = true;
      hop.gateway_family = family;
      hop.gateway = address_of(value);
      break;
    case RTA_VIA:
      if (value.size() <= sizeof(std::uint16_t)) break;
      hop.has_gateway = true;
      hop.gateway_family = load_unaligned<std::uint16_t>(value.data()) == AF_INET6
                               ? IpFamily::kIpv6
                               : IpFamily::kIpv4;
      hop.gateway = address_of(value.subspan(sizeof(std::uint16_t)));
      break;
    case RTA_ENCAP_TYPE:
      hop.has_encap = attribute_number<std::uint16_t>(value) != LWTUNNEL_ENCAP_NONE;
      break;
    default:
      break;
  }
}

// Several next hops; those that are dead (their device is down) count for nothing. False: none is
// left.
bool HostReader::read_hops(ByteSpan value, Route& route) {
  std::vector<RouteHop> hops;
  while (value.size() >= sizeof(rtnexthop)) {
    const rtnexthop next = *netlink_head<rtnexthop>(value);
    if (next.rtnh_len < sizeof next || next.rtnh_len > value.size()) break;
    RouteHop hop;
    hop.ifindex = static_cast<std::uint32_t>(next.rtnh_ifindex);
    hop.weight = static_cast<std::uint16_t>(next.rtnh_hops + 1);
    for_each_attribute(value.first(next.rtnh_len), sizeof next,
                       [&](std::uint16_t type, ByteSpan inner) {
                         read_hop_attribute(type, inner, hop, route.prefix.family);
                       });
    if ((next.rtnh_flags & RTNH_F_DEAD) == 0) hops.push_back(hop);
    value = value.subspan(std::min<std::size_t>(RTNH_ALIGN(next.rtnh_len), value.size()));
  }
  if (hops.empty()) return false;
  static_cast<RouteHop&>(route) = hops.front();
  route.more_hops.assign(hops.begin() + 1, hops.end());
  return true;
}

std::optional<RouteType> type_of_route(std::uint8_t type) {
  switch (type) {
    case RTN_UNICAST:
      return RouteType::kUnicast;
    case RTN_LOCAL:
    case RTN_BROADCAST:
    case RTN_ANYCAST:
    case RTN_MULTICAST:
    case RTN_NAT:
    case RTN_XRESOLVE:
      return RouteType::kLocal;
    case RTN_BLACKHOLE:
      return RouteType::kBlackhole;
    case RTN_UNREACHABLE:
      return RouteType::kUnreachable;
    case RTN_PROHIBIT:
      return RouteType::kProhibit;
    case RTN_THROW:
      return RouteType::kThrow;
    default:
      return std::nullopt;
  }
}

void HostReader::read_route(const rtmsg& message, ByteSpan body, std::vector<Route>& routes) {
  const auto family = family_of(message.rtm_family);
  const auto type = type_of_route(message.rtm_type);
  const bool is_cached = (message.rtm_flags & RTM_F_CLONED) != 0;
  if (!family || !type || is_cached || !is_length(*family, message.rtm_dst_len)) return;
  if (message.rtm_src_len != 0) return leave_out("route with a source prefix");
  Route route;
  route.type = *type;
  route.table = message.rtm_table;
  route.tos = *family == IpFamily::kIpv4 ? message.rtm_tos : std::uint8_t{0};
  route.prefix = {*family, message.rtm_dst_len, {}};
  bool has_hop = true;
  for_each_attribute(body, sizeof message, [&](std::uint16_t attribute, ByteSpan value) {
    switch (attribute) {
      case RTA_TABLE:
        route.table = attribute_number<std::uint32_t>(value);
        break;
      case RTA_DST:
        route.prefix.address = address_of(value);
        break;
      case RTA_PRIORITY:
        route.metric = attribute_number<std::uint32_t>(value);
        break;
      case RTA_PREFSRC:
        route.source = address_of(value);
        break;
      case RTA_METRICS: {
        std::uint32_t locks = 0;
        std::uint32_t mtu = 0;
        for_each_attribute(value, 0, [&](std::uint16_t metric, ByteSpan number) {
          if (metric == RTAX_LOCK) locks = attribute_number<std::uint32_t>(number);
          if (metric == RTAX_MTU) mtu = attribute_number<std::uint32_t>(number);
        });
        const bool is_locked = (locks & (1u << RTAX_MTU)) != 0;
        const bool counts = is_locked || (uses_path_mtu_ && *family == IpFamily::kIpv4);
        if (counts) route.locked_mtu = static_cast<std::uint16_t>(std::min(mtu, 0xffffu));
        break;
      }
      case RTA_MULTIPATH:
        has_hop = read_hops(value, route);
        break;
      default:
        read_hop_attribute(attribute, value, route, *family);
        break;
    }
  });
  const bool is_dead = (message.rtm_flags & RTNH_F_DEAD) != 0;
  if (is_dead || !has_hop) return;
  if (route.type == RouteType::kUnicast && route.ifindex == 0) {
    return leave_out("route without a device");
  }
  routes.push_back(std::move(route));
}

std::optional<std::uint32_t> HostReader::ifindex_of(ByteSpan name) const {
  const auto found = ifindexes_.find(name_of(name));
  if (found == ifindexes_.end()) return std::nullopt;
  return found->second;
}

// False: a rule that looks at what this table does not know.
bool HostReader::read_rule_attribute(std::uint16_t type, ByteSpan value, RouteRule& rule) const {
  const auto number = attribute_number<std::uint32_t>(value);
  switch (type) {
    case FRA_DST:
      rule.to->address = address_of(value);
      return true;
    case FRA_SRC:
      rule.from->address = address_of(value);
      return true;
    case FRA_IIFNAME:
      rule.ingress = ifindex_of(value).value_or(UINT32_MAX);
      return true;
    case FRA_OIFNAME:
      rule.egress = ifindex_of(value).value_or(UINT32_MAX);
      return true;
    case FRA_GOTO:
      rule.target = number;
      return true;
    case FRA_PRIORITY:
      rule.priority = number;
      return true;
    case FRA_FWMARK:
      rule.mark = number;
      return true;
    case FRA_FWMASK:
      rule.mark_mask = number;
      return true;
    case FRA_TABLE:
      rule.table = number;
      return true;
    case FRA_SUPPRESS_PREFIXLEN:
      if (number != UINT32_MAX) rule.suppressed_bits = number;
      return true;
    case FRA_SUPPRESS_IFGROUP:
      if (number != UINT32_MAX) rule.suppressed_group = number;
      return true;
    case FRA_L3MDEV:
      rule.is_vrf = attribute_number<std::uint8_t>(value) != 0;
      return true;
    default:
      return read_rule_range(type, value, rule);
  }
}

// Ranges, and what tells a rule that is not known here.
bool HostReader::read_rule_range(std::uint16_t type, ByteSpan value, RouteRule& rule) {
  constexpr std::uint16_t kAllPorts = 0xffff;
  const auto ports = [&]() -> std::optional<RouteRange> {
    if (value.size() < 2 * sizeof(std::uint16_t)) return std::nullopt;
    return RouteRange{load_unaligned<std::uint16_t>(value.data()),
                      load_unaligned<std::uint16_t>(value.data() + sizeof(std::uint16_t))};
  };
  switch (type) {
    case FRA_UID_RANGE:
      rule.users = RouteRange{word_at(value, 0), word_at(value, 1)};
      return true;
    case FRA_IP_PROTO:
      rule.protocol = attribute_number<std::uint8_t>(value);
      return true;
    case FRA_SPORT_RANGE:
      rule.source_ports = ports();
      return true;
    case FRA_DPORT_RANGE:
      rule.destination_ports = ports();
      return true;
    case kRuleDscp:
      rule.tos = static_cast<std::uint8_t>(attribute_number<std::uint8_t>(value) << kDscpShift);
      return rule.tos != 0;
    case kRuleDscpMask:
      return attribute_number<std::uint8_t>(value) == 0x3f;
    case kRuleSourcePortMask:
    case kRuleDestinationPortMask:
      return attribute_number<std::uint16_t>(value) == kAllPorts;
    case FRA_TUN_ID:
    case kRuleFlowLabel:
      return false;
    default:
      return true;
  }
}

void HostReader::read_rule(const fib_rule_hdr& message, ByteSpan body,
                           std::vector<RouteRule>& rules) {
  const auto family = family_of(message.family);
  if (!family) return;
  if (!is_length(*family, message.dst_len) || !is_length(*family, message.src_len)) return;
  RouteRule rule;
  rule.family = *family;
  rule.table = message.table;
  rule.tos = message.tos;
  rule.is_inverted = (message.flags & FIB_RULE_INVERT) != 0;
  if (message.dst_len != 0) rule.to = IpPrefix{*family, message.dst_len, {}};
  if (message.src_len != 0) rule.from = IpPrefix{*family, message.src_len, {}};
  switch (message.action) {
    case FR_ACT_TO_TBL:
      rule.action = RuleAction::kTable;
      break;
    case FR_ACT_GOTO:
      rule.action = RuleAction::kGoto;
      break;
    case FR_ACT_NOP:
      rule.action = RuleAction::kNothing;
      break;
    case FR_ACT_UNREACHABLE:
      rule.action = RuleAction::kUnreachable;
      break;
    case FR_ACT_PROHIBIT:
      rule.action = RuleAction::kProhibit;
      break;
    case FR_ACT_BLACKHOLE:
      rule.action = RuleAction::kBlackhole;
      break;
    default:
      return leave_out("rule of an unknown action");
  }
  bool is_known = true;
  for_each_attribute(body, sizeof message, [&](std::uint16_t type, ByteSpan value) {
    const bool names_prefix = type == FRA_DST || type == FRA_SRC;
    if (names_prefix && !(type == FRA_DST ? rule.to : rule.from)) return;
    is_known = read_rule_attribute(type, value, rule) && is_known;
  });
  if (!is_known) return leave_out("rule by tunnel, flow label, DSCP 0 or masked ports");
  rules.push_back(rule);
}

Result<RouteTable> HostReader::read() {
  const auto setting = read_file("/proc/sys/net/ipv4/ip_forward_use_pmtu", 16);
  uses_path_mtu_ = setting && !setting->empty() && setting->front() != '0';
  LMN_CHECK_OK(dump<ifinfomsg>(
      RTM_GETLINK, AF_UNSPEC, "devices", [&] { links_.clear(); },
      [&](const ifinfomsg& message, ByteSpan body) { read_link(message, body); }));
  RouteTable table;
  for (auto& [ifindex, link] : links_) {
    const auto master = links_.find(link.own_vrf_table != 0 ? ifindex : link.master);
    if (master != links_.end() && master->second.own_vrf_table != 0) {
      link.device.vrf = master->first;
      link.device.vrf_table = master->second.own_vrf_table;
    }
    table.add_device(link.device);
  }
  std::vector<RouteRule> rules;
  LMN_CHECK_OK(dump<fib_rule_hdr>(
      RTM_GETRULE, AF_UNSPEC, "routing rules", [&] { rules.clear(); },
      [&](const fib_rule_hdr& message, ByteSpan body) { read_rule(message, body, rules); }));
  // Rules come before routes: with rules of its own, IPv4 looks into "local" and "main" apart.
  table.set_rules(rules);
  std::vector<Route> routes;
  LMN_CHECK_OK(dump<rtmsg>(
      RTM_GETROUTE, AF_UNSPEC, "routes", [&] { routes.clear(); },
      [&](const rtmsg& message, ByteSpan body) { read_route(message, body, routes); }));
  for (const Route& route : routes) table.add_route(route);

  std::vector<std::pair<ifaddrmsg, std::vector<std::uint8_t>>> addresses;
  LMN_CHECK_OK(dump<ifaddrmsg>(
      RTM_GETADDR, AF_UNSPEC, "addresses", [&] { addresses.clear(); },
      [&](const ifaddrmsg& message, ByteSpan body) {
        addresses.emplace_back(message, std::vector<std::uint8_t>(body.begin(), body.end()));
      }));
  for (const auto& [message, body] : addresses) read_address(message, body, table);

  struct Neighbour {
    ndmsg message;
    IpAddress address{};
    MacAddress mac{};
  };
  std::vector<Neighbour> neighbours;
  LMN_CHECK_OK(dump<ndmsg>(
      RTM_GETNEIGH, AF_UNSPEC, "neighbours", [&] { neighbours.clear(); },
      [&](const ndmsg& message, ByteSpan body) {
        Neighbour neighbour{message};
        if (!family_of(message.ndm_family) || (message.ndm_state & kValidNeighbour) == 0) return;
        for_each_attribute(body, sizeof message, [&](std::uint16_t type, ByteSpan value) {
          if (type == NDA_DST) neighbour.address = address_of(value);
          if (type == NDA_LLADDR && value.size() == neighbour.mac.size()) {
            std::ranges::copy(value, neighbour.mac.begin());
          }
        });
        neighbours.push_back(neighbour);
      }));
  for (const Neighbour& neighbour : neighbours) {
    table.add_neighbour(static_cast<std::uint32_t>(neighbour.message.ndm_ifindex),
                        *family_of(neighbour.message.ndm_family), neighbour.address, neighbour.mac);
  }
  for (const auto& [what, count] : left_out_counts_) {
    left_out_.push_back(fmt::format("{} x {}", count, what));
  }
  return table;
}

}  // namespace

Result<RouteTable> RouteTable::from_host(std::vector<std::string>& left_out) {
  return from_netlink(HostNetlink{}, left_out);
}

Result<RouteTable> RouteTable::from_netlink(const NetlinkSource& netlink,
                                            std::vector<std::string>& left_out) {
  return HostReader(netlink, left_out).read();
}

}  // namespace lmn
