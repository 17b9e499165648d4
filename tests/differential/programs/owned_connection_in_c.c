// SPDX-License-Identifier: Apache-2.0
//
// A connection in a pointer that would own it: Linux has no destructor for it, and takes no such
// program.
// Loaded by tests/differential/kernel_objects_test.cc, in the kernel and in LMN.
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

struct nf_conn {
  __u32 mark;
} __attribute__((preserve_access_index));

struct keeper {
  struct nf_conn __attribute__((btf_type_tag("kptr"))) * owned;
};

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct keeper);
} keepers SEC(".maps");

void bpf_ct_release(struct nf_conn*) __ksym;

SEC("xdp")
int owned(struct xdp_md* ctx) {
  __u32 zero = 0;
  struct keeper* keeper = bpf_map_lookup_elem(&keepers, &zero);
  if (!keeper) return XDP_DROP;
  struct nf_conn* ct = bpf_kptr_xchg(&keeper->owned, 0);
  if (ct) bpf_ct_release(ct);
  return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
