// SPDX-License-Identifier: Apache-2.0
//
// Leaves in the packet whatever differs from run to run: times, a random number, where it ran. For
// tests/inspect/replay_command_test.cc.
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

SEC("xdp")
int replay(struct xdp_md* ctx) {
  __u64 seen[7] = {bpf_ktime_get_ns(),        bpf_ktime_get_boot_ns(), bpf_ktime_get_coarse_ns(),
                   bpf_ktime_get_tai_ns(),    bpf_jiffies64(),         bpf_get_prandom_u32(),
                   bpf_get_smp_processor_id()};
  return bpf_xdp_store_bytes(ctx, 0, seen, sizeof(seen)) ? XDP_ABORTED : XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
