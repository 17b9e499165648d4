// SPDX-License-Identifier: Apache-2.0
//
// A program that the kernel runs as it is: no helper, no map, no access to the context, so that
// bpftool's graph of the loaded program is one of the object's own instructions. It has branches
// both ways, a loop, exits in the middle, functions called out of order, a block that ends in a
// load of two slots, and characters that graphviz wants escaped. No block ends in a call:
// bpftool 7.1 crashes on those. What it computes means nothing; unknown numbers come from bytes of
// the stack that nobody wrote, which the kernel allows to privileged users.
#include <linux/bpf.h>

#define UNKNOWN(into, at) asm volatile("%0 = *(u32 *)(r10 - " #at ")" : "=r"(into))

static __attribute__((noinline)) int near(int a) {
  int b;
  UNKNOWN(b, 8);
  if (b > 5) a = (a ^ b) | 1;
  return a + 1;
}

static __attribute__((noinline)) int far(int a) {
  int sum = 0;
#pragma clang loop unroll(disable)
  for (int i = 0; i < 3; i++) {
    int b;
    UNKNOWN(b, 16);
    if (b == a) break;
    sum |= b & 3;
  }
  return sum + 1;
}

__attribute__((section("xdp"))) int branches(struct xdp_md* ctx) {
  int a;
  int b;
  UNKNOWN(a, 8);
  UNKNOWN(b, 24);
  if (a & 1) b = far(b & 7) + 3;
  if (b > 77) {
    b = near(b) - 1;
    b ^= far(a) - 2;
  }
  asm volatile goto("if %0 == 7 goto +2; r0 = 0x123456789 ll; if %0 > 200 goto %l[done]"
                    :
                    : "r"(b)
                    : "r0"
                    : done);
  asm volatile goto("if %0 s< 4 goto %l[done]; if %0 > 100 goto %l[done]; r0 = 1; exit"
                    :
                    : "r"(b)
                    : "r0"
                    : done);
done:
  return a >> 3;
}

char _license[] __attribute__((section("license"))) = "GPL";
