// SPDX-License-Identifier: Apache-2.0
//
// Helpers as C programs call them: what cannot be called alone, because it needs functions of the
// program, strings with addresses, or several calls in a row. Every packet is a set of arguments:
// its bytes from offset 14 on say how often and with what. Results are left in `out`.
// Run by tests/differential/helper_programs_test.cc, in the kernel and in LMN.
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#define ARGUMENTS_AT 14
#define ARGUMENT_BYTES 46

struct result {
  __s64 number[16];
  char text[8][96];
};

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct result);
} out SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 300);
  __type(key, __u32);
  __type(value, __u64);
} table SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_HASH);
  __uint(max_entries, 300);
  __type(key, __u32);
  __type(value, __u64);
} percpu_table SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 16);
  __type(key, __u32);
  __type(value, __u64);
} numbers SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 16);
  __type(key, __u32);
  __type(value, __u64);
} percpu_numbers SEC(".maps");

static struct result* result_of_packet(struct xdp_md* ctx, __u8* arguments) {
  __u32 zero = 0;
  struct result* result = bpf_map_lookup_elem(&out, &zero);
  if (!result) return 0;
  if (bpf_xdp_load_bytes(ctx, ARGUMENTS_AT, arguments, ARGUMENT_BYTES)) return 0;
  return result;
}

struct loop_state {
  __u64 sum;
  __u64 stop_at;
  __u64 calls;
};

static long add_index(__u32 index, void* data) {
  struct loop_state* state = data;
  state->calls++;
  state->sum = state->sum * 31 + index;
  return index == state->stop_at;
}

static long loop_again(__u32 index, void* data) {
  struct loop_state* state = data;
  return bpf_loop(index, add_index, state, 0) > 9;
}

static long bad_result(__u32 index, void* data) { return index > 3; }

SEC("xdp")
int loops(struct xdp_md* ctx) {
  __u8 arguments[ARGUMENT_BYTES];
  struct result* result = result_of_packet(ctx, arguments);
  if (!result) return XDP_ABORTED;
  struct loop_state state = {.stop_at = arguments[1]};
  result->number[0] = bpf_loop(arguments[0], add_index, &state, 0);
  result->number[1] = bpf_loop(arguments[2] & 15, loop_again, &state, 0);
  result->number[2] = bpf_loop(arguments[0], add_index, &state, arguments[3] & 3);
  result->number[3] = bpf_loop((8 << 20) + (arguments[4] & 1), bad_result, 0, 0);
  result->number[4] = state.sum;
  result->number[5] = state.calls;
  return XDP_PASS;
}

struct walk_state {
  __u64 keys;
  __u64 values;
  __u64 left;
};

static long visit(void* map, const __u32* key, __u64* value, struct walk_state* state) {
  state->keys += *key;
  state->values += *value;
  *value += 1;
  return --state->left == 0;
}

static long visit_all(void* map, const __u32* key, __u64* value, struct walk_state* state) {
  state->keys += *key;
  state->values += *value;
  *value += 1;
  return 0;
}

static long visit_and_delete(void* map, const __u32* key, __u64* value, struct walk_state* state) {
  __u32 own = *key;
  state->keys += own;
  state->values += *value;
  if (own & 1) bpf_map_delete_elem(map, &own);
  return 0;
}

struct fill_state {
  __u8 arguments[ARGUMENT_BYTES];
};

static long fill(__u32 index, void* data) {
  struct fill_state* state = data;
  if (index >= 32) return 1;
  __u32 key = state->arguments[index] * 7 + index;
  __u64 value = key * 3;
  bpf_map_update_elem(&table, &key, &value, BPF_ANY);
  bpf_map_update_elem(&percpu_table, &key, &value, BPF_NOEXIST);
  key &= 15;
  bpf_map_update_elem(&numbers, &key, &value, BPF_ANY);
  bpf_map_update_elem(&percpu_numbers, &key, &value, BPF_ANY);
  return 0;
}

SEC("xdp")
int walks(struct xdp_md* ctx) {
  struct fill_state input;
  __u8* arguments = input.arguments;
  struct result* result = result_of_packet(ctx, arguments);
  if (!result) return XDP_ABORTED;
  bpf_loop(32, fill, &input, 0);
  // Arrays have an order, so that a walk may be ended; hashes do not.
  struct walk_state state = {.left = arguments[32] & 31};
  result->number[0] = bpf_for_each_map_elem(&numbers, visit, &state, 0);
  state.left = arguments[33] & 31;
  result->number[1] = bpf_for_each_map_elem(&percpu_numbers, visit, &state, 0);
  result->number[2] = bpf_for_each_map_elem(&percpu_table, visit_all, &state, 0);
  result->number[3] = bpf_for_each_map_elem(&table, visit_and_delete, &state, 0);
  result->number[4] = bpf_for_each_map_elem(&table, visit_and_delete, &state, 1);
  result->number[5] = state.keys;
  result->number[6] = state.values;
  return XDP_PASS;
}

// Texts from the packet's bytes: strings of any bytes, cut at a length of the packet's own choice.
SEC("xdp")
int texts(struct xdp_md* ctx) {
  __u8 arguments[ARGUMENT_BYTES];
  struct result* result = result_of_packet(ctx, arguments);
  if (!result) return XDP_ABORTED;
  char name[32];
  __builtin_memcpy(name, arguments, sizeof name);
  name[arguments[32] & 31] = 0;
  name[31] = 0;
  __u64 number;
  __builtin_memcpy(&number, arguments + 33, sizeof number);
  __u32 small = number;
  result->number[0] =
      BPF_SNPRINTF(result->text[0], sizeof result->text[0], "<%s|%40s|%-6s>", name, name, name);
  result->number[1] = BPF_SNPRINTF(result->text[1], sizeof result->text[1], "%pI4 %pi4 %d",
                                   arguments, arguments + 4, small);
  result->number[2] = BPF_SNPRINTF(result->text[2], sizeof result->text[2], "%pI6c %pi6 %c!",
                                   arguments, arguments + 8, number);
  result->number[3] =
      BPF_SNPRINTF(result->text[3], 40, "%pks %pI6 %lld %s", name, arguments, number, name);
  result->number[4] =
      BPF_SNPRINTF(result->text[4], sizeof result->text[4], "%+d %x %llX", small, small, number);
  result->number[5] = BPF_SNPRINTF(result->text[5], 20, "%s%s%pI4%s", name, name, arguments, name);
  result->number[6] = bpf_strncmp(name, sizeof name, "AB");
  __s64 parsed = 0;
  result->number[7] = bpf_strtol(name, sizeof name, arguments[41] & 16, &parsed);
  result->number[8] = parsed;
  return XDP_PASS;
}

// The loopback device that test runs happen on, by its own number and as "my device"; and a number
// that no device has.
SEC("xdp")
int mtu(struct xdp_md* ctx) {
  __u8 arguments[ARGUMENT_BYTES];
  struct result* result = result_of_packet(ctx, arguments);
  if (!result) return XDP_ABORTED;
  __s32 change;
  __builtin_memcpy(&change, arguments, sizeof change);
  for (__u32 ifindex = 0; ifindex < 2; ifindex++) {
    __u32 length = arguments[5] & 1 ? 65500 + arguments[6] : 0;
    __s32 difference = arguments[5] & 2 ? change : arguments[4];
    result->number[ifindex * 2] = bpf_check_mtu(ctx, ifindex, &length, difference, 0);
    result->number[ifindex * 2 + 1] = length;
  }
  __u32 length = 7;
  result->number[4] = bpf_check_mtu(ctx, 0x7ffffff0, &length, 0, 0);
  result->number[5] = bpf_check_mtu(ctx, 1, &length, 0, arguments[7] & 1);
  result->number[6] = length;
  return XDP_PASS;
}

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 4096);
} ring SEC(".maps");

// Nobody reads the ring: it fills up, and stays full.
SEC("xdp")
int rings(struct xdp_md* ctx) {
  __u8 arguments[ARGUMENT_BYTES];
  struct result* result = result_of_packet(ctx, arguments);
  if (!result) return XDP_ABORTED;
  __u32 flags = arguments[0] % 5;
  result->number[0] = bpf_ringbuf_output(&ring, arguments, arguments[1] & 31, flags);
  __u64* record = bpf_ringbuf_reserve(&ring, 24, arguments[2] % 8 == 0);
  result->number[1] = record != 0;
  if (record) {
    record[0] = arguments[3];
    if (arguments[3] & 1)
      bpf_ringbuf_submit(record, arguments[4] & 3);
    else
      bpf_ringbuf_discard(record, arguments[4] & 3);
  }
  for (__u32 what = 0; what < 5; what++) result->number[2 + what] = bpf_ringbuf_query(&ring, what);
  return XDP_PASS;
}

// Records as dynptrs: their bounds are looked at when they are written, not when they are reserved.
SEC("xdp")
int ring_dynptrs(struct xdp_md* ctx) {
  __u8 arguments[ARGUMENT_BYTES];
  struct result* result = result_of_packet(ctx, arguments);
  if (!result) return XDP_ABORTED;
  struct bpf_dynptr record;
  __u32 size = arguments[0] & 63;
  if (arguments[1] % 16 == 0) size = 0x1000000 + arguments[1];
  if (arguments[1] % 16 == 1) size = 0xfffff0 + arguments[1] % 16;
  __u64 flags = arguments[2] % 8 == 0;
  result->number[0] = bpf_ringbuf_reserve_dynptr(&ring, size, flags, &record);
  __u64 bad_flag = arguments[4] % 8 == 0;
  result->number[1] = bpf_dynptr_write(&record, arguments[3] & 31, arguments, 8, bad_flag);
  __u64* start = bpf_dynptr_data(&record, arguments[5] & 15, 8);
  result->number[2] = start != 0;
  if (start) *start = arguments[6];
  __u64 back = 7;
  result->number[3] = bpf_dynptr_read(&back, sizeof(back), &record, arguments[5] & 15, 0);
  result->number[4] = back;
  if (arguments[7] & 1)
    bpf_ringbuf_submit_dynptr(&record, arguments[8] & 3);
  else
    bpf_ringbuf_discard_dynptr(&record, arguments[8] & 3);
  for (__u32 what = 0; what < 5; what++) result->number[5 + what] = bpf_ringbuf_query(&ring, what);
  return XDP_PASS;
}

// Values of a CPU that the program names.
SEC("xdp")
int other_cpus(struct xdp_md* ctx) {
  __u8 arguments[ARGUMENT_BYTES];
  struct result* result = result_of_packet(ctx, arguments);
  if (!result) return XDP_ABORTED;
  __u32 key = arguments[0] & 15;
  __u64* own = bpf_map_lookup_elem(&percpu_numbers, &key);
  if (own) *own += arguments[1];
  bpf_map_update_elem(&percpu_table, &key, &(__u64){arguments[2]}, BPF_ANY);
  for (__u32 i = 0; i < 4; i++) {
    __u32 cpu = arguments[3 + i] % 16 == 0 ? 0 : 1000 + arguments[3 + i];
    __u64* value = bpf_map_lookup_percpu_elem(&percpu_numbers, &key, cpu);
    result->number[i] = value ? *value : -1;
    value = bpf_map_lookup_percpu_elem(&percpu_table, &key, cpu);
    result->number[4 + i] = value ? *value : -1;
  }
  return XDP_PASS;
}

struct {
  __uint(type, BPF_MAP_TYPE_QUEUE);
  __uint(max_entries, 8);
  __type(value, __u32);
} queue SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_STACK);
  __uint(max_entries, 8);
  __type(value, __u32);
} stack SEC(".maps");

// One step of `map` by the two bytes at `step`; what came out of it is in `value`.
static __always_inline long step_of(void* map, const __u8* step, __u32* value) {
  *value = step[1];
  switch (step[0] % 4) {
    case 0:
      return bpf_map_pop_elem(map, value);
    case 1:
      return bpf_map_peek_elem(map, value);
    default:
      return bpf_map_push_elem(map, value, step[0] >> 6);
  }
}

SEC("xdp")
int queues(struct xdp_md* ctx) {
  __u8 arguments[ARGUMENT_BYTES];
  struct result* result = result_of_packet(ctx, arguments);
  if (!result) return XDP_ABORTED;
  for (__u32 i = 0; i < 4; i++) {
    __u32 value;
    result->number[i * 4] = step_of(&queue, arguments + i * 2, &value);
    result->number[i * 4 + 1] = value;
    result->number[i * 4 + 2] = step_of(&stack, arguments + 8 + i * 2, &value);
    result->number[i * 4 + 3] = value;
  }
  return XDP_PASS;
}

struct guarded {
  __u32 writes;
  struct bpf_spin_lock lock;
  __u64 sum;
  __u64 last;
};

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 16);
  __type(key, __u32);
  __type(value, struct guarded);
} guarded_table SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 4);
  __type(key, __u32);
  __type(value, struct guarded);
} guarded_array SEC(".maps");

static __always_inline void add_guarded(struct guarded* value, __u64 number) {
  bpf_spin_lock(&value->lock);
  value->writes++;
  value->sum += number;
  value->last = number;
  bpf_spin_unlock(&value->lock);
}

SEC("xdp")
int locks(struct xdp_md* ctx) {
  __u8 arguments[ARGUMENT_BYTES];
  struct result* result = result_of_packet(ctx, arguments);
  if (!result) return XDP_ABORTED;
  __u32 key = arguments[0] & 15;
  struct guarded fresh = {.sum = arguments[1]};
  result->number[0] = bpf_map_update_elem(&guarded_table, &key, &fresh, BPF_NOEXIST);
  struct guarded* value = bpf_map_lookup_elem(&guarded_table, &key);
  if (!value) return XDP_ABORTED;
  add_guarded(value, arguments[2]);
  result->number[1] = value->sum;
  key &= 3;
  value = bpf_map_lookup_elem(&guarded_array, &key);
  if (!value) return XDP_ABORTED;
  add_guarded(value, arguments[3]);
  result->number[2] = value->sum;
  return XDP_PASS;
}

// Calls what LMN does not have.
SEC("xdp")
int refused(struct xdp_md* ctx) {
  __u64 task = bpf_get_current_task();
  return task ? XDP_PASS : XDP_DROP;
}

char LICENSE[] SEC("license") = "GPL";
