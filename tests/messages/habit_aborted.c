// SPDX-License-Identifier: Apache-2.0
//
// A short packet is no error of the program: XDP_ABORTED is the wrong verdict.
// Tested by messages_test.cc.
#include "program.h"

SEC("xdp")
int xdp_prog(struct xdp_md* ctx) {
  struct ethhdr* eth = DATA(ctx);

  if ((void*)(eth + 1) > DATA_END(ctx)) return XDP_ABORTED;  // warning: aborted-verdict
  if (eth->h_proto == bpf_htons(ETH_P_ARP)) return XDP_PASS;
  return XDP_TX;
}
