// SPDX-License-Identifier: Apache-2.0
//
// Arithmetic that pointers do not allow.
// check: --untrusted
// Tested by messages_test.cc.
#include "program.h"

SEC("xdp")
int xdp_prog(struct xdp_md* ctx) {
  unsigned long data = (unsigned long)DATA(ctx);
  __u8* at;

  asm volatile("%0 /= 2" : "+r"(data));  // guilty
  at = (__u8*)data;
  if ((void*)(at + 1) > DATA_END(ctx)) return XDP_PASS;
  return *at;
}
