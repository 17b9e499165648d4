// SPDX-License-Identifier: Apache-2.0
//
// A loop that waits for a value that never changes.
// Tested by messages_test.cc.
#include "program.h"

static volatile const __u32 limit = 1;

SEC("xdp")
int xdp_prog(struct xdp_md* ctx) {
  __u32 packets = 0;

  while (packets < 8) {
    asm volatile("" : "+r"(packets));  // guilty
  }
  return packets + limit;
}
