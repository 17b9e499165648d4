// SPDX-License-Identifier: Apache-2.0
//
// Sends every unicast frame back to where it came from: swaps the MAC addresses and returns XDP_TX.
//
// What it teaches: writing to the packet, and XDP_TX, which transmits the frame through the port it
// arrived on. With one machine that generates packets and one that runs this, the path through XDP
// can be measured.
//
// Frames to a group address (broadcast, multicast) pass: a group address must never become a source
// address, and ARP and neighbour discovery need them.
// Tested by tests/examples/examples_test.cc.
#include <linux/bpf.h>
#include <linux/if_ether.h>

#include <bpf/bpf_helpers.h>

#define MAC_GROUP_BIT 0x01

SEC("xdp")
int mac_swap_tx(struct xdp_md* ctx) {
  void* data = (void*)(long)ctx->data;
  void* data_end = (void*)(long)ctx->data_end;
  struct ethhdr* eth = data;
  __u8 dest[ETH_ALEN];

  if ((void*)(eth + 1) > data_end) return XDP_PASS;
  if (eth->h_dest[0] & MAC_GROUP_BIT) return XDP_PASS;
  __builtin_memcpy(dest, eth->h_dest, ETH_ALEN);
  __builtin_memcpy(eth->h_dest, eth->h_source, ETH_ALEN);
  __builtin_memcpy(eth->h_source, dest, ETH_ALEN);
  return XDP_TX;
}

char LICENSE[] SEC("license") = "Apache-2.0";
