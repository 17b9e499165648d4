// SPDX-License-Identifier: Apache-2.0
//
// HashTable. What is stored in which order, and why that is enough for readers, is said in
// hash_fast.h. Tested by hash_table_test.cc and maps_test.cc.
#include "maps/hash_table.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/assert.h"

namespace lmn {
namespace {

// Of 12 slots: at 9 about one key in 30 has to go on to another bucket, at 10 one in 14.
constexpr std::uint64_t kElementsPerBucketMax = 9;
constexpr std::uint64_t kOverflowMany = 255;
// As many as may be released in one grace period; memory that is never needed is never given.
constexpr std::uint64_t kWaitingElements = 1u << 20;
constexpr std::uint64_t kOverflowOne = 1ull << HashBucket::kOverflowShift;
constexpr std::uint64_t kRemovalOne = 1ull << HashBucket::kRemovalShift;

void store_word(std::uint64_t* word, std::uint64_t value, int order = __ATOMIC_RELEASE) noexcept {
  __atomic_store_n(word, value, order);
}

std::uint64_t overflow_of(const HashBucket& bucket) noexcept {
  return bucket.tags_high >> HashBucket::kOverflowShift & kOverflowMany;
}

// Writes the tag of one slot; with `removals` also counts a removal, in the same store.
void store_tag(HashBucket& bucket, unsigned slot, std::uint8_t tag,
               std::uint64_t removals) noexcept {
  std::uint64_t* word = slot < 8 ? &bucket.tags_low : &bucket.tags_high;
  const unsigned shift = slot % 8 * 8;
  const std::uint64_t tags = (*word & ~(0xffull << shift)) | std::uint64_t{tag} << shift;
  if (slot < 8) {
    store_word(&bucket.tags_low, tags);
    if (removals != 0) store_word(&bucket.tags_high, bucket.tags_high + removals);
  } else {
    store_word(&bucket.tags_high, tags + removals);
  }
}

}  // namespace

Result<HashTable> HashTable::create(const Shape& shape) {
  HashTable table;
  HashDescriptor& d = table.descriptor_;
  const std::uint64_t key_stride = round_up_to_8(shape.key_size);
  const std::uint64_t stride = key_stride + round_up_to_8(shape.payload_bytes);
  std::uint64_t element_count = std::uint64_t{shape.max_entries} + shape.spare_count;
  // In 64 bits, since the next power of two of a 32-bit number need not fit 32 (CVE-2024-26883).
  const std::uint64_t bucket_count =
      std::bit_ceil((element_count + kElementsPerBucketMax - 1) / kElementsPerBucketMax);
  LMN_ASSERT(shape.max_entries > 0);
  if (shape.waits_for_readers) {
    const std::uint64_t room = MapMemory::size_bytes_max() / stride;
    if (room > element_count + 1) {
      element_count += std::min(kWaitingElements, room - element_count - 1);
    }
    LMN_TRY(table.limbo_, Limbo::create(static_cast<std::uint32_t>(element_count), shape.epoch));
  } else {
    LMN_TRY(table.released_, MapMemory::create(element_count * sizeof(std::uint32_t)));
  }
  LMN_ASSERT(bucket_count <= 1ull << 31);
  LMN_ASSERT(element_count < UINT32_MAX);
  LMN_ASSERT(stride <= UINT32_MAX);
  // Number 0 stands for no element: its memory is never touched.
  const auto element_bytes = map_bytes(element_count + 1, stride);
  LMN_ASSERT(element_bytes.has_value());  // at most 2^32 elements of at most 2^32 bytes
  LMN_TRY(table.buckets_, MapMemory::create((bucket_count + 1) * sizeof(HashBucket)));
  LMN_TRY(table.elements_, MapMemory::create(*element_bytes));
  table.buckets_.prefer_huge_pages();
  table.elements_.prefer_huge_pages();
  table.element_count_ = static_cast<std::uint32_t>(element_count);
  d.buckets = reinterpret_cast<HashBucket*>(table.buckets_.data());
  d.elements = table.elements_.data();
  auto* seed = reinterpret_cast<std::uint64_t*>(&d.buckets[bucket_count]);
  *seed = shape.seed;
  d.seed = seed;
  d.bucket_mask = bucket_count - 1;
  d.key_size = shape.key_size;
  d.key_stride = static_cast<std::uint32_t>(key_stride);
  d.stride = static_cast<std::uint32_t>(stride);
  return table;
}

std::uint32_t HashTable::take() noexcept {
  if (limbo_) {
    const std::uint32_t element = limbo_->pop();
    if (element != kNone) return element;
    return untouched_index_ < element_count_ ? ++untouched_index_ : limbo_->pop_anyway();
  }
  if (released_count_ != 0) return released()[--released_count_];
  return untouched_index_ < element_count_ ? ++untouched_index_ : kNone;
}

void HashTable::release(std::uint32_t element) noexcept {
  if (limbo_) return limbo_->push(element);
  released()[released_count_++] = element;
}

void HashTable::store_key(std::uint32_t element, const void* key) noexcept {
  const std::uint32_t whole = descriptor_.key_size & ~7u;
  const auto* bytes = static_cast<const std::uint8_t*>(key);
  store_value(address(element), key, whole);
  if (whole == descriptor_.key_size) return;
  const std::uint64_t tail = load_key_tail(bytes + whole, descriptor_.key_size - whole);
  store_value(address(element) + whole, &tail, sizeof tail);
}

std::uint32_t HashTable::occupied_slots(const HashBucket& bucket) noexcept {
  return ~equal_bytes(bucket.tags_low, bucket.tags_high, 0) & HashBucket::kSlotMask;
}

void HashTable::add_overflow(HashBucket& bucket, int change) noexcept {
  if (overflow_of(bucket) == kOverflowMany) return;
  store_word(&bucket.tags_high,
             change > 0 ? bucket.tags_high + kOverflowOne : bucket.tags_high - kOverflowOne);
}

void HashTable::link(std::uint32_t element, const void* key, std::uint64_t hash) noexcept {
  store_key(element, key);
  std::uint64_t number = hash & descriptor_.bucket_mask;
  while (occupied_slots(bucket(number)) == HashBucket::kSlotMask) {
    add_overflow(bucket(number), +1);
    number = (number + 1) & descriptor_.bucket_mask;
  }
  HashBucket& home = bucket(number);
  const unsigned slot = static_cast<unsigned>(std::countr_one(occupied_slots(home)));
  __atomic_store_n(&home.elements[slot], element, __ATOMIC_RELEASE);
  store_tag(home, slot, hash_tag(hash), 0);
  ++count_;
}

HashTable::Place HashTable::locate(std::uint32_t element, std::uint64_t hash) const noexcept {
  std::uint64_t number = hash & descriptor_.bucket_mask;
  for (std::uint64_t probe = 0; probe <= descriptor_.bucket_mask; ++probe) {
    const HashBucket& here = bucket(number);
    std::uint32_t slots = equal_bytes(here.tags_low, here.tags_high, hash_tag(hash));
    for (slots &= HashBucket::kSlotMask; slots != 0; slots &= slots - 1) {
      const unsigned slot = static_cast<unsigned>(std::countr_zero(slots));
      if (here.elements[slot] == element) return {number, slot};
    }
    number = (number + 1) & descriptor_.bucket_mask;
  }
  LMN_ASSERT(false && "a linked element is in a bucket");
  return {};
}

void HashTable::replace(std::uint32_t old, std::uint32_t fresh, const void* key,
                        std::uint64_t hash) noexcept {
  store_key(fresh, key);
  const Place place = locate(old, hash);
  HashBucket& home = bucket(place.bucket);
  __atomic_store_n(&home.elements[place.slot], fresh, __ATOMIC_RELEASE);
  store_word(&home.tags_high, home.tags_high + kRemovalOne);
  __atomic_thread_fence(__ATOMIC_RELEASE);  // before whatever the caller does to `old`
}

void HashTable::unlink(std::uint32_t element) noexcept {
  const std::uint64_t hash = hash_of(key_at(element));
  const Place place = locate(element, hash);
  store_tag(bucket(place.bucket), place.slot, 0, kRemovalOne);
  std::uint64_t number = hash & descriptor_.bucket_mask;
  for (; number != place.bucket; number = (number + 1) & descriptor_.bucket_mask) {
    add_overflow(bucket(number), -1);
  }
  --count_;
  __atomic_thread_fence(__ATOMIC_RELEASE);  // before whatever the caller does to the element
}

std::uint32_t HashTable::bucket_of(std::uint32_t element) const noexcept {
  return static_cast<std::uint32_t>(locate(element, hash_of(key_at(element))).bucket);
}

std::uint32_t HashTable::next_in_chain(std::uint32_t element) const noexcept {
  const Place place = locate(element, hash_of(key_at(element)));
  const HashBucket& here = bucket(place.bucket);
  const std::uint32_t behind = occupied_slots(here) & ~((2u << place.slot) - 1);
  return behind == 0 ? kNone : here.elements[std::countr_zero(behind)];
}

std::uint32_t HashTable::first_in_buckets(std::uint32_t from, std::uint32_t end) const noexcept {
  for (std::uint32_t number = from; number < end; ++number) {
    const std::uint32_t slots = occupied_slots(bucket(number));
    if (slots != 0) return bucket(number).elements[std::countr_zero(slots)];
  }
  return kNone;
}

std::uint32_t HashTable::next_from(std::uint32_t& place,
                                   std::uint32_t bucket_count_max) const noexcept {
  for (std::uint32_t looked = 0; looked < bucket_count_max && place < place_count(); ++looked) {
    const std::uint32_t number = place / HashBucket::kSlots;
    const std::uint32_t behind = ~0u << place % HashBucket::kSlots;
    const std::uint32_t slots = occupied_slots(bucket(number)) & behind;
    if (slots != 0) {
      const auto slot = static_cast<std::uint32_t>(std::countr_zero(slots));
      place = number * HashBucket::kSlots + slot;
      return bucket(number).elements[slot];
    }
    place = (number + 1) * HashBucket::kSlots;
  }
  return kNone;
}

}  // namespace lmn
