// SPDX-License-Identifier: Apache-2.0
//
// A length from the context is given to a helper without an upper bound.
// Tested by messages_test.cc.
#include "program.h"

SEC("xdp")
int xdp_prog(struct xdp_md* ctx) {
  __u8 bytes[64] = {};
  __u32 length = ctx->data_end - ctx->data;

  if (bpf_xdp_load_bytes(ctx, 0, bytes, length)) return XDP_PASS;  // guilty
  return bytes[0] ? XDP_DROP : XDP_PASS;
}
