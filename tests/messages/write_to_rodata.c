// SPDX-License-Identifier: Apache-2.0
//
// A counter that is const, and so lies in .rodata.
// Tested by messages_test.cc.
#include "program.h"

const volatile __u32 packets;

SEC("xdp")
int xdp_prog(struct xdp_md* ctx) {
  *(volatile __u32*)&packets += 1;  // guilty
  return XDP_PASS;
}
