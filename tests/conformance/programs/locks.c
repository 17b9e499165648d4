// SPDX-License-Identifier: Apache-2.0
//
// Resilient spin locks and saved interrupts, used rightly and wrongly: what the verifier is asked
// about, as it is and changed at random.
// Run by tests/conformance/verdict_mutations.cc.
#include "owning.h"

struct value {
  struct bpf_res_spin_lock lock;
  int number;
};

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 8);
  __type(key, int);
  __type(value, struct value);
} values SEC(".maps");

together(A) struct bpf_res_spin_lock first;
together(B) struct bpf_res_spin_lock second;
together(C) struct bpf_spin_lock plain;

SEC("xdp")
int one(struct xdp_md* ctx) {
  if (bpf_res_spin_lock(&first)) return XDP_DROP;
  bpf_res_spin_unlock(&first);
  return XDP_PASS;
}

SEC("xdp")
int nested(struct xdp_md* ctx) {
  if (bpf_res_spin_lock(&first)) return XDP_DROP;
  if (bpf_res_spin_lock(&second)) {
    bpf_res_spin_unlock(&first);
    return XDP_DROP;
  }
  bpf_res_spin_unlock(&second);
  bpf_res_spin_unlock(&first);
  return XDP_PASS;
}

SEC("xdp")
int out_of_order(struct xdp_md* ctx) {
  if (bpf_res_spin_lock(&first)) return XDP_DROP;
  if (bpf_res_spin_lock(&second)) {
    bpf_res_spin_unlock(&first);
    return XDP_DROP;
  }
  bpf_res_spin_unlock(&first);
  bpf_res_spin_unlock(&second);
  return XDP_PASS;
}

SEC("xdp")
int failure_ignored(struct xdp_md* ctx) {
  bpf_res_spin_lock(&first);
  bpf_res_spin_unlock(&first);
  return XDP_PASS;
}

SEC("xdp")
int beside_a_plain_one(struct xdp_md* ctx) {
  bpf_spin_lock(&plain);
  if (bpf_res_spin_lock(&first)) {
    bpf_spin_unlock(&plain);
    return XDP_DROP;
  }
  bpf_res_spin_unlock(&first);
  bpf_spin_unlock(&plain);
  return XDP_PASS;
}

SEC("xdp")
int of_two_values(struct xdp_md* ctx) {
  int one = 1;
  int two = 2;
  struct value* a = bpf_map_lookup_elem(&values, &one);
  struct value* b = bpf_map_lookup_elem(&values, &two);
  if (!a || !b) return XDP_ABORTED;
  if (bpf_res_spin_lock(&a->lock)) return XDP_DROP;
  b->number = 1;
  bpf_res_spin_unlock(&a->lock);
  return XDP_PASS;
}

SEC("xdp")
int with_interrupts(struct xdp_md* ctx) {
  unsigned long outer;
  unsigned long inner;
  bpf_local_irq_save(&outer);
  if (bpf_res_spin_lock_irqsave(&first, &inner)) {
    bpf_local_irq_restore(&outer);
    return XDP_DROP;
  }
  bpf_res_spin_unlock_irqrestore(&first, &inner);
  bpf_local_irq_restore(&outer);
  return XDP_PASS;
}

SEC("xdp")
int interrupts_mixed_up(struct xdp_md* ctx) {
  unsigned long flags;
  if (bpf_res_spin_lock_irqsave(&first, &flags)) return XDP_DROP;
  bpf_local_irq_restore(&flags);
  bpf_res_spin_unlock(&first);
  return XDP_PASS;
}
