// SPDX-License-Identifier: Apache-2.0
//
// Programs in every XDP section, several to a section, with subprograms in .text: static and global
// ones, shared ones, one reached only through another, one by address, and data of each kind.
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

int counter = 7;
static volatile int hidden_counter;
const volatile int limit = 64;
static const char kFormat[] SEC(".rodata.text") = "seen %d";
int custom SEC(".data.custom") = 3;
__u64 zeroed[4];
__hidden int hidden_global = 5;

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __type(key, __u32);
  __type(value, __u64);
  __uint(max_entries, 4);
} hits SEC(".maps");

static __noinline int note(int index) {
  __u32 key = (__u32)index;
  __u64* value = bpf_map_lookup_elem(&hits, &key);
  if (value) __sync_fetch_and_add(value, 1);
  hidden_counter += index;
  return hidden_counter;
}

__noinline int decide(int length) {
  if (length > limit) return note(1);
  counter++;
  return note(2) + hidden_global;
}

__hidden __noinline int measure(struct xdp_md* ctx) { return (int)(ctx->data_end - ctx->data); }

static long each(__u32 index, void* data) {
  zeroed[index & 3] += *(__u32*)data;
  return 0;
}

SEC("xdp")
int first(struct xdp_md* ctx) { return decide(measure(ctx)) ? XDP_PASS : XDP_DROP; }

SEC("xdp")
int second(struct xdp_md* ctx) {
  bpf_trace_printk(kFormat, sizeof(kFormat), custom);
  return note(3) ? XDP_PASS : XDP_DROP;
}

SEC("xdp.frags")
int fragments(struct xdp_md* ctx) {
  __u32 step = 1;
  bpf_loop(4, each, &step, 0);
  return decide(100) ? XDP_TX : XDP_DROP;
}

SEC("xdp/devmap")
int on_device(struct xdp_md* ctx) { return (int)ctx->egress_ifindex; }
SEC("xdp.frags/devmap")
int on_device_frags(struct xdp_md* ctx) { return XDP_PASS; }
SEC("xdp/cpumap")
int on_cpu(struct xdp_md* ctx) { return measure(ctx); }
SEC("xdp.frags/cpumap")
int on_cpu_frags(struct xdp_md* ctx) { return XDP_PASS; }
SEC("?xdp")
int on_request(struct xdp_md* ctx) { return XDP_PASS; }
SEC("a_name_of_my_own")
int unnamed(struct xdp_md* ctx) { return XDP_PASS; }
SEC("tc")
int classify(struct __sk_buff* skb) { return (int)skb->len; }

char _license[] SEC("license") = "GPL";
