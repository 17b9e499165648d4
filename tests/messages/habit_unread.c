// SPDX-License-Identifier: Apache-2.0
//
// Results that say whether the packet was resized, written, or the entry stored.
// Tested by messages_test.cc.
#include "program.h"

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 256);
  __type(key, __u16);
  __type(value, __u64);
} counts SEC(".maps");

SEC("xdp")
int xdp_prog(struct xdp_md* ctx) {
  __u16 type = 1;
  __u64 one = 1;

  bpf_xdp_adjust_tail(ctx, 4);                         // warning: unread-result
  bpf_map_update_elem(&counts, &type, &one, BPF_ANY);  // warning: unread-result
  bpf_xdp_store_bytes(ctx, 0, &one, sizeof(one));      // warning: unread-result
  bpf_xdp_adjust_head(ctx, -4);                        // warning: unread-result
  return XDP_PASS;
}
