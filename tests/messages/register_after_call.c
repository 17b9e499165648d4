// SPDX-License-Identifier: Apache-2.0
//
// Assembly that reads r1 after a call, which forgets r1 to r5.
// Tested by messages_test.cc.
#include "program.h"

// clang-format off
SEC("xdp")
__attribute__((naked)) int xdp_prog(struct xdp_md* ctx) {
  asm volatile("call 5");
  asm volatile("r0 = *(u32*)(r1 + 0)");  // guilty
  asm volatile("exit");
}
