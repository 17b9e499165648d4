// SPDX-License-Identifier: Apache-2.0
//
// A program with the commonest mistake, and one without, for refusal_command_test.cc.
#include <linux/bpf.h>

#define SEC(name) __attribute__((section(name), used))

SEC("xdp") int reads_unchecked(struct xdp_md* ctx) {
  const unsigned char* data = (const unsigned char*)(long)ctx->data;
  return data[12] == 8 ? XDP_DROP : XDP_PASS;
}

SEC("xdp") int passes(struct xdp_md* ctx) { return XDP_PASS; }

char _license[] SEC("license") = "Apache-2.0";
