// SPDX-License-Identifier: Apache-2.0
//
// ChainTable. Tested by maps_test.cc and tests/contract/maps_contract_test.cc.
#include "maps/chain_table.h"

#include <bit>

#include "base/assert.h"

namespace lmn {

Result<ChainTable> ChainTable::create(const Shape& shape) {
  ChainTable table;
  ChainReader& r = table.reader_;
  r.stride_bytes_ = sizeof(Header) + static_cast<std::size_t>(round_up_to_8(shape.payload_bytes));
  // In 64 bits, since the next power of two of a 32-bit number need not fit 32 (CVE-2024-26883).
  const std::uint64_t bucket_count = std::bit_ceil(std::uint64_t{shape.max_entries});
  LMN_ASSERT(bucket_count <= 1ull << 31);
  r.bucket_mask_ = static_cast<std::uint32_t>(bucket_count - 1);
  r.element_count_ = shape.max_entries + kWaitingElements;
  const auto element_bytes = map_bytes(r.element_count_, r.stride_bytes_);
  LMN_ASSERT(element_bytes.has_value());  // below 2^32 elements of below 2^32 bytes
  const std::uint64_t heads_bytes = round_up_to_8(bucket_count * sizeof(std::uint32_t));
  LMN_TRY(table.buckets_, MapMemory::create(heads_bytes + sizeof(std::uint64_t)));
  LMN_TRY(table.elements_, MapMemory::create(*element_bytes));
  LMN_TRY(table.released_, Limbo::create(r.element_count_, shape.epoch));
  r.heads_ = reinterpret_cast<std::uint32_t*>(table.buckets_.data());
  r.removals_ = reinterpret_cast<std::uint64_t*>(table.buckets_.data() + heads_bytes);
  r.elements_ = table.elements_.data();
  return table;
}

std::uint32_t ChainTable::find(std::uint32_t key) const noexcept {
  std::uint32_t element = reader_.heads_[key & reader_.bucket_mask_];
  while (element != kNone && header(element)->key != key) element = header(element)->next;
  return element;
}

std::uint32_t ChainTable::take() noexcept {
  const std::uint32_t element = released_.pop();
  if (element != kNone) return element;
  return untouched_index_ < reader_.element_count_ ? ++untouched_index_ : released_.pop_anyway();
}

void ChainTable::link(std::uint32_t element, std::uint32_t key) noexcept {
  std::uint32_t& head = reader_.heads_[key & reader_.bucket_mask_];
  __atomic_store_n(&header(element)->key, key, __ATOMIC_RELAXED);
  __atomic_store_n(&header(element)->next, head, __ATOMIC_RELAXED);
  __atomic_store_n(&head, element, __ATOMIC_RELEASE);
  ++count_;
}

void ChainTable::unlink(std::uint32_t element) noexcept {
  const Header* gone = header(element);
  std::uint32_t* link = &reader_.heads_[gone->key & reader_.bucket_mask_];
  while (*link != element) {
    LMN_DCHECK(*link != kNone);
    link = &header(*link)->next;
  }
  // Counted before: who passed the head when a replacement was not there yet, and comes here when
  // the element is gone, must look again. And after: for who is in the element still.
  count_removal();
  __atomic_store_n(link, gone->next, __ATOMIC_RELEASE);
  count_removal();
  --count_;
}

// Whatever is stored next is seen only by who sees this.
void ChainTable::count_removal() noexcept {
  __atomic_store_n(reader_.removals_, *reader_.removals_ + 1, __ATOMIC_RELEASE);
  __atomic_thread_fence(__ATOMIC_RELEASE);
}

void ChainTable::release(std::uint32_t element) noexcept { released_.push(element); }

std::uint32_t ChainTable::first_in_buckets(std::uint32_t from, std::uint32_t end) const noexcept {
  for (std::uint32_t bucket = from; bucket < end; ++bucket) {
    if (reader_.heads_[bucket] != kNone) return reader_.heads_[bucket];
  }
  return kNone;
}

}  // namespace lmn
