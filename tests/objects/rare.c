// SPDX-License-Identifier: Apache-2.0
//
// What few objects have: a table of functions (struct_ops), variables in an arena, an exception
// callback, and a map whose sizes the loader must set.
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#define __arena __attribute__((address_space(1)))
#define __exception_cb(name) __attribute__((btf_decl_tag("exception_callback:" #name)))

struct {
  __uint(type, 33);  // BPF_MAP_TYPE_ARENA, which Debian's headers lack
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, 4);
  enum { kAddress = 0x1ull << 44 } map_extra;  // __ulong() of newer headers
} arena SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 4);
} open_sizes SEC(".maps");

int __arena in_arena SEC(".addr_space.1") = 5;

struct table {
  int number;
  int (*first)(int);
  int (*second)(int);
};

SEC("struct_ops/one")
int one(int x) { return x; }
SEC("struct_ops/two")
int two(int x) { return x + 1; }

SEC(".struct_ops.link")
struct table linked_table = {.number = 3, .first = (void*)one, .second = (void*)two};

__noinline int on_exception(unsigned long cookie) { return (int)cookie; }

static __noinline int helper(int x) { return x * 3; }

SEC("xdp")
__exception_cb(on_exception) int thrower(struct xdp_md* ctx) { return helper((int)ctx->data); }

SEC("xdp")
int arena_user(struct xdp_md* ctx) {
  int key = 0;
  bpf_map_lookup_elem(&open_sizes, &key);
  return in_arena;
}

char _license[] SEC("license") = "GPL";
