// SPDX-License-Identifier: Apache-2.0
//
// bpf_snprintf_btf of whatever bytes and type the map says.
// Run by tests/differential/btf_show_test.cc, in the kernel and in LMN.
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#define DATA_BYTES 4096
#define TEXT_BYTES 16384

struct request {
  __u32 type_id;
  __u32 text_bytes;
  __u32 request_bytes;  // of the struct btf_ptr
  __u32 padding;
  __u64 flags;
  __u8 data[DATA_BYTES];
};

struct answer {
  __s64 result;
  char text[TEXT_BYTES];
};

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct request);
} in SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct answer);
} out SEC(".maps");

SEC("xdp")
int show(struct xdp_md* ctx) {
  __u32 zero = 0;
  struct request* request = bpf_map_lookup_elem(&in, &zero);
  struct answer* answer = bpf_map_lookup_elem(&out, &zero);
  if (!request || !answer) return XDP_ABORTED;
  struct btf_ptr what[2] = {};
  what[0].ptr = request->data;
  what[0].type_id = request->type_id;
  __u32 text_bytes = request->text_bytes;
  __u32 request_bytes = request->request_bytes;
  if (text_bytes == 0 || request_bytes == 0) return XDP_ABORTED;
  asm volatile("" : "+r"(text_bytes), "+r"(request_bytes));
  if (text_bytes > TEXT_BYTES || request_bytes > sizeof(what)) return XDP_ABORTED;
  answer->result = bpf_snprintf_btf(answer->text, text_bytes, what, request_bytes, request->flags);
  return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
