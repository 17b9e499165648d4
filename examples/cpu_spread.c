// SPDX-License-Identifier: Apache-2.0
//
// Spreads packets over CPUs by their flow: both directions of a connection are handled by the same
// CPU, in the order in which its packets came.
//
// What it teaches: XDP_REDIRECT through a CPUMAP. The first program only looks at addresses and
// says where to; the costly work is done by the second one, which the entry of the map holds and
// the CPU at the other end runs. Reaching it needs no lock: each CPU counts in a slot of its own.
// The hash is symmetric: both ends of a flow are added up, so that an answer goes the way of the
// question. A fragment has no ports but in the first part, so fragments go by addresses alone, or
// the parts of one packet would meet at different CPUs. What is no IP packet, and all packets while
// `cpu_count` is 0, pass where they are.
//
//   lmn run cpu_spread.bpf.o --prog cpu_spread --port packet:eth1 --pass eth2 \
//     --set-map cpu_count:00000000=02000000 \
//     --cpu-map cpus:0=512,on_cpu --cpu-map cpus:1=512,on_cpu
// Tested by tests/examples/cpu_spread_test.cc.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define CPUS_MAX 64
#define FRAGMENT_MASK 0x3fff  // more fragments, or an offset

struct {
  __uint(type, BPF_MAP_TYPE_CPUMAP);
  __uint(max_entries, CPUS_MAX);
  __type(key, __u32);
  __type(value, struct bpf_cpumap_val);
} cpus SEC(".maps");

// How many of them there are: 0 to cpu_count - 1.
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u32);
} cpu_count SEC(".maps");

// Packets by the CPU that they were for, where they came in.
struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, CPUS_MAX);
  __type(key, __u32);
  __type(value, __u64);
} sent_cnt SEC(".maps");

struct cpu_work {
  __u64 packets;
  __u64 bytes;
};

// What each CPU has done: one entry, a slot per CPU.
struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct cpu_work);
} work SEC(".maps");

// The last step of murmur3: each bit of the result depends on all of `sum`.
static __always_inline __u32 mix(__u32 sum) {
  sum ^= sum >> 16;
  sum *= 0x85ebca6b;
  sum ^= sum >> 13;
  sum *= 0xc2b2ae35;
  return sum ^ sum >> 16;
}

// Both ports added up; 0 where there are none.
static __always_inline __u32 ports_of(void* header, void* end, __u8 protocol) {
  __be16* ports = header;

  if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP) return 0;
  if ((void*)(ports + 2) > end) return 0;
  return (__u32)ports[0] + ports[1];
}

static __always_inline int flow_sum(void* data, void* end, __u32* sum) {
  struct ethhdr* eth = data;

  if ((void*)(eth + 1) > end) return 0;
  if (eth->h_proto == bpf_htons(ETH_P_IP)) {
    struct iphdr* ip = (void*)(eth + 1);
    if ((void*)(ip + 1) > end) return 0;
    *sum = ip->saddr + ip->daddr + ip->protocol;
    if (ip->ihl == 5 && !(ip->frag_off & bpf_htons(FRAGMENT_MASK)))
      *sum += ports_of(ip + 1, end, ip->protocol);
    return 1;
  }
  if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
    struct ipv6hdr* ip = (void*)(eth + 1);
    if ((void*)(ip + 1) > end) return 0;
    *sum = ip->nexthdr;
    for (int i = 0; i < 4; i++) *sum += ip->saddr.s6_addr32[i] + ip->daddr.s6_addr32[i];
    *sum += ports_of(ip + 1, end, ip->nexthdr);
    return 1;
  }
  return 0;
}

SEC("xdp")
int cpu_spread(struct xdp_md* ctx) {
  void* data = (void*)(long)ctx->data;
  void* end = (void*)(long)ctx->data_end;
  __u32 zero = 0, sum = 0, cpu;
  __u32* count = bpf_map_lookup_elem(&cpu_count, &zero);
  __u64* sent;

  if (!count || *count == 0 || !flow_sum(data, end, &sum)) return XDP_PASS;
  cpu = mix(sum) % *count;
  sent = bpf_map_lookup_elem(&sent_cnt, &cpu);
  if (sent) ++*sent;
  // A CPU that has no entry is no reason to lose the packet.
  return bpf_redirect_map(&cpus, cpu, XDP_PASS);
}

SEC("xdp/cpumap")
int on_cpu(struct xdp_md* ctx) {
  __u32 zero = 0;
  struct cpu_work* mine = bpf_map_lookup_elem(&work, &zero);

  if (mine) {
    mine->packets++;
    mine->bytes += ctx->data_end - ctx->data;
  }
  return XDP_PASS;
}

char LICENSE[] SEC("license") = "Apache-2.0";
