// SPDX-License-Identifier: Apache-2.0
//
// The null check is done on the result of another lookup.
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
  __u16 type = 0;
  __u64* found = bpf_map_lookup_elem(&counts, &type);
  __u64* packets = bpf_map_lookup_elem(&counts, &type);

  if (!found) return XDP_PASS;
  __sync_fetch_and_add(packets, 1);  // guilty
  return XDP_PASS;
}
