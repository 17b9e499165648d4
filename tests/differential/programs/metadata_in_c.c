// SPDX-License-Identifier: Apache-2.0
//
// What a port found out about a packet, as C programs ask for it. The answers are left in `out`,
// with what stood in the variables before where an answer is an error.
// Run by tests/differential/metadata_test.cc, in the kernel (bound to a device) and in LMN.
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#define BEFORE 0x5a

struct seen {
  __s64 runs;
  __s64 hash_error;
  __s64 time_error;
  __s64 vlan_error;
  __u64 time;
  __u32 hash;
  __u32 hash_type;
  __u16 vlan_proto;
  __u16 vlan_tci;
  __u16 ether_type;
  __u16 reserved;
};

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct seen);
} out SEC(".maps");

// Only that it is an enum counts; its values are the driver's.
enum xdp_rss_hash_type { XDP_RSS_NONE, XDP_RSS_WIDE = 0x7fffffff };

extern int bpf_xdp_metadata_rx_hash(const struct xdp_md* ctx, __u32* hash,
                                    enum xdp_rss_hash_type* type) __ksym;
extern int bpf_xdp_metadata_rx_timestamp(const struct xdp_md* ctx, __u64* time) __ksym;
extern int bpf_xdp_metadata_rx_vlan_tag(const struct xdp_md* ctx, __u16* proto, __u16* tci) __ksym;

SEC("xdp")
int ask(struct xdp_md* ctx) {
  const __u32 zero = 0;
  struct seen* seen = bpf_map_lookup_elem(&out, &zero);
  if (!seen) return XDP_DROP;
  __u8* data = (void*)(long)ctx->data;
  if (data + 14 > (__u8*)(long)ctx->data_end) return XDP_DROP;
  // Frames of the neighbourhood are none of ours.
  const __u16 type = data[12] << 8 | data[13];
  if (type != 0x88b5 && type != 0x8100) return XDP_PASS;
  __u32 hash = BEFORE;
  enum xdp_rss_hash_type hash_type = BEFORE;
  __u64 time = BEFORE;
  __u16 proto = BEFORE, tci = BEFORE;
  seen->hash_error = bpf_xdp_metadata_rx_hash(ctx, &hash, &hash_type);
  seen->time_error = bpf_xdp_metadata_rx_timestamp(ctx, &time);
  seen->vlan_error = bpf_xdp_metadata_rx_vlan_tag(ctx, &proto, &tci);
  seen->hash = hash;
  seen->hash_type = hash_type;
  seen->time = time;
  seen->vlan_proto = proto;
  seen->vlan_tci = tci;
  seen->ether_type = type;
  seen->runs++;
  return XDP_DROP;
}

// Sent out of the far end without a socket buffer, of which nothing is known.
SEC("xdp")
int send_back(struct xdp_md* ctx) { return XDP_TX; }

char _license[] SEC("license") = "GPL";
