// SPDX-License-Identifier: Apache-2.0
//
// Objects of the kernel and per-CPU objects as C programs keep them: connections in untrusted
// pointers of map values, memory with a part for each CPU, and what lies behind the context. Each
// packet's bytes from offset 14 on are a list of operations with their arguments; what each
// answered is left in `out`. Run by tests/differential/kernel_objects_test.cc, in the kernel and in
// LMN.
#include <linux/bpf.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define __loose_kptr __attribute__((btf_type_tag("kptr_untrusted")))
#define __each_kptr __attribute__((btf_type_tag("percpu_kptr")))
#define CORE __attribute__((preserve_access_index))

#define ARGUMENTS_AT 14
#define OPERATIONS 12

struct operation {
  __u8 what;
  __u8 where;
  __u8 argument;
};

struct result {
  __s64 number[OPERATIONS * 2];
};

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct result);
} out SEC(".maps");

static struct result* result_of_packet(struct xdp_md* ctx, struct operation* operations) {
  __u32 zero = 0;
  struct result* result = bpf_map_lookup_elem(&out, &zero);
  if (!result) return 0;
  if (bpf_xdp_load_bytes(ctx, ARGUMENTS_AT, operations, sizeof(struct operation) * OPERATIONS)) {
    return 0;
  }
  __builtin_memset(result, 0, sizeof(*result));
  return result;
}

// --- connections in map values

struct nf_conntrack {
  struct {
    struct {
      int counter;
    } refs;
  } use;
} CORE;
struct nf_conn {
  struct nf_conntrack ct_general;
  __u32 timeout;
  unsigned long status;
  __u32 mark;
} CORE;

struct ct_options {
  __s32 netns_id;
  __s32 error;
  __u8 l4proto;
  __u8 dir;
  __u8 reserved[2];
};

struct nf_conn* bpf_xdp_ct_lookup(struct xdp_md*, struct bpf_sock_tuple*, __u32, struct ct_options*,
                                  __u32) __ksym;
struct nf_conn* bpf_xdp_ct_alloc(struct xdp_md*, struct bpf_sock_tuple*, __u32, struct ct_options*,
                                 __u32) __ksym;
struct nf_conn* bpf_ct_insert_entry(struct nf_conn*) __ksym;
void bpf_ct_release(struct nf_conn*) __ksym;
void bpf_ct_set_timeout(struct nf_conn*, __u32) __ksym;

struct keeper {
  struct nf_conn __loose_kptr* seen;
  __u64 number;
};

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 4);
  __type(key, __u32);
  __type(value, struct keeper);
} keepers SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 4);
  __type(key, __u32);
  __type(value, struct keeper);
} keeper_table SEC(".maps");

// One of four connections, made when it is not there; the caller's.
static __always_inline struct nf_conn* connection(struct xdp_md* ctx, __u8 which) {
  struct ct_options options = {.netns_id = -1, .l4proto = 17};
  struct bpf_sock_tuple tuple = {};
  tuple.ipv4.saddr = bpf_htonl(0x0a000001);
  tuple.ipv4.daddr = bpf_htonl(0x0a000002);
  tuple.ipv4.sport = bpf_htons(1000 + (which & 3));
  tuple.ipv4.dport = bpf_htons(53);
  struct nf_conn* ct =
      bpf_xdp_ct_lookup(ctx, &tuple, sizeof(tuple.ipv4), &options, sizeof(options));
  if (ct) return ct;
  struct nf_conn* made =
      bpf_xdp_ct_alloc(ctx, &tuple, sizeof(tuple.ipv4), &options, sizeof(options));
  if (!made) return 0;
  bpf_ct_set_timeout(made, 0x10000000);
  return bpf_ct_insert_entry(made);
}

static __always_inline __s64 on_keeper(struct xdp_md* ctx, struct keeper* keeper,
                                       const struct operation* operation) {
  struct nf_conn* ct;
  __s64 answer;
  switch (operation->what % 4) {
    case 0:
    case 1:
      ct = connection(ctx, operation->argument);
      if (!ct) return -100;
      ct->mark = operation->argument;
      keeper->seen = ct;
      answer = ct->ct_general.use.refs.counter;
      bpf_ct_release(ct);
      return answer;
    case 2:
      keeper->seen = 0;
      return -2;
    default:  // only looked at
      ct = keeper->seen;
      return ct ? (__s64)ct->mark << 16 | (ct->status & 0xffff) : -3;
  }
}

SEC("xdp")
int connections(struct xdp_md* ctx) {
  struct operation operations[OPERATIONS];
  struct result* result = result_of_packet(ctx, operations);
  if (!result) return XDP_DROP;
  for (int i = 0; i < OPERATIONS; ++i) {
    const struct operation* operation = &operations[i];
    __u32 key = operation->where & 3;
    struct keeper* keeper;
    const struct keeper fresh = {.number = operation->argument};
    if ((operation->where >> 2 & 1) == 0) {
      keeper = bpf_map_lookup_elem(&keepers, &key);
    } else if (operation->what >> 4 == 0) {
      result->number[i * 2] = bpf_map_delete_elem(&keeper_table, &key);
      continue;
    } else if (operation->what >> 4 < 6) {
      result->number[i * 2] = bpf_map_update_elem(&keeper_table, &key, &fresh, BPF_ANY);
      continue;
    } else {
      keeper = bpf_map_lookup_elem(&keeper_table, &key);
    }
    if (!keeper) continue;
    result->number[i * 2] = 1;
    result->number[i * 2 + 1] = on_keeper(ctx, keeper, operation);
  }
  return XDP_PASS;
}

// --- memory with a part for each CPU

struct tally {
  __u64 count;
  __u32 last;
  __u8 odd;
};

void* bpf_percpu_obj_new_impl(__u64 type, void* meta) __ksym;
void bpf_percpu_obj_drop_impl(void* object, void* meta) __ksym;

struct holder {
  struct tally __each_kptr* each;
  __u64 number;
};

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 3);
  __type(key, __u32);
  __type(value, struct holder);
} holders SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 3);
  __type(key, __u32);
  __type(value, struct holder);
} holder_table SEC(".maps");

// The kernel's memory is not cleared when it is used again: a program does it.
static __always_inline void clear(struct tally* each) {
  for (int cpu = 0; cpu < 4; ++cpu) {
    struct tally* tally = bpf_per_cpu_ptr(each, cpu);
    if (!tally) break;
    tally->count = 0;
    tally->last = 0;
    tally->odd = 0;
  }
}

static __always_inline __s64 on_holder(struct holder* holder, const struct operation* operation) {
  struct tally* tally;
  struct tally* old;
  struct tally __each_kptr* each;
  switch (operation->what % 5) {
    case 0:
      each = bpf_percpu_obj_new_impl(bpf_core_type_id_local(struct tally), 0);
      if (!each) return -100;
      old = bpf_kptr_xchg(&holder->each, each);
      clear(each);
      tally = bpf_this_cpu_ptr(each);
      tally->count = operation->argument;
      if (!old) return 1;
      bpf_percpu_obj_drop_impl(old, 0);
      return 2;
    case 1:
      old = bpf_kptr_xchg(&holder->each, 0);
      if (!old) return 3;
      bpf_percpu_obj_drop_impl(old, 0);
      return 4;
    case 2:
      each = holder->each;
      if (!each) return 5;
      tally = bpf_per_cpu_ptr(each, operation->argument & 3);
      if (!tally) return 6;
      tally->last = operation->argument;
      tally->odd++;
      return tally->count;
    default:
      each = holder->each;
      if (!each) return 7;
      tally = bpf_this_cpu_ptr(each);
      tally->count += operation->argument;
      return (__s64)tally->count << 32 | tally->last << 8 | tally->odd;
  }
}

SEC("xdp")
int parts(struct xdp_md* ctx) {
  struct operation operations[OPERATIONS];
  struct result* result = result_of_packet(ctx, operations);
  if (!result) return XDP_DROP;
  for (int i = 0; i < OPERATIONS; ++i) {
    const struct operation* operation = &operations[i];
    __u32 key = operation->where % 3;
    struct holder* holder;
    const struct holder fresh = {};
    if ((operation->where >> 4 & 1) == 0) {
      holder = bpf_map_lookup_elem(&holders, &key);
    } else if (operation->argument >> 6 == 0) {
      result->number[i * 2] = bpf_map_delete_elem(&holder_table, &key);
      continue;
    } else if (operation->argument >> 6 == 1) {
      result->number[i * 2] = bpf_map_update_elem(&holder_table, &key, &fresh, BPF_ANY);
      continue;
    } else {
      holder = bpf_map_lookup_elem(&holder_table, &key);
    }
    if (!holder) continue;
    result->number[i * 2] = 1;
    result->number[i * 2 + 1] = on_holder(holder, operation);
  }
  return XDP_PASS;
}

// --- what lies behind the context

struct ns_common {
  unsigned int inum;
} CORE;
struct net {
  struct ns_common ns;
} CORE;
typedef struct {
  struct net* net;
} possible_net_t;
struct net_device {
  int ifindex;
  unsigned int mtu;
  possible_net_t nd_net;
  char name[16];
  unsigned int flags;
} CORE;
struct xdp_rxq_info {
  struct net_device* dev;
  __u32 queue_index;
} CORE;
struct xdp_txq_info {
  struct net_device* dev;
} CORE;
struct xdp_buff {
  void* data;
  void* data_end;
  void* data_meta;
  void* data_hard_start;
  struct xdp_rxq_info* rxq;
  struct xdp_txq_info* txq;
  __u32 frame_sz;
  __u32 flags;
} CORE;

void* bpf_cast_to_kern_ctx(void* object) __ksym;
void* bpf_rdonly_cast(const void* object, __u32 type) __ksym;

struct seen {
  __u64 length, meta_length, room, fits, flags;
  __u32 ifindex, mtu, inum, queue, has_txq, again, cast_ifindex, by_context;
  char name[16];
};

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct seen);
} seen SEC(".maps");

SEC("xdp")
int behind(struct xdp_md* ctx) {
  __u32 zero = 0;
  struct seen* seen_now = bpf_map_lookup_elem(&seen, &zero);
  if (!seen_now) return XDP_DROP;
  struct xdp_buff* buffer = bpf_cast_to_kern_ctx(ctx);
  if (bpf_xdp_adjust_meta(ctx, -8)) return XDP_DROP;
  if (bpf_xdp_adjust_head(ctx, ctx->ingress_ifindex == 1 ? 2 : 0)) return XDP_DROP;
  seen_now->length = buffer->data_end - buffer->data;
  seen_now->meta_length = buffer->data - buffer->data_meta;
  seen_now->room = buffer->data - buffer->data_hard_start;
  seen_now->fits = (__u64)buffer->data == (__u64)(long)ctx->data;
  seen_now->flags = buffer->flags;
  seen_now->has_txq = buffer->txq != 0;
  seen_now->queue = buffer->rxq->queue_index;
  struct net_device* device = buffer->rxq->dev;
  seen_now->ifindex = device->ifindex;
  seen_now->mtu = device->mtu;
  seen_now->inum = device->nd_net.net->ns.inum;
  __builtin_memcpy(seen_now->name, device->name, sizeof(seen_now->name));
  struct net_device* cast = bpf_rdonly_cast(device, bpf_core_type_id_kernel(struct net_device));
  seen_now->cast_ifindex = cast->ifindex;
  struct xdp_buff* same = bpf_rdonly_cast(ctx, bpf_core_type_id_kernel(struct xdp_buff));
  seen_now->by_context = same->rxq->dev->ifindex;
  struct seen* mine = bpf_rdonly_cast(seen_now, bpf_core_type_id_kernel(struct xdp_rxq_info));
  seen_now->again = ((struct xdp_rxq_info*)mine)->queue_index == (__u32)seen_now->meta_length;
  return bpf_xdp_adjust_meta(ctx, 8) ? XDP_DROP : XDP_PASS;
}

// A member that LMN does not keep up.
SEC("xdp")
int unkept(struct xdp_md* ctx) {
  struct xdp_buff* buffer = bpf_cast_to_kern_ctx(ctx);
  return buffer->rxq->dev->flags & 1 ? XDP_PASS : XDP_DROP;
}

char _license[] SEC("license") = "GPL";
