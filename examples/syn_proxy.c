// SPDX-License-Identifier: Apache-2.0
//
// Answers connection requests to protected ports itself, with SYN cookies, so that a flood of
// forged SYNs costs no memory and never reaches the host. Who answers the answer is real: from then
// on packets of that connection pass. IPv4 and IPv6.
//
//   SYN         -> SYN-ACK from here (XDP_TX), its sequence number a cookie. Nothing is remembered.
//   ACK         the cookie is right: the connection is noted in `verified`, the ACK passes
//   other TCP   passes when its connection is in `verified`, else it is dropped
//   RST         passes, and ends the note
//
// What it teaches: bpf_tcp_raw_gen_syncookie_ipv4 and its family, which need no socket and so work
// on a machine in front of the server too; turning a packet round in place, checksums included; and
// bpf_xdp_load_bytes into the stack, for a header whose length only the packet knows.
//
// The rest of the way: the host's TCP has never seen the SYN. In Linux the netfilter target
// SYNPROXY takes over, since it makes the same cookies: it opens the connection to the server and
// translates sequence numbers.
//
//   sysctl net.netfilter.nf_conntrack_tcp_loose=0 net.ipv4.tcp_syncookies=2
//   iptables -t raw -I PREROUTING -i eth1 -p tcp --syn --dport 80 -j CT --notrack
//   iptables -A INPUT -i eth1 -p tcp --dport 80 -m state --state INVALID,UNTRACKED
//     -j SYNPROXY --mss 1460
//
// The window is 0 until it has: the client must not send data that nobody could keep. Only the
// segment size is kept in the cookie, so window scaling, SACK and timestamps are not offered.
// Linux 6.0 or later.
// Left to pass: fragments, VLAN tags, other protocols and ports, IPv4 options.
// Tested by tests/examples/syn_proxy_test.cc.
#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "headers.h"

#define VERIFIED_MAX 262144
#define ANSWER_TTL 64
#define DONT_FRAGMENT 0x4000
#define TCP_HEADER_BYTES_MAX 60
#define OPTION_MSS 2
#define OPTION_MSS_BYTES 4

enum { ANSWERED, VERIFIED, KNOWN, PASSED_OTHER, DROPPED_COOKIE, DROPPED_BROKEN, PROXY_COUNTERS };

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 64);
  __type(key, __be16);  // TCP port, as in the packet
  __type(value, __u8);
} protected_ports SEC(".maps");

struct connection {
  struct address client;
  struct address server;
  struct ports ports;
  __u32 version;
};

struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, VERIFIED_MAX);
  __type(key, struct connection);
  __type(value, __u8);
} verified SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, PROXY_COUNTERS);
  __type(key, __u32);
  __type(value, __u64);
} proxy_cnt SEC(".maps");

static int decide(__u32 what) {
  __u64* counter = bpf_map_lookup_elem(&proxy_cnt, &what);

  if (counter) ++*counter;
  if (what == ANSWERED) return XDP_TX;
  return what >= DROPPED_COOKIE ? XDP_DROP : XDP_PASS;
}

// A TCP header with one option: the segment size.
struct answer {
  struct tcphdr tcp;
  __u8 kind;
  __u8 length;
  __be16 mss;
};

static __always_inline __u16 fold(__u64 sum) {
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return ~sum;
}

// Over the addresses that follow each other in the IP header, the protocol, and the segment.
static __always_inline __u16 tcp_checksum(__be32* addresses, __u32 address_bytes,
                                          struct answer* answer) {
  __u64 sum = bpf_csum_diff(0, 0, addresses, address_bytes, 0);

  answer->tcp.check = 0;
  sum = bpf_csum_diff(0, 0, (void*)answer, sizeof(*answer), sum);
  sum += bpf_htons(IPPROTO_TCP);
  sum += bpf_htons(sizeof(*answer));
  return fold(sum);
}

static __always_inline void make_answer(struct answer* answer, const struct tcphdr* syn,
                                        __u64 cookie_and_mss) {
  __builtin_memset(answer, 0, sizeof(*answer));
  answer->tcp.source = syn->dest;
  answer->tcp.dest = syn->source;
  answer->tcp.seq = bpf_htonl((__u32)cookie_and_mss);
  answer->tcp.ack_seq = bpf_htonl(bpf_ntohl(syn->seq) + 1);
  answer->tcp.doff = sizeof(*answer) / 4;
  answer->tcp.syn = 1;
  answer->tcp.ack = 1;
  answer->kind = OPTION_MSS;
  answer->length = OPTION_MSS_BYTES;
  answer->mss = bpf_htons(cookie_and_mss >> 32);
}

static __always_inline void turn_ethernet(struct ethhdr* ethernet) {
  __u8 mac[ETH_ALEN];

  __builtin_memcpy(mac, ethernet->h_dest, ETH_ALEN);
  __builtin_memcpy(ethernet->h_dest, ethernet->h_source, ETH_ALEN);
  __builtin_memcpy(ethernet->h_source, mac, ETH_ALEN);
}

static __always_inline void turn_ipv4(struct iphdr* ip) {
  const __be32 client = ip->saddr;
  __u64 sum;

  ip->saddr = ip->daddr;
  ip->daddr = client;
  ip->tos = 0;
  ip->tot_len = bpf_htons(sizeof(*ip) + sizeof(struct answer));
  ip->id = 0;
  ip->frag_off = bpf_htons(DONT_FRAGMENT);
  ip->ttl = ANSWER_TTL;
  ip->check = 0;
  sum = bpf_csum_diff(0, 0, (void*)ip, sizeof(*ip), 0);
  ip->check = fold(sum);
}

static __always_inline void turn_ipv6(struct ipv6hdr* ip6) {
  const struct in6_addr client = ip6->saddr;

  ip6->saddr = ip6->daddr;
  ip6->daddr = client;
  ip6->payload_len = bpf_htons(sizeof(struct answer));
  ip6->hop_limit = ANSWER_TTL;
}

// The frame becomes the answer's: as long as that, and with its headers.
static __always_inline int answer_syn(struct xdp_md* ctx, __u8 version, const struct tcphdr* syn,
                                      __u64 cookie_and_mss) {
  const __u32 ip_bytes = version == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
  const int bytes = sizeof(struct ethhdr) + ip_bytes + sizeof(struct answer);
  struct answer* answer;
  struct ethhdr* ethernet;
  void* end;

  if (bpf_xdp_adjust_tail(ctx, bytes - (int)frame_bytes(ctx))) return decide(DROPPED_BROKEN);
  ethernet = (void*)(long)ctx->data;
  end = (void*)(long)ctx->data_end;
  answer = (void*)(ethernet + 1) + ip_bytes;
  if ((void*)(answer + 1) > end) return decide(DROPPED_BROKEN);
  turn_ethernet(ethernet);
  make_answer(answer, syn, cookie_and_mss);
  if (version == 4) {
    struct iphdr* ip = (void*)(ethernet + 1);
    turn_ipv4(ip);
    answer->tcp.check = tcp_checksum(&ip->saddr, 2 * sizeof(ip->saddr), answer);
  } else {
    struct ipv6hdr* ip6 = (void*)(ethernet + 1);
    turn_ipv6(ip6);
    answer->tcp.check = tcp_checksum((__be32*)&ip6->saddr, 2 * sizeof(ip6->saddr), answer);
  }
  return decide(ANSWERED);
}

// A whole TCP header on the stack: the packet's may have any length, and the verifier wants to know
// how much of it there is.
struct tcp_copy {
  struct tcphdr tcp;
  __u8 options[TCP_HEADER_BYTES_MAX - sizeof(struct tcphdr)];
};

static __always_inline int on_syn(struct xdp_md* ctx, const struct headers* h,
                                  const struct tcphdr* tcp) {
  const __u32 at = h->transport - (void*)(long)ctx->data;
  struct tcp_copy syn = {};
  __u32 bytes = tcp->doff * 4;
  __s64 cookie;

  if (bytes < sizeof(struct tcphdr) || bytes > sizeof(syn)) return decide(DROPPED_BROKEN);
  if (bpf_xdp_load_bytes(ctx, at, &syn, bytes)) return decide(DROPPED_BROKEN);
  if (h->version == 4) {
    struct iphdr ip = *(struct iphdr*)h->ip;
    cookie = bpf_tcp_raw_gen_syncookie_ipv4(&ip, &syn.tcp, bytes);
  } else {
    struct ipv6hdr ip6 = *(struct ipv6hdr*)h->ip;
    cookie = bpf_tcp_raw_gen_syncookie_ipv6(&ip6, &syn.tcp, bytes);
  }
  return cookie < 0 ? decide(DROPPED_BROKEN) : answer_syn(ctx, h->version, &syn.tcp, cookie);
}

static __always_inline int on_other(const struct headers* h, struct tcphdr* tcp) {
  const __u8 yes = 1;
  struct connection connection = {.client = source_of(h), .server = target_of(h)};
  long error;

  connection.ports.source = tcp->source;
  connection.ports.target = tcp->dest;
  connection.version = h->version;
  if (bpf_map_lookup_elem(&verified, &connection)) {
    if (tcp->rst) bpf_map_delete_elem(&verified, &connection);
    return decide(KNOWN);
  }
  if (!tcp->ack || tcp->syn || tcp->rst || tcp->fin) return decide(DROPPED_COOKIE);
  error = h->version == 4 ? bpf_tcp_raw_check_syncookie_ipv4(h->ip, tcp)
                          : bpf_tcp_raw_check_syncookie_ipv6(h->ip, tcp);
  if (error) return decide(DROPPED_COOKIE);
  bpf_map_update_elem(&verified, &connection, &yes, BPF_ANY);
  return decide(VERIFIED);
}

SEC("xdp")
int syn_proxy(struct xdp_md* ctx) {
  void* end = (void*)(long)ctx->data_end;
  struct tcphdr* tcp;
  struct headers h;
  __be16 port;

  if (walk_headers(ctx, &h) != FOUND) return decide(PASSED_OTHER);
  if (h.has_tags || h.fragment || h.protocol != IPPROTO_TCP) return decide(PASSED_OTHER);
  // Straight behind the shortest IP header: the answer has the same form.
  tcp = h.ip + (h.version == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr));
  if (h.transport != tcp) return decide(PASSED_OTHER);
  if ((void*)(tcp + 1) > end) return decide(DROPPED_BROKEN);
  port = tcp->dest;
  if (!bpf_map_lookup_elem(&protected_ports, &port)) return decide(PASSED_OTHER);
  return tcp->syn && !tcp->ack ? on_syn(ctx, &h, tcp) : on_other(&h, tcp);
}

char LICENSE[] SEC("license") = "GPL";
