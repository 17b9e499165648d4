// SPDX-License-Identifier: Apache-2.0
//
// A record of a ring buffer that may be full.
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

  record->length = 1;  // guilty
  bpf_ringbuf_submit(record, 0);
  return XDP_PASS;
}
