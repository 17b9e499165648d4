// SPDX-License-Identifier: Apache-2.0
//
// What real objects hold and libbpf refuses, but a reader that means "unmodified" takes: a static
// entry function and a pinning value that is none of libbpf's.
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(key_size, 4);
  __uint(value_size, 8);
  __uint(max_entries, 16);
  __uint(pinning, 16);
} global_ns SEC(".maps");

__attribute__((used)) SEC("2/1") static int tail(struct xdp_md* ctx) { return XDP_DROP; }

SEC("xdp")
int entry(struct xdp_md* ctx) {
  int key = 1;
  return bpf_map_lookup_elem(&global_ns, &key) ? XDP_PASS : XDP_DROP;
}

char _license[] SEC("license") = "GPL";
