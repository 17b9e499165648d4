// SPDX-License-Identifier: Apache-2.0
//
// Connections as C programs ask for, make and change them. Every packet is one question: its bytes
// from offset 14 on say which, few values of each kind so that questions meet. What was answered is
// left in `out`.
// Run by tests/differential/conntrack_test.cc, in the kernel and in LMN.
#include <linux/bpf.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define ARGUMENTS_AT 14
#define ARGUMENT_BYTES 46
#define NUMBERS 64
#define TICKS 4

struct result {
  __s64 number[NUMBERS];
  __s64 ticks[TICKS];  // left of a time-out: the two sides do not tick together
};

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct result);
} out SEC(".maps");

#define CORE __attribute__((preserve_access_index))

union nf_inet_addr {
  __u32 all[4];
} CORE;
struct nf_conntrack_zone {
  __u16 id;
  __u8 dir;
} CORE;
union nf_conntrack_man_proto {
  __be16 all;
} CORE;
struct nf_conntrack_man {
  union nf_inet_addr u3;
  union nf_conntrack_man_proto u;
  __u16 l3num;
} CORE;
struct nf_conntrack_tuple {
  struct nf_conntrack_man src;
  struct {
    union nf_inet_addr u3;
    union {
      __be16 all;
    } u;
    __u8 protonum;
    __u8 dir;
  } dst;
} CORE;
struct nf_conntrack_tuple_hash {
  struct nf_conntrack_tuple tuple;
} CORE;
struct nf_conn {
  __u32 timeout;
  struct nf_conntrack_zone zone;
  struct nf_conntrack_tuple_hash tuplehash[2];
  unsigned long status;
  __u32 mark;
} CORE;

struct ct_options {
  __s32 netns_id;
  __s32 error;
  __u8 l4proto;
  __u8 dir;
  __u16 zone_id;
  __u8 zone_dir;
  __u8 reserved[3];
};

enum nf_nat_manip_type { NF_NAT_MANIP_SRC, NF_NAT_MANIP_DST };

struct nf_conn* bpf_xdp_ct_lookup(struct xdp_md*, struct bpf_sock_tuple*, __u32, struct ct_options*,
                                  __u32) __ksym;
struct nf_conn* bpf_xdp_ct_alloc(struct xdp_md*, struct bpf_sock_tuple*, __u32, struct ct_options*,
                                 __u32) __ksym;
struct nf_conn* bpf_ct_insert_entry(struct nf_conn*) __ksym;
void bpf_ct_release(struct nf_conn*) __ksym;
void bpf_ct_set_timeout(struct nf_conn*, __u32) __ksym;
int bpf_ct_change_timeout(struct nf_conn*, __u32) __ksym;
int bpf_ct_set_status(struct nf_conn*, __u32) __ksym;
int bpf_ct_change_status(struct nf_conn*, __u32) __ksym;
int bpf_ct_set_nat_info(struct nf_conn*, union nf_inet_addr*, int port,
                        enum nf_nat_manip_type kind) __ksym;

#define TELL_TUPLE(ct, which, n)                                                               \
  do {                                                                                         \
    (n)[0] = (ct)->tuplehash[which].tuple.src.u3.all[0] |                                      \
             (__u64)(ct)->tuplehash[which].tuple.src.u3.all[3] << 32;                          \
    (n)[1] = (ct)->tuplehash[which].tuple.dst.u3.all[0] |                                      \
             (__u64)(ct)->tuplehash[which].tuple.dst.u3.all[3] << 32;                          \
    (n)[2] = (ct)->tuplehash[which].tuple.src.u.all;                                           \
    (n)[3] = (ct)->tuplehash[which].tuple.dst.u.all;                                           \
    (n)[4] = (ct)->tuplehash[which].tuple.src.l3num;                                           \
    (n)[5] =                                                                                   \
        (ct)->tuplehash[which].tuple.dst.protonum << 8 | (ct)->tuplehash[which].tuple.dst.dir; \
  } while (0)

// What everybody sees of a connection.
static __always_inline void tell(struct nf_conn* ct, __s64* n) {
  n[0] = ct->status;
  n[1] = ct->mark;
  n[2] = ct->zone.id << 8 | ct->zone.dir;
  TELL_TUPLE(ct, 0, n + 3);
  TELL_TUPLE(ct, 1, n + 11);
}

static __always_inline void tell_options(struct ct_options* options, __s64* n) {
  n[0] = options->error;
  n[1] = options->dir;
  n[2] = options->zone_id << 8 | options->zone_dir;
}

static __always_inline void read_options(struct ct_options* options, const __u8* a) {
  __builtin_memset(options, 0, sizeof(*options));
  options->netns_id = -1;
  if ((a[9] & 15) == 14) options->netns_id = -2;
  if ((a[9] & 15) == 15) options->netns_id = 0xf00f;
  options->l4proto = a[5] & 1 ? 17 : 6;
  if ((a[5] >> 1 & 7) == 7) options->l4proto = 1;
  if ((a[6] & 3) == 0) options->zone_id = a[7] & 3;
  if ((a[6] & 3) == 0) options->zone_dir = a[8] & 3;
  if ((a[10] & 15) == 15) options->reserved[1] = 1;
}

static __always_inline __u32 read_tuple(struct bpf_sock_tuple* tuple, const __u8* a) {
  __builtin_memset(tuple, 0, sizeof(*tuple));
  if (a[0] & 1) {
    tuple->ipv6.saddr[0] = bpf_htonl(0xfd000000);
    tuple->ipv6.saddr[3] = bpf_htonl(a[1] & 3);
    tuple->ipv6.daddr[0] = bpf_htonl(0xfd000000);
    tuple->ipv6.daddr[3] = bpf_htonl(a[2] & 3);
    tuple->ipv6.sport = bpf_htons(1000 + (a[3] & 1));
    tuple->ipv6.dport = bpf_htons(1000 + (a[4] & 1));
  } else {
    tuple->ipv4.saddr = bpf_htonl(0x0a000000 + (a[1] & 3));
    tuple->ipv4.daddr = bpf_htonl(0x0a000000 + (a[2] & 3));
    tuple->ipv4.sport = bpf_htons(1000 + (a[3] & 1));
    tuple->ipv4.dport = bpf_htons(1000 + (a[4] & 1));
  }
  if ((a[11] & 31) == 31) return 11;
  return a[0] & 1 ? sizeof(tuple->ipv6) : sizeof(tuple->ipv4);
}

static __always_inline __u32 options_size(const __u8* a) {
  switch (a[6] & 31) {
    case 31:
      return 8;
    case 30:
      return 15;
    case 29:
    case 25:
    case 21:
    case 17:
      return 12;
    default:
      return 16;
  }
}

SEC("xdp")
int find_or_make(struct xdp_md* ctx) {
  __u8 a[ARGUMENT_BYTES];
  __u32 zero = 0;
  struct result* result = bpf_map_lookup_elem(&out, &zero);
  if (!result || bpf_xdp_load_bytes(ctx, ARGUMENTS_AT, a, sizeof(a))) return XDP_DROP;
  __builtin_memset(result, 0, sizeof(*result));
  __s64* n = result->number;
  struct ct_options options;
  struct bpf_sock_tuple tuple;
  read_options(&options, a);
  __u32 tuple_size = read_tuple(&tuple, a);
  __u32 size = options_size(a);
  struct nf_conn* ct = bpf_xdp_ct_lookup(ctx, &tuple, tuple_size, &options, size);
  tell_options(&options, n);
  if (ct) {
    n[3] = 1;
    tell(ct, n + 4);
    if (a[12] & 1) n[24] = bpf_ct_change_timeout(ct, a[13] << 24 | 0xffff);
    if (a[12] & 2) n[25] = bpf_ct_change_status(ct, ((a[14] << 8 | a[15]) & ~0x200) | 8);
    if (a[12] & 4) n[26] = bpf_ct_change_status(ct, a[14] << 24 | a[15]);
    if (a[12] & 8) ct->mark++;
    n[22] = ct->status;
    n[23] = ct->mark;
    result->ticks[0] = (__s32)(ct->timeout - (__u32)bpf_jiffies64());
    const int ends = (a[12] >> 4) == 15;
    if (ends) n[27] = bpf_ct_change_timeout(ct, 0);
    bpf_ct_release(ct);
    if (!ends) return XDP_PASS;
    // Asked for once more, it is gone on both sides; till then it would be in the way of new ones
    // as long as nobody walked past it.
    ct = bpf_xdp_ct_lookup(ctx, &tuple, tuple_size, &options, size);
    n[28] = options.error;
    if (ct) bpf_ct_release(ct);
    return XDP_PASS;
  }
  read_options(&options, a + 16);
  tuple_size = read_tuple(&tuple, a + 16);
  size = options_size(a + 16);
  ct = bpf_xdp_ct_alloc(ctx, &tuple, tuple_size, &options, size);
  tell_options(&options, n + 30);
  if (!ct) return XDP_PASS;
  n[33] = 1;
  result->ticks[1] = ct->timeout;
  if (a[32] & 1) bpf_ct_set_timeout(ct, (a[33] & 0x7f) << 24 | 0xffff);
  if ((a[32] >> 1 & 3) == 3) n[34] = bpf_ct_set_status(ct, (a[34] << 8 | a[35]) & ~0x208);
  union nf_inet_addr address = {};
  const __u32 network = a[0] & 1 ? 0xfc000000 : 0xc0000000;
  address.all[0] = bpf_htonl(network | a[36] << 16 | a[37] << 8 | a[38]);
  if (a[39] & 1) n[35] = bpf_ct_set_nat_info(ct, &address, a[40], NF_NAT_MANIP_SRC);
  address.all[0] = bpf_htonl(network | a[41] << 8);
  if (a[39] & 2) n[36] = bpf_ct_set_nat_info(ct, &address, a[42], NF_NAT_MANIP_DST);
  ct->mark = a[43];
  result->ticks[2] = ct->timeout;
  ct = bpf_ct_insert_entry(ct);
  if (!ct) return XDP_PASS;
  n[37] = 1;
  tell(ct, n + 40);
  result->ticks[3] = (__s32)(ct->timeout - (__u32)bpf_jiffies64());
  bpf_ct_release(ct);
  return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
