// SPDX-License-Identifier: Apache-2.0
//
// A redirect that loses the packet when the slot is empty.
// Tested by messages_test.cc.
#include "program.h"

struct {
  __uint(type, BPF_MAP_TYPE_DEVMAP);
  __uint(max_entries, 8);
  __type(key, __u32);
  __type(value, __u32);
} out_port SEC(".maps");

SEC("xdp")
int xdp_prog(struct xdp_md* ctx) {
  return bpf_redirect_map(&out_port, ctx->rx_queue_index, 0);  // warning: redirect-fallback
}
