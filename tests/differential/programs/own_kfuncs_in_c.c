// SPDX-License-Identifier: Apache-2.0
//
// Every function of include/lmn/bpf/kfuncs.h, called once; results are left in `out`. In Linux,
// which has none of them, the program runs and leaves nothing. Run by
// tests/differential/own_kfuncs_test.cc.
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>
#include <lmn/bpf/kfuncs.h>

struct result {
  __s64 ran;
  __s64 learned;
  __s64 found;
  __u32 port;
  __u32 flags;
  __s64 csum_error;
  __u32 csum;
  __u32 mark;
  __s64 mark_error;
  __s64 offsets_error;
  struct bpf_lmn_offsets offsets;
};

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct result);
} out SEC(".maps");

SEC("xdp")
int own_kfuncs(struct xdp_md* ctx) {
  __u32 zero = 0;
  struct result* result = bpf_map_lookup_elem(&out, &zero);
  if (!result) return XDP_DROP;
  result->ran = 1;
  if (!bpf_lmn_fdb_learn || !bpf_lmn_fdb_lookup || !bpf_lmn_metadata_rx_csum ||
      !bpf_lmn_metadata_rx_mark || !bpf_lmn_metadata_rx_offsets) {
    return XDP_PASS;
  }
  struct bpf_lmn_fdb fdb = {.mac = {2, 0, 0, 0, 0, 9}};
  struct bpf_lmn_offsets offsets = {};
  __u32 csum = 0, mark = 0;
  result->learned = bpf_lmn_fdb_learn(ctx, &fdb, sizeof(fdb));
  result->found = bpf_lmn_fdb_lookup(ctx, &fdb, sizeof(fdb));
  result->port = fdb.ifindex;
  result->flags = fdb.flags;
  result->csum_error = bpf_lmn_metadata_rx_csum(ctx, &csum);
  result->csum = csum;
  result->mark_error = bpf_lmn_metadata_rx_mark(ctx, &mark);
  result->mark = mark;
  result->offsets_error = bpf_lmn_metadata_rx_offsets(ctx, &offsets, sizeof(offsets));
  result->offsets = offsets;
  return XDP_TX;
}

char _license[] SEC("license") = "GPL";
