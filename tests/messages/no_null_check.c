// SPDX-License-Identifier: Apache-2.0
//
// ethertype_count that trusts the lookup.
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
  __u64* packets = bpf_map_lookup_elem(&counts, &type);

  *packets += 1;  // guilty
  return XDP_PASS;
}
