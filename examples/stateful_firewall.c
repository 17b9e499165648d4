// SPDX-License-Identifier: Apache-2.0
//
// A stateful firewall: hosts behind the trusted ports may open TCP and UDP connections and ping;
// from everywhere else come only answers, ICMP errors about known connections, and new connections
// to what `services` offers. The rest is dropped. IPv4 and IPv6.
//
// What it teaches: the connection table of the kernel as the program's memory. bpf_xdp_ct_lookup
// finds the connection of a packet in either direction, so "is this an answer?" is one call; new
// ones are made by bpf_xdp_ct_alloc, given status and time-out, and inserted. It is the table that
// conntrack(8) shows and that netfilter and other programs see; the kernel ends what times out.
//
//   - What a call gives is owned: every path gives it back by bpf_ct_release or
//   bpf_ct_insert_entry,
//     or the verifier refuses the program.
//   - Made by a program, a connection has no TCP state machine behind it. Ends are seen here: RST
//     and FIN shorten the time-out, SYN alone opens, and an answer makes the connection assured.
//   - Fields of struct nf_conn differ from kernel to kernel. preserve_access_index lets the loader
//     find `status` where the running kernel has it.
//
// Always passed: ARP, and ICMPv6 neighbour and router messages, without which nothing works.
// Dropped besides: later fragments (the ports are not in them), packets cut in their headers.
// Left out: NAT, protocols with helpers (FTP), other transport protocols than TCP, UDP, ICMP, and
// forged sources: who sends from outside with an address of a host inside is for a filter before
// it.
//
// Linux 6.1 or later with nf_conntrack loaded (`modprobe nf_conntrack`). In LMN the table is the
// engine's, or follows the host's: lmn run ... --conntrack host.
// `trusted` is keyed by ifindex:  bpftool map update name trusted key 3 0 0 0 value 1
// Tested by tests/examples/stateful_firewall_test.cc.
#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "headers.h"

#define OPENING_MS 30000
#define UDP_MS 180000
#define TCP_MS 3600000
#define CLOSING_MS 10000
#define PINGS_MAX 4096
#define CURRENT_NETNS (-1)

// As in <linux/netfilter/nf_conntrack_common.h>, which needs headers of the C library.
enum { SEEN_REPLY = 1 << 1, ASSURED = 1 << 2, DIRECTION_REPLY = 1 };

enum firewall_counter {
  OPENED,         // a new connection from inside, or to a service
  KNOWN,          // of a known connection
  PASSED_PING,    // and its answers
  PASSED_ERROR,   // about a known connection
  PASSED_LINK,    // ARP, neighbours
  DROPPED_NEW,    // from outside, and nobody had asked
  DROPPED_STRAY,  // TCP from inside that belongs to no connection
  DROPPED_OTHER,  // malformed, fragments, other protocols
  DROPPED_FULL,   // no room in the table
  FIREWALL_COUNTERS,
};

struct nf_conn {
  unsigned long status;
} __attribute__((preserve_access_index));

// struct bpf_ct_opts of the kernel, in the form of its first 12 bytes that all versions know.
struct ct_options {
  __s32 netns_id;
  __s32 error;
  __u8 protocol;
  __u8 direction;
  __u8 reserved[2];
};

extern struct nf_conn* bpf_xdp_ct_lookup(struct xdp_md* ctx, struct bpf_sock_tuple* tuple,
                                         __u32 tuple_bytes, struct ct_options* options,
                                         __u32 options_bytes) __ksym;
extern struct nf_conn* bpf_xdp_ct_alloc(struct xdp_md* ctx, struct bpf_sock_tuple* tuple,
                                        __u32 tuple_bytes, struct ct_options* options,
                                        __u32 options_bytes) __ksym;
extern struct nf_conn* bpf_ct_insert_entry(struct nf_conn* connection) __ksym;
extern void bpf_ct_release(struct nf_conn* connection) __ksym;
extern void bpf_ct_set_timeout(struct nf_conn* connection, __u32 ms) __ksym;
extern int bpf_ct_change_timeout(struct nf_conn* connection, __u32 ms) __ksym;
extern int bpf_ct_change_status(struct nf_conn* connection, __u32 status) __ksym;

struct service {
  __be16 port;
  __u8 protocol;
  __u8 zero;
};

struct ping {
  struct address inside;
  struct address outside;
  __be16 id;
  __u16 zero;
};

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 256);
  __type(key, __u32);  // ifindex of a port that hosts to protect are behind
  __type(value, __u8);
} trusted SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 256);
  __type(key, struct service);
  __type(value, __u8);
} services SEC(".maps");

// Connection tracking by programs knows TCP and UDP only.
struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, PINGS_MAX);
  __type(key, struct ping);
  __type(value, __u8);
} pings SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, FIREWALL_COUNTERS);
  __type(key, __u32);
  __type(value, __u64);
} firewall_cnt SEC(".maps");

static int decide(__u32 what) {
  __u64* counter = bpf_map_lookup_elem(&firewall_cnt, &what);

  if (counter) ++*counter;
  return what >= DROPPED_NEW ? XDP_DROP : XDP_PASS;
}

// A connection's two ends, in the form that the look-up takes: its length says which family.
struct ends {
  struct bpf_sock_tuple tuple;
  __u32 bytes;
};

static __always_inline void set_ends(struct ends* ends, const struct headers* h,
                                     const struct ports* ports) {
  __builtin_memset(ends, 0, sizeof(*ends));
  if (h->version == 4) {
    const struct iphdr* ip = h->ip;
    ends->tuple.ipv4.saddr = ip->saddr;
    ends->tuple.ipv4.daddr = ip->daddr;
    ends->tuple.ipv4.sport = ports->source;
    ends->tuple.ipv4.dport = ports->target;
    ends->bytes = sizeof(ends->tuple.ipv4);
  } else {
    const struct ipv6hdr* ip6 = h->ip;
    __builtin_memcpy(ends->tuple.ipv6.saddr, &ip6->saddr, sizeof(ends->tuple.ipv6.saddr));
    __builtin_memcpy(ends->tuple.ipv6.daddr, &ip6->daddr, sizeof(ends->tuple.ipv6.daddr));
    ends->tuple.ipv6.sport = ports->source;
    ends->tuple.ipv6.dport = ports->target;
    ends->bytes = sizeof(ends->tuple.ipv6);
  }
}

// The verifier wants the length as a constant on each path.
static __always_inline struct nf_conn* find(struct xdp_md* ctx, struct ends* ends,
                                            struct ct_options* options) {
  if (ends->bytes == sizeof(ends->tuple.ipv4))
    return bpf_xdp_ct_lookup(ctx, &ends->tuple, sizeof(ends->tuple.ipv4), options,
                             sizeof(*options));
  return bpf_xdp_ct_lookup(ctx, &ends->tuple, sizeof(ends->tuple.ipv6), options, sizeof(*options));
}

static __always_inline struct nf_conn* make(struct xdp_md* ctx, struct ends* ends,
                                            struct ct_options* options) {
  if (ends->bytes == sizeof(ends->tuple.ipv4))
    return bpf_xdp_ct_alloc(ctx, &ends->tuple, sizeof(ends->tuple.ipv4), options, sizeof(*options));
  return bpf_xdp_ct_alloc(ctx, &ends->tuple, sizeof(ends->tuple.ipv6), options, sizeof(*options));
}

static __always_inline int open_connection(struct xdp_md* ctx, struct ends* ends, __u8 protocol) {
  struct ct_options options = {.netns_id = CURRENT_NETNS, .protocol = protocol};
  struct nf_conn* connection = make(ctx, ends, &options);

  if (!connection) return decide(DROPPED_FULL);
  bpf_ct_set_timeout(connection, OPENING_MS);
  connection = bpf_ct_insert_entry(connection);
  // It may be there by now: another CPU had the next packet of it.
  if (!connection) return decide(DROPPED_FULL);
  bpf_ct_release(connection);
  return decide(OPENED);
}

static __always_inline void follow(struct nf_conn* connection, const struct ct_options* options,
                                   int is_closing) {
  const unsigned long status = connection->status;

  if (options->direction == DIRECTION_REPLY && !(status & ASSURED))
    bpf_ct_change_status(connection, status | SEEN_REPLY | ASSURED);
  if (is_closing) {
    bpf_ct_change_timeout(connection, CLOSING_MS);
  } else if (options->direction == DIRECTION_REPLY || (status & ASSURED)) {
    bpf_ct_change_timeout(connection, options->protocol == IPPROTO_TCP ? TCP_MS : UDP_MS);
  }
}

static __always_inline int judge_connection(struct xdp_md* ctx, const struct headers* h,
                                            int is_inside) {
  void* end = (void*)(long)ctx->data_end;
  struct ct_options options = {.netns_id = CURRENT_NETNS, .protocol = h->protocol};
  struct ports* ports = h->transport;
  struct service service = {.protocol = h->protocol};
  struct nf_conn* connection;
  struct ends ends;
  int is_closing = 0;
  int opens = 1;

  if ((void*)(ports + 1) > end) return decide(DROPPED_OTHER);
  if (h->protocol == IPPROTO_TCP) {
    struct tcphdr* tcp = h->transport;
    if ((void*)(tcp + 1) > end) return decide(DROPPED_OTHER);
    is_closing = tcp->fin || tcp->rst;
    opens = tcp->syn && !tcp->ack && !is_closing;
  }
  service.port = ports->target;
  set_ends(&ends, h, ports);
  connection = find(ctx, &ends, &options);
  if (connection) {
    follow(connection, &options, is_closing);
    bpf_ct_release(connection);
    return decide(KNOWN);
  }
  if (!is_inside && !bpf_map_lookup_elem(&services, &service)) return decide(DROPPED_NEW);
  if (!opens) return decide(is_inside ? DROPPED_STRAY : DROPPED_NEW);
  return open_connection(ctx, &ends, h->protocol);
}

// An error is about the packet that stands in it, which went the other way.
static __always_inline int judge_error(struct xdp_md* ctx, struct headers* h) {
  void* end = (void*)(long)ctx->data_end;
  struct ct_options options = {.netns_id = CURRENT_NETNS};
  void* inside = h->transport + 8;
  struct headers inner = {};
  struct nf_conn* connection;
  struct ports* ports;
  struct ends ends;
  int found;

  found = h->version == 4 ? walk_ipv4(inside, end, &inner) : walk_ipv6(inside, end, &inner);
  if (found != FOUND || inner.fragment == LATER_FRAGMENT) return decide(DROPPED_OTHER);
  if (inner.protocol != IPPROTO_TCP && inner.protocol != IPPROTO_UDP) return decide(DROPPED_OTHER);
  ports = inner.transport;
  if ((void*)(ports + 1) > end) return decide(DROPPED_OTHER);
  options.protocol = inner.protocol;
  set_ends(&ends, &inner, ports);
  connection = find(ctx, &ends, &options);
  if (!connection) return decide(DROPPED_NEW);
  bpf_ct_release(connection);
  return decide(PASSED_ERROR);
}

static __always_inline int judge_ping(const struct headers* h, __be16 id, int is_inside,
                                      int is_request) {
  const __u8 yes = 1;
  struct ping ping = {.id = id};

  if (is_inside) {
    ping.inside = source_of(h);
    ping.outside = target_of(h);
    if (is_request) bpf_map_update_elem(&pings, &ping, &yes, BPF_ANY);
    return decide(PASSED_PING);
  }
  ping.inside = target_of(h);
  ping.outside = source_of(h);
  if (is_request || !bpf_map_lookup_elem(&pings, &ping)) return decide(DROPPED_NEW);
  return decide(PASSED_PING);
}

static __always_inline int judge_icmp(struct xdp_md* ctx, struct headers* h, int is_inside) {
  struct echo {
    __u8 type;
    __u8 code;
    __be16 checksum;
    __be16 id;
    __be16 sequence;
  }* icmp = h->transport;

  if ((void*)(icmp + 1) > (void*)(long)ctx->data_end) return decide(DROPPED_OTHER);
  if (h->version == 4) {
    if (icmp->type == 8 || icmp->type == 0)
      return judge_ping(h, icmp->id, is_inside, icmp->type == 8);
    if (icmp->type == 3 || icmp->type == 11 || icmp->type == 12) return judge_error(ctx, h);
    return decide(DROPPED_OTHER);
  }
  if (icmp->type >= 133 && icmp->type <= 137) return decide(PASSED_LINK);
  if (icmp->type == 128 || icmp->type == 129)
    return judge_ping(h, icmp->id, is_inside, icmp->type == 128);
  if (icmp->type >= 1 && icmp->type <= 4) return judge_error(ctx, h);
  return decide(DROPPED_OTHER);
}

SEC("xdp")
int stateful_firewall(struct xdp_md* ctx) {
  const __u32 ifindex = ctx->ingress_ifindex;
  const int is_inside = bpf_map_lookup_elem(&trusted, &ifindex) != 0;
  struct ethhdr* ethernet = (void*)(long)ctx->data;
  struct headers h;

  switch (walk_headers(ctx, &h)) {
    case MALFORMED:
      return decide(DROPPED_OTHER);
    case NOT_IP:
      if ((void*)(ethernet + 1) > (void*)(long)ctx->data_end) return decide(DROPPED_OTHER);
      return decide(ethernet->h_proto == bpf_htons(ETH_P_ARP) ? PASSED_LINK : DROPPED_OTHER);
  }
  if (h.fragment == LATER_FRAGMENT) return decide(DROPPED_OTHER);
  if (h.protocol == IPPROTO_TCP || h.protocol == IPPROTO_UDP)
    return judge_connection(ctx, &h, is_inside);
  if (h.protocol == (h.version == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6))
    return judge_icmp(ctx, &h, is_inside);
  return decide(DROPPED_OTHER);
}

char LICENSE[] SEC("license") = "GPL";
