// SPDX-License-Identifier: Apache-2.0
//
// One path returns with the lock held.
// Tested by messages_test.cc.
#include "program.h"

struct locked {
  struct bpf_spin_lock lock;
  __u64 packets;
};

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct locked);
} state SEC(".maps");

SEC("xdp")
int xdp_prog(struct xdp_md* ctx) {
  __u32 key = 0;
  struct locked* value = bpf_map_lookup_elem(&state, &key);

  if (!value) return XDP_PASS;
  bpf_spin_lock(&value->lock);
  if (value->packets++ > 100) return XDP_DROP;  // guilty
  bpf_spin_unlock(&value->lock);
  return XDP_PASS;
}
