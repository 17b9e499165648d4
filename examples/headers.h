// SPDX-License-Identifier: Apache-2.0
//
// Where the headers of a frame lie: Ethernet, up to two VLAN tags, IPv4 with options or IPv6 with
// extension headers, and the transport protocol. For the larger examples.
//
// One walk for all, since a filter that stops at the first unusual header is one that an attacker
// steps around: an option, a tag or an extension header in front, and the rule no longer matches.
// Every step is checked against the end of the frame. Verdicts are left to the caller, who is told
// three things apart: not IP, cut or contradicting itself, and found.
//
// `version` is a number and there is no null pointer to ask: the verifier knows numbers, and cannot
// tell that a packet pointer is not null.
// Tested by tests/examples/flood_filter_test.cc and the tests of the others that include it.
#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define TAGS_MAX 2
#define EXTENSIONS_MAX 4
#define IPV4_OFFSET_MASK 0x1fff
#define IPV4_FRAGMENT_MASK 0x3fff  // "more fragments" and the offset
#define IPV6_OFFSET_MASK 0xfff8
#define IPV6_FRAGMENT_MASK 0xfff9

enum walk { FOUND, NOT_IP, MALFORMED };

enum fragment {
  WHOLE,
  FIRST_FRAGMENT,  // has the transport header
  LATER_FRAGMENT,  // has none: `transport` is payload
};

struct headers {
  void* ip;         // struct iphdr or struct ipv6hdr, as `version` says; all of it is there
  void* transport;  // behind options and extension headers; nothing of it is checked yet
  __u16 vlan_id;    // of the outer tag
  __u8 has_tags;    // VLAN tags: `vlan_id` means something
  __u8 version;     // 4 or 6
  __u8 protocol;    // of `transport`
  __u8 fragment;
};

struct vlan_tag {
  __be16 control;
  __be16 next;  // EtherType
};

// How every IPv6 extension header begins.
struct ipv6_extension {
  __u8 next;
  __u8 length;
  __be16 fragment;  // in a fragment header
};

// Both ports, as TCP and UDP have them in front.
struct ports {
  __be16 source;
  __be16 target;
};

// IPv4 has the address in the first word and zeros behind it, so that one key type serves both.
struct address {
  __be32 words[4];
};

// The length of the frame. The barrier hides where the number comes from: otherwise the compiler
// moves it into other sums, which become sums with half of a pointer or with the packet's end, and
// both the verifier refuses.
static __always_inline __u64 frame_bytes(const struct xdp_md* ctx) {
  __u64 bytes = (void*)(long)ctx->data_end - (void*)(long)ctx->data;

  barrier_var(bytes);
  return bytes;
}

static __always_inline int walk_ipv4(struct iphdr* ip, void* end, struct headers* found) {
  if ((void*)(ip + 1) > end || ip->version != 4 || ip->ihl < 5) return MALFORMED;
  found->ip = ip;
  found->version = 4;
  found->protocol = ip->protocol;
  found->transport = (void*)ip + ip->ihl * 4;
  if (ip->frag_off & bpf_htons(IPV4_OFFSET_MASK)) {
    found->fragment = LATER_FRAGMENT;
  } else if (ip->frag_off & bpf_htons(IPV4_FRAGMENT_MASK)) {
    found->fragment = FIRST_FRAGMENT;
  }
  return FOUND;
}

static __always_inline int walk_ipv6(struct ipv6hdr* ip6, void* end, struct headers* found) {
  __u8 next;
  void* at = ip6 + 1;

  if (at > end || ip6->version != 6) return MALFORMED;
  found->ip = ip6;
  found->version = 6;
  next = ip6->nexthdr;
  for (int i = 0; i < EXTENSIONS_MAX; i++) {
    struct ipv6_extension* extension = at;

    if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS &&
        next != IPPROTO_FRAGMENT)
      break;
    if ((void*)(extension + 1) > end) return MALFORMED;
    if (next == IPPROTO_FRAGMENT) {
      if (extension->fragment & bpf_htons(IPV6_OFFSET_MASK)) {
        found->fragment = LATER_FRAGMENT;
      } else if (extension->fragment & bpf_htons(IPV6_FRAGMENT_MASK)) {
        found->fragment = FIRST_FRAGMENT;
      }
      at += 8;
    } else {
      at += (extension->length + 1) * 8;
    }
    next = extension->next;
    if (found->fragment == LATER_FRAGMENT) break;
  }
  found->protocol = next;
  found->transport = at;
  return FOUND;
}

static __always_inline int walk_headers(struct xdp_md* ctx, struct headers* found) {
  void* end = (void*)(long)ctx->data_end;
  struct ethhdr* ethernet = (void*)(long)ctx->data;
  void* at = ethernet + 1;
  __be16 type;

  __builtin_memset(found, 0, sizeof(*found));
  if (at > end) return MALFORMED;
  type = ethernet->h_proto;
  for (int i = 0; i < TAGS_MAX; i++) {
    struct vlan_tag* tag = at;

    if (type != bpf_htons(ETH_P_8021Q) && type != bpf_htons(ETH_P_8021AD)) break;
    if ((void*)(tag + 1) > end) return MALFORMED;
    if (i == 0) found->vlan_id = bpf_ntohs(tag->control) & 0x0fff;
    found->has_tags = 1;
    type = tag->next;
    at = tag + 1;
  }
  if (type == bpf_htons(ETH_P_IP)) return walk_ipv4(at, end, found);
  if (type == bpf_htons(ETH_P_IPV6)) return walk_ipv6(at, end, found);
  return NOT_IP;
}

static __always_inline struct address source_of(const struct headers* h) {
  struct address address = {};

  if (h->version == 4) {
    address.words[0] = ((struct iphdr*)h->ip)->saddr;
  } else {
    __builtin_memcpy(&address, &((struct ipv6hdr*)h->ip)->saddr, sizeof(address));
  }
  return address;
}

static __always_inline struct address target_of(const struct headers* h) {
  struct address address = {};

  if (h->version == 4) {
    address.words[0] = ((struct iphdr*)h->ip)->daddr;
  } else {
    __builtin_memcpy(&address, &((struct ipv6hdr*)h->ip)->daddr, sizeof(address));
  }
  return address;
}
