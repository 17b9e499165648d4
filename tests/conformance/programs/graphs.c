// SPDX-License-Identifier: Apache-2.0
//
// Objects in lists, trees and kptrs, owned rightly and wrongly: what the verifier is asked about,
// as it is and changed at random.
// Run by tests/conformance/verdict_mutations.cc.
#include "owning.h"

struct counted_item {
  long key;
  struct bpf_list_node in_list;
  struct bpf_rb_node in_tree;
  struct bpf_refcount references;
};

struct plain_item {
  long key;
  struct bpf_rb_node in_tree;
};

together(A) struct bpf_spin_lock lock;
together(A) struct bpf_list_head list contains(counted_item, in_list);
together(A) struct bpf_rb_root tree contains(counted_item, in_tree);
together(B) struct bpf_res_spin_lock other_lock;
together(B) struct bpf_rb_root other_tree contains(plain_item, in_tree);

struct place {
  struct counted_item kptr_field* counted;
  struct plain_item kptr_field* plain;
};

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 8);
  __type(key, int);
  __type(value, struct place);
} places SEC(".maps");

static _Bool counted_less(struct bpf_rb_node* a, const struct bpf_rb_node* b) {
  return holder_of(a, struct counted_item, in_tree)->key <
         holder_of(b, struct counted_item, in_tree)->key;
}

static _Bool plain_less(struct bpf_rb_node* a, const struct bpf_rb_node* b) {
  return holder_of(a, struct plain_item, in_tree)->key <
         holder_of(b, struct plain_item, in_tree)->key;
}

static struct place* place_of(int key) { return bpf_map_lookup_elem(&places, &key); }

SEC("xdp")
int in_both(struct xdp_md* ctx) {
  struct counted_item* item = make(struct counted_item);
  if (!item) return XDP_ABORTED;
  struct counted_item* again = bpf_refcount_acquire_impl(item, NULL);
  bpf_spin_lock(&lock);
  bpf_list_push_front_impl(&list, &item->in_list, NULL, 0);
  bpf_rbtree_add_impl(&tree, &again->in_tree, counted_less, NULL, 0);
  again->key = 1;
  bpf_spin_unlock(&lock);
  return XDP_PASS;
}

SEC("xdp")
int first_read(struct xdp_md* ctx) {
  long key = 0;
  bpf_spin_lock(&lock);
  struct bpf_list_node* node = bpf_list_front(&list);
  if (node) key = holder_of(node, struct counted_item, in_list)->key;
  bpf_spin_unlock(&lock);
  return key ? XDP_PASS : XDP_DROP;
}

SEC("xdp")
int read_after_unlock(struct xdp_md* ctx) {
  bpf_spin_lock(&lock);
  struct bpf_list_node* node = bpf_list_front(&list);
  bpf_spin_unlock(&lock);
  return node && holder_of(node, struct counted_item, in_list)->key ? XDP_PASS : XDP_DROP;
}

SEC("xdp")
int below_the_root(struct xdp_md* ctx) {
  struct counted_item* taken = NULL;
  bpf_spin_lock(&lock);
  struct bpf_rb_node* node = bpf_rbtree_root(&tree);
  if (node) node = bpf_rbtree_left(&tree, node);
  if (node) node = bpf_rbtree_remove(&tree, node);
  if (node) taken = holder_of(node, struct counted_item, in_tree);
  bpf_spin_unlock(&lock);
  if (taken) drop(taken);
  return XDP_PASS;
}

SEC("xdp")
int under_a_resilient_lock(struct xdp_md* ctx) {
  struct plain_item* item = make(struct plain_item);
  if (!item) return XDP_ABORTED;
  item->key = 1;
  if (bpf_res_spin_lock(&other_lock)) {
    drop(item);
    return XDP_DROP;
  }
  bpf_rbtree_add_impl(&other_tree, &item->in_tree, plain_less, NULL, 0);
  bpf_res_spin_unlock(&other_lock);
  return XDP_PASS;
}

SEC("xdp")
int exchanged(struct xdp_md* ctx) {
  struct place* place = place_of(1);
  struct plain_item* item = make(struct plain_item);
  if (!item) return XDP_ABORTED;
  if (!place) {
    drop(item);
    return XDP_ABORTED;
  }
  item = bpf_kptr_xchg(&place->plain, item);
  if (item) drop(item);
  return XDP_PASS;
}

SEC("xdp")
int loaded_and_shared(struct xdp_md* ctx) {
  struct place* place = place_of(1);
  if (!place) return XDP_ABORTED;
  struct counted_item* item = place->counted;
  if (!item) return XDP_DROP;
  item = bpf_refcount_acquire_impl(item, NULL);
  if (item) drop(item);
  return XDP_PASS;
}

SEC("xdp")
int loaded_in_a_section(struct xdp_md* ctx) {
  struct place* place = place_of(1);
  if (!place) return XDP_ABORTED;
  bpf_rcu_read_lock();
  struct counted_item* item = place->counted;
  long key = item ? item->key : 0;
  bpf_rcu_read_unlock();
  return key ? XDP_PASS : XDP_DROP;
}

static int take_one(__u32 index, void* context) {
  bpf_spin_lock(&lock);
  struct bpf_list_node* node = bpf_list_pop_front(&list);
  bpf_spin_unlock(&lock);
  if (!node) return 1;
  drop(holder_of(node, struct counted_item, in_list));
  return 0;
}

SEC("xdp")
int emptied(struct xdp_md* ctx) {
  bpf_loop(100, take_one, NULL, 0);
  return XDP_PASS;
}
