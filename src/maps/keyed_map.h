// SPDX-License-Identifier: Apache-2.0
//
// KeyedMap: what the hash map types share: one HashTable, one lock, deletion, iteration, eviction.
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
#include <optional>

#include "base/mutex.h"
#include "maps/hash_table.h"
#include "maps/lru_list.h"
#include "maps/map.h"

namespace lmn {

class KeyedMap : public Map {
 public:
  int erase(const void* key) noexcept override LMN_EXCLUDES(lock_);
  int next_key(const void* key, void* next) noexcept override LMN_EXCLUDES(lock_);
  std::int64_t element_count() noexcept override LMN_EXCLUDES(lock_);

 protected:
  static constexpr std::uint32_t kBucketsPerLook = 256;

  // `lru` makes the map evict its least recently used element when it is full.
  KeyedMap(const MapSpec& spec, const MapOptions& options, HashTable table,
           std::optional<LruList> lru = std::nullopt)
      : Map(spec, options), table_(std::move(table)), lru_(std::move(lru)) {}

  // The LruList of an LRU type with `element_count` elements, nothing for others.
  static Result<std::optional<LruList>> make_lru(const MapSpec& spec, std::uint64_t element_count);

  // What BPF_NOEXIST and BPF_EXIST say to a key that is or is not there: 0, -EEXIST or -ENOENT.
  static int check_presence(bool is_there, std::uint64_t flags) noexcept {
    if (is_there && flags == BPF_NOEXIST) return -EEXIST;
    if (!is_there && flags == BPF_EXIST) return -ENOENT;
    return 0;
  }

  std::uint32_t find(const void* key) const noexcept LMN_REQUIRES(lock_) {
    return table_.find(key, table_.hash_of(key));
  }
  // A free element, in LRU types by evicting one; HashTable::kNone when the map is full.
  std::uint32_t take() noexcept LMN_REQUIRES(lock_) {
    const std::uint32_t element = table_.take();
    if (element != HashTable::kNone || !lru_) return element;
    remove(lru_->back());
    return table_.take();
  }
  void link(std::uint32_t element, const void* key, std::uint32_t hash) noexcept
      LMN_REQUIRES(lock_) {
    table_.link(element, key, hash);
    if (lru_) lru_->push_front(element);
  }
  void unlink(std::uint32_t element) noexcept LMN_REQUIRES(lock_) {
    table_.unlink(element);
    if (lru_) lru_->remove(element);
  }
  // Marks a linked element as used now.
  void touch(std::uint32_t element) noexcept LMN_REQUIRES(lock_) {
    if (!lru_) return;
    lru_->remove(element);
    lru_->push_front(element);
  }
  void remove(std::uint32_t element) noexcept LMN_REQUIRES(lock_) {
    unlink(element);
    table_.release(element);
  }

  mutable SpinLock lock_;
  HashTable table_ LMN_GUARDED_BY(lock_);
  std::optional<LruList> lru_ LMN_GUARDED_BY(lock_);
};

// The seed a hash of this spec uses: none with BPF_F_ZERO_SEED.
inline std::uint64_t hash_seed_of(const MapSpec& spec, const MapOptions& options) {
  return (spec.map_flags & BPF_F_ZERO_SEED) != 0 ? 0 : options.hash_seed;
}

}  // namespace lmn
