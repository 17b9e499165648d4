// SPDX-License-Identifier: Apache-2.0
//
// KeyedMap: what the hash map types share: one HashTable, one lock, deletion and iteration.
//
// internal; the types are hash_map.h, percpu_hash_map.h and their LRU forms.
// One short lock serialises the worker and control threads. Iteration looks at no more than
// kBucketsPerLook buckets under it: a control thread that walks a large empty table must not stop
// packets.
// Threads: Map's. Tested by maps_test.cc and tests/contract/maps_contract_test.cc.
// Source: Linux 6.18, kernel/bpf/hashtab.c.
#pragma once

#include <linux/bpf.h>

#include <cerrno>

#include "base/mutex.h"
#include "maps/hash_table.h"
#include "maps/map.h"

namespace lmn {

class KeyedMap : public Map {
 public:
  int erase(const void* key) noexcept override LMN_EXCLUDES(lock_);
  int next_key(const void* key, void* next) noexcept override LMN_EXCLUDES(lock_);

 protected:
  static constexpr std::uint32_t kBucketsPerLook = 256;

  KeyedMap(const MapSpec& spec, const MapOptions& options, HashTable table)
      : Map(spec, options), table_(std::move(table)) {}

  // What BPF_NOEXIST and BPF_EXIST say to a key that is or is not there: 0, -EEXIST or -ENOENT.
  static int check_presence(bool is_there, std::uint64_t flags) noexcept {
    if (is_there && flags == BPF_NOEXIST) return -EEXIST;
    if (!is_there && flags == BPF_EXIST) return -ENOENT;
    return 0;
  }
  // Called with each element on its way out; LRU types unlink it from their lists.
  virtual void forget(std::uint32_t) noexcept LMN_REQUIRES(lock_) {}
  void remove(std::uint32_t element) noexcept LMN_REQUIRES(lock_) {
    forget(element);
    table_.unlink(element);
    table_.release(element);
  }

  mutable SpinLock lock_;
  HashTable table_ LMN_GUARDED_BY(lock_);
};

// The seed a hash of this spec uses: none with BPF_F_ZERO_SEED.
inline std::uint64_t hash_seed_of(const MapSpec& spec, const MapOptions& options) {
  return (spec.map_flags & BPF_F_ZERO_SEED) != 0 ? 0 : options.hash_seed;
}

}  // namespace lmn
