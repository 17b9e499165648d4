// SPDX-License-Identifier: Apache-2.0
//
// Every attribute a map of section .maps can have.
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

struct key {
  __u32 address;
  __u16 port;
};

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __type(key, struct key);
  __type(value, __u64);
  __uint(max_entries, 1024);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(numa_node, 0);
  __uint(pinning, LIBBPF_PIN_BY_NAME);
} by_type SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(key_size, 6);
  __uint(value_size, 20);
  __uint(max_entries, 99);
} by_size SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_BLOOM_FILTER);
  __type(value, __u32);
  __uint(max_entries, 100);
  __uint(map_extra, 3);
} filter SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 5000);
} ring SEC(".maps");

struct inner {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 2);
  __type(key, __u32);
  __type(value, __u32);
};
struct inner one SEC(".maps");
struct inner two SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
  __uint(max_entries, 4);
  __type(key, __u32);
  __array(values, struct inner);
} outer SEC(".maps") = {.values = {[0] = &one, [2] = &two}};

struct {
  __uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
  __uint(max_entries, 8);
  __uint(key_size, 4);
  __uint(value_size, 4);
} without_template SEC(".maps");

int target(struct xdp_md* ctx);

struct {
  __uint(type, BPF_MAP_TYPE_PROG_ARRAY);
  __uint(max_entries, 3);
  __uint(key_size, 4);
  __array(values, int(struct xdp_md*));
} jumps SEC(".maps") = {.values = {[1] = (void*)&target}};

SEC("xdp")
int target(struct xdp_md* ctx) { return XDP_DROP; }

SEC("xdp")
int user(struct xdp_md* ctx) {
  struct key key = {1, 2};
  __u32 index = 2;
  __u64* value = bpf_map_lookup_elem(&by_type, &key);
  void* map = bpf_map_lookup_elem(&outer, &index);
  if (map) bpf_map_lookup_elem(map, &index);
  bpf_map_push_elem(&filter, &index, 0);
  bpf_ringbuf_output(&ring, &key, sizeof(key), 0);
  bpf_map_delete_elem(&by_size, &key);
  bpf_map_lookup_elem(&without_template, &index);
  bpf_tail_call(ctx, &jumps, 1);
  return value ? XDP_PASS : XDP_DROP;
}

char _license[] SEC("license") = "Dual BSD/GPL";
