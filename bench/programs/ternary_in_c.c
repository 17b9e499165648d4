// SPDX-License-Identifier: Apache-2.0
//
// What ternary_bench.cc runs in the kernel and in LMN's interpreter: one look-up per run by
// include/lmn/bpf/ternary.h, and the same without the look-up, to be subtracted. Keys come from a
// map, one after the other. `sum` adds the priorities of what was found, so that the sides can be
// compared. No other header is included: the kit's needs none before it.
#include <lmn/bpf/ternary.h>

struct key {
  __u32 source;
  __u32 destination;
  __u16 source_port;
  __u16 destination_port;
  __u8 protocol;
  __u8 zero[3];
};
struct verdict {
  __u32 action;
};
LMN_TERNARY(acl, struct key, struct verdict, 64, RULES_MAX);

#define KEY_COUNT 65536

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, KEY_COUNT);
  __type(key, __u32);
  __type(value, struct key);
} keys SEC(".maps");

struct progress {
  __u64 next;
  __u64 sum;
};
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct progress);
} progress SEC(".maps");

SEC("xdp")
int with_rules(struct xdp_md* ctx) {
  __u32 zero = 0;
  struct progress* now = bpf_map_lookup_elem(&progress, &zero);
  if (!now) return XDP_ABORTED;
  __u32 at = now->next++ % KEY_COUNT;
  const struct key* key = bpf_map_lookup_elem(&keys, &at);
  if (!key) return XDP_ABORTED;
  const struct acl_rule* rule = acl_find(key);
  if (rule) now->sum += rule->priority;
  return XDP_PASS;
}

SEC("xdp")
int without_rules(struct xdp_md* ctx) {
  __u32 zero = 0;
  struct progress* now = bpf_map_lookup_elem(&progress, &zero);
  if (!now) return XDP_ABORTED;
  __u32 at = now->next++ % KEY_COUNT;
  const struct key* key = bpf_map_lookup_elem(&keys, &at);
  if (!key) return XDP_ABORTED;
  now->sum += key->source;
  return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
