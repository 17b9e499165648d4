// SPDX-License-Identifier: Apache-2.0
//
// An IPv4 forwarder as XDP programs write it: looks up the route, writes the frame's addresses and
// redirects. For tests/inspect/route_command_test.cc.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define FAMILY_INET 2

SEC("xdp")
int forward(struct xdp_md* ctx) {
  void* data = (void*)(long)ctx->data;
  void* end = (void*)(long)ctx->data_end;
  struct ethhdr* ethernet = data;
  struct iphdr* ip = (void*)(ethernet + 1);
  if ((void*)(ip + 1) > end) return XDP_PASS;
  struct bpf_fib_lookup params = {.family = FAMILY_INET};
  params.tot_len = bpf_ntohs(ip->tot_len);
  params.ifindex = 2;
  params.tos = ip->tos;
  params.ipv4_src = ip->saddr;
  params.ipv4_dst = ip->daddr;
  switch (bpf_fib_lookup(ctx, &params, sizeof(params), 0)) {
    case BPF_FIB_LKUP_RET_SUCCESS:
      __builtin_memcpy(ethernet->h_dest, params.dmac, ETH_ALEN);
      __builtin_memcpy(ethernet->h_source, params.smac, ETH_ALEN);
      return XDP_TX;
    case BPF_FIB_LKUP_RET_BLACKHOLE:
      return XDP_DROP;
    default:
      return XDP_PASS;
  }
}

char LICENSE[] SEC("license") = "GPL";
