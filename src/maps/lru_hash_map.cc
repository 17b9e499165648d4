// SPDX-License-Identifier: Apache-2.0
//
// LRU_HASH: a hash that makes room by evicting what was not used lately.
//
// It is HASH (hash_map.h) over a table that keeps an LruClock (lru_clock.h): an update never fails
// for lack of room. A program's lookup and any update is a use; user space's lookup is not, as in
// the kernel. With BPF_F_NO_COMMON_LRU max_entries is rounded to a multiple of the CPUs, as the
// kernel does; the clock is one nevertheless (docs/kernel-differences.md, maps-3).
// Tested by maps_test.cc and tests/contract/maps_contract_test.cc.
// Source: Linux 6.18, kernel/bpf/hashtab.c, bpf_lru_list.c.
#include <linux/bpf.h>

#include "maps/hash_map.h"
#include "maps/lru_clock.h"

namespace lmn {
Result<std::unique_ptr<Map>> create_lru_hash_map(const MapSpec& spec, const MapOptions& options,
                                                 MapHost&) {
  return HashMap::create(with_rounded_entries(spec, options.cpu_count), options);
}

}  // namespace lmn
