// SPDX-License-Identifier: Apache-2.0
//
// Drops floods: sources that open connections faster than allowed, and answers of open DNS, NTP,
// memcached ... servers that somebody asked in our name. IPv4 and IPv6, with VLAN tags, options and
// extension headers in front.
//
//   1. Lists of networks that always or never pass (`list4`, `list6`; the longest prefix decides).
//   2. SYNs, UDP from the ports in `reflectors`, and later fragments: a token bucket for each
//   source
//      and class, its rate in `limits`. What is over the rate is dropped.
//   3. Everything else passes. Empty maps pass everything.
//
// What it teaches:
//   - LPM_TRIE as an access list, with keys of a prefix length before the address.
//   - A token bucket in 8 bytes without a lock. The bucket holds one moment: when it will be full
//     again. A packet moves it on by one interval, and is over the rate when that lies further
//     ahead than the burst is long. One compare-and-swap changes it, so all CPUs share a bucket
//     exactly; a lock is no choice, for Linux allows none in an LRU_HASH. (Built with -mcpu=v2,
//     which has no compare-and-swap, two CPUs at the same moment may let one packet too many
//     through.)
//   - LRU_HASH for what an attacker chooses. Forged sources fill any table; here they push out
//   those
//     that were quiet longest, and the update never fails for want of room.
//   - Per-CPU counters for each outcome, packets and bytes: what was dropped and why.
//
// A loader fills the maps as flood_filter.h has them. 100 SYNs a second with bursts of 20, by hand:
//
//   lmn run flood_filter.bpf.o --port packet:eth1,pass=eth2 --dump-maps
//     --set-map limits:00000000=8096980000000000,1400000000000000
//
// (interval 10,000,000 ns = 0x989680, burst 20 = 0x14; little-endian, without the comma)
// Tested by tests/examples/flood_filter_test.cc.
#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "flood_filter.h"
#include "headers.h"

#define SOURCES_MAX 65536
#define PREFIXES_MAX 16384
#define ATTEMPTS 4

struct {
  __uint(type, BPF_MAP_TYPE_LPM_TRIE);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, PREFIXES_MAX);
  __type(key, struct prefix4);
  __type(value, __u32);  // enum list_verdict
} list4 SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_LPM_TRIE);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, PREFIXES_MAX);
  __type(key, struct prefix6);
  __type(value, __u32);
} list6 SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 64);
  __type(key, __be16);  // UDP port, as in the packet
  __type(value, __u8);
} reflectors SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, FLOOD_CLASSES);
  __type(key, __u32);
  __type(value, struct flood_limit);
} limits SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, SOURCES_MAX);
  __type(key, struct bucket_key);
  __type(value, struct bucket);
} buckets SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, FLOOD_COUNTERS);
  __type(key, __u32);
  __type(value, struct flood_count);
} flood_cnt SEC(".maps");

static int count(struct xdp_md* ctx, __u32 outcome) {
  struct flood_count* counter = bpf_map_lookup_elem(&flood_cnt, &outcome);

  if (counter) {
    counter->packets++;
    counter->bytes += frame_bytes(ctx);
  }
  return outcome >= DROPPED_DENIED ? XDP_DROP : XDP_PASS;
}

// 0: it is on no list.
static __always_inline __u32 listed(const struct headers* h, const struct address* source) {
  const __u32* verdict;

  if (h->version == 4) {
    const struct prefix4 key = {.bits = 32, .address = source->words[0]};
    verdict = bpf_map_lookup_elem(&list4, &key);
  } else {
    struct prefix6 key = {.bits = 128};
    __builtin_memcpy(key.address, source->words, sizeof(key.address));
    verdict = bpf_map_lookup_elem(&list6, &key);
  }
  return verdict ? *verdict : 0;
}

// The class whose rate the packet counts for; FLOOD_CLASSES: none.
static __always_inline __u32 class_of(const struct headers* h, void* end) {
  if (h->fragment == LATER_FRAGMENT) return FLOOD_FRAGMENT;
  if (h->protocol == IPPROTO_TCP) {
    struct tcphdr* tcp = h->transport;

    if ((void*)(tcp + 1) > end) return FLOOD_CLASSES;
    return tcp->syn && !tcp->ack ? FLOOD_SYN : FLOOD_CLASSES;
  }
  if (h->protocol == IPPROTO_UDP) {
    struct ports* ports = h->transport;
    __be16 port;

    if ((void*)(ports + 1) > end) return FLOOD_CLASSES;
    port = ports->source;
    return bpf_map_lookup_elem(&reflectors, &port) ? FLOOD_REFLECTED : FLOOD_CLASSES;
  }
  return FLOOD_CLASSES;
}

// True when nobody else changed the bucket in between.
static __always_inline int replace(__u64* at, __u64 old, __u64 new) {
#if __BPF_CPU_VERSION__ >= 3
  return __sync_val_compare_and_swap(at, old, new) == old;
#else
  *(volatile __u64*)at = new;
  return 1;
#endif
}

static __always_inline int is_over_rate(const struct bucket_key* key,
                                        const struct flood_limit* limit) {
  const __u64 now = bpf_ktime_get_ns();
  const __u64 interval = limit->interval_ns;
  const __u64 latest = now + limit->burst * interval;
  struct bucket fresh = {.free_at_ns = now + interval};
  struct bucket* bucket = bpf_map_lookup_elem(&buckets, key);

  if (!bucket) {
    if (!bpf_map_update_elem(&buckets, key, &fresh, BPF_NOEXIST)) return 0;
    bucket = bpf_map_lookup_elem(&buckets, key);  // another CPU was first
    if (!bucket) return 0;
  }
  for (int i = 0; i < ATTEMPTS; i++) {
    const __u64 old = *(volatile __u64*)&bucket->free_at_ns;
    const __u64 new = (old > now ? old : now) + interval;

    if (new > latest) return 1;
    if (replace(&bucket->free_at_ns, old, new)) return 0;
  }
  return 1;  // this source comes in on that many CPUs at once
}

SEC("xdp")
int flood_filter(struct xdp_md* ctx) {
  void* end = (void*)(long)ctx->data_end;
  const struct flood_limit* limit;
  struct bucket_key key = {};
  struct address source;
  struct headers h;
  __u32 verdict;

  switch (walk_headers(ctx, &h)) {
    case NOT_IP:
      return count(ctx, PASSED_OTHER);
    case MALFORMED:
      return count(ctx, DROPPED_MALFORMED);
  }
  source = source_of(&h);
  verdict = listed(&h, &source);
  if (verdict == LISTED_ALLOW) return count(ctx, PASSED_ALLOWED);
  if (verdict == LISTED_DENY) return count(ctx, DROPPED_DENIED);

  key.kind = class_of(&h, end);
  if (key.kind >= FLOOD_CLASSES) return count(ctx, PASSED_OTHER);
  limit = bpf_map_lookup_elem(&limits, &key.kind);
  if (!limit || !limit->interval_ns) return count(ctx, PASSED_OTHER);
  key.source[0] = source.words[0];
  key.source[1] = source.words[1];
  if (h.version == 6) key.source[3] = bpf_htonl(6);  // 2001:db8::/64 is not 32.1.13.184
  return count(ctx, is_over_rate(&key, limit) ? DROPPED_OVER_RATE : PASSED_IN_RATE);
}

char LICENSE[] SEC("license") = "Apache-2.0";
