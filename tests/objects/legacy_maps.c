// SPDX-License-Identifier: Apache-2.0
//
// Maps as data, in the struct of one loader at a time: compiled once for each, with -DLAYOUT_...
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

struct definition {
  __u32 type;
#if defined(LAYOUT_IPROUTE2) || defined(LAYOUT_CILIUM)
  __u32 size_key;
  __u32 size_value;
  __u32 max_elem;
  __u32 flags;
  __u32 id;
  __u32 pinning;
#ifdef LAYOUT_IPROUTE2
  __u32 inner_id;
  __u32 inner_idx;
#endif
#else
  __u32 key_size;
  __u32 value_size;
  __u32 max_entries;
#ifndef LAYOUT_OLD_SAMPLES
  __u32 map_flags;
#endif
#ifdef LAYOUT_SAMPLES
  __u32 inner_map_idx;
  __u32 numa_node;
#endif
#ifdef LAYOUT_GOBPF
  __u32 pinning;
  char namespace[256];
#endif
#ifdef LAYOUT_UNKNOWN
  __u32 something;
#endif
#endif
};

struct definition SEC("maps") first = {
    BPF_MAP_TYPE_HASH,
    4,
    8,
    100,
#ifndef LAYOUT_OLD_SAMPLES
    BPF_F_NO_PREALLOC,
#endif
#if defined(LAYOUT_IPROUTE2) || defined(LAYOUT_CILIUM)
    5,
    2,
#endif
#ifdef LAYOUT_IPROUTE2
    0,
    -1,
#endif
#ifdef LAYOUT_GOBPF
    2,
    "network",
#endif
#ifdef LAYOUT_UNKNOWN
    77,
#endif
};

struct definition SEC("maps") second = {BPF_MAP_TYPE_ARRAY, 4, 16, 3};

#if defined(LAYOUT_IPROUTE2)
struct definition SEC("maps") outer = {BPF_MAP_TYPE_ARRAY_OF_MAPS, 4, 4, 8, 0, 9, 0, 5, 1};
#elif defined(LAYOUT_SAMPLES)
struct definition SEC("maps") outer = {BPF_MAP_TYPE_ARRAY_OF_MAPS, 4, 4, 8, BPF_F_NUMA_NODE, 0, 1};
#endif

SEC("xdp_prog")
int program(struct xdp_md* ctx) {
  __u32 key = 1;
  if (bpf_map_lookup_elem(&second, &key)) return XDP_TX;
#if defined(LAYOUT_IPROUTE2) || defined(LAYOUT_SAMPLES)
  if (bpf_map_lookup_elem(&outer, &key)) return XDP_TX;
#endif
  return bpf_map_lookup_elem(&first, &key) ? XDP_PASS : XDP_DROP;
}

char _license[] SEC("license") = "GPL";
