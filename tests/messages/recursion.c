// SPDX-License-Identifier: Apache-2.0
//
// A function that calls itself.
// Tested by messages_test.cc.
#include "program.h"

static __attribute__((noinline)) int depth(struct xdp_md* ctx, int level) {
  if (level > 3) return level;
  return depth(ctx, level + 1) - depth(ctx, level + 2);  // guilty
}

SEC("xdp")
int xdp_prog(struct xdp_md* ctx) { return depth(ctx, 0) & 1 ? XDP_DROP : XDP_PASS; }
