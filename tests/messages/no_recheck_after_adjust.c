// SPDX-License-Identifier: Apache-2.0
//
// vlan_push that reads ctx->data again after bpf_xdp_adjust_head, but does not compare again.
// Tested by messages_test.cc.
#include "program.h"

SEC("xdp")
int xdp_prog(struct xdp_md* ctx) {
  struct ethhdr* eth;

  if (bpf_xdp_adjust_head(ctx, -4)) return XDP_DROP;
  eth = DATA(ctx);
  eth->h_proto = bpf_htons(ETH_P_8021Q);  // guilty
  return XDP_PASS;
}
