// SPDX-License-Identifier: Apache-2.0
//
// A variable offset with a signed upper bound only: it may be negative.
// Tested by messages_test.cc.
#include "program.h"

SEC("xdp")
int xdp_prog(struct xdp_md* ctx) {
  __u8* data = DATA(ctx);
  long offset = (int)ctx->rx_queue_index;

  if (offset > 64) return XDP_PASS;
  data += offset;  // guilty
  if ((void*)(data + 1) > DATA_END(ctx)) return XDP_PASS;
  return *data ? XDP_DROP : XDP_PASS;
}
