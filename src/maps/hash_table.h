// SPDX-License-Identifier: Apache-2.0
//
// HashTable: keyed elements in memory fixed at creation: the inside of every hash-like map type.
//
// Buckets hold the number of their first element, elements the number of the next: 32 bits each, so
// that the table could be mapped elsewhere. An element is {next, hash, key, payload}, each part on
// an 8-byte border. Elements come from a list of released ones, last released first (as in the
// kernel, which programs can see through old value addresses), else from the untouched rest: a
// large map costs memory as it fills. The hash is keyed by a seed per map, so that chosen keys do
// not find long chains.
//
//   const std::uint32_t hash = table.hash_of(key);
//   std::uint32_t element = table.find(key, hash);            // HashTable::kNone: not there
//   if ((element = table.take()) != HashTable::kNone) table.link(element, key, hash);
//
// Invariants: (1) an element is linked, released, untouched or in the hands of the caller; (2) its
// address never changes; (3) at most max_entries + spare_count elements exist.
// Threads: none of its own: every call under the owning map's lock.
// Tested by maps_test.cc.
// Source: Linux 6.18, kernel/bpf/hashtab.c (behaviour); the layout is our own.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "maps/map_memory.h"
#include "spec/map_spec.h"

namespace lmn {

class HashTable {
 public:
  static constexpr std::uint32_t kNone = 0;  // element numbers begin at 1

  struct Shape {
    std::uint32_t key_size = 0;       // bytes
    std::uint32_t payload_bytes = 0;  // kept in the element; 0 when values live elsewhere
    std::uint32_t max_entries = 0;
    std::uint32_t spare_count = 0;  // elements beyond max_entries
    std::uint64_t seed = 0;
    bool uses_key_as_hash =
        false;  // 4-byte keys, bucket by their low bits: the kernel's devmap_hash
  };
  // Errors: kLimitExceeded with ENOMEM. REQUIRES: 0 < max_entries <= 2^31.
  static Result<HashTable> create(const Shape& shape);

  std::uint32_t hash_of(const void* key) const noexcept;
  std::uint32_t find(const void* key, std::uint32_t hash) const noexcept;
  // An element that is in no chain: one released before, else an untouched one; kNone when all
  // max_entries + spare_count are in use.
  std::uint32_t take() noexcept;
  // Puts an element that the caller holds at the head of its chain.
  void link(std::uint32_t element, const void* key, std::uint32_t hash) noexcept;
  // Takes a linked element out of its chain; the caller holds it.
  void unlink(std::uint32_t element) noexcept;
  // Gives an element that the caller holds back for take().
  void release(std::uint32_t element) noexcept;

  std::uint32_t count() const { return count_; }  // linked elements
  std::uint32_t bucket_count() const { return bucket_mask_ + 1; }
  std::uint32_t bucket_of(std::uint32_t element) const {
    return header(element)->hash & bucket_mask_;
  }
  std::uint32_t hash_value(std::uint32_t element) const { return header(element)->hash; }
  std::uint32_t next_in_chain(std::uint32_t element) const { return header(element)->next; }
  // The first element of buckets [from, end), or kNone. REQUIRES: end <= bucket_count().
  std::uint32_t first_in_buckets(std::uint32_t from, std::uint32_t end) const noexcept;

  std::uint8_t* key_at(std::uint32_t element) const { return address(element) + sizeof(Header); }
  std::uint8_t* payload_at(std::uint32_t element) const {
    return key_at(element) + key_stride_bytes_;
  }

 private:
  struct Header {
    std::uint32_t next;
    std::uint32_t hash;
  };
  std::uint8_t* address(std::uint32_t element) const {
    return elements_.data() + (element - 1) * stride_bytes_;
  }
  Header* header(std::uint32_t element) const {
    return reinterpret_cast<Header*>(address(element));
  }
  std::uint32_t* heads() const { return reinterpret_cast<std::uint32_t*>(buckets_.data()); }

  MapMemory buckets_;
  MapMemory elements_;
  Shape shape_;
  std::size_t key_stride_bytes_ = 0;
  std::size_t stride_bytes_ = 0;
  std::uint32_t bucket_mask_ = 0;
  std::uint32_t element_count_ = 0;    // all there are
  std::uint32_t untouched_index_ = 0;  // elements up to here have been taken once
  std::uint32_t released_ = kNone;     // head of the released ones
  std::uint32_t count_ = 0;
};

}  // namespace lmn
