// SPDX-License-Identifier: Apache-2.0
//
// Puts an 802.1Q VLAN tag on every untagged frame and passes it.
//
// What it teaches: making room at the head. bpf_xdp_adjust_head(-4) moves the start of the packet
// four bytes into the head-room; no byte of the payload is copied, only the two MAC addresses move
// to the new start.
//
//   before            | dst src | type | payload ...
//   after   | dst src | 8100 id | type | payload ...
//
// All packet pointers die with bpf_xdp_adjust_head: they are read again from the context and
// checked again. When the head-room is used up the call fails, the frame is as it was, and the
// verdict is XDP_ABORTED: an untagged frame must not leak into a network that expects the tag, and
// the loss shows up as an error.
// Tested by tests/examples/examples_test.cc.
#include <linux/bpf.h>
#include <linux/if_ether.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "vlan.h"

const volatile __u16 vlan_id = 100;

SEC("xdp")
int vlan_push(struct xdp_md* ctx) {
  void* data = (void*)(long)ctx->data;
  void* data_end = (void*)(long)ctx->data_end;
  struct ethhdr* eth = data;
  struct vlan_ethhdr* tagged;
  struct mac_addresses macs;

  if ((void*)(eth + 1) > data_end) return XDP_PASS;
  if (eth->h_proto == bpf_htons(ETH_P_8021Q) || eth->h_proto == bpf_htons(ETH_P_8021AD))
    return XDP_PASS;
  macs = *(struct mac_addresses*)data;

  if (bpf_xdp_adjust_head(ctx, -VLAN_TAG_BYTES)) return XDP_ABORTED;
  data = (void*)(long)ctx->data;
  data_end = (void*)(long)ctx->data_end;
  tagged = data;
  if ((void*)(tagged + 1) > data_end) return XDP_ABORTED;

  // The EtherType is where it was and already in its place behind the tag.
  tagged->macs = macs;
  tagged->tag_protocol = bpf_htons(ETH_P_8021Q);
  tagged->tag_control = bpf_htons(vlan_id & VLAN_ID_MASK);
  return XDP_PASS;
}

char LICENSE[] SEC("license") = "Apache-2.0";
