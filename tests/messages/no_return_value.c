// SPDX-License-Identifier: Apache-2.0
//
// A program in assembly that ends without a result: r0 was never set.
// Tested by messages_test.cc.
#include "program.h"

// clang-format off
SEC("xdp")
__attribute__((naked)) int xdp_prog(struct xdp_md* ctx) {
  asm volatile("exit");  // guilty
}
