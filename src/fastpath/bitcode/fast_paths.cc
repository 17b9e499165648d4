// SPDX-License-Identifier: Apache-2.0
//
// The source of the bitcode module: one function of C for each step of a lookup, or of a record.
//
// Not part of any library as it is: the build compiles it with clang 19 to bitcode
// (src/fastpath/CMakeLists.txt), which fast_paths.cc takes in. `map` is the descriptor that
// Map::fast_path() shows, `key` is readable for key_size bytes and stays where it is during a
// flight, `cpu` is below the map's CPU count, `flight` is kFlightBytes aligned to 8, which no other
// lookup uses until the last step.
// Tested by fast_paths_test.cc; the functions behind them by the tests of the maps.
#include <cstdint>

#include "maps/array_fast.h"
#include "maps/fast_path.h"
#include "maps/hash_fast.h"
#include "maps/lpm_fast.h"
#include "maps/ringbuf_fast.h"

#define LMN_EXPORT extern "C" __attribute__((always_inline, used, visibility("hidden")))

namespace lmn {
namespace {

// A flight of a hash is the key's hash.
LMN_FAST std::uint64_t& hash_in(void* flight) { return *static_cast<std::uint64_t*>(flight); }

// A flight of a trie, for the size of the map's addresses: step(flight).
template <typename Step>
LMN_FAST auto with_lpm_flight(const LpmMapDescriptor& map, void* flight, Step step) {
  static_assert(sizeof(LpmFlight<LpmAddress128>) <= kFlightBytes);
  static_assert(sizeof(LpmFlight<LpmAddressBytes>) <= kFlightBytes);
  if (map.index.data_size == 4) return step(*static_cast<LpmFlight<LpmAddress32>*>(flight));
  if (map.index.data_size == 16) return step(*static_cast<LpmFlight<LpmAddress128>*>(flight));
  return step(*static_cast<LpmFlight<LpmAddressBytes>*>(flight));
}

}  // namespace

// --- kArray: ARRAY, PERCPU_ARRAY

LMN_EXPORT void* lmn_array_lookup(const ArrayDescriptor* map, const void* key, std::uint32_t cpu) {
  return array_lookup(*map, key, cpu);
}
LMN_EXPORT void lmn_array_prefetch1(const ArrayDescriptor* map, const void* key, std::uint32_t cpu,
                                    void*) {
  array_prefetch(*map, key, cpu);
}
LMN_EXPORT void* lmn_array_finish(const ArrayDescriptor* map, const void* key, std::uint32_t cpu,
                                  void*) {
  return array_lookup(*map, key, cpu);
}

// --- kHash: HASH, LRU_HASH

LMN_EXPORT void* lmn_hash_lookup(const HashDescriptor* map, const void* key, std::uint32_t) {
  return hash_lookup(*map, key);
}
LMN_EXPORT void lmn_hash_prefetch1(const HashDescriptor* map, const void* key, std::uint32_t,
                                   void* flight) {
  hash_in(flight) = hash_prefetch_bucket(*map, key);
}
LMN_EXPORT void lmn_hash_prefetch2(const HashDescriptor* map, const void*, std::uint32_t,
                                   void* flight) {
  hash_prefetch_element(*map, hash_in(flight));
}
LMN_EXPORT void* lmn_hash_finish(const HashDescriptor* map, const void* key, std::uint32_t,
                                 void* flight) {
  return hash_finish(*map, key, hash_in(flight));
}

// --- kPercpuHash: PERCPU_HASH, LRU_PERCPU_HASH

LMN_EXPORT void* lmn_percpu_hash_lookup(const PercpuHashDescriptor* map, const void* key,
                                        std::uint32_t cpu) {
  return percpu_hash_lookup(*map, key, cpu);
}
LMN_EXPORT void lmn_percpu_hash_prefetch1(const PercpuHashDescriptor* map, const void* key,
                                          std::uint32_t, void* flight) {
  hash_in(flight) = hash_prefetch_bucket(map->keys, key);
}
LMN_EXPORT void lmn_percpu_hash_prefetch2(const PercpuHashDescriptor* map, const void*,
                                          std::uint32_t, void* flight) {
  hash_prefetch_element(map->keys, hash_in(flight));
}
LMN_EXPORT void* lmn_percpu_hash_finish(const PercpuHashDescriptor* map, const void* key,
                                        std::uint32_t cpu, void* flight) {
  return percpu_hash_finish(*map, key, hash_in(flight), cpu);
}

// --- kLpm: LPM_TRIE

// Whether the other functions may be asked: they answer for keys of full length only, Map::lookup
// for all.
LMN_EXPORT bool lmn_lpm_is_whole(const LpmMapDescriptor* map, const void* key, std::uint32_t) {
  return lpm_is_whole(*map, key);
}
LMN_EXPORT void* lmn_lpm_lookup(const LpmMapDescriptor* map, const void* key, std::uint32_t) {
  return lpm_lookup(*map, key);
}
LMN_EXPORT void lmn_lpm_prefetch1(const LpmMapDescriptor* map, const void* key, std::uint32_t,
                                  void* flight) {
  with_lpm_flight(*map, flight, [=](auto& f) { lpm_prefetch_root(*map, key, f); });
}
LMN_EXPORT void lmn_lpm_prefetch2(const LpmMapDescriptor* map, const void*, std::uint32_t,
                                  void* flight) {
  with_lpm_flight(*map, flight, [=](auto& f) { lpm_prefetch_node(*map, f); });
}
LMN_EXPORT void lmn_lpm_prefetch3(const LpmMapDescriptor* map, const void*, std::uint32_t,
                                  void* flight) {
  with_lpm_flight(*map, flight, [=](auto& f) { lpm_prefetch_child(*map, f); });
}
LMN_EXPORT void lmn_lpm_prefetch4(const LpmMapDescriptor* map, const void*, std::uint32_t,
                                  void* flight) {
  with_lpm_flight(*map, flight, [=](auto& f) { lpm_prefetch_value(*map, f); });
}
LMN_EXPORT void* lmn_lpm_finish(const LpmMapDescriptor* map, const void* key, std::uint32_t,
                                void* flight) {
  return with_lpm_flight(*map, flight, [=](auto& f) { return lpm_finish(*map, key, f); });
}

// --- kRingbuf: RINGBUF. Both may decline, with nothing done: then RingbufMap's are called. What is
// written between them is the compiler's to copy, which knows how much it is.

LMN_EXPORT bool lmn_ringbuf_try_reserve(const RingbufDescriptor* map, std::uint64_t size,
                                        void** sample) {
  return ringbuf_try_reserve(*map, size, *sample);
}
// `bits`: kRingbufDiscardBit to discard, 0 to submit.
LMN_EXPORT bool lmn_ringbuf_try_commit(const RingbufDescriptor* map, void* sample,
                                       std::uint64_t flags, std::uint32_t bits) {
  return ringbuf_try_commit(*map, sample, flags, bits);
}

}  // namespace lmn
