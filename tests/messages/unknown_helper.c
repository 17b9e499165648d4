// SPDX-License-Identifier: Apache-2.0
//
// A helper that XDP programs do not have.
// Tested by messages_test.cc.
#include "program.h"

SEC("xdp")
int xdp_prog(struct xdp_md* ctx) {
  return bpf_skb_load_bytes((void*)ctx, 0, ctx, 4) ? XDP_DROP : XDP_PASS;  // guilty
}
