// SPDX-License-Identifier: Apache-2.0
//
// A helper for GPL-compatible programs only.
// Tested by messages_test.cc.
#define LICENSE "Proprietary"
#include "program.h"

SEC("xdp")
int xdp_prog(struct xdp_md* ctx) {
  bpf_printk("queue %d", ctx->rx_queue_index);  // guilty
  return XDP_PASS;
}
