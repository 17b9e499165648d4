// SPDX-License-Identifier: Apache-2.0
//
// A field of struct __sk_buff, which XDP programs do not have.
// Tested by messages_test.cc.
#include "program.h"

SEC("xdp")
int xdp_prog(struct xdp_md* ctx) {
  struct __sk_buff* skb = (void*)ctx;

  return skb->vlan_present ? XDP_DROP : XDP_PASS;  // guilty
}
