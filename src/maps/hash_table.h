// SPDX-License-Identifier: Apache-2.0
//
// HashTable: keyed elements in memory fixed at creation: the writing half of the hash map types.
//
// How readers search without a lock, and what a bucket looks like: hash_fast.h. Elements are
// {key, payload}, each part on an 8-byte border, and come from a stack of released ones, last
// released first (as in the kernel, which programs can see through old value addresses), else from
// the untouched rest: a large map costs memory as it fills. A released element keeps key and
// payload until it is taken: a timer's callback that deletes its own element goes on using the key
// that it was called with. (With waits_for_readers: oldest first, when nobody reads them any more,
// else from the rest; when there is neither, the oldest, since an update that fails is worse than
// what the kernel always does.) A key whose bucket is full goes to the next bucket with room; those
// it passed count it, so that a search knows when to stop. The hash is keyed by a seed per map, so
// that chosen keys do not find full buckets.
//
//   const std::uint64_t hash = table.hash_of(key);
//   std::uint32_t element = table.find(key, hash);            // HashTable::kNone: not there
//   if ((element = table.take()) != HashTable::kNone) table.link(element, key, hash);
//
// Invariants: (1) an element is linked, released, untouched or in the hands of the caller; (2) its
// address never changes; (3) at most max_entries + spare_count elements exist; (4) the count of an
// overflowing bucket is the number of linked elements that passed it, or 255 for ever.
// Threads: every call under the owning map's lock, but find(), which any thread may call.
// Memory: 64 bytes per 4.5 to 9 elements, the elements, and 4 bytes per released one.
// Tested by hash_table_test.cc and maps_test.cc.
// Source: Linux 6.18, kernel/bpf/hashtab.c (behaviour); the layout is our own.
#pragma once

#include <cstdint>
#include <optional>

#include "base/result.h"
#include "maps/hash_fast.h"
#include "maps/limbo.h"
#include "maps/map_memory.h"
#include "spec/map_spec.h"

namespace lmn {

class HashTable {
 public:
  static constexpr std::uint32_t kNone = kNoHashElement;  // element numbers begin at 1

  struct Shape {
    std::uint32_t key_size = 0;       // bytes
    std::uint32_t payload_bytes = 0;  // kept in the element; 0 when values live elsewhere
    std::uint32_t max_entries = 0;
    std::uint32_t spare_count = 0;  // elements beyond max_entries
    std::uint64_t seed = 0;
    // A released element waits in a limbo until nobody reads it; `epoch` may be null.
    bool waits_for_readers = false;
    Epoch* epoch = nullptr;
  };
  // Errors: kLimitExceeded with ENOMEM. REQUIRES: 0 < max_entries <= 2^31.
  static Result<HashTable> create(const Shape& shape);

  // What lock-free lookups need. Its addresses stay right when the table is moved.
  const HashDescriptor& descriptor() const { return descriptor_; }

  std::uint64_t hash_of(const void* key) const noexcept { return hash_of_key(descriptor_, key); }
  std::uint32_t find(const void* key, std::uint64_t hash) const noexcept {
    return hash_find(descriptor_, key, hash);
  }
  // An element that is in no bucket: one released before, else an untouched one; kNone when all
  // max_entries + spare_count are in use.
  std::uint32_t take() noexcept;
  // Puts an element that the caller holds under the key. Its payload is filled before.
  // REQUIRES: the key is not there.
  void link(std::uint32_t element, const void* key, std::uint64_t hash) noexcept;
  // Puts `fresh`, which the caller holds, in the place of `old`, which the caller holds then; a
  // reader finds one or the other.
  void replace(std::uint32_t old, std::uint32_t fresh, const void* key,
               std::uint64_t hash) noexcept;
  // Takes a linked element out of its bucket; the caller holds it.
  void unlink(std::uint32_t element) noexcept;
  // Gives an element that the caller holds back for take().
  void release(std::uint32_t element) noexcept;

  std::uint32_t count() const { return count_; }  // linked elements
  bool waits_for_readers() const { return limbo_.has_value(); }
  std::uint32_t element_count() const { return element_count_; }
  // Elements 1 to this number have been taken at least once.
  std::uint32_t touched_count() const { return untouched_index_; }
  std::uint64_t memory_bytes() const { return buckets_.size() + elements_.size(); }
  std::uint32_t bucket_count() const {
    return static_cast<std::uint32_t>(descriptor_.bucket_mask) + 1;
  }
  // The bucket that a linked element is in, which need not be the one its hash names.
  std::uint32_t bucket_of(std::uint32_t element) const noexcept;
  // The element behind a linked one in its bucket, or kNone.
  std::uint32_t next_in_chain(std::uint32_t element) const noexcept;
  // The first element of buckets [from, end), or kNone. REQUIRES: end <= bucket_count().
  std::uint32_t first_in_buckets(std::uint32_t from, std::uint32_t end) const noexcept;

  // A walk by places, which elements keep while they are linked: the first element at `place` or
  // behind it, whose place it becomes; kNone when the next `bucket_count_max` buckets have none, or
  // at the end, where `place` is place_count().
  std::uint32_t next_from(std::uint32_t& place, std::uint32_t bucket_count_max) const noexcept;
  std::uint32_t place_count() const { return bucket_count() * HashBucket::kSlots; }

  const std::uint8_t* key_at(std::uint32_t element) const { return address(element); }
  std::uint8_t* payload_at(std::uint32_t element) const {
    return address(element) + descriptor_.key_stride;
  }
  // Fetch an element, and the bucket of one that has been fetched: for who will unlink it soon.
  void prefetch_element(std::uint32_t element) const { __builtin_prefetch(address(element)); }
  void prefetch_bucket_of(std::uint32_t element) const {
    hash_prefetch_bucket(descriptor_, key_at(element));
  }

 private:
  struct Place {
    std::uint64_t bucket;
    unsigned slot;
  };
  std::uint8_t* address(std::uint32_t element) const {
    return descriptor_.elements + std::uint64_t{element} * descriptor_.stride;
  }
  HashBucket& bucket(std::uint64_t number) const { return descriptor_.buckets[number]; }
  std::uint32_t* released() const { return reinterpret_cast<std::uint32_t*>(released_.data()); }
  Place locate(std::uint32_t element, std::uint64_t hash) const noexcept;
  void store_key(std::uint32_t element, const void* key) noexcept;
  static std::uint32_t occupied_slots(const HashBucket& bucket) noexcept;
  static void add_overflow(HashBucket& bucket, int change) noexcept;

  MapMemory buckets_;  // and, in a line behind them, the seed
  MapMemory elements_;
  MapMemory released_;  // a stack of element numbers; unless there is a limbo
  std::optional<Limbo> limbo_;
  HashDescriptor descriptor_{};
  std::uint32_t element_count_ = 0;    // all there are
  std::uint32_t untouched_index_ = 0;  // elements up to here have been taken once
  std::uint32_t released_count_ = 0;
  std::uint32_t count_ = 0;
};

}  // namespace lmn
