// SPDX-License-Identifier: Apache-2.0
//
// bpf_fib_lookup: where a packet would be routed to, and with which addresses.
//
// The program fills in a struct bpf_fib_lookup from the packet and gets the egress device, the
// addresses of the next hop's frame and the largest packet that fits. What is written depends on
// how far the look-up came: a packet that is too long learns the MTU and nothing else, one whose
// next hop has no neighbour entry learns the hop but neither MTU nor MAC addresses. The order of
// the steps below is therefore part of the behaviour.
//
// The routes are RunContext::routes. Without them no device is known, which is -ENODEV.
// Tested by fib_lookup_test.cc and tests/differential/fib_lookup_test.cc.
// Source: Linux 6.18, net/core/filter.c (bpf_xdp_fib_lookup).
#include <arpa/inet.h>
#include <linux/bpf.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "helpers/bodies.h"
#include "packet/route_table.h"

namespace lmn {
namespace {

constexpr std::uint64_t kFlags = BPF_FIB_LOOKUP_DIRECT | BPF_FIB_LOOKUP_OUTPUT |
                                 BPF_FIB_LOOKUP_SKIP_NEIGH | BPF_FIB_LOOKUP_TBID |
                                 BPF_FIB_LOOKUP_SRC | BPF_FIB_LOOKUP_MARK;
constexpr std::uint8_t kTosMask = 0xfc;  // the part of the type of service that routes look at
constexpr std::uint32_t kLocalIngress = 1;

// One look-up. `params` is a copy: the program's memory may have any alignment.
struct Lookup {
  const RouteTable& routes;
  struct bpf_fib_lookup& params;
  std::uint64_t flags;

  bool has(std::uint64_t flag) const { return (flags & flag) != 0; }
  IpFamily family() const { return params.family == AF_INET6 ? IpFamily::kIpv6 : IpFamily::kIpv4; }
};

template <typename Words>
IpAddress address_of(const Words& words) {
  static_assert(sizeof(Words) <= sizeof(IpAddress));
  IpAddress address{};
  std::memcpy(address.data(), &words, sizeof words);
  return address;
}

bool is_ipv6(const Lookup& lookup) { return lookup.family() == IpFamily::kIpv6; }

IpAddress destination_of(const Lookup& lookup) {
  return is_ipv6(lookup) ? address_of(lookup.params.ipv6_dst) : address_of(lookup.params.ipv4_dst);
}

IpAddress source_of(const Lookup& lookup) {
  return is_ipv6(lookup) ? address_of(lookup.params.ipv6_src) : address_of(lookup.params.ipv4_src);
}

void set_destination(Lookup& lookup, IpFamily family, const IpAddress& address) {
  if (family == IpFamily::kIpv6) {
    std::memcpy(lookup.params.ipv6_dst, address.data(), sizeof lookup.params.ipv6_dst);
  } else {
    std::memcpy(&lookup.params.ipv4_dst, address.data(), sizeof lookup.params.ipv4_dst);
  }
}

void set_source(Lookup& lookup, const IpAddress& address) {
  if (is_ipv6(lookup)) {
    std::memcpy(lookup.params.ipv6_src, address.data(), sizeof lookup.params.ipv6_src);
  } else {
    std::memcpy(&lookup.params.ipv4_src, address.data(), sizeof lookup.params.ipv4_src);
  }
}

// Multicast, link-local and loopback addresses mean something only on their link.
bool stays_on_link(const IpAddress& address) {
  constexpr IpAddress kLoopback = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  const bool is_multicast = address[0] == 0xff;
  const bool is_link_local = address[0] == 0xfe && (address[1] & 0xc0) == 0x80;
  return is_multicast || is_link_local || address == kLoopback;
}

// The traffic class as the flow information has it.
std::uint8_t ipv6_tos(__be32 flow_information) {
  constexpr int kClassShift = 20;
  return static_cast<std::uint8_t>(ntohl(flow_information) >> kClassShift) & kTosMask;
}

RouteQuery query_of(Lookup& lookup, const RouteDevice& device) {
  struct bpf_fib_lookup& params = lookup.params;
  RouteQuery query;
  query.family = lookup.family();
  query.destination = destination_of(lookup);
  query.source = source_of(lookup);
  const bool is_output = lookup.has(BPF_FIB_LOOKUP_OUTPUT);
  query.ingress = is_output ? kLocalIngress : params.ifindex;
  query.egress = is_output ? params.ifindex : 0;
  query.protocol = params.l4_protocol;
  query.source_port = ntohs(params.sport);
  query.destination_port = ntohs(params.dport);
  query.has_source = !is_ipv6(lookup) || !is_output;
  query.tos = is_ipv6(lookup) ? ipv6_tos(params.flowinfo) : params.tos & kTosMask;
  if (!lookup.has(BPF_FIB_LOOKUP_DIRECT)) {
    if (lookup.has(BPF_FIB_LOOKUP_MARK)) query.mark = params.mark;
    return query;
  }
  query.table = device.vrf_table != 0 ? device.vrf_table : kRouteTableMain;
  if (lookup.has(BPF_FIB_LOOKUP_TBID)) {
    query.table = params.tbid;
    params.tbid = 0;
  }
  return query;
}

// What a route that leads nowhere means; 0 for one that leads on.
int verdict_of(const Route* route) {
  if (route == nullptr) return BPF_FIB_LKUP_RET_NOT_FWDED;
  switch (route->type) {
    case RouteType::kUnicast:
      return BPF_FIB_LKUP_RET_SUCCESS;
    case RouteType::kBlackhole:
      return BPF_FIB_LKUP_RET_BLACKHOLE;
    case RouteType::kUnreachable:
      return BPF_FIB_LKUP_RET_UNREACHABLE;
    case RouteType::kProhibit:
      return BPF_FIB_LKUP_RET_PROHIBIT;
    case RouteType::kLocal:
    case RouteType::kThrow:
      return BPF_FIB_LKUP_RET_NOT_FWDED;
  }
  return BPF_FIB_LKUP_RET_NOT_FWDED;
}

// The addresses of the frame, once the hop is known. `device` is the egress.
int find_frame_addresses(Lookup& lookup, const RouteHop& chosen, const RouteDevice* device) {
  struct bpf_fib_lookup& params = lookup.params;
  const IpFamily hop_family = lookup.family();
  const MacAddress* hop =
      lookup.routes.find_neighbour(chosen.ifindex, hop_family, destination_of(lookup));
  if (hop == nullptr || device == nullptr) return BPF_FIB_LKUP_RET_NO_NEIGH;
  std::memcpy(params.dmac, hop->data(), hop->size());
  std::memcpy(params.smac, device->mac.data(), device->mac.size());
  return BPF_FIB_LKUP_RET_SUCCESS;
}

int follow(Lookup& lookup, const Route& route, const RouteHop& hop) {
  struct bpf_fib_lookup& params = lookup.params;
  const IpAddress destination = destination_of(lookup);
  const std::uint32_t mtu_of_route = lookup.routes.mtu_of(route, hop);
  const auto mtu = static_cast<std::uint16_t>(mtu_of_route);
  if (params.tot_len > mtu_of_route) {
    params.mtu_result = mtu;
    return BPF_FIB_LKUP_RET_FRAG_NEEDED;
  }
  if (hop.has_encap) return BPF_FIB_LKUP_RET_UNSUPP_LWT;
  params.rt_metric = route.metric;
  params.ifindex = hop.ifindex;
  // IPv6 writes the gateway first, but looks the source up for the destination.
  if (lookup.has(BPF_FIB_LOOKUP_SRC)) {
    const IpAddress* source = lookup.routes.select_source(route, hop, destination);
    if (source != nullptr) {
      set_source(lookup, *source);
    } else if (is_ipv6(lookup)) {
      if (hop.has_gateway) set_destination(lookup, hop.gateway_family, hop.gateway);
      return BPF_FIB_LKUP_RET_NO_SRC_ADDR;
    } else {
      set_source(lookup, {});
    }
  }
  if (hop.has_gateway) {
    set_destination(lookup, hop.gateway_family, hop.gateway);
    if (hop.gateway_family == IpFamily::kIpv6) params.family = AF_INET6;
  }
  if (!lookup.has(BPF_FIB_LOOKUP_SKIP_NEIGH)) {
    const int result = find_frame_addresses(lookup, hop, lookup.routes.find_device(hop.ifindex));
    if (result != BPF_FIB_LKUP_RET_SUCCESS) return result;
  }
  params.h_vlan_TCI = 0;
  params.h_vlan_proto = 0;
  params.mtu_result = mtu;
  return BPF_FIB_LKUP_RET_SUCCESS;
}

int look_up(Lookup& lookup) {
  if (is_ipv6(lookup)) {
    if (stays_on_link(destination_of(lookup)) || stays_on_link(source_of(lookup)))
      return BPF_FIB_LKUP_RET_NOT_FWDED;
  }
  const RouteDevice* device = lookup.routes.find_device(lookup.params.ifindex);
  if (device == nullptr) return -ENODEV;
  const bool forwards = is_ipv6(lookup) ? device->forwards_ipv6 : device->forwards_ipv4;
  if (!forwards) return BPF_FIB_LKUP_RET_FWD_DISABLED;
  const RouteQuery query = query_of(lookup, *device);
  const Route* route = lookup.routes.find_route(query);
  const int verdict = verdict_of(route);
  if (verdict != BPF_FIB_LKUP_RET_SUCCESS) return verdict;
  return follow(lookup, *route, RouteTable::choose_hop(*route, query));
}

}  // namespace

LMN_HELPER_BODY(fib_lookup) {
  const std::int32_t size_bytes = helper::as_s32(r3);
  const std::uint32_t flags = helper::as_u32(r4);
  struct bpf_fib_lookup params;
  if (size_bytes < 0 || static_cast<std::size_t>(size_bytes) < sizeof params)
    return helper::failure(EINVAL);
  if ((flags & ~kFlags) != 0) return helper::failure(EINVAL);
  void* memory = helper::as_pointer<void>(r2);
  std::memcpy(&params, memory, sizeof params);
  if (params.family != AF_INET && params.family != AF_INET6) return helper::failure(EAFNOSUPPORT);
  if (context->routes == nullptr) return helper::failure(ENODEV);
  Lookup lookup{*context->routes, params, flags};
  const int result = look_up(lookup);
  std::memcpy(memory, &params, sizeof params);
  return helper::result(result);
}

}  // namespace lmn
