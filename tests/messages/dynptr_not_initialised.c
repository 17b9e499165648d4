// SPDX-License-Identifier: Apache-2.0
//
// A dynptr is read before it was made.
// Tested by messages_test.cc.
#include "program.h"

SEC("xdp")
int xdp_prog(struct xdp_md* ctx) {
  struct bpf_dynptr bytes;
  __u32 word = 0;

  bpf_dynptr_read(&word, sizeof(word), &bytes, 0, 0);  // guilty
  return word ? XDP_DROP : XDP_PASS;
}
