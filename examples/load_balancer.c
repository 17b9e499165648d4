// SPDX-License-Identifier: Apache-2.0
//
// A load balancer with direct return, on one leg: packets to a service's address go to one of its
// backends, which answers the client itself. So only requests come by here. IPv4 and IPv6.
//
// A backend is reached in a tunnel (IP in IP, grown in front by bpf_xdp_adjust_head) or, one hop
// away, by a new MAC address. Either way it has the service's address on its loopback device, and
// the packet in it is the client's, untouched: its checksums stay right.
//
// What it teaches:
//   - Consistent hashing with a table made elsewhere. fill_ring() of load_balancer.h shares the
//     slots of a ring among backends; the program only looks one up. Several balancers with the
//     same table decide alike without a word between them.
//   - A connection table on top (LRU_HASH), so that a connection stays where it is when the table
//     changes, as long as its backend is up. A SYN always asks the ring.
//   - ICMP errors go where the connection is that they complain of: it stands in the packet inside.
//     Without that, path MTU discovery of the backends breaks.
//   - bpf_fib_lookup for the way: device and MAC addresses of the next hop, and whether the packet
//     with its tunnel fits. It asks for nothing: who checks the health of backends from here keeps
//     their neighbours known. (Needs net.ipv4.ip_forward and net.ipv6.conf.all.forwarding.)
//   - One leg: out by the port of arrival is XDP_TX, by another one a redirect.
//
// Left to the host: what is for no service, ICMP echo, later fragments (they have no ports), VLAN
// tags. A tunnelled packet that is too long is dropped and counted: let backends announce an MSS
// that leaves room for 20 or 40 bytes.
// Linux 4.18 or later.
// Tested by tests/examples/load_balancer_test.cc.
#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "headers.h"
#include "load_balancer.h"

#define FAMILY_INET 2
#define FAMILY_INET6 10
#define CONNECTIONS_MAX 262144
#define OUTER_TTL 64
#define DONT_FRAGMENT 0x4000

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, SERVICES_MAX);
  __type(key, struct service_key);
  __type(value, struct service);
} services SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, SERVICES_MAX* RING_SLOTS);
  __type(key, __u32);
  __type(value, __u32);  // number of a backend
} rings SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, BACKENDS_MAX);
  __type(key, __u32);
  __type(value, struct backend);
} backends SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 2);
  __type(key, __u32);  // 0: of IPv4, 1: of IPv6
  __type(value, struct address);
} tunnel_source SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, CONNECTIONS_MAX);
  __type(key, struct flow);
  __type(value, __u32);  // number of a backend
} connections SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, BALANCER_COUNTERS);
  __type(key, __u32);
  __type(value, __u64);
} balancer_cnt SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, BACKENDS_MAX);
  __type(key, __u32);
  __type(value, __u64);  // packets
} backend_cnt SEC(".maps");

static __always_inline void count(__u32 what) {
  __u64* counter = bpf_map_lookup_elem(&balancer_cnt, &what);

  if (counter) ++*counter;
}

static int lose(__u32 why) {
  count(why);
  return XDP_DROP;
}

// What decides about the packet: whose it is, and what may be done with it.
struct request {
  struct flow flow;
  __u8 opens;   // a SYN: whatever the connection table has is of an older connection
  __u8 is_old;  // an ICMP error: nothing to remember
};

static __always_inline void set_addresses(struct flow* flow, const struct headers* h) {
  const struct address source = source_of(h);
  const struct address target = target_of(h);

  __builtin_memcpy(flow->source, &source, sizeof(source));
  __builtin_memcpy(flow->target, &target, sizeof(target));
  flow->version = h->version;
}

// The packet that an ICMP error complains of, sent by a backend in the service's name: the flow is
// the same, seen from the other side.
static __always_inline int read_complaint(const struct headers* h, void* end,
                                          struct request* request) {
  struct icmp_start {
    __u8 type;
    __u8 code;
    __u8 rest[6];
  }* icmp = h->transport;
  struct flow* flow = &request->flow;
  struct headers inner = {};
  struct ports* ports;
  int found;

  if ((void*)(icmp + 1) > end) return 0;
  if (h->version == 4) {
    if (icmp->type != 3 && icmp->type != 11 && icmp->type != 12) return 0;
    found = walk_ipv4((void*)(icmp + 1), end, &inner);
  } else {
    if (icmp->type < 1 || icmp->type > 4) return 0;
    found = walk_ipv6((void*)(icmp + 1), end, &inner);
  }
  if (found != FOUND || inner.fragment == LATER_FRAGMENT) return 0;
  if (inner.protocol != IPPROTO_TCP && inner.protocol != IPPROTO_UDP) return 0;
  ports = inner.transport;
  if ((void*)(ports + 1) > end) return 0;
  {
    const struct address service = source_of(&inner);
    const struct address client = target_of(&inner);
    __builtin_memcpy(flow->source, &client, sizeof(client));
    __builtin_memcpy(flow->target, &service, sizeof(service));
  }
  flow->version = inner.version;
  flow->protocol = inner.protocol;
  flow->source_port = ports->target;
  flow->target_port = ports->source;
  request->is_old = 1;
  return 1;
}

// 1: the packet may be for a service.
static __always_inline int read_request(const struct headers* h, void* end,
                                        struct request* request) {
  struct ports* ports = h->transport;

  if (h->fragment == LATER_FRAGMENT) return 0;
  if (h->protocol == (h->version == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6))
    return read_complaint(h, end, request);
  if (h->protocol == IPPROTO_TCP) {
    struct tcphdr* tcp = h->transport;

    if ((void*)(tcp + 1) > end) return 0;
    request->opens = tcp->syn && !tcp->ack;
  } else if (h->protocol != IPPROTO_UDP || (void*)(ports + 1) > end) {
    return 0;
  }
  set_addresses(&request->flow, h);
  request->flow.protocol = h->protocol;
  request->flow.source_port = ports->source;
  request->flow.target_port = ports->target;
  return 1;
}

static __always_inline __u32 slot_of(const struct flow* flow) {
  __u32 words[sizeof(struct flow) / 4];
  __u32 hash = 0;

  __builtin_memcpy(words, flow, sizeof(words));
  for (unsigned i = 0; i < sizeof(words) / 4; i++) hash = mix32(hash ^ words[i]);
  return hash % RING_SLOTS;
}

static __always_inline struct backend* running_backend(__u32 number) {
  struct backend* backend = bpf_map_lookup_elem(&backends, &number);

  return backend && backend->way != BACKEND_DOWN ? backend : 0;
}

static __always_inline struct backend* count_for(struct backend* backend, __u32 number,
                                                 __u32 counter) {
  __u64* packets = bpf_map_lookup_elem(&backend_cnt, &number);

  if (packets) ++*packets;
  count(counter);
  return backend;
}

static __always_inline struct backend* choose(const struct request* request, __u32 ring) {
  const __u32* known = bpf_map_lookup_elem(&connections, &request->flow);
  const __u32 at = ring * RING_SLOTS + slot_of(&request->flow);
  struct backend* backend;
  const __u32* slot;
  __u32 number;

  if (known && !request->opens) {
    number = *known;
    backend = running_backend(number);
    if (backend) return count_for(backend, number, SENT_KNOWN);
  }
  slot = bpf_map_lookup_elem(&rings, &at);
  if (!slot) return 0;
  number = *slot;
  backend = running_backend(number);
  if (!backend) return 0;
  if (!request->is_old) bpf_map_update_elem(&connections, &request->flow, &number, BPF_ANY);
  return count_for(backend, number, SENT_NEW);
}

static __always_inline __u16 ip_checksum(struct iphdr* ip) {
  __u32 sum = bpf_csum_diff(0, 0, (void*)ip, sizeof(*ip), 0);

  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return ~sum;
}

// Room in front, and an outer header around the packet. 0, or no room. The target is an argument,
// since the look-up of the way has written the next hop over the address that it was asked for.
static __always_inline int wrap_ipv4(struct xdp_md* ctx, const struct bpf_fib_lookup* fib,
                                     __be32 target, __u16 inner_bytes, __u8 tos) {
  struct ethhdr* ethernet;
  struct iphdr* ip;

  if (bpf_xdp_adjust_head(ctx, -(int)sizeof(*ip))) return -1;
  ethernet = (void*)(long)ctx->data;
  ip = (void*)(ethernet + 1);
  if ((void*)(ip + 1) > (void*)(long)ctx->data_end) return -1;
  ethernet->h_proto = bpf_htons(ETH_P_IP);
  __builtin_memset(ip, 0, sizeof(*ip));
  ip->version = 4;
  ip->ihl = sizeof(*ip) / 4;
  ip->tos = tos;
  ip->tot_len = bpf_htons(sizeof(*ip) + inner_bytes);
  ip->frag_off = bpf_htons(DONT_FRAGMENT);
  ip->ttl = OUTER_TTL;
  ip->protocol = IPPROTO_IPIP;
  ip->saddr = fib->ipv4_src;
  ip->daddr = target;
  ip->check = ip_checksum(ip);
  return 0;
}

static __always_inline int wrap_ipv6(struct xdp_md* ctx, const struct bpf_fib_lookup* fib,
                                     const __be32* target, __u16 inner_bytes) {
  struct ethhdr* ethernet;
  struct ipv6hdr* outer;

  if (bpf_xdp_adjust_head(ctx, -(int)sizeof(*outer))) return -1;
  ethernet = (void*)(long)ctx->data;
  outer = (void*)(ethernet + 1);
  if ((void*)(outer + 2) > (void*)(long)ctx->data_end) return -1;
  ethernet->h_proto = bpf_htons(ETH_P_IPV6);
  *outer = outer[1];  // version, class and flow label of the one inside
  outer->payload_len = bpf_htons(inner_bytes);
  outer->nexthdr = IPPROTO_IPV6;
  outer->hop_limit = OUTER_TTL;
  __builtin_memcpy(&outer->saddr, fib->ipv6_src, sizeof(outer->saddr));
  __builtin_memcpy(&outer->daddr, target, sizeof(outer->daddr));
  return 0;
}

// How to get to the backend: 0, or what is counted instead. `bytes` is the packet's length on the
// way, from its first IP header.
static __always_inline int find_way(struct xdp_md* ctx, const struct backend* backend, __u8 version,
                                    __u16 bytes, struct bpf_fib_lookup* fib) {
  const __u32 which = version == 6;
  const struct address* source = bpf_map_lookup_elem(&tunnel_source, &which);
  long error;

  if (!source) return LOST_ROUTE;
  fib->family = version == 4 ? FAMILY_INET : FAMILY_INET6;
  fib->tot_len = bytes;
  fib->ifindex = ctx->ingress_ifindex;
  if (version == 4) {
    fib->ipv4_src = source->words[0];
    fib->ipv4_dst = backend->address[0];
  } else {
    __builtin_memcpy(fib->ipv6_src, source, sizeof(fib->ipv6_src));
    __builtin_memcpy(fib->ipv6_dst, backend->address, sizeof(fib->ipv6_dst));
  }
  error = bpf_fib_lookup(ctx, fib, sizeof(*fib), 0);
  if (error == BPF_FIB_LKUP_RET_FRAG_NEEDED) return LOST_TOO_BIG;
  return error ? LOST_ROUTE : 0;
}

// How long the packet is from its IP header on; 0: its header promises more than there is.
static __always_inline __u32 ip_bytes(const struct headers* h, void* end) {
  __u32 bytes;

  if (h->version == 4) {
    const struct iphdr* ip = h->ip;
    bytes = bpf_ntohs(ip->tot_len);
    if (bytes < ip->ihl * 4) return 0;
  } else {
    bytes = sizeof(struct ipv6hdr) + bpf_ntohs(((struct ipv6hdr*)h->ip)->payload_len);
  }
  return h->ip + bytes > end ? 0 : bytes;
}

static __always_inline int send_to(struct xdp_md* ctx, const struct headers* h,
                                   const struct backend* backend) {
  const __u32 bytes = ip_bytes(h, (void*)(long)ctx->data_end);
  const __u32 header_bytes = h->version == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
  const int is_tunnel = backend->way == BACKEND_TUNNEL;
  struct bpf_fib_lookup fib = {};
  struct ethhdr* ethernet;
  int problem;

  if (!bytes) return lose(LOST_BROKEN);
  problem = find_way(ctx, backend, h->version, is_tunnel ? bytes + header_bytes : bytes, &fib);
  if (problem) return lose(problem);
  if (is_tunnel && h->version == 4) {
    const __u8 tos = ((struct iphdr*)h->ip)->tos;
    if (wrap_ipv4(ctx, &fib, backend->address[0], bytes, tos)) return lose(LOST_TOO_BIG);
  } else if (is_tunnel) {
    if (wrap_ipv6(ctx, &fib, backend->address, bytes)) return lose(LOST_TOO_BIG);
  }
  ethernet = (void*)(long)ctx->data;
  if ((void*)(ethernet + 1) > (void*)(long)ctx->data_end) return lose(LOST_BROKEN);
  __builtin_memcpy(ethernet->h_dest, fib.dmac, ETH_ALEN);
  __builtin_memcpy(ethernet->h_source, fib.smac, ETH_ALEN);
  return fib.ifindex == ctx->ingress_ifindex ? XDP_TX : bpf_redirect(fib.ifindex, 0);
}

SEC("xdp")
int load_balancer(struct xdp_md* ctx) {
  void* end = (void*)(long)ctx->data_end;
  struct service_key key = {};
  struct request request = {};
  const struct service* service;
  const struct backend* backend;
  struct headers h;

  if (walk_headers(ctx, &h) != FOUND || h.has_tags || !read_request(&h, end, &request)) {
    count(NOT_OURS);
    return XDP_PASS;
  }
  __builtin_memcpy(key.address, request.flow.target, sizeof(key.address));
  key.port = request.flow.target_port;
  key.protocol = request.flow.protocol;
  key.version = request.flow.version;
  service = bpf_map_lookup_elem(&services, &key);
  if (!service) {
    count(NOT_OURS);
    return XDP_PASS;
  }
  backend = choose(&request, service->ring);
  return backend ? send_to(ctx, &h, backend) : lose(LOST_NOBODY);
}

char LICENSE[] SEC("license") = "GPL";
