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

// Prefixes that would fill more than 2^12 root entries go to the short table: a default route must
// not cost a rewrite of the root table.
constexpr std::uint32_t kSpreadBits = 12;
constexpr std::uint32_t kManyEntries = 1u << 17;  // more than caches hold
constexpr std::uint64_t kStateBytes = 64;         // a line of its own

// Bits that the root table takes: one more than a multiple of the stride, so that a /24 is in the
// first node behind 13 or 19 bits. As large as the map is likely to fill.
std::uint32_t root_bits_for(std::uint32_t max_entries) noexcept {
  if (max_entries >= kManyEntries) return kLpmLargeRootBits;
  return max_entries >= 1u << 11 ? 13 : 7;
}

std::uint64_t bits_below(std::uint32_t bit) noexcept { return (1ull << bit) - 1; }

// The first `count` bits of a word: as a number, and where they are.
std::uint64_t first_number(std::uint64_t word, std::uint32_t count) noexcept {
  return count == 0 ? 0 : word >> (64 - count);
}
std::uint64_t first_bits(std::uint64_t word, std::uint32_t count) noexcept {
  return count == 0 ? 0 : word >> (64 - count) << (64 - count);
}

}  // namespace

Result<LpmIndex> LpmIndex::create(std::uint32_t data_size, std::uint32_t max_entries) {
  LpmIndex index;
  LpmDescriptor& d = index.descriptor_;
  d.data_size = data_size;
  d.root_bits = root_bits_for(max_entries);
  d.spread_bits = std::min(d.root_bits, kSpreadBits);
  // A prefix makes at most a chain of nodes, its element, and the fork where it leaves the others;
  // as much again for blocks that wait for their size.
  const std::uint64_t per_prefix = 2 * (2 * (std::uint64_t{data_size} * 8 / 54) + 5);
  const std::uint64_t wanted = per_prefix * max_entries + 2 * kReservedUnits;
  // Readers take any number modulo a power of two.
  const std::uint64_t most =
      std::min<std::uint64_t>(MapMemory::size_bytes_max() / sizeof(LpmNode), UINT32_MAX) -
      kLpmBlockUnitsMax;
  const std::uint64_t unit_count = std::min(std::bit_ceil(wanted), std::bit_floor(most));
  const std::uint64_t root_count = 1ull << d.root_bits;
  const std::uint64_t short_count = root_count >> d.spread_bits;
  LMN_TRY(index.unit_memory_,
          MapMemory::create((unit_count + kLpmBlockUnitsMax) * sizeof(LpmNode)));
  index.unit_count_ = std::min(wanted, unit_count);
  d.unit_mask = unit_count - 1;
  LMN_TRY(index.root_memory_, MapMemory::create(2 * root_count * sizeof(std::uint64_t)));
  LMN_TRY(index.state_memory_,
          MapMemory::create(kStateBytes + 2 * short_count * sizeof(std::uint64_t)));
  if (max_entries >= kManyEntries) {
    index.unit_memory_.prefer_huge_pages();
    index.root_memory_.prefer_huge_pages();
  }
  index.units_ = reinterpret_cast<LpmNode*>(index.unit_memory_.data());
  index.state_ = reinterpret_cast<std::uint64_t*>(index.state_memory_.data());
  index.roots_ = {.entries = reinterpret_cast<std::uint64_t*>(index.root_memory_.data()),
                  .bits = d.root_bits,
                  .lengths = std::vector<std::uint8_t>(root_count)};
  index.shorts_ = {.entries = index.state_ + kStateBytes / sizeof(std::uint64_t),
                   .bits = d.root_bits - d.spread_bits,
                   .lengths = std::vector<std::uint8_t>(short_count)};
  d.units = index.units_;
  d.roots = index.roots_.entries;
  d.shorts = index.shorts_.entries;
  d.state = index.state_;
  index.steps_.reserve(kDepthMax);
  index.gone_.reserve(2 * kDepthMax);
  index.fresh_.reserve(2 * kDepthMax);
  return index;
}

// --- changes

bool LpmIndex::put(const std::uint8_t* data, std::uint32_t length, std::uint32_t element) noexcept {
  const LpmAddressBytes address = LpmAddressBytes::load(data, descriptor_.data_size);
  if (length <= descriptor_.root_bits) {
    change_front(address, length, {.element = element, .length = length});
    return true;
  }
  unit_limit_ = unit_count_ - kReservedUnits;
  const bool is_done = insert(find_way(address, length), address, length, element);
  finish_change(is_done);
  return is_done;
}

// The node that the prefix is in, or would be put into or in front of; the nodes above in steps_.
LpmIndex::Way LpmIndex::find_way(const LpmAddressBytes& address, std::uint32_t length) noexcept {
  const std::uint64_t slot = first_number(address.window_at(0), roots_.bits);
  steps_.clear();
  Way way{.unit = static_cast<std::uint32_t>(*roots_.entry(*state_, slot) >> 32),
          .offset = descriptor_.root_bits};
  while (way.unit != 0) {
    const LpmNode& node = unit(way.unit);
    if (is_leaf(node)) break;
    const std::uint32_t end = way.offset + skip_bits_of(node) + kLpmStride;
    const std::uint64_t further = (address.window_at(way.offset) >> node.shift) - node.base;
    if (length < end || further >= 64) break;
    const auto bits = static_cast<std::uint32_t>(further);
    if ((node.children >> bits & 1) == 0) break;
    steps_.push_back({way.unit, bits});
    way.unit = node.block - lpm_count(node.children & bits_below(bits));
    way.offset = end;
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
  LpmNode fresh;
  LpmNode& node = unit(way.unit);
  const std::uint64_t difference = address.window_at(way.offset) ^ skip_of(node);
  const std::uint32_t common =
      std::min(static_cast<std::uint32_t>(std::countl_zero(difference)), length - way.offset);
  const std::uint32_t skip_bits = skip_bits_of(node);
  if (common < skip_bits) {
    return split(way, common / kLpmStride * kLpmStride, address, length, element);
  }
  const std::uint32_t start = way.offset + skip_bits;
  if (length - start < kLpmStride) {
    const std::uint32_t at = place_of(address.window_at(start), length - start);
    if ((node.prefixes >> at & 1) != 0) {
      __atomic_store_n(elements_of(node) + lpm_count(node.prefixes & bits_below(at)), element,
                       __ATOMIC_RELEASE);
      return true;
    }
  }
  Draft draft;
  load(draft, node);
  free_later(node);
  return put_into(draft, address, start, length, element) && store(draft, fresh) &&
         place(way, address, fresh);
}

// The prefix leaves the bits that the node skips, or ends among them: a node that skips `keep` of
// them comes in between.
bool LpmIndex::split(const Way& way, std::uint32_t keep, const LpmAddressBytes& address,
                     std::uint32_t length, std::uint32_t element) noexcept {
  LpmNode below = unit(way.unit);
  LMN_ASSERT(keep + kLpmStride <= kLpmSkipBitsMax);
  const std::uint64_t skip = skip_of(below);
  Draft draft;
  draft.skip = first_bits(skip, keep);
  draft.skip_bits = keep;
  const auto bits = static_cast<std::uint32_t>(skip << keep >> (64 - kLpmStride));
  const std::uint32_t taken_bits = keep + kLpmStride;
  set_skip(below, skip << taken_bits, skip_bits_of(below) - taken_bits);
  add_child(draft, bits, below);
  LpmNode fresh;
  return put_into(draft, address, way.offset + keep, length, element) && store(draft, fresh) &&
         place(way, address, fresh);
}

// Adds the prefix to a node whose 6 bits begin at `offset`.
bool LpmIndex::put_into(Draft& draft, const LpmAddressBytes& address, std::uint32_t offset,
                        std::uint32_t length, std::uint32_t element) noexcept {
  const std::uint64_t window = address.window_at(offset);
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
  draft.skip_bits = left / kLpmStride * kLpmStride;
  draft.skip = first_bits(address.window_at(at), draft.skip_bits);
  const std::uint64_t behind = address.window_at(at + draft.skip_bits);
  set_element(draft, place_of(behind, left - draft.skip_bits), element);
  for (;;) {
    if (!store(draft, top)) return false;
    if (at == offset) return true;
    at -= kStep;
    draft = {};
    draft.skip_bits = kLpmSkipBitsMax;
    draft.skip = first_bits(address.window_at(at), kLpmSkipBitsMax);
    const std::uint64_t window = address.window_at(at + kLpmSkipBitsMax);
    add_child(draft, static_cast<std::uint32_t>(window >> (64 - kLpmStride)), top);
  }
}

void LpmIndex::remove(const std::uint8_t* data, std::uint32_t length, Parent parent) noexcept {
  const LpmAddressBytes address = LpmAddressBytes::load(data, descriptor_.data_size);
  if (length <= descriptor_.root_bits) {
    change_front(address, length, parent);
    return;
  }
  unit_limit_ = unit_count_;
  Way way = find_way(address, length);
  LMN_ASSERT(way.unit != 0);
  const std::uint32_t start = way.offset + skip_bits_of(unit(way.unit));
  Draft draft;
  load(draft, unit(way.unit));
  free_later(unit(way.unit));
  drop_element(draft, place_of(address.window_at(start), length - start));
  // Nodes that have become empty go, from below.
  while ((draft.children_there | draft.prefixes) == 0 && way.depth > 0) {
    const Step step = steps_[--way.depth];
    way.unit = step.unit;
    load(draft, unit(way.unit));
    free_later(unit(way.unit));
    drop_child(draft, step.bits);
  }
  if ((draft.children_there | draft.prefixes) == 0) {
    gone_.push_back({way.unit, size_class_of(1)});
    set_root_unit(address, 0);
  } else {
    LpmNode fresh;
    const bool is_stored = join_only_child(draft, fresh) || store(draft, fresh);
    LMN_ASSERT(is_stored);
    const bool is_placed = place(way, address, fresh);
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
  LpmNode moved;
  if (!store(draft, moved)) return false;
  free_later(parent);
  __atomic_store_n(&parent.block, moved.block, __ATOMIC_RELEASE);
  return true;
}

void LpmIndex::set_root_unit(const LpmAddressBytes& address, std::uint32_t number) noexcept {
  const std::uint64_t slot = first_number(address.window_at(0), roots_.bits);
  for (const std::uint64_t table : {*state_, *state_ + 1}) {
    std::uint64_t* entry = roots_.entry(table, slot);
    const std::uint64_t changed = (*entry & UINT32_MAX) | std::uint64_t{number} << 32;
    __atomic_store_n(entry, changed, __ATOMIC_RELEASE);
  }
}

// The prefix of at most root_bits has become `now`, which is itself or its parent, or none.
void LpmIndex::change_front(const LpmAddressBytes& address, std::uint32_t length,
                            Parent now) noexcept {
  const bool is_short = length <= shorts_.bits;
  FrontTable& table = is_short ? shorts_ : roots_;
  // What lies in no prefix of the root table is looked up in the short one.
  if (!is_short && now.length <= shorts_.bits) now = {};
  const std::uint64_t count = 1ull << (table.bits - length);
  const std::uint64_t first = first_number(address.window_at(0), length) * count;
  const std::uint64_t active = *state_;
  for (const std::uint64_t which : {active + 1, active}) {
    for (std::uint64_t slot = first; slot < first + count; ++slot) {
      if (table.lengths[slot] > length + 1) continue;
      std::uint64_t* entry = table.entry(which, slot);
      const std::uint64_t changed = (*entry & ~std::uint64_t{UINT32_MAX}) | now.element;
      __atomic_store_n(entry, changed, __ATOMIC_RELAXED);
    }
    if (which == active) break;
    publish(3);
  }
  const auto new_length =
      static_cast<std::uint8_t>(now.element == kNoLpmElement ? 0 : now.length + 1);
  for (std::uint64_t slot = first; slot < first + count; ++slot) {
    if (table.lengths[slot] <= length + 1) table.lengths[slot] = new_length;
  }
}

// --- nodes

void LpmIndex::load(Draft& draft, const LpmNode& node) const noexcept {
  draft.prefixes = node.prefixes;
  draft.children_there = children_there(node);
  draft.skip = skip_of(node);
  draft.skip_bits = skip_bits_of(node);
  std::copy_n(elements_of(const_cast<LpmNode&>(node)), lpm_count(draft.prefixes),
              draft.elements.begin());
  for (std::uint32_t i = 0; i < lpm_count(draft.children_there); ++i) {
    draft.children[i] = unit(node.block - i);
  }
}

// The draft as a node, with a block of its own if it needs one; false without memory.
bool LpmIndex::store(const Draft& draft, LpmNode& node) noexcept {
  const std::uint32_t child_count = lpm_count(draft.children_there);
  const std::uint32_t element_count = lpm_count(draft.prefixes);
  node = {.prefixes = draft.prefixes, .children = draft.children_there};
  set_skip(node, draft.skip, draft.skip_bits);
  if (child_count == 0 && element_count <= kLpmLeafElementsMax) {
    node.shift |= kLpmLeafBit;
    std::copy_n(draft.elements.begin(), element_count, elements_in(node));
    return true;
  }
  const std::uint32_t first = allocate(size_class_of(block_units(child_count, element_count)));
  if (first == 0) return false;
  node.block = first + child_count - 1;
  for (std::uint32_t i = 0; i < child_count; ++i) write_unit(node.block - i, draft.children[i]);
  std::uint32_t* elements = elements_of(node);
  for (std::uint32_t i = 0; i < element_count; ++i) {
    __atomic_store_n(&elements[i], draft.elements[i], __ATOMIC_RELAXED);
  }
  return true;
}

// Word by word, since a reader that came late may still read what was here.
void LpmIndex::write_unit(std::uint64_t number, const LpmNode& node) noexcept {
  store_value(&unit(number), &node, sizeof node);
}

void LpmIndex::add_child(Draft& draft, std::uint32_t bits, const LpmNode& child) noexcept {
  const std::uint32_t count = lpm_count(draft.children_there);
  const auto at = draft.children.begin() + lpm_count(draft.children_there & bits_below(bits));
  std::move_backward(at, draft.children.begin() + count, draft.children.begin() + count + 1);
  *at = child;
  draft.children_there |= 1ull << bits;
}

void LpmIndex::drop_child(Draft& draft, std::uint32_t bits) noexcept {
  const std::uint32_t count = lpm_count(draft.children_there);
  const auto at = draft.children.begin() + lpm_count(draft.children_there & bits_below(bits));
  std::move(at + 1, draft.children.begin() + count, at);
  draft.children_there &= ~(1ull << bits);
}

void LpmIndex::set_element(Draft& draft, std::uint32_t at, std::uint32_t element) noexcept {
  const std::uint32_t count = lpm_count(draft.prefixes);
  const auto place = draft.elements.begin() + lpm_count(draft.prefixes & bits_below(at));
  std::move_backward(place, draft.elements.begin() + count, draft.elements.begin() + count + 1);
  *place = element;
  draft.prefixes |= 1ull << at;
}

void LpmIndex::drop_element(Draft& draft, std::uint32_t at) noexcept {
  const std::uint32_t count = lpm_count(draft.prefixes);
  const auto place = draft.elements.begin() + lpm_count(draft.prefixes & bits_below(at));
  LMN_ASSERT((draft.prefixes >> at & 1) != 0);
  std::move(place + 1, draft.elements.begin() + count, place);
  draft.prefixes &= ~(1ull << at);
}

// Of a draft with nothing but one child: the child, skipping more, if that many bits can be
// skipped.
bool LpmIndex::join_only_child(const Draft& draft, LpmNode& node) noexcept {
  if (draft.prefixes != 0 || !std::has_single_bit(draft.children_there)) return false;
  const LpmNode& child = draft.children[0];
  const std::uint32_t own_bits = draft.skip_bits + kLpmStride;
  const std::uint32_t skip_bits = own_bits + skip_bits_of(child);
  if (skip_bits > kLpmSkipBitsMax) return false;
  const auto way_on = static_cast<std::uint64_t>(std::countr_zero(draft.children_there));
  node = child;
  set_skip(node, draft.skip | way_on << (64 - own_bits) | skip_of(child) >> own_bits, skip_bits);
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
  const std::uint32_t child_count = lpm_count(node.children);
  const std::uint32_t unit_count = block_units(child_count, lpm_count(node.prefixes));
  gone_.push_back({node.block + 1 - child_count, size_class_of(unit_count)});
}

void LpmIndex::finish_change(bool is_done) noexcept {
  if (is_done) publish(2);
  for (const Block& block : is_done ? gone_ : fresh_) put_on_list(block);
  gone_.clear();
  fresh_.clear();
}

// Readers that began before a change must not believe what is in memory that is used again, or what
// they found some time ago: the state tells them. An odd step also puts the other tables in place.
void LpmIndex::publish(std::uint64_t step) noexcept {
  __atomic_store_n(state_, *state_ + step, __ATOMIC_RELEASE);
  __atomic_thread_fence(__ATOMIC_RELEASE);
}

}  // namespace lmn
