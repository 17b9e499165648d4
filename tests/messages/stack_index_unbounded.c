// SPDX-License-Identifier: Apache-2.0
//
// The index into an array on the stack is never compared.
// Tested by messages_test.cc.
#include "program.h"

SEC("xdp")
int xdp_prog(struct xdp_md* ctx) {
  __u8 seen[16] = {};

  if (bpf_xdp_load_bytes(ctx, 0, seen, sizeof(seen))) return XDP_PASS;
  return seen[ctx->rx_queue_index] ? XDP_DROP : XDP_PASS;  // guilty
}
