// SPDX-License-Identifier: Apache-2.0
//
// The same helpers as they should be used: nothing to say.
// Tested by messages_test.cc.
#include "program.h"

struct {
  __uint(type, BPF_MAP_TYPE_DEVMAP);
  __uint(max_entries, 8);
  __type(key, __u32);
  __type(value, __u32);
} out_port SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 256);
  __type(key, __u16);
  __type(value, __u64);
} counts SEC(".maps");

SEC("xdp")
int xdp_prog(struct xdp_md* ctx) {
  struct ethhdr* eth = DATA(ctx);
  __u16 type = 1;
  __u64 one = 1;
  __u32 port = 0;

  if ((void*)(eth + 1) > DATA_END(ctx)) return XDP_DROP;
  if (bpf_xdp_adjust_tail(ctx, 4)) return XDP_ABORTED;
  if (bpf_map_update_elem(&counts, &type, &one, BPF_NOEXIST)) return XDP_PASS;
  if (bpf_map_lookup_elem(&out_port, &port)) return bpf_redirect_map(&out_port, port, 0);
  return bpf_redirect_map(&out_port, 1, XDP_DROP);
}
