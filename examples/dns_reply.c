// SPDX-License-Identifier: Apache-2.0
//
// Answers DNS questions for IPv4 addresses (type A) from a table, in place: the question's frame
// becomes the answer's and leaves by the port it came in by. Everything that is not such a question
// passes to the server.
//
// What it teaches: growing a packet at its tail (bpf_xdp_adjust_tail), a bounded loop over packet
// bytes, and mending the fields that depend on length and content:
//
//   Ethernet   addresses swapped
//   IPv4       addresses swapped, total length, TTL, checksum made new with bpf_csum_diff
//   UDP        ports swapped, length, checksum 0, which over IPv4 means "not computed"
//   DNS        header says "answer, authoritative, one record"; the question stays
//   answer     16 bytes appended: pointer to the name in the question, type, class, TTL, address
//
// Names are compared as they are on the wire (each label behind its length, a zero at the end), in
// lower case, padded with zeros to NAME_BYTES: that is the key. Fill `dns_records` from user space.
//
// Left to pass: IPv6, VLAN tags, IPv4 options, fragments, names over NAME_BYTES, questions with
// additional records (EDNS), and names that are not in the table.
// Tested by tests/examples/examples_test.cc.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define NAME_BYTES 64
#define DNS_PORT 53
#define DNS_TYPE_A 1
#define DNS_CLASS_IN 1
#define DNS_LABEL_BYTES_MAX 63
#define DNS_RECURSION_DESIRED 0x0100
#define DNS_QUESTION_FLAGS_MASK (0xffff & ~DNS_RECURSION_DESIRED)
#define DNS_ANSWER_FLAGS 0x8400  // answer, authoritative
#define DNS_POINTER_TO_QUESTION 0xc00c
#define IP_FRAGMENT_MASK 0x3fff  // "more fragments" and the offset
#define ANSWER_TTL 64

struct dns_header {
  __be16 id;
  __be16 flags;
  __be16 question_count;
  __be16 answer_count;
  __be16 authority_count;
  __be16 additional_count;
};

struct dns_question_tail {
  __be16 type;
  __be16 class;
};

struct dns_answer {
  __be16 name;
  __be16 type;
  __be16 class;
  __be32 ttl;
  __be16 address_bytes;
  __be32 address;
} __attribute__((packed));

// A frame with a question, up to the name. Frames start at an even address.
struct dns_frame {
  struct ethhdr eth;
  struct iphdr ip;
  struct udphdr udp;
  struct dns_header dns;
} __attribute__((packed, aligned(2)));

struct dns_name {
  __u8 wire[NAME_BYTES];
};

struct dns_record {
  __be32 address;
  __u32 ttl_s;
  __u64 answered;  // how often it was given
};

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1024);
  __type(key, struct dns_name);
  __type(value, struct dns_record);
} dns_records SEC(".maps");

// True for an unfragmented IPv4/UDP frame to port 53 that holds one question and nothing else.
static int is_single_question(struct dns_frame* frame) {
  if (frame->eth.h_proto != bpf_htons(ETH_P_IP)) return 0;
  if (frame->ip.version != 4 || frame->ip.ihl != 5 || frame->ip.protocol != IPPROTO_UDP) return 0;
  if (frame->ip.frag_off & bpf_htons(IP_FRAGMENT_MASK)) return 0;
  if (frame->udp.dest != bpf_htons(DNS_PORT)) return 0;
  if (frame->dns.flags & bpf_htons(DNS_QUESTION_FLAGS_MASK)) return 0;
  return frame->dns.question_count == bpf_htons(1) && !frame->dns.answer_count &&
         !frame->dns.authority_count && !frame->dns.additional_count;
}

// Copies the name at `from` in lower case. Returns its length with the final zero, or 0 when it is
// too long, malformed or not all there. Lower case is safe for whole names: lengths are at most 63,
// below 'A'.
static __u32 read_name(__u8* from, void* data_end, struct dns_name* name) {
  __u32 label_left = 0;

  for (__u32 i = 0; i < NAME_BYTES; i++) {
    __u8 byte;

    if ((void*)(from + i + 1) > data_end) return 0;
    byte = from[i];
    if (label_left > 0) {
      label_left--;
      if (byte >= 'A' && byte <= 'Z') byte += 'a' - 'A';
    } else if (byte == 0) {
      return i + 1;
    } else if (byte > DNS_LABEL_BYTES_MAX) {
      return 0;
    } else {
      label_left = byte;
    }
    name->wire[i] = byte;
  }
  return 0;
}

static __u16 ip_checksum(struct dns_frame* frame) {
  __u32 sum;

  frame->ip.check = 0;
  sum = bpf_csum_diff(0, 0, (void*)frame + sizeof(frame->eth), sizeof(frame->ip), 0);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return ~sum;
}

// Turns the headers around. `udp_bytes` is the UDP length of the answer.
static void make_reply_headers(struct dns_frame* frame, __u16 udp_bytes) {
  __u8 mac[ETH_ALEN];
  __be32 address = frame->ip.saddr;
  __be16 port = frame->udp.source;

  __builtin_memcpy(mac, frame->eth.h_dest, ETH_ALEN);
  __builtin_memcpy(frame->eth.h_dest, frame->eth.h_source, ETH_ALEN);
  __builtin_memcpy(frame->eth.h_source, mac, ETH_ALEN);

  frame->ip.saddr = frame->ip.daddr;
  frame->ip.daddr = address;
  frame->ip.tot_len = bpf_htons(sizeof(struct iphdr) + udp_bytes);
  frame->ip.ttl = ANSWER_TTL;
  frame->ip.check = ip_checksum(frame);

  frame->udp.source = frame->udp.dest;
  frame->udp.dest = port;
  frame->udp.len = bpf_htons(udp_bytes);
  frame->udp.check = 0;

  frame->dns.flags =
      bpf_htons(DNS_ANSWER_FLAGS) | (frame->dns.flags & bpf_htons(DNS_RECURSION_DESIRED));
  frame->dns.answer_count = bpf_htons(1);
}

SEC("xdp")
int dns_reply(struct xdp_md* ctx) {
  void* data = (void*)(long)ctx->data;
  void* data_end = (void*)(long)ctx->data_end;
  struct dns_frame* frame = data;
  struct dns_question_tail* question;
  struct dns_record* record;
  struct dns_answer* answer;
  struct dns_name name = {};
  __u32 name_bytes, udp_bytes, question_end;

  if ((void*)(frame + 1) > data_end || !is_single_question(frame)) return XDP_PASS;
  name_bytes = read_name((void*)(frame + 1), data_end, &name);
  if (name_bytes == 0 || name_bytes > NAME_BYTES) return XDP_PASS;
  question = (void*)(frame + 1) + name_bytes;
  if ((void*)(question + 1) > data_end) return XDP_PASS;
  if (question->type != bpf_htons(DNS_TYPE_A) || question->class != bpf_htons(DNS_CLASS_IN))
    return XDP_PASS;

  // Nothing may follow the question inside the datagram; Ethernet padding behind it is cut off.
  udp_bytes = sizeof(struct udphdr) + sizeof(struct dns_header) + name_bytes + sizeof(*question);
  if (frame->udp.len != bpf_htons(udp_bytes) ||
      frame->ip.tot_len != bpf_htons(sizeof(struct iphdr) + udp_bytes))
    return XDP_PASS;
  record = bpf_map_lookup_elem(&dns_records, &name);
  if (!record) return XDP_PASS;

  question_end = sizeof(*frame) + name_bytes + sizeof(*question);
  if (bpf_xdp_adjust_tail(ctx, (int)(question_end + sizeof(*answer)) - (int)(data_end - data)))
    return XDP_PASS;
  data = (void*)(long)ctx->data;
  data_end = (void*)(long)ctx->data_end;
  frame = data;
  answer = data + question_end;
  if ((void*)(frame + 1) > data_end || (void*)(answer + 1) > data_end) return XDP_ABORTED;

  answer->name = bpf_htons(DNS_POINTER_TO_QUESTION);
  answer->type = bpf_htons(DNS_TYPE_A);
  answer->class = bpf_htons(DNS_CLASS_IN);
  answer->ttl = bpf_htonl(record->ttl_s);
  answer->address_bytes = bpf_htons(sizeof(record->address));
  answer->address = record->address;
  make_reply_headers(frame, udp_bytes + sizeof(*answer));
  __sync_fetch_and_add(&record->answered, 1);
  return XDP_TX;
}

char LICENSE[] SEC("license") = "Apache-2.0";
