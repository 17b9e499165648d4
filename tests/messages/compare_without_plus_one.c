// SPDX-License-Identifier: Apache-2.0
//
// The comparison is with the start of the header, not with its end.
// Tested by messages_test.cc.
#include "program.h"

SEC("xdp")
int xdp_prog(struct xdp_md* ctx) {
  struct ethhdr* eth = DATA(ctx);

  if ((void*)eth > DATA_END(ctx)) return XDP_PASS;
  if (eth->h_proto == bpf_htons(ETH_P_ARP)) return XDP_DROP;  // guilty
  return XDP_PASS;
}
