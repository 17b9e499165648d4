// SPDX-License-Identifier: Apache-2.0
//
// Look-ups of sockets, and cookies for listeners, as C programs ask for them. A packet is one
// question: what to look up from offset 14 on, then an IP header and a TCP header. What a program
// can see of the socket is left in `out`.
// Run by tests/differential/sockets_test.cc, in the kernel and in LMN.
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#define QUESTION_AT 14

struct question {
  __u64 namespace_id;
  __u64 flags;
  struct bpf_sock_tuple tuple;
  __u8 is_udp;
  __u8 is_ipv6;
  __u8 is_common;  // bpf_skc_lookup_tcp
  __u8 odd_size;   // a tuple of no family
  __u8 ip[40];
  __u8 tcp[60];
  __u32 ip_bytes;
  __u32 tcp_bytes;
  __u32 padding;
};

struct answer {
  __u32 is_found;
  __u32 bound_dev_if;
  __u32 family;
  __u32 type;
  __u32 protocol;
  __u32 mark;
  __u32 priority;
  __u32 src_ip4;
  __u32 src_ip6[4];
  __u32 src_port;
  __u32 dst_port;
  __u32 dst_ip4;
  __u32 dst_ip6[4];
  __u32 state;
  __s32 rx_queue_mapping;
  __u32 state_byte;
  __u32 dst_ip4_half;
  __s64 check;
  __s64 gen;
  __s64 released;
};

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct answer);
} out SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct question);
} in SEC(".maps");

// Read byte by byte and half by half too: narrow loads are the program's right.
static __always_inline void copy_common(struct answer* answer, struct bpf_sock* sk) {
  answer->is_found = 1;
  answer->bound_dev_if = sk->bound_dev_if;
  answer->family = sk->family;
  answer->src_ip4 = sk->src_ip4;
  answer->src_port = sk->src_port;
  answer->dst_port = sk->dst_port;
  answer->dst_ip4 = sk->dst_ip4;
  answer->state = sk->state;
  answer->state_byte = *(volatile __u8*)&sk->state;
  answer->dst_ip4_half = *((volatile __u16*)&sk->dst_ip4 + 1);
  answer->src_ip6[0] = sk->src_ip6[0];
  answer->src_ip6[1] = sk->src_ip6[1];
  answer->src_ip6[2] = sk->src_ip6[2];
  answer->src_ip6[3] = sk->src_ip6[3];
  answer->dst_ip6[0] = sk->dst_ip6[0];
  answer->dst_ip6[1] = sk->dst_ip6[1];
  answer->dst_ip6[2] = sk->dst_ip6[2];
  answer->dst_ip6[3] = sk->dst_ip6[3];
  answer->rx_queue_mapping = sk->rx_queue_mapping;
}

static __always_inline void ask_for_cookies(struct answer* answer, struct bpf_sock* sk,
                                            struct question* question) {
  __u32 ip_bytes = question->ip_bytes;
  __u32 tcp_bytes = question->tcp_bytes;
  if (ip_bytes == 0 || tcp_bytes == 0) return;
  // Two comparisons each, not one of a difference: the bounds are then seen by every verifier.
  asm volatile("" : "+r"(ip_bytes), "+r"(tcp_bytes));
  if (ip_bytes > sizeof(question->ip) || tcp_bytes > sizeof(question->tcp)) return;
  answer->gen = bpf_tcp_gen_syncookie(sk, question->ip, ip_bytes, (void*)question->tcp, tcp_bytes);
  answer->check =
      bpf_tcp_check_syncookie(sk, question->ip, ip_bytes, (void*)question->tcp, tcp_bytes);
}

SEC("xdp")
int look_up(struct xdp_md* ctx) {
  __u32 zero = 0;
  struct answer* answer = bpf_map_lookup_elem(&out, &zero);
  struct question* question = bpf_map_lookup_elem(&in, &zero);
  if (!answer || !question) return XDP_ABORTED;
  __builtin_memset(answer, 0, sizeof(*answer));
  if (bpf_xdp_load_bytes(ctx, QUESTION_AT, question, sizeof(*question))) return XDP_ABORTED;
  __u32 bytes = question->is_ipv6 ? sizeof(question->tuple.ipv6) : sizeof(question->tuple.ipv4);
  if (question->odd_size) bytes = 17;
  struct bpf_sock* sk;
  if (question->is_common) {
    sk = bpf_skc_lookup_tcp(ctx, &question->tuple, bytes, question->namespace_id, question->flags);
    if (!sk) return XDP_PASS;
    copy_common(answer, sk);
    ask_for_cookies(answer, sk, question);
    answer->released = bpf_sk_release(sk);
    return XDP_PASS;
  }
  if (question->is_udp) {
    sk = bpf_sk_lookup_udp(ctx, &question->tuple, bytes, question->namespace_id, question->flags);
  } else {
    sk = bpf_sk_lookup_tcp(ctx, &question->tuple, bytes, question->namespace_id, question->flags);
  }
  if (!sk) return XDP_PASS;
  copy_common(answer, sk);
  answer->type = sk->type;
  answer->protocol = sk->protocol;
  answer->mark = sk->mark;
  answer->priority = sk->priority;
  ask_for_cookies(answer, sk, question);
  answer->released = bpf_sk_release(sk);
  return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
