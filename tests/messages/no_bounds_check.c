// SPDX-License-Identifier: Apache-2.0
//
// ethertype_count without the comparison with data_end.
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
  struct ethhdr* eth = DATA(ctx);
  __u16 type = eth->h_proto;  // guilty
  __u64* packets = bpf_map_lookup_elem(&counts, &type);

  if (packets) __sync_fetch_and_add(packets, 1);
  return XDP_PASS;
}
