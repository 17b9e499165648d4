// SPDX-License-Identifier: Apache-2.0
//
// LRU_PERCPU_HASH: one value per CPU under each key, and room made by evicting what was not used
// lately.
//
// It is PERCPU_HASH (percpu_hash_map.h) over a table that keeps an LruClock (lru_clock.h); what
// counts as a use is said in lru_hash_map.cc. Tested by maps_test.cc and
// tests/contract/maps_contract_test.cc. Source: Linux 6.18, kernel/bpf/hashtab.c.
#include "maps/lru_clock.h"
#include "maps/percpu_hash_map.h"

namespace lmn {

Result<std::unique_ptr<Map>> create_lru_percpu_hash_map(const MapSpec& spec,
                                                        const MapOptions& options, MapHost&) {
  return PercpuHashMap::create(with_rounded_entries(spec, options.cpu_count), options);
}

}  // namespace lmn
