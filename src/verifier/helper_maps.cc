// SPDX-License-Identifier: Apache-2.0
//
// The two tables of helpers and map types. Tested by paths_test.cc.
#include "verifier/helper_maps.h"

#include <linux/bpf.h>

namespace lmn {
namespace {

struct Pair {
  std::uint32_t map_type;
  std::uint32_t helper;
};

// Types that only these helpers take.
constexpr Pair kOnly[] = {
    {BPF_MAP_TYPE_PROG_ARRAY, BPF_FUNC_tail_call},
    {BPF_MAP_TYPE_PERF_EVENT_ARRAY, BPF_FUNC_perf_event_read},
    {BPF_MAP_TYPE_PERF_EVENT_ARRAY, BPF_FUNC_perf_event_output},
    {BPF_MAP_TYPE_PERF_EVENT_ARRAY, BPF_FUNC_perf_event_read_value},
    {BPF_MAP_TYPE_RINGBUF, BPF_FUNC_ringbuf_output},
    {BPF_MAP_TYPE_RINGBUF, BPF_FUNC_ringbuf_reserve},
    {BPF_MAP_TYPE_RINGBUF, BPF_FUNC_ringbuf_query},
    {BPF_MAP_TYPE_RINGBUF, BPF_FUNC_ringbuf_reserve_dynptr},
    {BPF_MAP_TYPE_RINGBUF, BPF_FUNC_ringbuf_submit_dynptr},
    {BPF_MAP_TYPE_RINGBUF, BPF_FUNC_ringbuf_discard_dynptr},
    {BPF_MAP_TYPE_USER_RINGBUF, BPF_FUNC_user_ringbuf_drain},
    {BPF_MAP_TYPE_STACK_TRACE, BPF_FUNC_get_stackid},
    {BPF_MAP_TYPE_CGROUP_ARRAY, BPF_FUNC_current_task_under_cgroup},
    {BPF_MAP_TYPE_CGROUP_STORAGE, BPF_FUNC_get_local_storage},
    {BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE, BPF_FUNC_get_local_storage},
    {BPF_MAP_TYPE_DEVMAP, BPF_FUNC_redirect_map},
    {BPF_MAP_TYPE_DEVMAP, BPF_FUNC_map_lookup_elem},
    {BPF_MAP_TYPE_DEVMAP_HASH, BPF_FUNC_redirect_map},
    {BPF_MAP_TYPE_DEVMAP_HASH, BPF_FUNC_map_lookup_elem},
    {BPF_MAP_TYPE_CPUMAP, BPF_FUNC_redirect_map},
    {BPF_MAP_TYPE_XSKMAP, BPF_FUNC_redirect_map},
    {BPF_MAP_TYPE_XSKMAP, BPF_FUNC_map_lookup_elem},
    {BPF_MAP_TYPE_ARRAY_OF_MAPS, BPF_FUNC_map_lookup_elem},
    {BPF_MAP_TYPE_HASH_OF_MAPS, BPF_FUNC_map_lookup_elem},
    {BPF_MAP_TYPE_SOCKMAP, BPF_FUNC_map_lookup_elem},
    {BPF_MAP_TYPE_SOCKMAP, BPF_FUNC_map_update_elem},
    {BPF_MAP_TYPE_SOCKMAP, BPF_FUNC_map_delete_elem},
    {BPF_MAP_TYPE_SOCKHASH, BPF_FUNC_map_lookup_elem},
    {BPF_MAP_TYPE_SOCKHASH, BPF_FUNC_map_update_elem},
    {BPF_MAP_TYPE_SOCKHASH, BPF_FUNC_map_delete_elem},
    {BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, BPF_FUNC_sk_select_reuseport},
    {BPF_MAP_TYPE_QUEUE, BPF_FUNC_map_peek_elem},
    {BPF_MAP_TYPE_QUEUE, BPF_FUNC_map_pop_elem},
    {BPF_MAP_TYPE_QUEUE, BPF_FUNC_map_push_elem},
    {BPF_MAP_TYPE_STACK, BPF_FUNC_map_peek_elem},
    {BPF_MAP_TYPE_STACK, BPF_FUNC_map_pop_elem},
    {BPF_MAP_TYPE_STACK, BPF_FUNC_map_push_elem},
    {BPF_MAP_TYPE_SK_STORAGE, BPF_FUNC_sk_storage_get},
    {BPF_MAP_TYPE_INODE_STORAGE, BPF_FUNC_inode_storage_get},
    {BPF_MAP_TYPE_TASK_STORAGE, BPF_FUNC_task_storage_get},
    {BPF_MAP_TYPE_TASK_STORAGE, BPF_FUNC_task_storage_delete},
    {BPF_MAP_TYPE_CGRP_STORAGE, BPF_FUNC_cgrp_storage_get},
    {BPF_MAP_TYPE_CGRP_STORAGE, BPF_FUNC_cgrp_storage_delete},
    {BPF_MAP_TYPE_BLOOM_FILTER, BPF_FUNC_map_peek_elem},
    {BPF_MAP_TYPE_BLOOM_FILTER, BPF_FUNC_map_push_elem},
    {BPF_MAP_TYPE_STRUCT_OPS, BPF_FUNC_unspec},
    {BPF_MAP_TYPE_ARENA, BPF_FUNC_unspec},
};

// Helpers that take no type but those of kOnly, and per-CPU lookups.
bool is_particular(std::uint32_t helper) {
  switch (helper) {
    case BPF_FUNC_tail_call:
    case BPF_FUNC_perf_event_read:
    case BPF_FUNC_perf_event_output:
    case BPF_FUNC_perf_event_read_value:
    case BPF_FUNC_ringbuf_output:
    case BPF_FUNC_ringbuf_reserve:
    case BPF_FUNC_ringbuf_query:
    case BPF_FUNC_ringbuf_reserve_dynptr:
    case BPF_FUNC_ringbuf_submit_dynptr:
    case BPF_FUNC_ringbuf_discard_dynptr:
    case BPF_FUNC_user_ringbuf_drain:
    case BPF_FUNC_get_stackid:
    case BPF_FUNC_current_task_under_cgroup:
    case BPF_FUNC_redirect_map:
    case BPF_FUNC_map_peek_elem:
    case BPF_FUNC_map_pop_elem:
    case BPF_FUNC_map_push_elem:
    case BPF_FUNC_task_storage_get:
    case BPF_FUNC_task_storage_delete:
    case BPF_FUNC_cgrp_storage_get:
    case BPF_FUNC_cgrp_storage_delete:
      return true;
    default:
      return false;
  }
}

}  // namespace

bool helper_takes_map(std::uint32_t helper, std::uint32_t map_type) {
  if (helper == BPF_FUNC_map_lookup_percpu_elem) {
    return map_type == BPF_MAP_TYPE_PERCPU_ARRAY || map_type == BPF_MAP_TYPE_PERCPU_HASH ||
           map_type == BPF_MAP_TYPE_LRU_PERCPU_HASH;
  }
  bool is_restricted = false;
  for (const Pair& pair : kOnly) {
    if (pair.map_type != map_type) continue;
    if (pair.helper == helper) return true;
    is_restricted = true;
  }
  return !is_restricted && !is_particular(helper);
}

bool helper_writes_map(std::uint32_t helper) {
  switch (helper) {
    case BPF_FUNC_map_update_elem:
    case BPF_FUNC_map_delete_elem:
    case BPF_FUNC_map_push_elem:
    case BPF_FUNC_map_pop_elem:
      return true;
    default:
      return false;
  }
}

bool is_walkable(std::uint32_t map_type) {
  switch (map_type) {
    case BPF_MAP_TYPE_ARRAY:
    case BPF_MAP_TYPE_PERCPU_ARRAY:
    case BPF_MAP_TYPE_HASH:
    case BPF_MAP_TYPE_PERCPU_HASH:
    case BPF_MAP_TYPE_LRU_HASH:
    case BPF_MAP_TYPE_LRU_PERCPU_HASH:
      return true;
    default:
      return false;
  }
}

}  // namespace lmn
