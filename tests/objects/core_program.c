// SPDX-License-Identifier: Apache-2.0
//
// Every kind of CO-RE relocation, against types that core_target.c defines anew in several ways.
#include <linux/bpf.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

enum shade { SHADE_LIGHT = 1, SHADE_DARK = 2, SHADE_GONE = 9 };
enum wide_shade { WIDE_SMALL = 1, WIDE_BIG = 0x100000000 };

struct inner {
  int first;
  int row[4];
};

struct packet {
  int length;
  unsigned short port;
  void* owner;
  struct inner inner;
  unsigned flag_a : 3;
  int flag_b : 5;
  enum shade shade;
  union {
    int in_union;
    char as_bytes[4];
  };
  int absent;
  char tail[];
};

struct packet___renamed {
  int size;
};

struct only_here {
  int x;
};

typedef int packet_id;
typedef int (*callback)(struct packet*, int);

long results[64];

SEC("xdp")
int offsets(struct xdp_md* ctx) {
  struct packet* packet = (void*)(long)ctx->data;
  results[0] = bpf_core_field_offset(packet->port);
  results[1] = bpf_core_field_offset(packet->inner.row[2]);
  results[2] = bpf_core_field_offset(packet->in_union);
  results[3] = bpf_core_field_size(packet->inner);
  results[4] = bpf_core_field_size(packet->port);
  results[5] = bpf_core_field_exists(packet->absent);
  results[6] = bpf_core_field_exists(packet->length);
  results[7] = bpf_core_field_exists(((struct packet___renamed*)packet)->size);
  results[8] = bpf_core_field_offset(packet[3].length);
  results[9] = bpf_core_field_offset(packet->tail[5]);
  return XDP_PASS;
}

SEC("xdp")
int bits(struct xdp_md* ctx) {
  struct packet* packet = (void*)(long)ctx->data;
  results[0] = BPF_CORE_READ_BITFIELD_PROBED(packet, flag_a);
  results[1] = BPF_CORE_READ_BITFIELD_PROBED(packet, flag_b);
  results[2] = __builtin_preserve_field_info(packet->flag_b, BPF_FIELD_SIGNED);
  results[3] = __builtin_preserve_field_info(packet->port, BPF_FIELD_SIGNED);
  return XDP_PASS;
}

SEC("xdp")
int types(struct xdp_md* ctx) {
  results[0] = bpf_core_type_id_local(struct packet);
  results[1] = bpf_core_type_id_kernel(struct inner);
  results[2] = bpf_core_type_exists(struct packet);
  results[3] = bpf_core_type_exists(struct only_here);
  results[4] = bpf_core_type_size(struct packet);
  results[5] = bpf_core_type_size(struct only_here);
  results[6] = bpf_core_type_matches(struct inner);
  results[7] = bpf_core_type_matches(callback);
  results[8] = bpf_core_type_exists(packet_id);
  results[9] = bpf_core_type_matches(enum shade);
  return XDP_PASS;
}

SEC("xdp")
int values(struct xdp_md* ctx) {
  results[0] = bpf_core_enum_value_exists(enum shade, SHADE_GONE);
  results[1] = bpf_core_enum_value(enum shade, SHADE_DARK);
  results[2] = bpf_core_enum_value_exists(enum wide_shade, WIDE_BIG);
  if (bpf_core_enum_value_exists(enum shade, SHADE_GONE)) {
    results[3] = bpf_core_enum_value(enum shade, SHADE_GONE);
  }
  return XDP_PASS;
}

// Direct accesses: the offset in a load or store, and its width.
struct access {
  unsigned int number;
  unsigned short small;
  void* pointer;
} __attribute__((preserve_access_index));

SEC("raw_tp/x")
int direct(struct access* access) {
  results[0] = access->number;
  results[1] = access->small;
  results[2] = (long)access->pointer;
  return 0;
}

char _license[] SEC("license") = "GPL";
