// SPDX-License-Identifier: Apache-2.0
//
// The source of the bitcode module: one function of C for each step of a lookup.
//
// Not part of any library as it is: the build compiles it with clang 19 to bitcode
// (src/fastpath/CMakeLists.txt), which fast_paths.cc takes in. `map` is the descriptor that
// Map::fast_path() shows, `key` is readable for key_size bytes, `cpu` is below the map's CPU count.
// What a prefetch gives is given to the later steps of the same key.
// Tested by fast_paths_test.cc; the functions behind them by the tests of the maps.
#include <cstdint>

#include "maps/array_fast.h"
#include "maps/hash_fast.h"
#include "maps/lpm_fast.h"

#define LMN_EXPORT extern "C" __attribute__((always_inline, used, visibility("hidden")))

namespace lmn {

// --- kArray: ARRAY, PERCPU_ARRAY

LMN_EXPORT void* lmn_array_lookup(const ArrayDescriptor* map, const void* key, std::uint32_t cpu) {
  return array_lookup(*map, key, cpu);
}
LMN_EXPORT std::uint64_t lmn_array_prefetch(const ArrayDescriptor* map, const void* key,
                                            std::uint32_t cpu) {
  array_prefetch(*map, key, cpu);
  return 0;
}

// --- kHash: HASH, LRU_HASH

LMN_EXPORT void* lmn_hash_lookup(const HashDescriptor* map, const void* key, std::uint32_t) {
  return hash_lookup(*map, key);
}
LMN_EXPORT std::uint64_t lmn_hash_prefetch(const HashDescriptor* map, const void* key,
                                           std::uint32_t) {
  return hash_prefetch_bucket(*map, key);
}
LMN_EXPORT void lmn_hash_prefetch_more(const HashDescriptor* map, const void*, std::uint32_t,
                                       std::uint64_t hash) {
  hash_prefetch_element(*map, hash);
}
LMN_EXPORT void* lmn_hash_finish(const HashDescriptor* map, const void* key, std::uint32_t,
                                 std::uint64_t hash) {
  return hash_finish(*map, key, hash);
}

// --- kPercpuHash: PERCPU_HASH, LRU_PERCPU_HASH

LMN_EXPORT void* lmn_percpu_hash_lookup(const PercpuHashDescriptor* map, const void* key,
                                        std::uint32_t cpu) {
  return percpu_hash_lookup(*map, key, cpu);
}
LMN_EXPORT std::uint64_t lmn_percpu_hash_prefetch(const PercpuHashDescriptor* map, const void* key,
                                                  std::uint32_t) {
  return hash_prefetch_bucket(map->keys, key);
}
LMN_EXPORT void lmn_percpu_hash_prefetch_more(const PercpuHashDescriptor* map, const void*,
                                              std::uint32_t, std::uint64_t hash) {
  hash_prefetch_element(map->keys, hash);
}
LMN_EXPORT void* lmn_percpu_hash_finish(const PercpuHashDescriptor* map, const void* key,
                                        std::uint32_t cpu, std::uint64_t hash) {
  return percpu_hash_finish(*map, key, hash, cpu);
}

// --- kLpm: LPM_TRIE

// Whether lmn_lpm_lookup may be asked: it answers for keys of full length only, Map::lookup for
// all.
LMN_EXPORT bool lmn_lpm_is_whole(const LpmMapDescriptor* map, const void* key, std::uint32_t) {
  return lpm_is_whole(*map, key);
}
LMN_EXPORT void* lmn_lpm_lookup(const LpmMapDescriptor* map, const void* key, std::uint32_t) {
  return lpm_lookup(*map, key);
}
LMN_EXPORT std::uint64_t lmn_lpm_prefetch(const LpmMapDescriptor* map, const void* key,
                                          std::uint32_t) {
  const auto* data = static_cast<const std::uint8_t*>(key) + sizeof(std::uint32_t);
  return reinterpret_cast<std::uintptr_t>(lpm_prefetch_root(map->index, data));
}
LMN_EXPORT void lmn_lpm_prefetch_more(const LpmMapDescriptor* map, const void*, std::uint32_t,
                                      std::uint64_t root) {
  lpm_prefetch_node(map->index, reinterpret_cast<const std::uint64_t*>(root));
}

}  // namespace lmn
