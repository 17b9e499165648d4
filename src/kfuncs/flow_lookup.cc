// SPDX-License-Identifier: Apache-2.0
//
// Kfunc of flow tables: where packets of an established flow go on.
//
// Tested by table_kfuncs_test.cc. Source: Linux 6.18, net/netfilter/nf_flow_table_bpf.c.
#include <linux/bpf.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "kfuncs/bodies.h"
#include "packet/flow_table.h"

namespace lmn {
namespace {

// struct bpf_flowtable_opts is this number alone.
constexpr std::uint32_t kOptionsBytes = sizeof(std::int32_t);

std::uint64_t fail(std::uint64_t options, std::uint32_t options_bytes, int errno_value) {
  const std::int32_t error = -errno_value;
  if (options_bytes >= kOptionsBytes) {
    std::memcpy(kfunc::as_pointer<void>(options), &error, sizeof error);
  }
  return 0;
}

}  // namespace

LMN_KFUNC_BODY(bpf_xdp_flow_lookup) {
  const std::uint32_t options_bytes = kfunc::as_u32(r4);
  if (options_bytes != kOptionsBytes) return fail(r3, options_bytes, EINVAL);
  struct bpf_fib_lookup asked;  // a copy: the program's may lie anywhere
  std::memcpy(&asked, kfunc::as_pointer<const void>(r2), sizeof asked);
  FlowKey key;
  key.ingress = asked.ifindex;
  key.tuple.protocol = asked.l4_protocol;
  key.tuple.source_port = asked.sport;
  key.tuple.destination_port = asked.dport;
  if (asked.family == AF_INET) {
    std::memcpy(key.tuple.source.data(), &asked.ipv4_src, sizeof asked.ipv4_src);
    std::memcpy(key.tuple.destination.data(), &asked.ipv4_dst, sizeof asked.ipv4_dst);
  } else if (asked.family == AF_INET6) {
    key.tuple.family = IpFamily::kIpv6;
    std::memcpy(key.tuple.source.data(), asked.ipv6_src, sizeof asked.ipv6_src);
    std::memcpy(key.tuple.destination.data(), asked.ipv6_dst, sizeof asked.ipv6_dst);
  } else {
    return fail(r3, options_bytes, EAFNOSUPPORT);
  }
  const std::uint8_t* flow = context->flows == nullptr ? nullptr : context->flows->find(key);
  if (flow == nullptr) return fail(r3, options_bytes, ENOENT);
  return reinterpret_cast<std::uintptr_t>(flow);
}

}  // namespace lmn
