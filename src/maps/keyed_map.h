// SPDX-License-Identifier: Apache-2.0
//
// KeyedMap: what the hash map types share: one HashTable, one lock, deletion, iteration, eviction.
//
// internal; the types are hash_map.h, percpu_hash_map.h and their LRU forms.
// Programs look keys up without a lock (hash_fast.h). One short lock serialises everything else:
// changes, and reads by user space, which copy a value whole. Iteration looks at no more than
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
#include "maps/lru_clock.h"
#include "maps/map.h"

namespace lmn {

class KeyedMap : public Map {
 public:
  int erase(const void* key) noexcept override LMN_EXCLUDES(lock_);
  int next_key(const void* key, void* next) noexcept override LMN_EXCLUDES(lock_);
  bool next_element(MapWalk& walk, std::uint32_t cpu) noexcept override LMN_EXCLUDES(lock_);
  int lookup_batch_from_user(MapBatch& batch, bool erases) noexcept override LMN_EXCLUDES(lock_);
  std::int64_t element_count() noexcept override LMN_EXCLUDES(lock_);

 protected:
  static constexpr std::uint32_t kBucketsPerLook = 256;

  // `lru` makes the map evict an element that was not used lately when it is full.
  KeyedMap(const MapSpec& spec, const MapOptions& options, HashTable table,
           std::optional<LruClock> lru = std::nullopt)
      : Map(spec, options),
        table_(std::move(table)),
        lru_(std::move(lru)),
        fast_(table_.descriptor()) {
    fast_.marks = lru_ ? lru_->marks() : nullptr;
  }

  // The LruClock of an LRU type with `element_count` elements, nothing for others.
  static Result<std::optional<LruClock>> make_lru(const MapSpec& spec, std::uint64_t element_count);

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
    return element != HashTable::kNone || !lru_ ? element : evict();
  }
  std::uint32_t evict() noexcept LMN_REQUIRES(lock_);
  void link(std::uint32_t element, const void* key, std::uint64_t hash) noexcept
      LMN_REQUIRES(lock_) {
    table_.link(element, key, hash);
    if (lru_) lru_->link(element, false);
  }
  // Puts `fresh` in the place of `old`, which the caller holds then. A replacement is a use.
  void replace(std::uint32_t old, std::uint32_t fresh, const void* key, std::uint64_t hash) noexcept
      LMN_REQUIRES(lock_) {
    table_.replace(old, fresh, key, hash);
    if (!lru_) return;
    lru_->unlink(old);
    lru_->link(fresh, true);
  }
  void unlink(std::uint32_t element) noexcept LMN_REQUIRES(lock_) {
    table_.unlink(element);
    if (lru_) lru_->unlink(element);
  }
  void remove(std::uint32_t element) noexcept LMN_REQUIRES(lock_) {
    unlink(element);
    if (fields() != nullptr) [[unlikely]]
      retire_element(element);
    table_.release(element);
  }
  // The value of an element as user space sees it; 0 or -errno.
  virtual int copy_element(std::uint32_t element, std::span<std::uint8_t> out,
                           std::uint64_t flags) noexcept LMN_REQUIRES(lock_) = 0;
  // The value of an element as a program on `cpu` sees it; null in types that cannot be walked.
  virtual void* value_of(std::uint32_t /*element*/, std::uint32_t /*cpu*/) noexcept
      LMN_REQUIRES(lock_) {
    return nullptr;
  }
  // Frees what hangs in the values of an element that the caller holds.
  virtual void retire_element(std::uint32_t /*element*/) noexcept LMN_REQUIRES(lock_) {}

  mutable SpinLock lock_;
  HashTable table_ LMN_GUARDED_BY(lock_);
  std::optional<LruClock> lru_ LMN_GUARDED_BY(lock_);
  HashDescriptor fast_;  // never changes: what lookups without the lock read
};

// The seed a hash of this spec uses: none with BPF_F_ZERO_SEED.
inline std::uint64_t hash_seed_of(const MapSpec& spec, const MapOptions& options) {
  return (spec.map_flags & BPF_F_ZERO_SEED) != 0 ? 0 : options.hash_seed;
}

}  // namespace lmn
