// SPDX-License-Identifier: Apache-2.0
//
// What programs that own objects include: the kernel's structs of locks, lists and trees, its
// functions for them, and words for their use.
// Read by the programs beside it. Source: Linux 6.18, kernel/bpf/helpers.c.
#pragma once

// clang-format off: the kernel's types come first
#include <linux/bpf.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
// clang-format on

struct bpf_res_spin_lock {
  __u32 val;
};

#define kptr_field __attribute__((btf_type_tag("kptr")))
#define contains(type, node) __attribute__((btf_decl_tag("contains:" #type ":" #node)))
#define together(name) SEC(".bss." #name) __attribute__((aligned(8)))
#define holder_of(pointer, type, member) \
  ((type*)((void*)(pointer) - __builtin_offsetof(type, member)))

typedef _Bool order_fn(struct bpf_rb_node* a, const struct bpf_rb_node* b);

void* bpf_obj_new_impl(__u64 type_id, void* meta) __ksym;
void bpf_obj_drop_impl(void* object, void* meta) __ksym;
void* bpf_refcount_acquire_impl(void* object, void* meta) __ksym;
int bpf_list_push_front_impl(struct bpf_list_head* head, struct bpf_list_node* node, void* meta,
                             __u64 offset) __ksym;
struct bpf_list_node* bpf_list_pop_front(struct bpf_list_head* head) __ksym;
struct bpf_list_node* bpf_list_front(struct bpf_list_head* head) __ksym;
int bpf_rbtree_add_impl(struct bpf_rb_root* root, struct bpf_rb_node* node, order_fn* less,
                        void* meta, __u64 offset) __ksym;
struct bpf_rb_node* bpf_rbtree_remove(struct bpf_rb_root* root, struct bpf_rb_node* node) __ksym;
struct bpf_rb_node* bpf_rbtree_first(struct bpf_rb_root* root) __ksym;
struct bpf_rb_node* bpf_rbtree_root(struct bpf_rb_root* root) __ksym;
struct bpf_rb_node* bpf_rbtree_left(struct bpf_rb_root* root, struct bpf_rb_node* node) __ksym;
int bpf_res_spin_lock(struct bpf_res_spin_lock* lock) __ksym;
void bpf_res_spin_unlock(struct bpf_res_spin_lock* lock) __ksym;
int bpf_res_spin_lock_irqsave(struct bpf_res_spin_lock* lock, unsigned long* flags) __ksym;
void bpf_res_spin_unlock_irqrestore(struct bpf_res_spin_lock* lock, unsigned long* flags) __ksym;
void bpf_local_irq_save(unsigned long* flags) __ksym;
void bpf_local_irq_restore(unsigned long* flags) __ksym;
void bpf_rcu_read_lock(void) __ksym;
void bpf_rcu_read_unlock(void) __ksym;

#define make(type) ((type*)bpf_obj_new_impl(bpf_core_type_id_local(type), NULL))
#define drop(object) bpf_obj_drop_impl(object, NULL)

char _license[] SEC("license") = "GPL";
