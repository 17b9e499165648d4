// SPDX-License-Identifier: Apache-2.0
//
// The index is an int and only its upper end is compared.
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
  __u32 key = 0;
  int index = ctx->rx_queue_index;
  struct table* table = bpf_map_lookup_elem(&tables, &key);

  if (!table || index >= 16) return XDP_PASS;
  return table->port[index] ? XDP_DROP : XDP_PASS;  // guilty
}
