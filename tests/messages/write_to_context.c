// SPDX-License-Identifier: Apache-2.0
//
// The context is no place to store into.
// Tested by messages_test.cc.
#include "program.h"

SEC("xdp")
int xdp_prog(struct xdp_md* ctx) {
  ctx->rx_queue_index = 3;  // guilty
  return XDP_PASS;
}
