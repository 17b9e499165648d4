// SPDX-License-Identifier: Apache-2.0
//
// Drops ICMP echo requests, IPv4 and IPv6: all of them, or every n-th. Everything else passes.
//
// What it teaches: walking from header to header with a bounds check before each step, a header of
// variable length (IPv4 options), a constant that is set before loading, and a per-CPU counter.
//
// `drop_every` is `const volatile`: it lies in .rodata, a loader may write it before the load, and
// the verifier then treats it as a constant, so that unused branches disappear. 1 drops every
// request, 2 every second one, 0 none. The build makes two objects of this file: icmp_echo_drop (1)
// and icmp_drop_every_second (2).
//
// The counters are per CPU, so no addition needs to be atomic, and "every second" is exact for
// packets that one CPU handles. IPv4 and IPv6 are counted apart: a neighbour's ping6 does not
// disturb your ping.
//
// Left to pass: fragments after the first (they have no ICMP header) and ICMPv6 behind extension
// headers.
// Tested by tests/examples/examples_test.cc.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#ifndef DROP_EVERY
#define DROP_EVERY 1
#endif

#define IP_FRAGMENT_OFFSET 0x1fff
#define ICMP_ECHO_REQUEST 8
#define ICMPV6_ECHO_REQUEST 128

// How ICMP and ICMPv6 messages both begin. Own, since <linux/icmp.h> needs the C library's headers.
struct icmp_start {
  __u8 type;
  __u8 code;
  __be16 checksum;
};

enum { ECHO_IPV4, ECHO_IPV6, ECHO_KINDS };

struct echo_count {
  __u64 seen;
  __u64 dropped;
};

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, ECHO_KINDS);
  __type(key, __u32);
  __type(value, struct echo_count);
} echo_cnt SEC(".maps");

const volatile __u32 drop_every = DROP_EVERY;

static int judge_echo_request(__u32 kind) {
  struct echo_count* count = bpf_map_lookup_elem(&echo_cnt, &kind);

  if (!count) return XDP_PASS;
  count->seen++;
  if (drop_every == 0 || count->seen % drop_every != 0) return XDP_PASS;
  count->dropped++;
  return XDP_DROP;
}

static int handle_ipv4(struct iphdr* ip, void* data_end) {
  struct icmp_start* icmp;

  if ((void*)(ip + 1) > data_end) return XDP_PASS;
  if (ip->ihl < 5 || ip->protocol != IPPROTO_ICMP) return XDP_PASS;
  if (ip->frag_off & bpf_htons(IP_FRAGMENT_OFFSET)) return XDP_PASS;
  icmp = (void*)ip + ip->ihl * 4;
  if ((void*)(icmp + 1) > data_end || icmp->type != ICMP_ECHO_REQUEST) return XDP_PASS;
  return judge_echo_request(ECHO_IPV4);
}

static int handle_ipv6(struct ipv6hdr* ip6, void* data_end) {
  struct icmp_start* icmp6 = (void*)(ip6 + 1);

  if ((void*)(icmp6 + 1) > data_end) return XDP_PASS;
  if (ip6->nexthdr != IPPROTO_ICMPV6 || icmp6->type != ICMPV6_ECHO_REQUEST) return XDP_PASS;
  return judge_echo_request(ECHO_IPV6);
}

SEC("xdp")
int icmp_echo_drop(struct xdp_md* ctx) {
  void* data = (void*)(long)ctx->data;
  void* data_end = (void*)(long)ctx->data_end;
  struct ethhdr* eth = data;

  if ((void*)(eth + 1) > data_end) return XDP_PASS;
  if (eth->h_proto == bpf_htons(ETH_P_IP)) return handle_ipv4((void*)(eth + 1), data_end);
  if (eth->h_proto == bpf_htons(ETH_P_IPV6)) return handle_ipv6((void*)(eth + 1), data_end);
  return XDP_PASS;
}

char LICENSE[] SEC("license") = "Apache-2.0";
