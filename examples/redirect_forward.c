// SPDX-License-Identifier: Apache-2.0
//
// Forwards frames from port to port by a table, and counts them per port they came in by.
//
// What it teaches: XDP_REDIRECT through a device map, with a fallback. `out_port` says for each
// port of arrival where its frames go. The two low bits of bpf_redirect_map's flags are the verdict
// it returns when the slot is empty: with XDP_PASS there, no separate lookup is needed, and a port
// without an entry behaves as if there were no program. The verdict tells which of the two
// happened, and is counted.
//
// The slot is the low byte of the port's ifindex. Netdevs are numbered from 1, ports of LMN that
// are no netdev from 2^20, so both fit a small table; two ports in use must not have the same low
// byte.
//
// The forwarded frame is not touched: this is a wire, not a router. Fill the table for both
// directions:
//   out_port[ifindex of A] = B, out_port[ifindex of B] = A
// Tested by tests/examples/examples_test.cc.
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#define SLOTS 256

struct {
  __uint(type, BPF_MAP_TYPE_DEVMAP);
  __uint(max_entries, SLOTS);
  __type(key, __u32);
  __type(value, __u32);  // ifindex to send by
} out_port SEC(".maps");

struct port_count {
  __u64 forwarded_packets;
  __u64 forwarded_bytes;
  __u64 passed_packets;  // the slot was empty
};

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, SLOTS);
  __type(key, __u32);
  __type(value, struct port_count);
} port_cnt SEC(".maps");

SEC("xdp")
int redirect_forward(struct xdp_md* ctx) {
  __u32 slot = ctx->ingress_ifindex % SLOTS;
  long verdict = bpf_redirect_map(&out_port, slot, XDP_PASS);
  struct port_count* count = bpf_map_lookup_elem(&port_cnt, &slot);

  if (!count) return verdict;
  if (verdict == XDP_REDIRECT) {
    count->forwarded_packets++;
    count->forwarded_bytes += ctx->data_end - ctx->data;
  } else {
    count->passed_packets++;
  }
  return verdict;
}

char LICENSE[] SEC("license") = "Apache-2.0";
