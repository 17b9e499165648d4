// SPDX-License-Identifier: Apache-2.0
//
// The map has values of 64 bytes, the program stores four.
// Tested by messages_test.cc.
#include "program.h"

struct table {
  __u32 port[16];
};

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct table);
} tables SEC(".maps");

SEC("xdp")
int xdp_prog(struct xdp_md* ctx) {
  __u32 key = 0, one = 1;

  return bpf_map_update_elem(&tables, &key, &one, BPF_ANY) ? XDP_DROP : XDP_PASS;  // guilty
}
