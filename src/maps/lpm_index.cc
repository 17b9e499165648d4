// SPDX-License-Identifier: Apache-2.0
//
// LpmIndex. What a reader may see when is said in lpm_fast.h. Tested by lpm_test.cc.
#include "maps/lpm_index.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/assert.h"

namespace lmn {
namespace {

// Bits that the root table takes: one more than a multiple of the stride, so that a /24 is in the
// first node behind 13 or 19 bits. As large as the map is likely to fill.
std::uint32_t root_bits_for(std::uint32_t max_entries) noexcept {
  if (max_entries >= 1u << 17) return 19;
  return max_entries >= 1u << 11 ? 13 : 7;
}

std::uint64_t bits_below(std::uint32_t bit) noexcept { return (1ull << bit) - 1; }

// The first `count` bits of a word.
std::uint64_t first_bits(std::uint64_t word, std::uint32_t count) noexcept {
  return count == 0 ? 0 : word >> (64 - count) << (64 - count);
}

}  // namespace

Result<LpmIndex> LpmIndex::create(std::uint32_t data_size, std::uint32_t max_entries) {
  LpmIndex index;
  LpmDescriptor& d = index.descriptor_;
  d.data_size = data_size;
  d.root_bits = root_bits_for(max_entries);
  // A prefix makes at most a chain of nodes, its element, and the fork where it leaves the others;
  // as much again for blocks that wait for their size.
  const std::uint64_t per_prefix = 2 * (2 * (std::uint64_t{data_size} * 8 / 54) + 5);
  const std::uint64_t wanted = per_prefix * max_entries + 2 * kReservedUnits;
  const std::uint64_t most =
      std::min<std::uint64_t>(MapMemory::size_bytes_max() / sizeof(LpmNode), UINT32_MAX) -
      kLpmBlockUnitsMax;
  d.unit_count = std::min(wanted, most);
  const std::uint64_t root_count = 1ull << d.root_bits;
  LMN_TRY(index.unit_memory_,
          MapMemory::create((d.unit_count + kLpmBlockUnitsMax) * sizeof(LpmNode)));
  LMN_TRY(index.root_memory_, MapMemory::create(2 * root_count * sizeof(std::uint64_t)));
  LMN_TRY(index.state_memory_, MapMemory::create(64));
  if (max_entries >= 1u << 17) {
    index.unit_memory_.prefer_huge_pages();
    index.root_memory_.prefer_huge_pages();
  }
  index.units_ = reinterpret_cast<LpmNode*>(index.unit_memory_.data());
  index.root_entries_ = reinterpret_cast<std::uint64_t*>(index.root_memory_.data());
  index.state_ = reinterpret_cast<std::uint64_t*>(index.state_memory_.data());
  d.units = index.units_;
  d.roots = index.root_entries_;
  d.state = index.state_;
  index.root_lengths_.resize(root_count);
  index.steps_.reserve(kDepthMax);
  index.gone_.reserve(2 * kDepthMax);
  index.fresh_.reserve(2 * kDepthMax);
  return index;
}

// --- changes

bool LpmIndex::put(const std::uint8_t* data, std::uint32_t length, std::uint32_t element) noexcept {
  const LpmAddressBytes address(data, descriptor_.data_size);
  if (length <= descriptor_.root_bits) {
    change_range(address, length, element, static_cast<std::uint8_t>(length + 1));
    return true;
  }
  unit_limit_ = descriptor_.unit_count - kReservedUnits;
  const bool is_done = insert(find_way(address, length), address, length, element);
  finish_change(is_done);
  return is_done;
}

// The node that the prefix is in, or would be put into or in front of; the nodes above in steps_.
LpmIndex::Way LpmIndex::find_way(const LpmAddressBytes& address, std::uint32_t length) noexcept {
  const std::uint64_t slot = address.window(0) >> (64 - descriptor_.root_bits);
  steps_.clear();
  Way way{.unit = static_cast<std::uint32_t>(*root(*state_ & 1, slot) >> 32),
          .offset = descriptor_.root_bits};
  while (way.unit != 0) {
    const LpmNode& node = unit(way.unit);
    if (is_leaf(node)) break;
    const std::uint32_t start = way.offset + node.skip_bits;
    const std::uint64_t window = address.window(way.offset);
    if (length < start + kLpmStride) break;
    if (first_bits(window ^ node.skip, node.skip_bits) != 0) break;
    const auto bits = static_cast<std::uint32_t>(window << node.skip_bits >> (64 - kLpmStride));
    if ((node.children >> bits & 1) == 0) break;
    steps_.push_back({way.unit, bits});
    way.unit = node.block + lpm_count(node.children & bits_below(bits));
    way.offset = start + kLpmStride;
  }
  way.depth = steps_.size();
  return way;
}

bool LpmIndex::insert(const Way& way, const LpmAddressBytes& address, std::uint32_t length,
                      std::uint32_t element) noexcept {
  if (way.unit == 0) {
    LpmNode top;
    return make_chain(address, way.offset, length, element, top) && place(way, address, top);
  }
  LpmNode& node = unit(way.unit);
  const std::uint64_t difference = address.window(way.offset) ^ node.skip;
  const std::uint32_t common =
      std::min(static_cast<std::uint32_t>(std::countl_zero(difference)), length - way.offset);
  const std::uint32_t skip_bits = skip_bits_of(node);
  if (common < skip_bits) {
    return split(way, common / kLpmStride * kLpmStride, address, length, element);
  }
  const std::uint32_t start = way.offset + skip_bits;
  if (length - start < kLpmStride) {
    const std::uint32_t at = place_of(address.window(start), length - start);
    if ((node.prefixes >> at & 1) != 0) {
      __atomic_store_n(elements_of(node) + lpm_count(node.prefixes & bits_below(at)), element,
                       __ATOMIC_RELEASE);
      return true;
    }
  }
  Draft draft;
  load(draft, node);
  free_later(node);
  return put_into(draft, address, start, length, element) && store(draft) &&
         place(way, address, draft.node);
}

// The prefix leaves the bits that the node skips, or ends among them: a node that skips `keep` of
// them comes in between.
bool LpmIndex::split(const Way& way, std::uint32_t keep, const LpmAddressBytes& address,
                     std::uint32_t length, std::uint32_t element) noexcept {
  LpmNode below = unit(way.unit);
  Draft draft;
  draft.node = {.skip = first_bits(below.skip, keep), .skip_bits = keep};
  const auto bits = static_cast<std::uint32_t>(below.skip << keep >> (64 - kLpmStride));
  below.skip <<= keep + kLpmStride;
  below.skip_bits -= keep + kLpmStride;
  add_child(draft, bits, below);
  return put_into(draft, address, way.offset + keep, length, element) && store(draft) &&
         place(way, address, draft.node);
}

// Adds the prefix to a node whose 6 bits begin at `offset`.
bool LpmIndex::put_into(Draft& draft, const LpmAddressBytes& address, std::uint32_t offset,
                        std::uint32_t length, std::uint32_t element) noexcept {
  const std::uint64_t window = address.window(offset);
  if (length - offset < kLpmStride) {
    set_element(draft, place_of(window, length - offset), element);
    return true;
  }
  LpmNode child;
  if (!make_chain(address, offset + kLpmStride, length, element, child)) return false;
  add_child(draft, static_cast<std::uint32_t>(window >> (64 - kLpmStride)), child);
  return true;
}

// Nodes for one prefix alone, `top` being the first: from the last one up.
bool LpmIndex::make_chain(const LpmAddressBytes& address, std::uint32_t offset,
                          std::uint32_t length, std::uint32_t element, LpmNode& top) noexcept {
  constexpr std::uint32_t kStep = kLpmSkipBitsMax + kLpmStride;
  const std::uint32_t left = (length - offset) % kStep;
  std::uint32_t at = length - left;
  Draft draft;
  const std::uint32_t skip_bits = left / kLpmStride * kLpmStride;
  draft.node = {.skip = first_bits(address.window(at), skip_bits), .skip_bits = skip_bits};
  set_element(draft, place_of(address.window(at + skip_bits), left - skip_bits), element);
  for (;;) {
    if (!store(draft)) return false;
    top = draft.node;
    if (at == offset) return true;
    at -= kStep;
    draft.node = {.skip = first_bits(address.window(at), kLpmSkipBitsMax),
                  .skip_bits = kLpmSkipBitsMax};
    const std::uint64_t window = address.window(at + kLpmSkipBitsMax);
    add_child(draft, static_cast<std::uint32_t>(window >> (64 - kLpmStride)), top);
  }
}

void LpmIndex::remove(const std::uint8_t* data, std::uint32_t length, Parent parent) noexcept {
  const LpmAddressBytes address(data, descriptor_.data_size);
  if (length <= descriptor_.root_bits) {
    const bool has_parent = parent.element != kNoLpmElement;
    change_range(address, length, parent.element,
                 static_cast<std::uint8_t>(has_parent ? parent.length + 1 : 0));
    return;
  }
  unit_limit_ = descriptor_.unit_count;
  Way way = find_way(address, length);
  LMN_ASSERT(way.unit != 0);
  const std::uint32_t start = way.offset + skip_bits_of(unit(way.unit));
  Draft draft;
  load(draft, unit(way.unit));
  free_later(unit(way.unit));
  drop_element(draft, place_of(address.window(start), length - start));
  // Nodes that have become empty go, from below.
  while ((draft.node.children | draft.node.prefixes) == 0 && way.depth > 0) {
    const Step step = steps_[--way.depth];
    way.unit = step.unit;
    load(draft, unit(way.unit));
    free_later(unit(way.unit));
    drop_child(draft, step.bits);
  }
  if ((draft.node.children | draft.node.prefixes) == 0) {
    gone_.push_back({way.unit, size_class_of(1)});
    set_root_unit(address, 0);
  } else {
    const bool is_stored = join_only_child(draft) || store(draft);
    LMN_ASSERT(is_stored);
    const bool is_placed = place(way, address, draft.node);
    LMN_ASSERT(is_placed);
  }
  finish_change(true);
}

// Puts a node where way.unit is. The one store that makes the change visible.
bool LpmIndex::place(const Way& way, const LpmAddressBytes& address, const LpmNode& node) noexcept {
  if (way.depth == 0) {
    const std::uint32_t number = allocate(size_class_of(1));
    if (number == 0) return false;
    write_unit(number, node);
    if (way.unit != 0) gone_.push_back({way.unit, size_class_of(1)});
    set_root_unit(address, number);
    return true;
  }
  const Step& above = steps_[way.depth - 1];
  LpmNode& parent = unit(above.unit);
  Draft draft;
  load(draft, parent);
  draft.children[lpm_count(parent.children & bits_below(above.bits))] = node;
  if (!store(draft)) return false;
  free_later(parent);
  __atomic_store_n(&parent.block, draft.node.block, __ATOMIC_RELEASE);
  return true;
}

void LpmIndex::set_root_unit(const LpmAddressBytes& address, std::uint32_t number) noexcept {
  const std::uint64_t slot = address.window(0) >> (64 - descriptor_.root_bits);
  for (const std::uint64_t table : {*state_ & 1, ~*state_ & 1}) {
    std::uint64_t* entry = root(table, slot);
    const std::uint64_t changed = (*entry & UINT32_MAX) | std::uint64_t{number} << 32;
    __atomic_store_n(entry, changed, __ATOMIC_RELEASE);
  }
}

// Root entries below a prefix of at most root_bits, but for those with a longer one.
void LpmIndex::change_range(const LpmAddressBytes& address, std::uint32_t length,
                            std::uint32_t element, std::uint8_t new_length) noexcept {
  const std::uint64_t count = 1ull << (descriptor_.root_bits - length);
  const std::uint64_t first = first_bits(address.window(0), length) >> (64 - descriptor_.root_bits);
  const std::uint64_t active = *state_ & 1;
  for (const std::uint64_t table : {active ^ 1, active}) {
    for (std::uint64_t slot = first; slot < first + count; ++slot) {
      if (root_lengths_[slot] > length + 1) continue;
      std::uint64_t* entry = root(table, slot);
      __atomic_store_n(entry, (*entry & ~std::uint64_t{UINT32_MAX}) | element, __ATOMIC_RELAXED);
    }
    if (table == active) break;
    __atomic_store_n(state_, (*state_ + 2) ^ 1, __ATOMIC_RELEASE);
    __atomic_thread_fence(__ATOMIC_RELEASE);
  }
  for (std::uint64_t slot = first; slot < first + count; ++slot) {
    if (root_lengths_[slot] <= length + 1) root_lengths_[slot] = new_length;
  }
}

// --- nodes

void LpmIndex::load(Draft& draft, const LpmNode& node) const noexcept {
  draft.node = node;
  std::copy_n(elements_of(const_cast<LpmNode&>(node)), lpm_count(node.prefixes),
              draft.elements.begin());
  if (is_leaf(node)) {
    draft.node.children = 0;
    draft.node.skip_bits = skip_bits_of(node);
  } else {
    std::copy_n(&unit(node.block), lpm_count(node.children), draft.children.begin());
  }
}

// Gives the draft a block of its own, if it needs one.
bool LpmIndex::store(Draft& draft) noexcept {
  const std::uint32_t child_count = lpm_count(draft.node.children);
  const std::uint32_t element_count = lpm_count(draft.node.prefixes);
  if (child_count == 0 && element_count <= kLpmLeafElementsMax) {
    draft.node.skip_bits |= kLpmLeafBit;
    draft.node.block = 0;
    std::memcpy(elements_in(draft.node), draft.elements.data(),
                element_count * sizeof(std::uint32_t));
    return true;
  }
  const std::uint32_t element_units =
      (element_count + kLpmElementsPerUnit - 1) / kLpmElementsPerUnit;
  const std::uint32_t block = allocate(size_class_of(child_count + element_units));
  if (block == 0) return false;
  for (std::uint32_t i = 0; i < child_count; ++i) write_unit(block + i, draft.children[i]);
  auto* elements = reinterpret_cast<std::uint32_t*>(&unit(block + child_count));
  for (std::uint32_t i = 0; i < element_count; ++i) {
    __atomic_store_n(&elements[i], draft.elements[i], __ATOMIC_RELAXED);
  }
  draft.node.block = block;
  return true;
}

// Word by word, since a reader that came late may still read what was here.
void LpmIndex::write_unit(std::uint64_t number, const LpmNode& node) noexcept {
  store_value(&unit(number), &node, sizeof node);
}

void LpmIndex::add_child(Draft& draft, std::uint32_t bits, const LpmNode& child) noexcept {
  const std::uint32_t count = lpm_count(draft.node.children);
  const auto at = draft.children.begin() + lpm_count(draft.node.children & bits_below(bits));
  std::move_backward(at, draft.children.begin() + count, draft.children.begin() + count + 1);
  *at = child;
  draft.node.children |= 1ull << bits;
}

void LpmIndex::drop_child(Draft& draft, std::uint32_t bits) noexcept {
  const std::uint32_t count = lpm_count(draft.node.children);
  const auto at = draft.children.begin() + lpm_count(draft.node.children & bits_below(bits));
  std::move(at + 1, draft.children.begin() + count, at);
  draft.node.children &= ~(1ull << bits);
}

void LpmIndex::set_element(Draft& draft, std::uint32_t at, std::uint32_t element) noexcept {
  const std::uint32_t count = lpm_count(draft.node.prefixes);
  const auto place = draft.elements.begin() + lpm_count(draft.node.prefixes & bits_below(at));
  std::move_backward(place, draft.elements.begin() + count, draft.elements.begin() + count + 1);
  *place = element;
  draft.node.prefixes |= 1ull << at;
}

void LpmIndex::drop_element(Draft& draft, std::uint32_t at) noexcept {
  const std::uint32_t count = lpm_count(draft.node.prefixes);
  const auto place = draft.elements.begin() + lpm_count(draft.node.prefixes & bits_below(at));
  LMN_ASSERT((draft.node.prefixes >> at & 1) != 0);
  std::move(place + 1, draft.elements.begin() + count, place);
  draft.node.prefixes &= ~(1ull << at);
}

// A node with nothing but one child: the child, skipping more, if that many bits can be skipped.
bool LpmIndex::join_only_child(Draft& draft) noexcept {
  const LpmNode& node = draft.node;
  if (node.prefixes != 0 || !std::has_single_bit(node.children)) return false;
  LpmNode child = draft.children[0];
  const std::uint32_t own_bits = node.skip_bits + kLpmStride;
  if (own_bits + skip_bits_of(child) > kLpmSkipBitsMax) return false;
  const auto way_on = static_cast<std::uint64_t>(std::countr_zero(node.children));
  child.skip = node.skip | way_on << (64 - own_bits) | child.skip >> own_bits;
  child.skip_bits += own_bits;
  draft.node = child;
  return true;
}

// --- blocks

std::size_t LpmIndex::size_class_of(std::uint32_t unit_count) noexcept {
  return static_cast<std::size_t>(std::ranges::lower_bound(kBlockUnits, unit_count) -
                                  kBlockUnits.begin());
}

std::uint32_t LpmIndex::allocate(std::size_t size_class) noexcept {
  const std::uint32_t wanted = kBlockUnits[size_class];
  std::uint32_t found = 0;
  if (free_lists_[size_class] == 0 && untouched_unit_ + wanted <= unit_limit_) {
    found = static_cast<std::uint32_t>(untouched_unit_);
    untouched_unit_ += wanted;
  } else {
    std::size_t from = size_class;
    while (from < kBlockUnits.size() && free_lists_[from] == 0) ++from;
    if (from == kBlockUnits.size()) return 0;
    found = free_lists_[from];
    free_lists_[from] = static_cast<std::uint32_t>(unit(found).prefixes);
    put_rest_on_lists(found + wanted, kBlockUnits[from] - wanted);
  }
  fresh_.push_back({found, size_class});
  return found;
}

void LpmIndex::put_rest_on_lists(std::uint32_t first, std::uint32_t unit_count) noexcept {
  for (std::size_t i = kBlockUnits.size(); i-- > 0 && unit_count > 0;) {
    for (; kBlockUnits[i] <= unit_count; unit_count -= kBlockUnits[i], first += kBlockUnits[i]) {
      put_on_list({first, i});
    }
  }
}

void LpmIndex::put_on_list(Block block) noexcept {
  __atomic_store_n(&unit(block.unit).prefixes, std::uint64_t{free_lists_[block.size_class]},
                   __ATOMIC_RELAXED);
  free_lists_[block.size_class] = block.unit;
}

void LpmIndex::free_later(const LpmNode& node) noexcept {
  if (is_leaf(node)) return;
  const std::uint32_t element_units =
      (lpm_count(node.prefixes) + kLpmElementsPerUnit - 1) / kLpmElementsPerUnit;
  gone_.push_back({node.block, size_class_of(lpm_count(node.children) + element_units)});
}

// Readers that began before the change is visible must not believe what is in memory that is used
// again: the state tells them.
void LpmIndex::finish_change(bool is_done) noexcept {
  if (is_done && !gone_.empty()) {
    __atomic_store_n(state_, *state_ + 2, __ATOMIC_RELEASE);
    __atomic_thread_fence(__ATOMIC_RELEASE);
  }
  for (const Block& block : is_done ? gone_ : fresh_) put_on_list(block);
  gone_.clear();
  fresh_.clear();
}

}  // namespace lmn
