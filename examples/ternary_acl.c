// SPDX-License-Identifier: Apache-2.0
//
// Drops or passes IPv4 packets by an access list with wildcards: any bits of source, destination,
// ports and protocol, rules with priorities. Shows include/lmn/bpf/ternary.h: ternary matching by
// tuple space search, which no map type offers. Who has no rule is passed. `acl_hits` counts the
// packets of each verdict.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>

#include <bpf/bpf_endian.h>
#include <lmn/bpf/ternary.h>

struct acl_key {
  __be32 source;
  __be32 destination;
  __be16 source_port;
  __be16 destination_port;
  __u8 protocol;
  __u8 zero[3];
};
struct acl_verdict {
  __u32 action;  // enum xdp_action
};
LMN_TERNARY(acl, struct acl_key, struct acl_verdict, 64, 16384);

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 8);
  __type(key, __u32);
  __type(value, __u64);
} acl_hits SEC(".maps");

SEC("xdp")
int ternary_acl(struct xdp_md* ctx) {
  const void* data = (void*)(long)ctx->data;
  const void* end = (void*)(long)ctx->data_end;
  const struct ethhdr* ethernet = data;
  const struct iphdr* ip = data + sizeof(*ethernet);
  if ((void*)(ip + 1) > end || ethernet->h_proto != bpf_htons(ETH_P_IP)) return XDP_PASS;
  struct acl_key key = {.source = ip->saddr, .destination = ip->daddr, .protocol = ip->protocol};
  const __be16* ports = (void*)(ip + 1);
  const int has_ports = ip->protocol == IPPROTO_TCP || ip->protocol == IPPROTO_UDP;
  if (has_ports && ip->ihl == 5 && (void*)(ports + 2) <= end) {
    key.source_port = ports[0];
    key.destination_port = ports[1];
  }
  const struct acl_rule* rule = acl_find(&key);
  __u32 action = rule ? rule->value.action & 7 : XDP_PASS;
  __u64* hits = bpf_map_lookup_elem(&acl_hits, &action);
  if (hits) ++*hits;
  return action;
}

char _license[] SEC("license") = "GPL";
