// SPDX-License-Identifier: Apache-2.0
//
// ChainTable. Tested by maps_test.cc and tests/contract/maps_contract_test.cc.
#include "maps/chain_table.h"

#include <bit>

#include "base/assert.h"

namespace lmn {
Result<ChainTable> ChainTable::create(const Shape& shape) {
  ChainTable table;
  table.stride_bytes_ =
      sizeof(Header) + static_cast<std::size_t>(round_up_to_8(shape.payload_bytes));
  // In 64 bits, since the next power of two of a 32-bit number need not fit 32 (CVE-2024-26883).
  const std::uint64_t bucket_count = std::bit_ceil(std::uint64_t{shape.max_entries});
  LMN_ASSERT(bucket_count <= 1ull << 31);
  table.bucket_mask_ = static_cast<std::uint32_t>(bucket_count - 1);
  table.element_count_ = shape.max_entries;
  const auto element_bytes = map_bytes(shape.max_entries, table.stride_bytes_);
  LMN_ASSERT(element_bytes.has_value());  // below 2^32 elements of below 2^32 bytes
  LMN_TRY(table.buckets_, MapMemory::create(bucket_count * sizeof(std::uint32_t)));
  LMN_TRY(table.elements_, MapMemory::create(*element_bytes));
  return table;
}

std::uint32_t ChainTable::find(std::uint32_t key) const noexcept {
  std::uint32_t element = heads()[key & bucket_mask_];
  while (element != kNone && header(element)->key != key) element = header(element)->next;
  return element;
}

std::uint32_t ChainTable::take() noexcept {
  if (released_ != kNone) {
    const std::uint32_t element = released_;
    released_ = header(element)->next;
    return element;
  }
  return untouched_index_ < element_count_ ? ++untouched_index_ : kNone;
}

void ChainTable::link(std::uint32_t element, std::uint32_t key) noexcept {
  std::uint32_t& head = heads()[key & bucket_mask_];
  *header(element) = {head, key};
  head = element;
  ++count_;
}

void ChainTable::unlink(std::uint32_t element) noexcept {
  const Header* gone = header(element);
  std::uint32_t* link = &heads()[gone->key & bucket_mask_];
  while (*link != element) {
    LMN_DCHECK(*link != kNone);
    link = &header(*link)->next;
  }
  *link = gone->next;
  --count_;
}

void ChainTable::release(std::uint32_t element) noexcept {
  header(element)->next = released_;
  released_ = element;
}

std::uint32_t ChainTable::first_in_buckets(std::uint32_t from, std::uint32_t end) const noexcept {
  for (std::uint32_t bucket = from; bucket < end; ++bucket) {
    if (heads()[bucket] != kNone) return heads()[bucket];
  }
  return kNone;
}

}  // namespace lmn
