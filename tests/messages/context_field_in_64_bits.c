// SPDX-License-Identifier: Apache-2.0
//
// A field of the context is read with the wrong width.
// Tested by messages_test.cc.
#include "program.h"

SEC("xdp")
int xdp_prog(struct xdp_md* ctx) {
  void* data = *(void**)ctx;  // guilty

  return data ? XDP_PASS : XDP_DROP;
}
