// SPDX-License-Identifier: Apache-2.0
//
// vlan_pop that keeps its pointer over bpf_xdp_adjust_head.
// Tested by messages_test.cc.
#include "program.h"

SEC("xdp")
int xdp_prog(struct xdp_md* ctx) {
  struct ethhdr* eth = DATA(ctx);

  if ((void*)(eth + 1) > DATA_END(ctx)) return XDP_PASS;
  if (bpf_xdp_adjust_head(ctx, 4)) return XDP_DROP;
  eth->h_proto = bpf_htons(ETH_P_IP);  // guilty
  return XDP_PASS;
}
