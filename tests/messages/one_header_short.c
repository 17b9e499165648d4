// SPDX-License-Identifier: Apache-2.0
//
// icmp_echo_drop that checks the Ethernet header and reads the one behind it.
// Tested by messages_test.cc.
#include "program.h"

SEC("xdp")
int xdp_prog(struct xdp_md* ctx) {
  struct ethhdr* eth = DATA(ctx);
  struct iphdr* ip = (void*)(eth + 1);

  if ((void*)(eth + 1) > DATA_END(ctx)) return XDP_PASS;
  if (ip->protocol == IPPROTO_ICMP) return XDP_DROP;  // guilty
  return XDP_PASS;
}
