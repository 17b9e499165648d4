// SPDX-License-Identifier: Apache-2.0
//
// Kernel functions as C programs call them. Every packet is a set of arguments: its bytes from
// offset 14 on say how often and with what. Results are left in `out`.
// Run by tests/differential/kfunc_programs_test.cc, in the kernel and in LMN.
#include <linux/bpf.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#define ARGUMENTS_AT 14
#define ARGUMENT_BYTES 46
#define NUMBERS 48

struct result {
  __s64 number[NUMBERS];
};

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct result);
} out SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u8[64]);
} memory SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 64);
  __type(key, __u32);
  __type(value, __u32);
} table SEC(".maps");

static struct result* result_of_packet(struct xdp_md* ctx, __u8* arguments) {
  __u32 zero = 0;
  struct result* result = bpf_map_lookup_elem(&out, &zero);
  if (!result) return 0;
  if (bpf_xdp_load_bytes(ctx, ARGUMENTS_AT, arguments, ARGUMENT_BYTES)) return 0;
  return result;
}

// --- strings

extern int bpf_strlen(const char* s) __ksym;
extern int bpf_strnlen(const char* s, __u64 count) __ksym;
extern int bpf_strchr(const char* s, char c) __ksym;
extern int bpf_strchrnul(const char* s, char c) __ksym;
extern int bpf_strnchr(const char* s, __u64 count, char c) __ksym;
extern int bpf_strrchr(const char* s, int c) __ksym;
extern int bpf_strcmp(const char* a, const char* b) __ksym;
extern int bpf_strcasecmp(const char* a, const char* b) __ksym;
extern int bpf_strspn(const char* s, const char* accept) __ksym;
extern int bpf_strcspn(const char* s, const char* reject) __ksym;
extern int bpf_strstr(const char* a, const char* b) __ksym;
extern int bpf_strnstr(const char* a, const char* b, __u64 length) __ksym;

SEC("xdp")
int strings(struct xdp_md* ctx) {
  __u8 arguments[ARGUMENT_BYTES];
  struct result* result = result_of_packet(ctx, arguments);
  if (!result) return XDP_DROP;
  char text[33];
  char other[5];
  for (int i = 0; i < 32; i++) text[i] = arguments[i];
  text[32] = 0;
  for (int i = 0; i < 4; i++) other[i] = arguments[32 + i];
  other[4] = 0;
  const char c = arguments[36];
  const __u64 count = arguments[37] & 63;
  __s64* n = result->number;
  n[0] = bpf_strlen(text);
  n[1] = bpf_strnlen(text, count);
  n[2] = bpf_strchr(text, c);
  n[3] = bpf_strchrnul(text, c);
  n[4] = bpf_strnchr(text, count, c);
  n[5] = bpf_strrchr(text, arguments[36]);
  n[6] = bpf_strcmp(text, other);
  n[7] = bpf_strcasecmp(text, other);
  n[8] = bpf_strspn(text, other);
  n[9] = bpf_strcspn(text, other);
  n[10] = bpf_strstr(text, other);
  n[11] = bpf_strnstr(text, other, count);
  n[12] = bpf_strcmp(text, text);
  n[13] = bpf_strlen((const char*)8);
  n[14] = bpf_strcmp(text, 0);
  n[15] = bpf_strstr(text, "");
  n[16] = bpf_strspn(text, "");
  n[17] = bpf_strcasecmp("STRASSE\xc4", "strasse\xe4");
  n[18] = bpf_strcasecmp("\xd7", "\xf7");
  n[19] = bpf_strcmp("a", "a\xff");
  return XDP_PASS;
}

// --- dynptrs

extern int bpf_dynptr_from_xdp(struct xdp_md* ctx, __u64 flags, struct bpf_dynptr* out) __ksym;
extern void* bpf_dynptr_slice(const struct bpf_dynptr* p, __u32 at, void* buffer,
                              __u32 size) __ksym;
extern void* bpf_dynptr_slice_rdwr(const struct bpf_dynptr* p, __u32 at, void* buffer,
                                   __u32 size) __ksym;
extern int bpf_dynptr_adjust(const struct bpf_dynptr* p, __u32 start, __u32 end) __ksym;
extern _Bool bpf_dynptr_is_null(const struct bpf_dynptr* p) __ksym;
extern _Bool bpf_dynptr_is_rdonly(const struct bpf_dynptr* p) __ksym;
extern __u32 bpf_dynptr_size(const struct bpf_dynptr* p) __ksym;
extern int bpf_dynptr_clone(const struct bpf_dynptr* p, struct bpf_dynptr* clone) __ksym;
extern int bpf_dynptr_copy(struct bpf_dynptr* to, __u32 to_at, struct bpf_dynptr* from,
                           __u32 from_at, __u32 size) __ksym;
extern int bpf_dynptr_memset(struct bpf_dynptr* p, __u32 at, __u32 size, __u8 value) __ksym;
extern int bpf_xdp_pull_data(struct xdp_md* ctx, __u32 length) __ksym;

SEC("xdp")
int dynptrs(struct xdp_md* ctx) {
  __u8 arguments[ARGUMENT_BYTES];
  struct result* result = result_of_packet(ctx, arguments);
  __u32 zero = 0;
  __u8* bytes = bpf_map_lookup_elem(&memory, &zero);
  if (!result || !bytes) return XDP_DROP;
  __s64* n = result->number;
  struct bpf_dynptr packet, part, local, none;
  __u8 buffer[8] = {};
  n[0] = bpf_dynptr_from_xdp(ctx, 0, &packet);
  n[1] = bpf_dynptr_from_xdp(ctx, arguments[0] | 1, &none);
  n[2] = bpf_dynptr_from_mem(bytes, 64, 0, &local);
  n[3] = bpf_dynptr_is_null(&none) << 1 | bpf_dynptr_is_null(&packet);
  n[4] = bpf_dynptr_size(&none);
  n[5] = bpf_dynptr_size(&packet);
  n[6] = bpf_dynptr_clone(&packet, &part);
  n[7] = bpf_dynptr_adjust(&part, arguments[1] & 63, arguments[2] & 63);
  n[8] = bpf_dynptr_size(&part);
  const __u8* read = bpf_dynptr_slice(&part, arguments[3] & 63, buffer, sizeof(buffer));
  n[9] = read ? read[0] << 8 | read[7] : -1;
  __u8* write = bpf_dynptr_slice_rdwr(&part, arguments[4] & 63, 0, 4);
  if (write) write[1] = arguments[5];
  n[10] = write != 0;
  n[11] = bpf_dynptr_copy(&local, arguments[6] & 63, &part, arguments[7] & 31, arguments[8] & 31);
  n[12] =
      bpf_dynptr_copy(&packet, arguments[9] & 63, &local, arguments[10] & 63, arguments[11] & 31);
  n[13] = bpf_dynptr_copy(&none, 0, &local, arguments[12] & 63, arguments[13] & 1);
  n[14] = bpf_dynptr_copy(&local, 0, &none, 0, arguments[13] & 1);
  n[15] = bpf_dynptr_memset(&packet, arguments[14] & 63, arguments[15] & 31, arguments[16]);
  n[16] = bpf_dynptr_memset(&none, 0, arguments[13] & 1, 0);
  n[17] = bpf_dynptr_read(buffer, sizeof(buffer), &part, arguments[17] & 63, 0);
  n[18] = buffer[0];
  n[19] = bpf_dynptr_write(&part, arguments[18] & 63, buffer, sizeof(buffer), 0);
  n[20] = bpf_dynptr_write(&part, arguments[18] & 63, buffer, sizeof(buffer), 1);
  n[21] = bpf_dynptr_adjust(&part, arguments[19] & 63, arguments[20] & 63);
  n[22] = bpf_dynptr_clone(&none, &part);
  n[23] = bpf_dynptr_is_rdonly(&packet) << 1 | bpf_dynptr_is_rdonly(&none);
  n[24] = bpf_xdp_pull_data(ctx, arguments[21] & 127);
  for (int i = 0; i < 16; i++) n[25 + i] = bytes[i * 4];
  return XDP_PASS;
}

// --- iterators and counts

struct bpf_map {
  __u32 id;
};
struct bpf_iter_bits {
  __u64 opaque[2];
};
extern int bpf_iter_num_new(struct bpf_iter_num* it, int start, int end) __ksym;
extern int* bpf_iter_num_next(struct bpf_iter_num* it) __ksym;
extern void bpf_iter_num_destroy(struct bpf_iter_num* it) __ksym;
extern int bpf_iter_bits_new(struct bpf_iter_bits* it, const __u64* words, __u32 count) __ksym;
extern int* bpf_iter_bits_next(struct bpf_iter_bits* it) __ksym;
extern void bpf_iter_bits_destroy(struct bpf_iter_bits* it) __ksym;
extern __s64 bpf_map_sum_elem_count(const struct bpf_map* map) __ksym;

SEC("xdp")
int iterators(struct xdp_md* ctx) {
  __u8 arguments[ARGUMENT_BYTES];
  struct result* result = result_of_packet(ctx, arguments);
  if (!result) return XDP_DROP;
  __s64* n = result->number;
  struct bpf_iter_num numbers;
  __s64 sum = 0;
  int* number;
  n[0] = bpf_iter_num_new(&numbers, (signed char)arguments[0], (signed char)arguments[1]);
  while ((number = bpf_iter_num_next(&numbers))) sum = sum * 3 + *number;
  n[1] = bpf_iter_num_next(&numbers) != 0;
  bpf_iter_num_destroy(&numbers);
  n[2] = sum;
  n[3] = bpf_iter_num_new(&numbers, 0, arguments[2] << 17);
  bpf_iter_num_destroy(&numbers);

  __u64 words[3];
  __builtin_memcpy(words, arguments + 8, sizeof(words));
  struct bpf_iter_bits bits;
  int* bit;
  sum = 0;
  n[4] = bpf_iter_bits_new(&bits, words, 1);
  while ((bit = bpf_iter_bits_next(&bits))) sum = sum * 5 + *bit;
  bpf_iter_bits_destroy(&bits);
  n[5] = sum;
  sum = 0;
  n[6] = bpf_iter_bits_new(&bits, words, 3);
  while ((bit = bpf_iter_bits_next(&bits))) sum = sum * 5 + *bit;
  bpf_iter_bits_destroy(&bits);
  n[7] = sum;
  n[8] = bpf_iter_bits_new(&bits, words, 0);
  n[9] = bpf_iter_bits_next(&bits) != 0;
  bpf_iter_bits_destroy(&bits);
  n[10] = bpf_iter_bits_new(&bits, words, 512);
  bpf_iter_bits_destroy(&bits);
  n[11] = bpf_iter_bits_new(&bits, 0, 1);
  bpf_iter_bits_destroy(&bits);

  __u32 key = arguments[3];
  if (arguments[4] & 1) {
    bpf_map_update_elem(&table, &key, &key, BPF_ANY);
  } else {
    bpf_map_delete_elem(&table, &key);
  }
  n[12] = bpf_map_sum_elem_count((const struct bpf_map*)&table);
  return XDP_PASS;
}

// --- objects, lists, trees

struct item {
  struct bpf_list_node in_list;
  struct bpf_rb_node in_tree;
  struct bpf_refcount count;
  __u64 key;
};

extern void* bpf_obj_new_impl(__u64 type, void* meta) __ksym;
extern void bpf_obj_drop_impl(void* object, void* meta) __ksym;
extern void* bpf_refcount_acquire_impl(void* object, void* meta) __ksym;
extern int bpf_list_push_front_impl(struct bpf_list_head* head, struct bpf_list_node* node,
                                    void* meta, __u64 at) __ksym;
extern int bpf_list_push_back_impl(struct bpf_list_head* head, struct bpf_list_node* node,
                                   void* meta, __u64 at) __ksym;
extern struct bpf_list_node* bpf_list_pop_front(struct bpf_list_head* head) __ksym;
extern struct bpf_list_node* bpf_list_pop_back(struct bpf_list_head* head) __ksym;
extern int bpf_rbtree_add_impl(struct bpf_rb_root* root, struct bpf_rb_node* node,
                               _Bool(less)(struct bpf_rb_node*, const struct bpf_rb_node*),
                               void* meta, __u64 at) __ksym;
extern struct bpf_rb_node* bpf_rbtree_first(struct bpf_rb_root* root) __ksym;
extern struct bpf_rb_node* bpf_rbtree_remove(struct bpf_rb_root* root,
                                             struct bpf_rb_node* node) __ksym;

#define CONTAINS(type, member) __attribute__((btf_decl_tag("contains:" #type ":" #member)))
#define TOGETHER SEC(".bss.graph") __hidden __attribute__((aligned(8)))
TOGETHER struct bpf_spin_lock lock;
TOGETHER struct bpf_list_head list CONTAINS(item, in_list);
TOGETHER struct bpf_rb_root tree CONTAINS(item, in_tree);

#define NEW_ITEM() ((struct item*)bpf_obj_new_impl(bpf_core_type_id_local(struct item), 0))
#define ITEM_OF(node, member) \
  ((struct item*)((void*)(node) - __builtin_offsetof(struct item, member)))

static _Bool is_less(struct bpf_rb_node* a, const struct bpf_rb_node* b) {
  return ITEM_OF(a, in_tree)->key < ITEM_OF(b, in_tree)->key;
}

SEC("xdp")
int objects(struct xdp_md* ctx) {
  __u8 arguments[ARGUMENT_BYTES];
  struct result* result = result_of_packet(ctx, arguments);
  if (!result) return XDP_DROP;
  __s64* n = result->number;
  for (int i = 0; i < 8; i++) {
    struct item* item = NEW_ITEM();
    if (!item) return XDP_DROP;
    item->key = arguments[i];
    struct item* second = bpf_refcount_acquire_impl(item, 0);
    if (!second) {
      bpf_obj_drop_impl(item, 0);
      return XDP_DROP;
    }
    bpf_spin_lock(&lock);
    if (arguments[i] & 1) {
      bpf_list_push_front_impl(&list, &item->in_list, 0, 0);
    } else {
      bpf_list_push_back_impl(&list, &item->in_list, 0, 0);
    }
    bpf_rbtree_add_impl(&tree, &second->in_tree, is_less, 0, 0);
    bpf_spin_unlock(&lock);
  }
  for (int i = 0; i < 9; i++) {
    bpf_spin_lock(&lock);
    struct bpf_list_node* node =
        arguments[8 + i] & 1 ? bpf_list_pop_front(&list) : bpf_list_pop_back(&list);
    bpf_spin_unlock(&lock);
    n[i] = -1;
    if (!node) continue;
    struct item* item = ITEM_OF(node, in_list);
    n[i] = item->key;
    bpf_obj_drop_impl(item, 0);
  }
  for (int i = 0; i < 9; i++) {
    bpf_spin_lock(&lock);
    struct bpf_rb_node* node = bpf_rbtree_first(&tree);
    if (!node) {
      bpf_spin_unlock(&lock);
      n[9 + i] = -1;
      continue;
    }
    node = bpf_rbtree_remove(&tree, node);
    bpf_spin_unlock(&lock);
    if (!node) return XDP_DROP;
    struct item* item = ITEM_OF(node, in_tree);
    n[9 + i] = item->key;
    bpf_obj_drop_impl(item, 0);
  }
  return XDP_PASS;
}

// --- looking at lists and trees without taking out

extern struct bpf_list_node* bpf_list_front(struct bpf_list_head* head) __ksym;
extern struct bpf_list_node* bpf_list_back(struct bpf_list_head* head) __ksym;
extern struct bpf_rb_node* bpf_rbtree_root(struct bpf_rb_root* root) __ksym;
extern struct bpf_rb_node* bpf_rbtree_left(struct bpf_rb_root* root,
                                           struct bpf_rb_node* node) __ksym;
extern struct bpf_rb_node* bpf_rbtree_right(struct bpf_rb_root* root,
                                            struct bpf_rb_node* node) __ksym;

// The shape of the tree is nobody's business: only what lies farthest left and right is told.
SEC("xdp")
int peeks(struct xdp_md* ctx) {
  __u8 arguments[ARGUMENT_BYTES];
  struct result* result = result_of_packet(ctx, arguments);
  if (!result) return XDP_DROP;
  __s64* n = result->number;
  for (int i = 0; i < 4; i++) {
    if (i >= (arguments[8] & 7)) break;
    struct item* item = NEW_ITEM();
    if (!item) return XDP_DROP;
    item->key = arguments[i];
    struct item* second = bpf_refcount_acquire_impl(item, 0);
    if (!second) {
      bpf_obj_drop_impl(item, 0);
      return XDP_DROP;
    }
    bpf_spin_lock(&lock);
    bpf_list_push_back_impl(&list, &item->in_list, 0, 0);
    bpf_rbtree_add_impl(&tree, &second->in_tree, is_less, 0, 0);
    bpf_spin_unlock(&lock);
  }
  bpf_spin_lock(&lock);
  struct bpf_list_node* end = bpf_list_front(&list);
  n[0] = end ? (__s64)ITEM_OF(end, in_list)->key : -1;
  bpf_spin_unlock(&lock);
  bpf_spin_lock(&lock);
  end = bpf_list_back(&list);
  n[1] = end ? (__s64)ITEM_OF(end, in_list)->key : -1;
  bpf_spin_unlock(&lock);
  n[2] = n[3] = -1;
  bpf_spin_lock(&lock);
  struct bpf_rb_node* node = bpf_rbtree_root(&tree);
  for (int i = 0; i < 8 && node; i++) {
    n[2] = ITEM_OF(node, in_tree)->key;
    node = bpf_rbtree_left(&tree, node);
  }
  bpf_spin_unlock(&lock);
  bpf_spin_lock(&lock);
  node = bpf_rbtree_root(&tree);
  for (int i = 0; i < 8 && node; i++) {
    n[3] = ITEM_OF(node, in_tree)->key;
    node = bpf_rbtree_right(&tree, node);
  }
  bpf_spin_unlock(&lock);
  for (int i = 0; i < 4; i++) {
    bpf_spin_lock(&lock);
    struct bpf_list_node* gone = bpf_list_pop_front(&list);
    bpf_spin_unlock(&lock);
    if (gone) bpf_obj_drop_impl(ITEM_OF(gone, in_list), 0);
    bpf_spin_lock(&lock);
    node = bpf_rbtree_first(&tree);
    if (node) node = bpf_rbtree_remove(&tree, node);
    bpf_spin_unlock(&lock);
    if (node) bpf_obj_drop_impl(ITEM_OF(node, in_tree), 0);
  }
  return XDP_PASS;
}

// --- memory into dynptrs

extern int bpf_probe_read_kernel_dynptr(struct bpf_dynptr* to, __u32 at, __u32 size,
                                        const void* from) __ksym;
extern int bpf_probe_read_kernel_str_dynptr(struct bpf_dynptr* to, __u32 at, __u32 size,
                                            const void* from) __ksym;
extern int bpf_probe_read_user_dynptr(struct bpf_dynptr* to, __u32 at, __u32 size,
                                      const void* from) __ksym;
extern int bpf_probe_read_user_str_dynptr(struct bpf_dynptr* to, __u32 at, __u32 size,
                                          const void* from) __ksym;

SEC("xdp")
int reads(struct xdp_md* ctx) {
  __u8 arguments[ARGUMENT_BYTES];
  struct result* result = result_of_packet(ctx, arguments);
  __u32 zero = 0;
  __u8* bytes = bpf_map_lookup_elem(&memory, &zero);
  if (!result || !bytes) return XDP_DROP;
  __s64* n = result->number;
  struct bpf_dynptr local, packet;
  char text[17];
  for (int i = 0; i < 16; i++) text[i] = arguments[i];
  text[16] = 0;
  bpf_dynptr_from_mem(bytes, 64, 0, &local);
  bpf_dynptr_from_xdp(ctx, 0, &packet);
  const __u32 at = arguments[16] & 63;
  const __u32 size = arguments[17] & 15;
  n[0] = bpf_probe_read_kernel_dynptr(&local, at, size, text);
  n[1] = bpf_probe_read_kernel_str_dynptr(&local, arguments[18] & 63, arguments[19] & 15, text);
  n[2] = bpf_probe_read_kernel_dynptr(&packet, at, size, text);
  n[3] = bpf_probe_read_kernel_str_dynptr(&packet, arguments[18] & 63, arguments[19] & 15, text);
  n[4] = bpf_probe_read_user_dynptr(&local, at, size, 0);
  n[5] = bpf_probe_read_user_str_dynptr(&local, at, size, 0);
  n[6] = bpf_probe_read_kernel_dynptr(&local, at, size, (void*)8);
  return XDP_PASS;
}

// --- sections and exceptions

extern void bpf_rcu_read_lock(void) __ksym;
extern void bpf_rcu_read_unlock(void) __ksym;
extern void bpf_preempt_disable(void) __ksym;
extern void bpf_preempt_enable(void) __ksym;
extern void bpf_local_irq_save(unsigned long* flags) __ksym;
extern void bpf_local_irq_restore(unsigned long* flags) __ksym;
extern void bpf_throw(__u64 cookie) __ksym;

__attribute__((noinline)) int deep(struct result* result, __u32 number) {
  if (!result) return 0;
  result->number[0] = number;
  if (number & 1) bpf_throw(XDP_PASS);
  result->number[1] = number;
  return 0;
}

SEC("xdp")
int sections(struct xdp_md* ctx) {
  __u8 arguments[ARGUMENT_BYTES];
  struct result* result = result_of_packet(ctx, arguments);
  if (!result) return XDP_DROP;
  unsigned long outer, inner;
  bpf_rcu_read_lock();
  result->number[2] = arguments[1];
  bpf_rcu_read_unlock();
  bpf_preempt_disable();
  bpf_preempt_disable();
  bpf_preempt_enable();
  bpf_preempt_enable();
  bpf_local_irq_save(&outer);
  bpf_local_irq_save(&inner);
  bpf_local_irq_restore(&inner);
  bpf_local_irq_restore(&outer);
  deep(result, arguments[0]);
  result->number[3] = arguments[2];
  return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
