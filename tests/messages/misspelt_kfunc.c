// SPDX-License-Identifier: Apache-2.0
//
// A kernel function by a name that is not quite right.
// Tested by messages_test.cc.
#include "program.h"

extern int bpf_xdp_metadata_rx_hsah(const struct xdp_md* ctx, __u32* hash, int* type) __ksym;

SEC("xdp")
int xdp_prog(struct xdp_md* ctx) {
  __u32 hash = 0;
  int type = 0;

  bpf_xdp_metadata_rx_hsah(ctx, &hash, &type);  // guilty
  return hash ? XDP_DROP : XDP_PASS;
}
