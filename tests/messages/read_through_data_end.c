// SPDX-License-Identifier: Apache-2.0
//
// The packet is read from its end.
// Tested by messages_test.cc.
#include "program.h"

SEC("xdp")
int xdp_prog(struct xdp_md* ctx) {
  __u8* end = DATA_END(ctx);

  return end[0] ? XDP_DROP : XDP_PASS;  // guilty
}
