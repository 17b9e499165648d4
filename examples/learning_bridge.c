// SPDX-License-Identifier: Apache-2.0
//
// A bridge that learns, by functions that LMN offers beyond Linux's: each frame teaches where its
// sender is and goes to the port where its receiver is. Unknown receivers, broadcasts and frames
// for the host are passed, for whoever floods. Loaded into Linux, which has no such functions, the
// program passes everything: they are weak, and their address is null there.
// `bridge_cnt` counts what was forwarded (0), passed (1) and not learned (2).
#include <linux/bpf.h>
#include <linux/if_ether.h>

#include <bpf/bpf_helpers.h>
#include <lmn/bpf/kfuncs.h>

enum { FORWARDED, PASSED, NOT_LEARNED, COUNTERS };

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, COUNTERS);
  __type(key, __u32);
  __type(value, __u64);
} bridge_cnt SEC(".maps");

static __always_inline void count(__u32 what) {
  __u64* counter = bpf_map_lookup_elem(&bridge_cnt, &what);
  if (counter) ++*counter;
}

SEC("xdp")
int learning_bridge(struct xdp_md* ctx) {
  const void* data = (void*)(long)ctx->data;
  const struct ethhdr* ethernet = data;
  if ((void*)(ethernet + 1) > (void*)(long)ctx->data_end) return XDP_PASS;
  if (bpf_lmn_fdb_learn && bpf_lmn_fdb_lookup) {
    struct bpf_lmn_fdb sender = {};
    struct bpf_lmn_fdb receiver = {};
    __builtin_memcpy(sender.mac, ethernet->h_source, ETH_ALEN);
    __builtin_memcpy(receiver.mac, ethernet->h_dest, ETH_ALEN);
    if (bpf_lmn_fdb_learn(ctx, &sender, sizeof(sender))) count(NOT_LEARNED);
    const int error = bpf_lmn_fdb_lookup(ctx, &receiver, sizeof(receiver));
    if (!error && !(receiver.flags & BPF_LMN_FDB_LOCAL)) {
      if (receiver.ifindex == ctx->ingress_ifindex) return XDP_DROP;
      count(FORWARDED);
      return bpf_redirect(receiver.ifindex, 0);
    }
  }
  count(PASSED);
  return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
