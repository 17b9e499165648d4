// SPDX-License-Identifier: Apache-2.0
//
// What map values hold besides bytes, as C programs use it: timers, works, pointers to objects,
// resilient locks. Each packet's bytes from offset 14 on are a list of operations with their
// arguments; what each call answered is left in `out`.
// Run by tests/differential/value_programs_test.cc, in the kernel and in LMN.
#include <linux/bpf.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#ifndef __kptr
#define __kptr __attribute__((btf_type_tag("kptr")))
#endif

#define ARGUMENTS_AT 14
#define OPERATIONS 15
#define HOUR_NS 3600000000000ull

struct operation {
  __u8 what;
  __u8 where;
  __u8 argument;
};

struct result {
  __s64 number[OPERATIONS];
};

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct result);
} out SEC(".maps");

static struct result* result_of_packet(struct xdp_md* ctx, struct operation* operations) {
  __u32 zero = 0;
  struct result* result = bpf_map_lookup_elem(&out, &zero);
  if (!result) return 0;
  if (bpf_xdp_load_bytes(ctx, ARGUMENTS_AT, operations, sizeof(struct operation) * OPERATIONS)) {
    return 0;
  }
  return result;
}

// --- timers

struct timed {
  __u64 fired;
  struct bpf_timer timer;
  __s64 last;
};

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 4);
  __type(key, __u32);
  __type(value, struct timed);
} timed_array SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 4);
  __type(key, __u32);
  __type(value, struct timed);
} timed_hash SEC(".maps");

// What a callback sees: its key, and what its own timer says to being cancelled.
static int on_timer(void* map, __u32* key, struct timed* value) {
  value->last = bpf_timer_cancel(&value->timer);
  value->fired += 1 + *key;
  return 0;
}

static __s64 change_timer(struct timed* value, void* map, const struct operation* op) {
  switch (op->what % 6) {
    case 0:
      if (map == &timed_hash) return bpf_timer_init(&value->timer, &timed_hash, op->argument % 20);
      return bpf_timer_init(&value->timer, &timed_array, op->argument % 20);
    case 1:
      return bpf_timer_set_callback(&value->timer, on_timer);
    case 2:
      return bpf_timer_cancel(&value->timer);
    case 3:
      return bpf_timer_start(&value->timer, 0, 8 + op->argument);
    default:
      return bpf_timer_start(&value->timer, HOUR_NS, op->argument & 2);
  }
}

static __s64 one_timer(const struct operation* op) {
  struct timed fresh = {.fired = op->argument};
  __u32 key = op->where & 3;
  if (op->where & 128) {
    if (op->what >= 240) return bpf_map_update_elem(&timed_array, &key, &fresh, BPF_ANY);
    struct timed* value = bpf_map_lookup_elem(&timed_array, &key);
    return value ? change_timer(value, &timed_array, op) : -1;
  }
  if (op->what >= 240) return bpf_map_delete_elem(&timed_hash, &key);
  if (op->what >= 200) return bpf_map_update_elem(&timed_hash, &key, &fresh, op->argument % 3);
  struct timed* value = bpf_map_lookup_elem(&timed_hash, &key);
  return value ? change_timer(value, &timed_hash, op) : -1;
}

SEC("xdp")
int timers(struct xdp_md* ctx) {
  struct operation operations[OPERATIONS];
  struct result* result = result_of_packet(ctx, operations);
  if (!result) return XDP_DROP;
  for (int i = 0; i < OPERATIONS; i++) result->number[i] = one_timer(&operations[i]);
  return XDP_PASS;
}

// Starts one timer of each map so that it is due at once.
SEC("xdp")
int timers_now(struct xdp_md* ctx) {
  __u32 key = 2;
  struct timed fresh = {};
  bpf_map_update_elem(&timed_hash, &key, &fresh, BPF_ANY);
  struct timed* in_hash = bpf_map_lookup_elem(&timed_hash, &key);
  struct timed* in_array = bpf_map_lookup_elem(&timed_array, &key);
  if (!in_hash || !in_array) return XDP_DROP;
  if (bpf_timer_init(&in_hash->timer, &timed_hash, 1)) return XDP_ABORTED;
  if (bpf_timer_set_callback(&in_hash->timer, on_timer)) return XDP_ABORTED;
  if (bpf_timer_start(&in_hash->timer, 0, 0)) return XDP_ABORTED;
  bpf_timer_init(&in_array->timer, &timed_array, 1);
  bpf_timer_set_callback(&in_array->timer, on_timer);
  if (bpf_timer_start(&in_array->timer, 0, 0)) return XDP_ABORTED;
  return XDP_PASS;
}

// --- works

struct worked {
  struct bpf_wq work;
  __u64 done;
};

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 4);
  __type(key, __u32);
  __type(value, struct worked);
} worked_array SEC(".maps");

extern int bpf_wq_init(struct bpf_wq* wq, void* map, unsigned int flags) __ksym;
extern int bpf_wq_start(struct bpf_wq* wq, unsigned int flags) __ksym;
extern int bpf_wq_set_callback_impl(struct bpf_wq* wq, int(callback)(void* map, int* key, void* wq),
                                    unsigned int flags, void* aux__ign) __ksym;

static int on_work(void* map, int* key, void* value) {
  struct worked* worked = value;
  worked->done += 1 + *key;
  return 0;
}

// Everything but starting, so that nothing runs meanwhile.
SEC("xdp")
int works(struct xdp_md* ctx) {
  struct operation operations[OPERATIONS];
  struct result* result = result_of_packet(ctx, operations);
  if (!result) return XDP_DROP;
  for (int i = 0; i < OPERATIONS; i++) {
    __u32 key = operations[i].where & 3;
    struct worked* value = bpf_map_lookup_elem(&worked_array, &key);
    if (!value) return XDP_DROP;
    const __u32 flags = operations[i].argument < 64 ? operations[i].argument & 3 : 0;
    __s64 answer = 0;
    switch (operations[i].what & 3) {
      case 0:
        answer = bpf_wq_init(&value->work, &worked_array, flags);
        break;
      case 1:
        answer = bpf_wq_set_callback_impl(&value->work, on_work, flags, 0);
        break;
      case 2: {
        struct worked fresh = {.done = 7};
        answer = bpf_map_update_elem(&worked_array, &key, &fresh, 0);
        break;
      }
      default:
        answer = bpf_wq_start(&value->work, 1 + flags);
        break;
    }
    result->number[i] = answer;
  }
  return XDP_PASS;
}

SEC("xdp")
int works_now(struct xdp_md* ctx) {
  __u32 key = 3;
  struct worked* value = bpf_map_lookup_elem(&worked_array, &key);
  if (!value) return XDP_DROP;
  bpf_wq_init(&value->work, &worked_array, 0);
  if (bpf_wq_set_callback_impl(&value->work, on_work, 0, 0)) return XDP_ABORTED;
  return bpf_wq_start(&value->work, 0) ? XDP_ABORTED : XDP_PASS;
}

// --- pointers to objects

struct object {
  __u64 number;
  __u64 twice;
};

struct holder {
  __u32 plain;
  struct object __kptr* first;
  struct object __kptr* second;
};

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 4);
  __type(key, __u32);
  __type(value, struct holder);
} holders SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, 64);
  __type(key, __u32);
  __type(value, struct holder);
} holder_table SEC(".maps");

extern void* bpf_obj_new_impl(__u64 local_type_id__k, void* meta__ign) __ksym;
extern void bpf_obj_drop_impl(void* kptr__alloc, void* meta__ign) __ksym;

static __s64 put_object(struct holder* holder, __u8 number) {
  struct object* object = bpf_obj_new_impl(bpf_core_type_id_local(struct object), 0);
  if (!object) return -1;
  object->number = number;
  object->twice = 2 * number;
  struct object* old = bpf_kptr_xchg(&holder->first, object);
  if (!old) return 1000;
  const __s64 found = old->number + old->twice;
  bpf_obj_drop_impl(old, 0);
  return found;
}

static __s64 change_holder(struct holder* holder, const struct operation* op) {
  switch (op->what % 6) {
    case 0:
    case 1:
      return put_object(holder, op->argument);
    case 2: {
      struct object* taken = bpf_kptr_xchg(&holder->first, 0);
      if (!taken) return 2000;
      // On to the other pointer, which gives back what it had.
      const __s64 number = taken->number;
      struct object* other = bpf_kptr_xchg(&holder->second, taken);
      if (other) bpf_obj_drop_impl(other, 0);
      return number + (other ? 5000 : 0);
    }
    case 3: {
      struct object* seen = holder->first;
      return seen ? (__s64)seen->twice : 3000;
    }
    case 4: {
      struct object* seen = holder->second;
      return seen ? (__s64)seen->number : 4000;
    }
    default: {
      // What was seen can be read on after it was taken out and dropped.
      struct object* seen = holder->first;
      if (!seen) return 6000;
      struct object* taken = bpf_kptr_xchg(&holder->first, 0);
      if (taken) bpf_obj_drop_impl(taken, 0);
      return seen->twice;
    }
  }
}

SEC("xdp")
int pointers(struct xdp_md* ctx) {
  struct operation operations[OPERATIONS];
  struct result* result = result_of_packet(ctx, operations);
  if (!result) return XDP_DROP;
  for (int i = 0; i < OPERATIONS; i++) {
    const struct operation* op = &operations[i];
    __u32 key = op->where & 3;
    struct holder fresh = {.plain = op->argument};
    __s64 answer = 0;
    if (op->where & 128) {
      struct holder* holder = bpf_map_lookup_elem(&holders, &key);
      if (!holder) return XDP_DROP;
      answer = op->what >= 230 ? bpf_map_update_elem(&holders, &key, &fresh, 0)
                               : change_holder(holder, op);
    } else if (op->what >= 230) {
      answer = bpf_map_delete_elem(&holder_table, &key);
    } else if (op->what >= 190) {
      answer = bpf_map_update_elem(&holder_table, &key, &fresh, 0);
    } else {
      struct holder* holder = bpf_map_lookup_elem(&holder_table, &key);
      answer = holder ? change_holder(holder, op) : -2;
    }
    result->number[i] = answer;
  }
  return XDP_PASS;
}

// --- resilient locks

struct bpf_res_spin_lock {
  __u32 val;
} __attribute__((aligned(4)));

struct locked {
  struct bpf_res_spin_lock lock;
  __u32 count;
};

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 4);
  __type(key, __u32);
  __type(value, struct locked);
} locked_array SEC(".maps");

extern int bpf_res_spin_lock(struct bpf_res_spin_lock* lock) __ksym;
extern void bpf_res_spin_unlock(struct bpf_res_spin_lock* lock) __ksym;
extern int bpf_res_spin_lock_irqsave(struct bpf_res_spin_lock* lock,
                                     unsigned long* flags__irq_flag) __ksym;
extern void bpf_res_spin_unlock_irqrestore(struct bpf_res_spin_lock* lock,
                                           unsigned long* flags__irq_flag) __ksym;

static __s64 two_locks(struct locked* a, struct locked* b, __u8 step) {
  __s64 answer = bpf_res_spin_lock(&a->lock);
  if (answer) return answer;
  a->count += step;
  // The verifier knows two elements; they may be one.
  answer = bpf_res_spin_lock(&b->lock);
  if (!answer) {
    b->count += 2 * step;
    bpf_res_spin_unlock(&b->lock);
  }
  bpf_res_spin_unlock(&a->lock);
  return answer;
}

static __s64 two_locks_irq(struct locked* a, struct locked* b, __u8 step) {
  unsigned long flags_a;
  unsigned long flags_b;
  __s64 answer = bpf_res_spin_lock_irqsave(&a->lock, &flags_a);
  if (answer) return answer;
  a->count += step;
  answer = bpf_res_spin_lock_irqsave(&b->lock, &flags_b);
  if (!answer) {
    b->count += 3 * step;
    bpf_res_spin_unlock_irqrestore(&b->lock, &flags_b);
  }
  bpf_res_spin_unlock_irqrestore(&a->lock, &flags_a);
  return answer;
}

SEC("xdp")
int locks(struct xdp_md* ctx) {
  struct operation operations[OPERATIONS];
  struct result* result = result_of_packet(ctx, operations);
  if (!result) return XDP_DROP;
  for (int i = 0; i < OPERATIONS; i++) {
    __u32 first = operations[i].where & 3;
    __u32 second = operations[i].where >> 2 & 3;
    struct locked* a = bpf_map_lookup_elem(&locked_array, &first);
    struct locked* b = bpf_map_lookup_elem(&locked_array, &second);
    if (!a || !b) return XDP_DROP;
    result->number[i] = operations[i].what & 1 ? two_locks(a, b, operations[i].argument)
                                               : two_locks_irq(a, b, operations[i].argument);
  }
  return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
