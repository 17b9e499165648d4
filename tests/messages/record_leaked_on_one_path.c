// SPDX-License-Identifier: Apache-2.0
//
// A record of a ring buffer is submitted on all paths but one.
// Tested by messages_test.cc.
#include "program.h"

struct record {
  __u32 length;
};

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 4096);
} records SEC(".maps");

SEC("xdp")
int xdp_prog(struct xdp_md* ctx) {
  struct record* record = bpf_ringbuf_reserve(&records, sizeof(*record), 0);

  if (!record) return XDP_PASS;
  if (ctx->rx_queue_index == 7) return XDP_DROP;  // guilty
  record->length = ctx->data_end - ctx->data;
  bpf_ringbuf_submit(record, 0);
  return XDP_PASS;
}
