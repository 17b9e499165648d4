// SPDX-License-Identifier: Apache-2.0
//
// The map has keys of four bytes, the program gives it two.
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
  __u16 key = 0;
  asm volatile("" : "+m"(key));
  if (bpf_map_lookup_elem(&tables, &key)) return XDP_DROP;  // guilty
  return XDP_PASS;
}
