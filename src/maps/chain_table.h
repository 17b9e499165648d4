// SPDX-License-Identifier: Apache-2.0
//
// ChainTable: 32-bit keys in buckets by their low bits, chains growing at the head.
//
// The kernel's devmap_hash in every respect that users can see: the order of get_next_key and of a
// broadcast is that of its buckets and chains. (The hash maps of hash_table.h, whose order nobody
// can know, are faster.) An element is {next, key, payload}, in memory fixed at creation, and keeps
// its address. Elements come from a list of released ones, last released first, else from the
// untouched rest: a large table costs memory as it fills.
//
//   std::uint32_t element = table.find(key);            // ChainTable::kNone: not there
//   if ((element = table.take()) != ChainTable::kNone) table.link(element, key);
//
// Invariants: (1) an element is linked, released, untouched or in the hands of the caller; (2) its
// address never changes; (3) at most max_entries elements exist.
// Threads: none of its own: every call under the owning map's lock.
// Tested by maps_test.cc and tests/contract/maps_contract_test.cc.
// Source: Linux 6.18, kernel/bpf/devmap.c (behaviour).
#pragma once

#include <cstdint>

#include "base/result.h"
#include "maps/map_memory.h"
#include "spec/map_spec.h"

namespace lmn {

class ChainTable {
 public:
  static constexpr std::uint32_t kNone = 0;  // element numbers begin at 1

  struct Shape {
    std::uint32_t payload_bytes = 0;  // kept in the element
    std::uint32_t max_entries = 0;
  };
  // Errors: kLimitExceeded with ENOMEM. REQUIRES: 0 < max_entries <= 2^31.
  static Result<ChainTable> create(const Shape& shape);

  std::uint32_t find(std::uint32_t key) const noexcept;
  // An element that is in no chain: one released before, else an untouched one; kNone when all
  // max_entries are in use.
  std::uint32_t take() noexcept;
  // Puts an element that the caller holds at the head of its chain.
  void link(std::uint32_t element, std::uint32_t key) noexcept;
  // Takes a linked element out of its chain; the caller holds it.
  void unlink(std::uint32_t element) noexcept;
  // Gives an element that the caller holds back for take().
  void release(std::uint32_t element) noexcept;

  std::uint32_t count() const { return count_; }  // linked elements
  std::uint32_t bucket_count() const { return bucket_mask_ + 1; }
  std::uint32_t bucket_of(std::uint32_t element) const {
    return header(element)->key & bucket_mask_;
  }
  std::uint32_t next_in_chain(std::uint32_t element) const { return header(element)->next; }
  // The first element of buckets [from, end), or kNone. REQUIRES: end <= bucket_count().
  std::uint32_t first_in_buckets(std::uint32_t from, std::uint32_t end) const noexcept;

  std::uint32_t key_of(std::uint32_t element) const { return header(element)->key; }
  std::uint8_t* payload_at(std::uint32_t element) const {
    return address(element) + sizeof(Header);
  }

 private:
  struct Header {
    std::uint32_t next;
    std::uint32_t key;
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
  std::size_t stride_bytes_ = 0;
  std::uint32_t bucket_mask_ = 0;
  std::uint32_t element_count_ = 0;    // all there are
  std::uint32_t untouched_index_ = 0;  // elements up to here have been taken once
  std::uint32_t released_ = kNone;     // head of the released ones
  std::uint32_t count_ = 0;
};

}  // namespace lmn
