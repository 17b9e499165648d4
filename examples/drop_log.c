// SPDX-License-Identifier: Apache-2.0
//
// Drops packets that no honest host sends, and says so: each drop is counted by reason, and goes
// with its first 64 bytes into a ring buffer that somebody may read.
//
// What it teaches: giving one's own account of drops. XDP_DROP is silent: the driver counts it, no
// tracepoint fires, no capture sees it. (XDP_ABORTED does fire one, for bugs; a filter that uses it
// for its daily work drowns them.) A counter that is always on says how much; the ring says what.
//
//   - The record is reserved, filled in place and submitted: no copy through the stack.
//   - Nobody may be reading. Then the ring fills up, bpf_ringbuf_reserve gives null, and that drop
//   is
//     counted in drop_cnt[DROPS_LOST]; the next record carries that number, so a reader sees where
//     the gap is. Counters never lose anything: they do not go through the ring.
//   - A flood would wake the reader for each packet. It is woken by the ring's own rule, once when
//     it has caught up.
//
// Reading it with LMN:   lmn run drop_log.bpf.o --port ... --read-ring drops
// Reading it in Linux, with libbpf, until it is interrupted:
//
//   static int on_drop(void* unused, void* data, size_t bytes) {
//     const struct drop_record* drop = data;
//     printf("%u: %u bytes from %u\n", drop->reason, drop->packet_bytes, drop->ifindex);
//     return 0;
//   }
//   struct ring_buffer* ring = ring_buffer__new(bpf_map__fd(map), on_drop, NULL, NULL);
//   while (ring_buffer__poll(ring, -1) >= 0) {}
//
// or, with nothing but what Linux brings: `bpftool map dump name drop_cnt` for the counters.
// Linux 5.18 or later (bpf_xdp_load_bytes).
// Tested by tests/examples/drop_log_test.cc.
#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "drop_log.h"
#include "headers.h"

#define RING_BYTES (64 * 1024)

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, RING_BYTES);
} drops SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, DROP_COUNTERS);
  __type(key, __u32);
  __type(value, __u64);
} drop_cnt SEC(".maps");

static __always_inline __u32 count(__u32 what) {
  __u64* counter = bpf_map_lookup_elem(&drop_cnt, &what);

  return counter ? ++*counter : 0;
}

static int drop(struct xdp_md* ctx, __u32 reason) {
  const __u32 lost = DROPS_LOST;
  const __u64* lost_count = bpf_map_lookup_elem(&drop_cnt, &lost);
  __u64 bytes = frame_bytes(ctx);
  struct drop_record* record;

  count(reason);
  record = bpf_ringbuf_reserve(&drops, sizeof(*record), 0);
  if (!record) {
    count(DROPS_LOST);
    return XDP_DROP;
  }
  record->time_ns = bpf_ktime_get_ns();
  record->reason = reason;
  record->ifindex = ctx->ingress_ifindex;
  record->queue = ctx->rx_queue_index;
  record->packet_bytes = bytes;
  record->lost_before = lost_count ? *lost_count : 0;
  // Memory of a ring is what was there before: all of the record is written.
  __builtin_memset(record->bytes, 0, sizeof(record->bytes));
  if (bytes > sizeof(record->bytes)) bytes = sizeof(record->bytes);
  if (bytes < ETH_HLEN) bytes = ETH_HLEN;  // the shortest frame there is
  record->captured_bytes = bpf_xdp_load_bytes(ctx, 0, record->bytes, bytes) ? 0 : bytes;
  bpf_ringbuf_submit(record, 0);
  return XDP_DROP;
}

static __always_inline int is_bad_source(const struct headers* h) {
  const struct address source = source_of(h);
  const struct address target = target_of(h);
  const __u32 first = bpf_ntohl(source.words[0]);

  if (h->version == 4) {
    // Multicast and what lies above it, and 0.0.0.0 but for who asks for an address by DHCP.
    if (first >= 0xe0000000) return 1;
    if (first == 0) return target.words[0] != 0xffffffff;
    return source.words[0] == target.words[0];
  }
  if (first >> 24 == 0xff) return 1;
  // The unspecified address is who looks for a neighbour that has its address already.
  return source.words[0] == target.words[0] && source.words[1] == target.words[1] &&
         source.words[2] == target.words[2] && source.words[3] == target.words[3];
}

static __always_inline int is_longer_than(const struct headers* h, void* end) {
  if (h->version == 4) {
    const struct iphdr* ip = h->ip;
    return bpf_ntohs(ip->tot_len) < ip->ihl * 4 || (void*)ip + bpf_ntohs(ip->tot_len) > end;
  }
  return (void*)((struct ipv6hdr*)h->ip + 1) + bpf_ntohs(((struct ipv6hdr*)h->ip)->payload_len) >
         end;
}

// SYN with FIN or RST, FIN without ACK, and none at all.
static __always_inline int are_bad_flags(const struct tcphdr* tcp) {
  if (tcp->syn) return tcp->fin || tcp->rst;
  if (tcp->fin) return !tcp->ack;
  return !tcp->ack && !tcp->rst;
}

SEC("xdp")
int drop_log(struct xdp_md* ctx) {
  void* end = (void*)(long)ctx->data_end;
  struct headers h;
  const int found = walk_headers(ctx, &h);

  if (found == NOT_IP) return XDP_PASS;
  if (found == MALFORMED) return drop(ctx, DROP_CUT);
  if (is_longer_than(&h, end)) return drop(ctx, DROP_LENGTH);
  if (is_bad_source(&h)) return drop(ctx, DROP_SOURCE);
  if (h.version == 4 ? !((struct iphdr*)h.ip)->ttl : !((struct ipv6hdr*)h.ip)->hop_limit)
    return drop(ctx, DROP_EXPIRED);
  if (h.protocol == IPPROTO_TCP && h.fragment != LATER_FRAGMENT) {
    struct tcphdr* tcp = h.transport;

    if ((void*)(tcp + 1) > end) return drop(ctx, h.fragment ? DROP_SMALL_FRAGMENT : DROP_CUT);
    if (are_bad_flags(tcp)) return drop(ctx, DROP_TCP_FLAGS);
  }
  return XDP_PASS;
}

char LICENSE[] SEC("license") = "Apache-2.0";
