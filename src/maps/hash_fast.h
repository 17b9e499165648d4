// SPDX-License-Identifier: Apache-2.0
//
// The reading half of a hash map: what runs for every packet, without a lock or a virtual call.
//
// internal; the writing half is hash_table.h. A bucket is one cache line: 12 tags of 8 bits, how
// many elements had to go further, how many were taken out, and 12 element numbers. A lookup
// compares all tags at once and reads only elements whose tag fits: two cache misses in a table
// larger than the caches, bucket and element. Keys and values live in elements that never move.
//
//   void* value = hash_lookup(table, key);
//
// or, for many lookups in flight, in three steps: the first two only fetch lines, the last is the
// lookup itself, so changes in between are seen as if the first two had not been done:
//
//   const std::uint64_t hash = hash_prefetch_bucket(table, key);
//   hash_prefetch_element(table, hash);
//   void* value = hash_finish(table, key, hash);
//
// How a reader is never wrong beside a writer: an element is filled before its number, and that
// before its tag, is stored; it is used again only after the bucket's count of removals has grown.
// So a reader that finds that count unchanged after it has compared a key has compared a key that
// was whole; otherwise it looks again. A replacement stores the new number over the old one: a key
// that is replaced is never missed.
// Everything a compiler can treat as constant is in the descriptor, so that a program's copy of
// this code is specialised by its map: sizes and mask as constants, addresses as symbols. The seed
// is behind an address, or it would be frozen into cached code.
// Invariants: (1) tag 0 is an empty slot; (2) bytes of a key's last word beyond the key are 0.
// Threads: any number of readers beside one writer. Tested by hash_table_test.cc.
#pragma once

#include <cstdint>

#include "base/platform.h"
#include "base/platform_simd.h"

namespace lmn {

struct alignas(64) HashBucket {
  static constexpr unsigned kSlots = 12;
  static constexpr std::uint32_t kSlotMask = (1u << kSlots) - 1;
  static constexpr unsigned kOverflowShift = 32;  // of tags_high: 8 bits, 255 stands for "many"
  static constexpr unsigned kRemovalShift = 40;   // of tags_high: 24 bits

  std::uint64_t tags_low;   // slots 0 to 7
  std::uint64_t tags_high;  // slots 8 to 11; elements that were sent on; elements taken out
  std::uint32_t elements[kSlots];
};
static_assert(sizeof(HashBucket) == 64, "a bucket is one cache line");

// What a lookup needs to know of its map. Element n begins at elements + n * stride: the key, its
// size rounded up to 8, then the value. Numbers begin at 1.
struct HashDescriptor {
  HashBucket* buckets;
  std::uint8_t* elements;
  const std::uint64_t* seed;
  std::uint8_t* marks;  // of LRU types: by element, 1 when used since the hand passed; else null
  std::uint64_t bucket_mask;
  std::uint32_t key_size;  // bytes
  std::uint32_t key_stride;
  std::uint32_t stride;
};

// Of the per-CPU types, whose values lie outside the elements: by CPU, then by element from 1.
struct PercpuHashDescriptor {
  HashDescriptor keys;
  std::uint8_t* values;
  std::uint64_t value_stride;
  std::uint64_t cpu_stride;
};

inline constexpr std::uint32_t kNoHashElement = 0;

// --- words of keys

// Fewer than 8 bytes as a word, the rest 0.
LMN_FAST std::uint64_t load_key_tail(const std::uint8_t* from, std::uint32_t size) noexcept {
  std::uint64_t word = 0;
  std::uint32_t at = 0;
  if ((size & 4) != 0) {
    std::uint32_t part;
    __builtin_memcpy(&part, from, sizeof part);
    word = part;
    at = 4;
  }
  if ((size & 2) != 0) {
    std::uint16_t part;
    __builtin_memcpy(&part, from + at, sizeof part);
    word |= std::uint64_t{part} << (at * 8);
    at += 2;
  }
  if ((size & 1) != 0) word |= std::uint64_t{from[at]} << (at * 8);
  return word;
}

LMN_FAST std::uint64_t load_key_word(const std::uint8_t* from) noexcept {
  std::uint64_t word;
  __builtin_memcpy(&word, from, sizeof word);
  return word;
}

LMN_FAST std::uint64_t hash_load(const std::uint64_t* word) noexcept {
  return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

// --- the hash

// The 128-bit product folded into 64: every input bit reaches the middle.
LMN_FAST std::uint64_t fold_multiply(std::uint64_t a, std::uint64_t b) noexcept {
  __extension__ typedef unsigned __int128 Uint128;
  const Uint128 product = static_cast<Uint128>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

// Odd constants with many transitions: fractions of the golden ratio, pi and e.
inline constexpr std::uint64_t kHashFirst = 0x9e3779b97f4a7c15ull;
inline constexpr std::uint64_t kHashSecond = 0x243f6a8885a308d3ull;
inline constexpr std::uint64_t kHashThird = 0xb7e151628aed2a6bull;

// A product takes 16 bytes at once, so that keys of up to 16 bytes need two in a row. Who does not
// know the seed cannot choose a factor of 0, which would lose the other factor.
LMN_FAST std::uint64_t hash_bytes(const void* key, std::uint32_t size,
                                  std::uint64_t seed) noexcept {
  const auto* bytes = static_cast<const std::uint8_t*>(key);
  const std::uint64_t mixed_seed = seed ^ kHashThird;
  std::uint64_t state = mixed_seed ^ size;
  std::uint32_t left = size;
  for (; left > 16; left -= 16, bytes += 16) {
    state = fold_multiply(load_key_word(bytes) ^ kHashFirst ^ mixed_seed,
                          load_key_word(bytes + 8) ^ state);
  }
  std::uint64_t first = 0;
  std::uint64_t second = 0;
  if (left >= 8) {
    first = load_key_word(bytes);
    second = left == 16 ? load_key_word(bytes + 8) : load_key_tail(bytes + 8, left - 8);
  } else {
    first = load_key_tail(bytes, left);
  }
  const std::uint64_t half = fold_multiply(first ^ kHashFirst ^ mixed_seed, second ^ state);
  return fold_multiply(half ^ kHashSecond, mixed_seed ^ kHashFirst);
}

LMN_FAST std::uint8_t hash_tag(std::uint64_t hash) noexcept {
  const auto tag = static_cast<std::uint8_t>(hash >> 56);
  return tag == 0 ? 1 : tag;
}

// --- the search

LMN_FAST const std::uint8_t* hash_element(const HashDescriptor& table,
                                          std::uint32_t element) noexcept {
  return table.elements + std::uint64_t{element} * table.stride;
}

// Whether the element's key is `key`. The element may change meanwhile: the caller finds out.
LMN_FAST bool hash_is_key(const std::uint8_t* element, const void* key,
                          std::uint32_t size) noexcept {
  const auto* bytes = static_cast<const std::uint8_t*>(key);
  const auto* words = reinterpret_cast<const std::uint64_t*>(element);
  std::uint64_t difference = 0;
  std::uint32_t at = 0;
  for (; at + 8 <= size; at += 8) {
    difference |= __atomic_load_n(words++, __ATOMIC_RELAXED) ^ load_key_word(bytes + at);
    if (size > 32 && difference != 0) return false;
  }
  if (at < size) {
    difference |= __atomic_load_n(words, __ATOMIC_RELAXED) ^ load_key_tail(bytes + at, size - at);
  }
  return difference == 0;
}

LMN_FAST bool hash_has_removals(const HashBucket& bucket, std::uint64_t seen_high) noexcept {
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  const std::uint64_t now = __atomic_load_n(&bucket.tags_high, __ATOMIC_RELAXED);
  return (now ^ seen_high) >> HashBucket::kRemovalShift != 0;
}

// hash_find for a key size that the caller's compiler sees as a constant, or for any.
LMN_FAST std::uint32_t hash_find_sized(const HashDescriptor& table, const void* key,
                                       std::uint64_t hash, std::uint32_t key_size) noexcept {
  const std::uint8_t tag = hash_tag(hash);
  std::uint64_t number = hash & table.bucket_mask;
  for (std::uint64_t probe = 0; probe <= table.bucket_mask;) {
    const HashBucket& bucket = table.buckets[number];
    const std::uint64_t high = hash_load(&bucket.tags_high);
    const std::uint64_t low = hash_load(&bucket.tags_low);
    std::uint32_t slots = equal_bytes(low, high, tag) & HashBucket::kSlotMask;
    const bool has_candidates = slots != 0;
    for (; slots != 0; slots &= slots - 1) {
      const std::uint32_t element =
          __atomic_load_n(&bucket.elements[__builtin_ctz(slots)], __ATOMIC_ACQUIRE);
      if (!hash_is_key(hash_element(table, element), key, key_size)) continue;
      if (!hash_has_removals(bucket, high)) return element;
      break;
    }
    if (has_candidates && hash_has_removals(bucket, high)) continue;  // look again
    if ((high >> HashBucket::kOverflowShift & 0xff) == 0) break;
    number = (number + 1) & table.bucket_mask;
    ++probe;
  }
  return kNoHashElement;
}

// The element of `key`, or kNoHashElement. Constant sizes are worth a switch: a compare loop of a
// few known words against one of any length is several nanoseconds.
LMN_FAST std::uint32_t hash_find(const HashDescriptor& table, const void* key,
                                 std::uint64_t hash) noexcept {
  switch (table.key_size) {
    case 4:
      return hash_find_sized(table, key, hash, 4);
    case 8:
      return hash_find_sized(table, key, hash, 8);
    case 16:
      return hash_find_sized(table, key, hash, 16);
    default:
      return hash_find_sized(table, key, hash, table.key_size);
  }
}

LMN_FAST std::uint64_t hash_of_key(const HashDescriptor& table, const void* key) noexcept {
  const std::uint64_t seed = *table.seed;
  switch (table.key_size) {
    case 4:
      return hash_bytes(key, 4, seed);
    case 8:
      return hash_bytes(key, 8, seed);
    case 16:
      return hash_bytes(key, 16, seed);
    default:
      return hash_bytes(key, table.key_size, seed);
  }
}

// Notes the use of an element in LRU types. A mark that is there is not stored again: workers that
// use the same elements must not take each other's lines.
LMN_FAST void hash_touch(const HashDescriptor& table, std::uint32_t element) noexcept {
  if (table.marks == nullptr) return;
  std::uint8_t* mark = table.marks + element;
  if (__atomic_load_n(mark, __ATOMIC_RELAXED) == 0) __atomic_store_n(mark, 1, __ATOMIC_RELAXED);
}

// --- what programs call

LMN_FAST std::uint64_t hash_prefetch_bucket(const HashDescriptor& table, const void* key) noexcept {
  const std::uint64_t hash = hash_of_key(table, key);
  __builtin_prefetch(&table.buckets[hash & table.bucket_mask]);
  return hash;
}

// Fetches the element that the key is most likely in; REQUIRES: nothing, but is only worth it some
// time after hash_prefetch_bucket.
LMN_FAST void hash_prefetch_element(const HashDescriptor& table, std::uint64_t hash) noexcept {
  const HashBucket& bucket = table.buckets[hash & table.bucket_mask];
  const std::uint64_t high = __atomic_load_n(&bucket.tags_high, __ATOMIC_RELAXED);
  const std::uint64_t low = __atomic_load_n(&bucket.tags_low, __ATOMIC_RELAXED);
  const std::uint32_t slots = equal_bytes(low, high, hash_tag(hash)) & HashBucket::kSlotMask;
  const unsigned slot = slots == 0 ? 0 : static_cast<unsigned>(__builtin_ctz(slots));
  const std::uint32_t element = __atomic_load_n(&bucket.elements[slot], __ATOMIC_RELAXED);
  __builtin_prefetch(hash_element(table, element));
}

LMN_FAST void* hash_finish(const HashDescriptor& table, const void* key,
                           std::uint64_t hash) noexcept {
  const std::uint32_t element = hash_find(table, key, hash);
  if (element == kNoHashElement) return nullptr;
  hash_touch(table, element);
  return const_cast<std::uint8_t*>(hash_element(table, element)) + table.key_stride;
}

LMN_FAST void* percpu_hash_finish(const PercpuHashDescriptor& table, const void* key,
                                  std::uint64_t hash, std::uint32_t cpu) noexcept {
  const std::uint32_t element = hash_find(table.keys, key, hash);
  if (element == kNoHashElement) return nullptr;
  hash_touch(table.keys, element);
  return table.values + cpu * table.cpu_stride + (element - 1) * table.value_stride;
}

LMN_FAST void* percpu_hash_lookup(const PercpuHashDescriptor& table, const void* key,
                                  std::uint32_t cpu) noexcept {
  return percpu_hash_finish(table, key, hash_of_key(table.keys, key), cpu);
}

LMN_FAST void* hash_lookup(const HashDescriptor& table, const void* key) noexcept {
  return hash_finish(table, key, hash_of_key(table, key));
}

}  // namespace lmn
