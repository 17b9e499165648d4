// SPDX-License-Identifier: Apache-2.0
//
// Ternary matching for BPF programs: rules of value, mask and priority, as TCAMs hold them, by
// tuple space search.
//
// All rules of one mask lie in one hash; a look-up masks the key once per mask and asks that mask's
// hash, so its cost is the number of different masks, not of rules. Masks are asked in the order of
// the best priority among their rules, and the search ends where no better rule can come. A mask
// may have any bits; a rule of a higher number goes before one of a lower.
//
//   struct key { __u32 source, destination; __u16 port; __u8 protocol, zero; };   (4 bytes or more)
//   struct verdict { __u32 action; };
//   LMN_TERNARY(acl, struct key, struct verdict, 64, 10000);
//
//   struct acl_rule* rule = acl_find(&key);       null, or rule->value and rule->priority
//
// This makes three maps: acl_masks (ARRAY), acl_tables (ARRAY_OF_MAPS of HASHes) and acl_state
// (ARRAY of one number). A loader fills them: LMN's TernaryBuilder (src/maps/ternary_builder.h) or,
// with libbpf, what docs/howto/ternary.md says. Masks and tables have two halves: the loader writes
// the half that is not in use and then turns over to it with the one number of acl_state, so a
// look-up sees either the old or the new order and never a mixture.
//
// Runs in LMN and in Linux 5.11 or later (bounded loops, maps of maps with BTF). Keys are compared
// byte by byte: set padding to zero. The size of a key must be a multiple of 4. With vmlinux.h,
// include that first.
#ifndef LMN_BPF_TERNARY_H
#define LMN_BPF_TERNARY_H

/* bpf_helpers.h needs the types of one of the two. */
#ifndef __VMLINUX_H__
#include <linux/bpf.h>
#endif

#include <bpf/bpf_helpers.h>

/* acl_state: which half is in use, and how many masks it has. */
#define LMN_TERNARY_SECOND_HALF 0x80000000u
#define LMN_TERNARY_COUNT 0x7fffffffu

#define LMN_TERNARY(name, key_type, value_type, masks_max, rules_max)              \
  struct name##_rule {                                                             \
    __u32 priority;                                                                \
    value_type value;                                                              \
  };                                                                               \
  struct name##_mask {                                                             \
    __u32 best; /* the highest priority among the mask's rules */                  \
    key_type mask;                                                                 \
  };                                                                               \
  struct name##_table {                                                            \
    __uint(type, BPF_MAP_TYPE_HASH);                                               \
    __uint(max_entries, rules_max);                                                \
    __uint(map_flags, BPF_F_NO_PREALLOC);                                          \
    __uint(key_size, sizeof(key_type));                                            \
    __uint(value_size, sizeof(struct name##_rule));                                \
  };                                                                               \
  struct {                                                                         \
    __uint(type, BPF_MAP_TYPE_ARRAY);                                              \
    __uint(max_entries, 2 * (masks_max));                                          \
    __type(key, __u32);                                                            \
    __type(value, struct name##_mask);                                             \
  } name##_masks SEC(".maps");                                                     \
  struct {                                                                         \
    __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);                                      \
    __uint(max_entries, 2 * (masks_max));                                          \
    __type(key, __u32);                                                            \
    __array(values, struct name##_table);                                          \
  } name##_tables SEC(".maps");                                                    \
  struct {                                                                         \
    __uint(type, BPF_MAP_TYPE_ARRAY);                                              \
    __uint(max_entries, 1);                                                        \
    __type(key, __u32);                                                            \
    __type(value, __u32);                                                          \
  } name##_state SEC(".maps");                                                     \
                                                                                   \
  static __always_inline struct name##_rule* name##_find(const key_type* key) {    \
    _Static_assert(sizeof(key_type) % 4 == 0, "keys are masked word by word");     \
    struct name##_rule* best = 0;                                                  \
    __u32 zero = 0;                                                                \
    const __u32* state = bpf_map_lookup_elem(&name##_state, &zero);                \
    if (!state) return 0;                                                          \
    const __u32 now = *state;                                                      \
    const __u32 first = now & LMN_TERNARY_SECOND_HALF ? (masks_max) : 0;           \
    const __u32 count = now & LMN_TERNARY_COUNT;                                   \
    for (__u32 i = 0; i < (masks_max); i++) {                                      \
      if (i >= count) break;                                                       \
      __u32 at = first + i;                                                        \
      const struct name##_mask* mask = bpf_map_lookup_elem(&name##_masks, &at);    \
      if (!mask || (best && best->priority >= mask->best)) break;                  \
      union {                                                                      \
        key_type key;                                                              \
        __u32 words[sizeof(key_type) / 4];                                         \
      } masked;                                                                    \
      for (__u32 w = 0; w < sizeof(key_type) / 4; w++) {                           \
        masked.words[w] = ((const __u32*)key)[w] & ((const __u32*)&mask->mask)[w]; \
      }                                                                            \
      void* table = bpf_map_lookup_elem(&name##_tables, &at);                      \
      if (!table) continue;                                                        \
      struct name##_rule* rule = bpf_map_lookup_elem(table, &masked.key);          \
      if (rule && (!best || rule->priority > best->priority)) best = rule;         \
    }                                                                              \
    return best;                                                                   \
  }                                                                                \
  _Static_assert((masks_max) > 0 && (masks_max) <= 4096, "masks are searched one by one")

#endif
