// SPDX-License-Identifier: Apache-2.0
//
// LRU_HASH and LRU_PERCPU_HASH: hashes that make room by evicting what was not used for the longest
// time.
//
// They are HASH and PERCPU_HASH (hash_map.h, percpu_hash_map.h) over a table that keeps an LruList:
// an update never fails for lack of room. A program's lookup and any update is a use; user space's
// lookup is not, as in the kernel. With BPF_F_NO_COMMON_LRU max_entries is rounded to a multiple of
// the CPUs, as the kernel does; the list is one nevertheless (docs/kernel-differences.md, maps-3).
// Tested by maps_test.cc and tests/contract/maps_contract_test.cc.
// Source: Linux 6.18, kernel/bpf/hashtab.c, bpf_lru_list.c.
#include <linux/bpf.h>

#include "maps/hash_map.h"
#include "maps/map_checks.h"
#include "maps/percpu_hash_map.h"

namespace lmn {
namespace {

// max_entries as the kernel rounds it for lists per CPU: up, or down where that would wrap.
MapSpec with_rounded_entries(MapSpec spec, std::uint32_t cpu_count) {
  if ((spec.map_flags & BPF_F_NO_COMMON_LRU) == 0) return spec;
  const std::uint64_t up =
      (std::uint64_t{spec.max_entries} + cpu_count - 1) / cpu_count * cpu_count;
  spec.max_entries =
      up <= UINT32_MAX ? static_cast<std::uint32_t>(up) : spec.max_entries / cpu_count * cpu_count;
  return spec;
}

}  // namespace

Result<std::unique_ptr<Map>> create_lru_hash_map(const MapSpec& spec, const MapOptions& options,
                                                 MapHost&) {
  return HashMap::create(with_rounded_entries(spec, options.cpu_count), options);
}

Result<std::unique_ptr<Map>> create_lru_percpu_hash_map(const MapSpec& spec,
                                                        const MapOptions& options, MapHost&) {
  return PercpuHashMap::create(with_rounded_entries(spec, options.cpu_count), options);
}

}  // namespace lmn
