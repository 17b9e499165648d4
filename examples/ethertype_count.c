// SPDX-License-Identifier: Apache-2.0
//
// Counts packets per EtherType and lets all of them pass: the "hello, world" of XDP.
//
// What it teaches: reading a packet header safely, a hash map shared with user space, and counting
// without losing anything. Two details are easily got wrong:
//
// - The first packet of a type finds no entry. It must create one that already says 1: an entry
//   created with 0 would miss that packet. BPF_NOEXIST makes creation safe against another CPU that
//   creates the same entry at the same moment: the loser gets -EEXIST and finds the winner's entry
//   when it looks again.
// - CPUs share the entry, so the addition is atomic. A per-CPU map would be faster and need a sum
//   when read.
//
// What could not be counted because the table was full is counted too, in the global variable
// `not_counted`. A VLAN tag counts as what stands in the Ethernet header: 0x8100.
// Tested by tests/examples/examples_test.cc.
#include <linux/bpf.h>
#include <linux/if_ether.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 256);
  __type(key, __u16);    // EtherType in host order: 0x0800 is IPv4, 0x86dd IPv6, 0x0806 ARP
  __type(value, __u64);  // packets
} ethertype_cnt SEC(".maps");

__u64 not_counted;

static void count(__u16 ethertype) {
  __u64 one = 1;
  __u64* packets = bpf_map_lookup_elem(&ethertype_cnt, &ethertype);

  if (!packets) {
    if (bpf_map_update_elem(&ethertype_cnt, &ethertype, &one, BPF_NOEXIST) == 0) return;
    packets = bpf_map_lookup_elem(&ethertype_cnt, &ethertype);
  }
  if (packets)
    __sync_fetch_and_add(packets, 1);
  else
    __sync_fetch_and_add(&not_counted, 1);
}

SEC("xdp")
int ethertype_count(struct xdp_md* ctx) {
  void* data = (void*)(long)ctx->data;
  void* data_end = (void*)(long)ctx->data_end;
  struct ethhdr* eth = data;

  if ((void*)(eth + 1) > data_end) return XDP_PASS;
  count(bpf_ntohs(eth->h_proto));
  return XDP_PASS;
}

char LICENSE[] SEC("license") = "Apache-2.0";
