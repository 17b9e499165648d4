// SPDX-License-Identifier: Apache-2.0
//
// Helpers of redirection: bpf_redirect to an interface, bpf_redirect_map to an entry of a map.
//
// Neither moves the packet. They leave a target in the run's slot and return a verdict for the
// program to return; who ran the program acts on the slot when that verdict is XDP_REDIRECT. The
// last call wins. A bpf_redirect_map that finds its entry empty returns the fallback verdict in the
// low two bits of its flags and clears the slot, so that an earlier target is not used by accident.
// Flags that the call or the map type does not know give XDP_ABORTED and leave the slot alone.
// Tested by helpers_test.cc and tests/differential/helpers_test.cc.
// Source: Linux 6.18, net/core/filter.c (bpf_xdp_redirect), include/linux/filter.h
// (__bpf_xdp_redirect_map), kernel/bpf/devmap.c (dev_map_redirect).
#include <linux/bpf.h>

#include "helpers/bodies.h"
#include "maps/map.h"

namespace lmn {
namespace {

// Fallback verdicts: ABORTED, DROP, PASS, TX.
constexpr std::uint64_t kFallbackMask = 3;

// The redirect flags of a map type besides the fallback verdict.
std::uint64_t redirect_flags(std::uint32_t map_type) {
  const bool is_devmap = map_type == BPF_MAP_TYPE_DEVMAP || map_type == BPF_MAP_TYPE_DEVMAP_HASH;
  return is_devmap ? BPF_F_BROADCAST | BPF_F_EXCLUDE_INGRESS : 0;
}

}  // namespace

LMN_HELPER_BODY(redirect) {
  if (r2 != 0) return XDP_ABORTED;
  RedirectSlot slot;
  slot.kind = RedirectSlot::Kind::kIfindex;
  slot.ifindex = helper::as_u32(r1);
  context->redirect = slot;
  return XDP_REDIRECT;
}

LMN_HELPER_BODY(redirect_map) {
  Map& map = *helper::as_pointer<Map>(r1);
  const std::uint64_t flags = r3;
  if ((flags & ~(kFallbackMask | redirect_flags(map.spec().type))) != 0) return XDP_ABORTED;

  RedirectSlot slot;
  slot.map = &map;
  if ((flags & BPF_F_BROADCAST) != 0) {
    slot.kind = RedirectSlot::Kind::kBroadcast;
    slot.excludes_ingress = (flags & BPF_F_EXCLUDE_INGRESS) != 0;
    context->redirect = slot;
    return XDP_REDIRECT;
  }

  RedirectTarget target;
  // Every map type of the kernel looks the key up as 32 bits.
  if (!map.find_redirect_target(helper::as_u32(r2), target)) {
    context->redirect = {};
    return flags & kFallbackMask;
  }
  slot.kind = RedirectSlot::Kind::kSink;
  slot.ifindex = target.ifindex;
  slot.sink = target.sink;
  slot.program = target.program;
  context->redirect = slot;
  return XDP_REDIRECT;
}

}  // namespace lmn
