// SPDX-License-Identifier: Apache-2.0
//
// Two functions whose buffers together are larger than the stack.
// Tested by messages_test.cc.
#include "program.h"

static __attribute__((noinline)) int sum_of(struct xdp_md* ctx) {
  char text[320] = {};

  bpf_xdp_load_bytes(ctx, 0, text, sizeof(text));
  return text[ctx->rx_queue_index & 63];
}

SEC("xdp")
int xdp_prog(struct xdp_md* ctx) {
  char first[256] = {};

  bpf_xdp_load_bytes(ctx, 0, first, sizeof(first));
  if (sum_of(ctx) == first[ctx->rx_queue_index & 63]) return XDP_DROP;  // guilty
  return XDP_PASS;
}
