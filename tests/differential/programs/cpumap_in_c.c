// SPDX-License-Identifier: Apache-2.0
//
// A packet's way over another CPU: the first program marks it and sends it there, the second one
// says what it sees of it and decides by the packet's own bytes: 14: CPU, 15: verdict of the second
// program.
// Run by tests/differential/cpumap_test.cc, in the kernel (on a veth) and in LMN.
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#define MARK 0x600df00d

struct {
  __uint(type, BPF_MAP_TYPE_CPUMAP);
  __uint(max_entries, 8);
  __type(key, __u32);
  __type(value, struct bpf_cpumap_val);
} cpus SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_DEVMAP);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u32);
} out_port SEC(".maps");

struct seen {
  __u64 packets;
  __u64 bytes;
  __u64 marked;       // metadata of the first program is there
  __u64 on_cpu;       // bpf_get_smp_processor_id is the CPU that was named
  __u64 queue_index;  // sums of these
  __u64 ingress_ifindex;
};

// By verdict of the second program.
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 8);
  __type(key, __u32);
  __type(value, struct seen);
} seen SEC(".maps");

// By verdict of the first program.
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 8);
  __type(key, __u32);
  __type(value, __u64);
} sent SEC(".maps");

SEC("xdp")
int to_cpu(struct xdp_md* ctx) {
  __u32* mark;
  __u8* data;
  __u32 verdict;
  __u64* count;

  if (bpf_xdp_adjust_meta(ctx, -(int)sizeof(*mark))) return XDP_ABORTED;
  mark = (void*)(long)ctx->data_meta;
  data = (void*)(long)ctx->data;
  if ((void*)(mark + 1) > (void*)data) return XDP_ABORTED;
  if (data + 16 > (__u8*)(long)ctx->data_end) return XDP_ABORTED;
  *mark = MARK;
  verdict = bpf_redirect_map(&cpus, data[14], XDP_DROP);
  count = bpf_map_lookup_elem(&sent, &verdict);
  if (count) __sync_fetch_and_add(count, 1);
  return verdict;
}

SEC("xdp/cpumap")
int on_cpu(struct xdp_md* ctx) {
  __u32* mark = (void*)(long)ctx->data_meta;
  __u8* data = (void*)(long)ctx->data;
  __u32 verdict;
  struct seen* at;

  if (data + 16 > (__u8*)(long)ctx->data_end) return XDP_ABORTED;
  verdict = data[15];
  at = bpf_map_lookup_elem(&seen, &verdict);
  if (at) {
    __sync_fetch_and_add(&at->packets, 1);
    __sync_fetch_and_add(&at->bytes, ctx->data_end - ctx->data);
    if ((void*)(mark + 1) <= (void*)data && *mark == MARK) __sync_fetch_and_add(&at->marked, 1);
    if (bpf_get_smp_processor_id() == data[14]) __sync_fetch_and_add(&at->on_cpu, 1);
    __sync_fetch_and_add(&at->queue_index, ctx->rx_queue_index);
    __sync_fetch_and_add(&at->ingress_ifindex, ctx->ingress_ifindex);
  }
  if (verdict == XDP_REDIRECT) return bpf_redirect_map(&out_port, 0, XDP_ABORTED);
  return verdict;
}

// The other end of a veth that frames are sent to must run a program.
SEC("xdp")
int pass(struct xdp_md* ctx) { return XDP_PASS; }

char _license[] SEC("license") = "GPL";
