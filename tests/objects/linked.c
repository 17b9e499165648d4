// SPDX-License-Identifier: Apache-2.0
//
// One of two objects that "bpftool gen object" makes one of: each uses a function, a variable and a
// map of the other.
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

struct counts {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __type(key, __u32);
  __type(value, __u64);
  __uint(max_entries, 2);
};

#ifdef SECOND
#define MINE second
#define OTHERS first
#else
#define MINE first
#define OTHERS second
#endif
#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)

struct counts JOIN(MINE, map) SEC(".maps");
extern struct counts JOIN(OTHERS, map) SEC(".maps");

int JOIN(MINE, total);
extern int JOIN(OTHERS, total);

__weak int shared(int x) { return x + 1; }

__noinline int JOIN(MINE, step)(int x) { return shared(x) + JOIN(OTHERS, total); }
extern int JOIN(OTHERS, step)(int x);

SEC("xdp")
int JOIN(MINE, program)(struct xdp_md* ctx) {
  __u32 key = 1;
  __u64* mine = bpf_map_lookup_elem(&JOIN(MINE, map), &key);
  __u64* others = bpf_map_lookup_elem(&JOIN(OTHERS, map), &key);
  if (mine && others) *mine += *others;
  JOIN(MINE, total) += JOIN(OTHERS, step)((int)ctx->rx_queue_index);
  return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
