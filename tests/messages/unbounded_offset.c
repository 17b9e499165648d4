// SPDX-License-Identifier: Apache-2.0
//
// A variable offset from the packet, 32 bits wide, that is never bounded.
// Tested by messages_test.cc.
#include "program.h"

SEC("xdp")
int xdp_prog(struct xdp_md* ctx) {
  __u8* data = DATA(ctx);

  if ((void*)(data + 4) > DATA_END(ctx)) return XDP_PASS;
  data += *(__u32*)data;
  if ((void*)(data + 1) > DATA_END(ctx)) return XDP_PASS;
  return *data ? XDP_DROP : XDP_PASS;  // guilty
}
