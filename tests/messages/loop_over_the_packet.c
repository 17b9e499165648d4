// SPDX-License-Identifier: Apache-2.0
//
// A loop whose number of rounds only the packet knows.
// Tested by messages_test.cc.
#include "program.h"

SEC("xdp")
int xdp_prog(struct xdp_md* ctx) {
  __u8* at = DATA(ctx);
  void* data_end = DATA_END(ctx);
  __u32 sum = 0;

  for (__u64 i = 0; i < bpf_ktime_get_ns(); i++) {  // guilty
    if ((void*)(at + 1) > data_end) return XDP_PASS;
    sum += (*at ^ i) * 31;
  }
  return sum & 1 ? XDP_DROP : XDP_PASS;
}
