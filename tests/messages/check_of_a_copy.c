// SPDX-License-Identifier: Apache-2.0
//
// icmp_echo_drop with the offset computed twice: the check is done on one sum, the read on
// another.
// Tested by messages_test.cc.
#include "program.h"

SEC("xdp")
int xdp_prog(struct xdp_md* ctx) {
  __u8* data = DATA(ctx);
  void* data_end = DATA_END(ctx);
  __u32 port = ctx->rx_queue_index & 31;
  __u32 other = ctx->ingress_ifindex & 31;

  if ((void*)(data + port + 1) > data_end) return XDP_PASS;
  if (data[other] == 8) return XDP_DROP;  // guilty
  return XDP_PASS;
}
