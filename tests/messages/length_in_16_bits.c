// SPDX-License-Identifier: Apache-2.0
//
// Two lengths of 16 bits are added up: their sum does not fit what comparisons can prove.
// Tested by messages_test.cc.
#include "program.h"

SEC("xdp")
int xdp_prog(struct xdp_md* ctx) {
  __u16* lengths = DATA(ctx);
  __u8* at;

  if ((void*)(lengths + 2) > DATA_END(ctx)) return XDP_PASS;
  at = (void*)lengths + lengths[0] + lengths[1];
  if ((void*)(at + 1) > DATA_END(ctx)) return XDP_PASS;
  return *at ? XDP_DROP : XDP_PASS;  // guilty
}
