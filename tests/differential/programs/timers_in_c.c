// SPDX-License-Identifier: Apache-2.0
//
// A timer that is told by a map what to do, and writes down when it was called. Run by
// tests/differential/timers_test.cc, on a clock of the test's.
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#define CLOCK_MONOTONIC 1
#define CALLS_KEPT 8

struct order {
  __u64 wait_ns;
  __u64 flags;
  __u64 again_ns;    /* what the callback starts itself with */
  __u32 again_count; /* how often it does */
  __u32 cancels;     /* 1: the callback cancels itself; 2: it cancels the timer of key 1 */
  __u32 key;         /* of the timer to start */
  __u32 deletes;     /* 1: the element is deleted after the timer is started */
  __s64 answer;      /* of the start */
};

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct order);
} orders SEC(".maps");

struct timed {
  struct bpf_timer timer;
  __u64 called;
  __u64 at_ns[CALLS_KEPT];
  __u64 random;
  __s64 said;
  __u32 again_count;
  __u32 cancels;
  __u64 again_ns;
};

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 64);
  __type(key, __u32);
  __type(value, struct timed);
} timers SEC(".maps");

/* Outlives the elements. */
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u64);
} calls SEC(".maps");

static int on_timer(void* map, __u32* key, struct timed* value) {
  __u32 zero = 0;
  __u64* count = bpf_map_lookup_elem(&calls, &zero);
  if (count) ++*count;
  value->at_ns[value->called % CALLS_KEPT] = bpf_ktime_get_ns();
  value->called++;
  value->random = value->random * 31 + bpf_get_prandom_u32();
  if (value->cancels == 1) value->said = bpf_timer_cancel(&value->timer);
  if (value->cancels == 2) {
    __u32 one = 1;
    struct timed* other = bpf_map_lookup_elem(&timers, &one);
    if (other) value->said = bpf_timer_cancel(&other->timer);
  }
  if (value->again_count == 0) return 0;
  value->again_count--;
  bpf_timer_start(&value->timer, value->again_ns, 0);
  return 0;
}

SEC("xdp")
int start_timer(struct xdp_md* ctx) {
  __u32 zero = 0;
  struct order* order = bpf_map_lookup_elem(&orders, &zero);
  if (!order) return XDP_ABORTED;
  __u32 key = order->key;
  struct timed* value = bpf_map_lookup_elem(&timers, &key);
  if (!value) {
    struct timed fresh = {};
    bpf_map_update_elem(&timers, &key, &fresh, BPF_ANY);
    value = bpf_map_lookup_elem(&timers, &key);
    if (!value) return XDP_ABORTED;
    bpf_timer_init(&value->timer, &timers, CLOCK_MONOTONIC);
  }
  value->again_ns = order->again_ns;
  value->again_count = order->again_count;
  value->cancels = order->cancels;
  bpf_timer_set_callback(&value->timer, on_timer);
  order->answer = bpf_timer_start(&value->timer, order->wait_ns, order->flags);
  if (order->deletes) bpf_map_delete_elem(&timers, &key);
  return XDP_PASS;
}

// For captures: what a packet does depends on its bytes, the time and chance, and is left in it.
SEC("xdp")
int start_from_packet(struct xdp_md* ctx) {
  __u8* data = (void*)(long)ctx->data;
  void* end = (void*)(long)ctx->data_end;
  if (data + 32 > (__u8*)end) return XDP_DROP;
  __u32 key = data[14] % 16;
  struct timed* value = bpf_map_lookup_elem(&timers, &key);
  if (!value) {
    struct timed fresh = {};
    bpf_map_update_elem(&timers, &key, &fresh, BPF_ANY);
    value = bpf_map_lookup_elem(&timers, &key);
    if (!value) return XDP_ABORTED;
    bpf_timer_init(&value->timer, &timers, CLOCK_MONOTONIC);
    bpf_timer_set_callback(&value->timer, on_timer);
  }
  value->again_count = data[15] % 4;
  bpf_timer_start(&value->timer, data[16] % 2 ? 0 : data[16], 0);
  *(__u32*)(data + 16) = bpf_get_prandom_u32();
  *(__u64*)(data + 20) = bpf_ktime_get_ns() + value->called;
  return XDP_TX;
}

char _license[] SEC("license") = "GPL";
