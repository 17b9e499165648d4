// SPDX-License-Identifier: Apache-2.0
//
// ChainTable: 32-bit keys in buckets by their low bits, chains growing at the head.
//
// The kernel's devmap_hash in every respect that users can see: the order of get_next_key and of a
// broadcast is that of its buckets and chains. (The hash maps of hash_table.h, whose order nobody
// can know, are faster.) An element is {next, key, payload}, in memory fixed at creation, and keeps
// its address. A large table costs memory as it fills.
//
//   std::uint32_t element = table.find(key);            // ChainTable::kNone: not there
//   table.link(table.take(), key);                      // in front of the old one, if there is one
//   if (element != ChainTable::kNone) table.unlink(element), table.release(element);
//
// A ChainReader searches without a lock. An element is filled before it is linked; the count of
// removals grows before one is taken out, and again before it is used for another key: a reader
// that finds the count unchanged when it is through has missed nothing and has read a whole
// element; otherwise it looks again.
// Released elements wait in a limbo until nobody reads them (limbo.h), since programs hold their
// addresses; the oldest of more than kWaitingElements not as long.
// Invariants: (1) an element is linked, released, untouched or in the hands of the caller; (2) its
// address never changes; (3) at most max_entries + kWaitingElements elements exist.
// Threads: every call under the owning map's lock, but for ChainReader's.
// Tested by maps_test.cc, redirect_readers_test.cc and tests/contract/maps_contract_test.cc.
// Source: Linux 6.18, kernel/bpf/devmap.c (behaviour).
#pragma once

#include <cstdint>

#include "base/result.h"
#include "maps/limbo.h"
#include "maps/map_memory.h"
#include "spec/map_spec.h"

namespace lmn {

// What a search without the lock reads. Its addresses stay right when the table is moved.
class ChainReader {
 public:
  static constexpr std::uint32_t kNone = 0;  // element numbers begin at 1

  // Calls read(payload) for the element of the key, if there is one, and says whether there is.
  // When that was no whole element, read() is called again or the answer is no: it must load its
  // words atomically, and only keep what the last call gave.
  template <typename Read>
  bool read(std::uint32_t key, Read read) const noexcept {
    for (;;) {
      const std::uint64_t before = __atomic_load_n(removals_, __ATOMIC_ACQUIRE);
      std::uint32_t element = __atomic_load_n(&heads_[key & bucket_mask_], __ATOMIC_ACQUIRE);
      std::uint32_t left = element_count_;  // a chain that changes may lead round in a circle
      while (element != kNone && __atomic_load_n(&header(element)->key, __ATOMIC_RELAXED) != key) {
        element = --left == 0 ? kNone : __atomic_load_n(&header(element)->next, __ATOMIC_ACQUIRE);
      }
      if (element != kNone) read(address(element) + sizeof(Header));
      __atomic_thread_fence(__ATOMIC_ACQUIRE);
      if (__atomic_load_n(removals_, __ATOMIC_RELAXED) == before) return element != kNone;
    }
  }

 private:
  friend class ChainTable;
  struct Header {
    std::uint32_t next;
    std::uint32_t key;
  };
  std::uint8_t* address(std::uint32_t element) const {
    return elements_ + (element - 1) * stride_bytes_;
  }
  Header* header(std::uint32_t element) const {
    return reinterpret_cast<Header*>(address(element));
  }

  std::uint32_t* heads_ = nullptr;
  std::uint8_t* elements_ = nullptr;
  std::uint64_t* removals_ = nullptr;
  std::size_t stride_bytes_ = 0;
  std::uint32_t bucket_mask_ = 0;
  std::uint32_t element_count_ = 0;  // all there are
};

class ChainTable {
 public:
  static constexpr std::uint32_t kNone = ChainReader::kNone;
  // More than are removed in one grace period; memory that is never needed is never given.
  static constexpr std::uint32_t kWaitingElements = 1u << 20;

  struct Shape {
    std::uint32_t payload_bytes = 0;  // kept in the element
    std::uint32_t max_entries = 0;
    Epoch* epoch = nullptr;  // of the threads that run programs
  };
  // Errors: kLimitExceeded with ENOMEM. REQUIRES: 0 < max_entries <= 2^31.
  static Result<ChainTable> create(const Shape& shape);

  const ChainReader& reader() const { return reader_; }

  std::uint32_t find(std::uint32_t key) const noexcept;
  // An element that is in no chain. There is one while count() <= max_entries.
  std::uint32_t take() noexcept;
  // Puts an element that the caller holds and has filled at the head of its chain.
  void link(std::uint32_t element, std::uint32_t key) noexcept;
  // Takes a linked element out of its chain; the caller holds it.
  void unlink(std::uint32_t element) noexcept;
  // Gives an element that the caller holds back for take().
  void release(std::uint32_t element) noexcept;

  std::uint32_t count() const { return count_; }  // linked elements
  std::uint32_t bucket_count() const { return reader_.bucket_mask_ + 1; }
  std::uint32_t bucket_of(std::uint32_t element) const {
    return header(element)->key & reader_.bucket_mask_;
  }
  std::uint32_t next_in_chain(std::uint32_t element) const { return header(element)->next; }
  // The first element of buckets [from, end), or kNone. REQUIRES: end <= bucket_count().
  std::uint32_t first_in_buckets(std::uint32_t from, std::uint32_t end) const noexcept;

  std::uint32_t key_of(std::uint32_t element) const { return header(element)->key; }
  std::uint8_t* payload_at(std::uint32_t element) const {
    return reader_.address(element) + sizeof(Header);
  }

 private:
  using Header = ChainReader::Header;
  Header* header(std::uint32_t element) const { return reader_.header(element); }
  void count_removal() noexcept;

  MapMemory buckets_;  // and, behind them, the count of removals
  MapMemory elements_;
  Limbo released_;
  ChainReader reader_;
  std::uint32_t untouched_index_ = 0;  // elements up to here have been taken once
  std::uint32_t count_ = 0;
};

}  // namespace lmn
