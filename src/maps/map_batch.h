// SPDX-License-Identifier: Apache-2.0
//
// MapBatch: many elements in one call (BPF_MAP_*_BATCH): its arguments, and what it answers.
//
// Keys and values lie one behind the other. A walk over a map takes several calls: each gives a
// cookie that the next one goes on from.
//
//   MapBatch batch{.next = cookie, .keys = keys, .values = values, .count = 64};
//   while (map.user_lookup_batch(batch) == 0) { batch.from = cookie; batch.count = 64; ... }
//
// The cookie of a hash is 4 bytes, a place in the table; that of another map the last key. As in
// the kernel an element that stays in the map through a whole walk is given exactly once. Threads:
// values. Tested by tests/contract/map_batch_test.cc. Source: Linux 6.18, kernel/bpf/syscall.c
// (bpf_map_do_batch, generic_map_*_batch), hashtab.c
// (__htab_map_lookup_and_delete_batch).
#pragma once

#include <cstdint>

namespace lmn {

struct MapBatch {
  const void* from = nullptr;  // the cookie of the call before; null: the beginning
  void* next = nullptr;        // where the cookie goes: at least 4 bytes and a key
  void* keys = nullptr;        // count * key_size bytes
  void* values = nullptr;      // count * user_value_bytes() bytes; not of deletions
  // In: how many there is room for or are given. Out: how many were done; unchanged by a call that
  // was refused for its flags or its rights.
  std::uint32_t count = 0;
  std::uint64_t elem_flags = 0;  // BPF_F_LOCK
  std::uint64_t flags = 0;
};

}  // namespace lmn
