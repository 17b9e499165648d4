// SPDX-License-Identifier: Apache-2.0
//
// dns_reply that keeps its pointer over bpf_xdp_adjust_tail.
// Tested by messages_test.cc.
#include "program.h"

SEC("xdp")
int xdp_prog(struct xdp_md* ctx) {
  struct iphdr* ip = DATA(ctx) + sizeof(struct ethhdr);

  if ((void*)(ip + 1) > DATA_END(ctx)) return XDP_PASS;
  if (bpf_xdp_adjust_tail(ctx, 16)) return XDP_DROP;
  ip->ttl = 64;  // guilty
  return XDP_TX;
}
