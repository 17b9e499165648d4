// SPDX-License-Identifier: Apache-2.0
//
// One field of a key is never set, and the lookup reads it. Loaders without CAP_PERFMON may not.
// check: --untrusted
// Tested by messages_test.cc.
#include "program.h"

struct flow {
  __u64 source;
  __u64 queue;
};

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 256);
  __type(key, struct flow);
  __type(value, __u64);
} flows SEC(".maps");

SEC("xdp")
int xdp_prog(struct xdp_md* ctx) {
  struct flow key;

  key.queue = ctx->rx_queue_index;
  if (bpf_map_lookup_elem(&flows, &key)) return XDP_DROP;  // guilty
  return XDP_PASS;
}
