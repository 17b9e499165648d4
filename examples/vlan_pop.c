// SPDX-License-Identifier: Apache-2.0
//
// Takes the outermost VLAN tag off every tagged frame and passes it; counts frames per VLAN id.
//
// What it teaches: giving room back at the head, the mirror image of vlan_push.c. The MAC addresses
// are kept on the stack, bpf_xdp_adjust_head(+4) cuts four bytes off the front, and the addresses
// are written to the new start. Of two tags (802.1ad outside, 802.1Q inside) only the outer one
// goes.
//
// A network card may take the tag out of the frame before XDP sees it (`ethtool -K DEV rxvlan off`
// stops that); such a frame arrives untagged and passes as it is.
// Tested by tests/examples/examples_test.cc.
#include <linux/bpf.h>
#include <linux/if_ether.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "vlan.h"

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_HASH);
  __uint(max_entries, VLAN_ID_MASK + 1);
  __type(key, __u16);    // VLAN id
  __type(value, __u64);  // frames untagged, per CPU
} vlan_cnt SEC(".maps");

static void count(__u16 vlan_id) {
  __u64 one = 1;
  __u64* frames = bpf_map_lookup_elem(&vlan_cnt, &vlan_id);

  // Each CPU has a slot of its own, so a plain addition is enough. BPF_ANY may lose to another CPU
  // that creates the entry now, whose own slot it does not touch.
  if (frames)
    *frames += 1;
  else
    bpf_map_update_elem(&vlan_cnt, &vlan_id, &one, BPF_ANY);
}

SEC("xdp")
int vlan_pop(struct xdp_md* ctx) {
  void* data = (void*)(long)ctx->data;
  void* data_end = (void*)(long)ctx->data_end;
  struct vlan_ethhdr* tagged = data;
  struct mac_addresses macs;
  __u16 vlan_id;

  if ((void*)(tagged + 1) > data_end) return XDP_PASS;
  if (tagged->tag_protocol != bpf_htons(ETH_P_8021Q) &&
      tagged->tag_protocol != bpf_htons(ETH_P_8021AD))
    return XDP_PASS;
  macs = tagged->macs;
  vlan_id = bpf_ntohs(tagged->tag_control) & VLAN_ID_MASK;

  if (bpf_xdp_adjust_head(ctx, VLAN_TAG_BYTES)) return XDP_ABORTED;
  data = (void*)(long)ctx->data;
  data_end = (void*)(long)ctx->data_end;
  if (data + sizeof(struct ethhdr) > data_end) return XDP_ABORTED;
  *(struct mac_addresses*)data = macs;
  count(vlan_id);
  return XDP_PASS;
}

char LICENSE[] SEC("license") = "Apache-2.0";
