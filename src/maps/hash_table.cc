// SPDX-License-Identifier: Apache-2.0
//
// HashTable. Tested by maps_test.cc.
#include "maps/hash_table.h"

#include <bit>
#include <cstring>

#include "base/assert.h"

namespace lmn {
namespace {

// Odd constants with many transitions: the golden ratio and the fraction of pi.
constexpr std::uint64_t kMixFirst = 0x9e3779b97f4a7c15ull;
constexpr std::uint64_t kMixSecond = 0x243f6a8885a308d3ull;

// The 128-bit product folded into 64: every input bit reaches the middle.
__extension__ typedef unsigned __int128 Uint128;
std::uint64_t fold_multiply(std::uint64_t a, std::uint64_t b) noexcept {
  const Uint128 product = static_cast<Uint128>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

}  // namespace

Result<HashTable> HashTable::create(const Shape& shape) {
  HashTable table;
  table.shape_ = shape;
  table.key_stride_bytes_ = static_cast<std::size_t>(round_up_to_8(shape.key_size));
  table.stride_bytes_ = sizeof(Header) + table.key_stride_bytes_ +
                        static_cast<std::size_t>(round_up_to_8(shape.payload_bytes));
  // In 64 bits, since the next power of two of a 32-bit number need not fit 32 (CVE-2024-26883).
  const std::uint64_t bucket_count = std::bit_ceil(std::uint64_t{shape.max_entries});
  const std::uint64_t element_count = std::uint64_t{shape.max_entries} + shape.spare_count;
  LMN_ASSERT(bucket_count <= 1ull << 31);
  LMN_ASSERT(!shape.uses_key_as_hash || shape.key_size == 4);
  LMN_ASSERT(element_count <= UINT32_MAX);
  table.bucket_mask_ = static_cast<std::uint32_t>(bucket_count - 1);
  table.element_count_ = static_cast<std::uint32_t>(element_count);
  const auto element_bytes = map_bytes(element_count, table.stride_bytes_);
  LMN_ASSERT(element_bytes.has_value());  // below 2^32 elements of below 2^33 bytes
  LMN_TRY(table.buckets_, MapMemory::create(bucket_count * sizeof(std::uint32_t)));
  LMN_TRY(table.elements_, MapMemory::create(*element_bytes));
  return table;
}

std::uint32_t HashTable::hash_of(const void* key) const noexcept {
  if (shape_.uses_key_as_hash) return load_key32(key);
  const auto* bytes = static_cast<const std::uint8_t*>(key);
  std::uint64_t state = shape_.seed ^ fold_multiply(shape_.key_size ^ kMixFirst, kMixSecond);
  std::size_t left = shape_.key_size;
  for (; left >= 8; left -= 8, bytes += 8) {
    std::uint64_t word;
    std::memcpy(&word, bytes, sizeof word);
    state = fold_multiply(state ^ word, kMixFirst) ^ shape_.seed;
  }
  std::uint64_t tail = 0;
  std::memcpy(&tail, bytes, left);
  const std::uint64_t hash = fold_multiply(state ^ tail ^ kMixFirst, kMixSecond ^ shape_.seed);
  return static_cast<std::uint32_t>(hash ^ (hash >> 32));
}

std::uint32_t HashTable::find(const void* key, std::uint32_t hash) const noexcept {
  std::uint32_t element = heads()[hash & bucket_mask_];
  while (element != kNone) {
    const Header* found = header(element);
    if (found->hash == hash && std::memcmp(key_at(element), key, shape_.key_size) == 0) break;
    element = found->next;
  }
  return element;
}

std::uint32_t HashTable::take() noexcept {
  if (released_ != kNone) {
    const std::uint32_t element = released_;
    released_ = header(element)->next;
    return element;
  }
  return untouched_index_ < element_count_ ? ++untouched_index_ : kNone;
}

void HashTable::link(std::uint32_t element, const void* key, std::uint32_t hash) noexcept {
  std::uint32_t& head = heads()[hash & bucket_mask_];
  std::memcpy(key_at(element), key, shape_.key_size);
  *header(element) = {head, hash};
  head = element;
  ++count_;
}

void HashTable::unlink(std::uint32_t element) noexcept {
  const Header* gone = header(element);
  std::uint32_t* link = &heads()[gone->hash & bucket_mask_];
  while (*link != element) {
    LMN_DCHECK(*link != kNone);
    link = &header(*link)->next;
  }
  *link = gone->next;
  --count_;
}

void HashTable::release(std::uint32_t element) noexcept {
  header(element)->next = released_;
  released_ = element;
}

std::uint32_t HashTable::first_in_buckets(std::uint32_t from, std::uint32_t end) const noexcept {
  for (std::uint32_t bucket = from; bucket < end; ++bucket) {
    if (heads()[bucket] != kNone) return heads()[bucket];
  }
  return kNone;
}

}  // namespace lmn
