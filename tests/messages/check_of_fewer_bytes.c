// SPDX-License-Identifier: Apache-2.0
//
// mac_swap_tx that compares one address and reads two.
// Tested by messages_test.cc.
#include "program.h"

SEC("xdp")
int xdp_prog(struct xdp_md* ctx) {
  struct ethhdr* eth = DATA(ctx);

  if ((void*)eth + ETH_ALEN > DATA_END(ctx)) return XDP_PASS;
  if (eth->h_source[5] & 1) return XDP_DROP;  // guilty
  return XDP_PASS;
}
