// SPDX-License-Identifier: Apache-2.0
//
// LpmIndex: the writing half of what lpm_fast.h reads: prefixes to element numbers.
//
// internal; the inside of LPM_TRIE beside the exact trie, which owns the elements. A change makes
// new blocks for the node that changes and for the block that this node lies in, and puts them in
// place by one store; the old ones are free after the state has changed. Prefixes of at most
// root_bits change a range of the root table: the table that readers do not use is changed, becomes
// theirs, and the other follows; so do those of the short table, which keeps such a range small: a
// default route changes 128 entries, not half a million.
//
//   if (!index.put(data, length, element)) return -ENOMEM;     // nothing changed
//   index.remove(data, length, {parent_element, parent_length});
//
// Blocks have one of twelve sizes, so that a node that grows by one child at a time leaves few
// behind. They come from lists by size, else from the untouched rest of the memory, else from
// larger free ones. Invariants: (1) a node other than the root's has an element or two children, or
// a skip that could not be longer; (2) a block has exactly the children and elements that its node
// counts; (3) both root tables, and both short ones, are equal between changes; (4) every change
// makes a new state. Threads: one writer, under the owning map's lock; readers: lpm_fast.h.
// Tested by lpm_test.cc.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "base/result.h"
#include "maps/lpm_fast.h"
#include "maps/map_memory.h"

namespace lmn {

class LpmIndex {
 public:
  // Errors: kLimitExceeded with ENOMEM. REQUIRES: data_size 1 to 256.
  static Result<LpmIndex> create(std::uint32_t data_size, std::uint32_t max_entries);

  // Its addresses stay right when the index is moved.
  const LpmDescriptor& descriptor() const { return descriptor_; }

  // Makes `element` the one of the prefix; false, and nothing changed, without memory.
  bool put(const std::uint8_t* data, std::uint32_t length, std::uint32_t element) noexcept;

  // The longest prefix that another one lies in, other than itself.
  struct Parent {
    std::uint32_t element = kNoLpmElement;
    std::uint32_t length = 0;
  };
  // REQUIRES: the prefix is there, `parent` is its parent.
  void remove(const std::uint8_t* data, std::uint32_t length, Parent parent) noexcept;

  std::uint64_t used_bytes() const { return untouched_unit_ * sizeof(LpmNode); }

 private:
  static constexpr std::uint32_t kNoSkipShift = 64 - kLpmStride;
  static constexpr std::uint32_t kDepthMax = 2048 / kLpmStride + 2;
  static constexpr std::array<std::uint32_t, 12> kBlockUnits = {1,  2,  3,  4,  6,  8,
                                                                12, 16, 24, 32, 48, 72};
  static_assert(kBlockUnits.back() == kLpmBlockUnitsMax, "every node has a block");
  // Kept from put(), so that remove() never lacks memory.
  static constexpr std::uint32_t kReservedUnits = 4096;

  // A table by the first bits of an address, twice: readers use the one that bit 0 of the state
  // names.
  struct FrontTable {
    std::uint64_t* entries = nullptr;
    std::uint32_t bits = 0;
    std::vector<std::uint8_t> lengths;  // by entry: its prefix's length and 1, or 0

    std::uint64_t* entry(std::uint64_t state, std::uint64_t slot) const noexcept {
      return entries + ((state & 1) << bits) + slot;
    }
  };
  // A node taken apart, to be changed and put together again.
  struct Draft {
    std::uint64_t prefixes = 0;        // as in LpmNode
    std::uint64_t children_there = 0;  // by 6 bits
    std::uint64_t skip = 0;            // from the highest bit
    std::uint32_t skip_bits = 0;
    std::array<LpmNode, 64> children;        // those that are there, by their bits
    std::array<std::uint32_t, 63> elements;  // of the prefixes, by their place
  };
  // One step of the way to a node: its unit, and the 6 bits that led to the next one.
  struct Step {
    std::uint32_t unit;
    std::uint32_t bits;
  };
  // Where a prefix is or would be.
  struct Way {
    std::size_t depth = 0;     // nodes above, in steps_
    std::uint32_t unit = 0;    // the node, or 0: the root entry has none
    std::uint32_t offset = 0;  // bits of the address in front of the node
  };
  struct Block {
    std::uint32_t unit;
    std::size_t size_class;  // of kBlockUnits
  };

  static std::uint32_t place_of(std::uint64_t window, std::uint32_t length) noexcept {
    return lpm_place(static_cast<std::uint32_t>(window >> (64 - kLpmStride)), length);
  }
  static std::size_t size_class_of(std::uint32_t unit_count) noexcept;
  LpmNode& unit(std::uint64_t number) const noexcept { return units_[number]; }

  Way find_way(const LpmAddressBytes& address, std::uint32_t length) noexcept;
  bool insert(const Way& way, const LpmAddressBytes& address, std::uint32_t length,
              std::uint32_t element) noexcept;
  bool split(const Way& way, std::uint32_t keep, const LpmAddressBytes& address,
             std::uint32_t length, std::uint32_t element) noexcept;
  bool put_into(Draft& draft, const LpmAddressBytes& address, std::uint32_t offset,
                std::uint32_t length, std::uint32_t element) noexcept;
  bool make_chain(const LpmAddressBytes& address, std::uint32_t offset, std::uint32_t length,
                  std::uint32_t element, LpmNode& top) noexcept;
  bool place(const Way& way, const LpmAddressBytes& address, const LpmNode& node) noexcept;
  void set_root_unit(const LpmAddressBytes& address, std::uint32_t unit) noexcept;
  void change_front(const LpmAddressBytes& address, std::uint32_t length, Parent now) noexcept;

  void load(Draft& draft, const LpmNode& node) const noexcept;
  bool store(const Draft& draft, LpmNode& node) noexcept;
  static bool is_leaf(const LpmNode& node) noexcept { return (node.shift & kLpmLeafBit) != 0; }
  static std::uint64_t children_there(const LpmNode& node) noexcept {
    return is_leaf(node) ? 0 : node.children;
  }
  static std::uint32_t skip_bits_of(const LpmNode& node) noexcept {
    return kNoSkipShift - (node.shift & ~kLpmLeafBit);
  }
  // From the highest bit.
  static std::uint64_t skip_of(const LpmNode& node) noexcept {
    return node.base << (node.shift & ~kLpmLeafBit);
  }
  static void set_skip(LpmNode& node, std::uint64_t skip, std::uint32_t skip_bits) noexcept {
    node.shift = (node.shift & kLpmLeafBit) | (kNoSkipShift - skip_bits);
    node.base = skip >> (kNoSkipShift - skip_bits);
  }
  static std::uint32_t block_units(std::uint32_t child_count,
                                   std::uint32_t element_count) noexcept {
    return child_count + (element_count + kLpmElementsPerUnit - 1) / kLpmElementsPerUnit;
  }
  static std::uint32_t* elements_in(LpmNode& leaf) noexcept {
    return reinterpret_cast<std::uint32_t*>(&leaf.children);
  }
  std::uint32_t* elements_of(LpmNode& node) const noexcept {
    if (is_leaf(node)) return elements_in(node);
    return reinterpret_cast<std::uint32_t*>(&unit(node.block + 1));
  }
  void write_unit(std::uint64_t number, const LpmNode& node) noexcept;
  static void add_child(Draft& draft, std::uint32_t bits, const LpmNode& child) noexcept;
  static void drop_child(Draft& draft, std::uint32_t bits) noexcept;
  static void set_element(Draft& draft, std::uint32_t at, std::uint32_t element) noexcept;
  static void drop_element(Draft& draft, std::uint32_t at) noexcept;
  bool join_only_child(const Draft& draft, LpmNode& node) noexcept;

  // 0 without memory.
  std::uint32_t allocate(std::size_t size_class) noexcept;
  void free_later(const LpmNode& node) noexcept;
  void finish_change(bool is_done) noexcept;
  void publish(std::uint64_t step) noexcept;
  void put_on_list(Block block) noexcept;
  void put_rest_on_lists(std::uint32_t first, std::uint32_t unit_count) noexcept;

  MapMemory unit_memory_;
  MapMemory root_memory_;
  MapMemory state_memory_;  // a line of its own; behind it the short table
  LpmDescriptor descriptor_{};
  std::uint64_t* state_ = nullptr;
  LpmNode* units_ = nullptr;
  FrontTable roots_;
  FrontTable shorts_;                 // for prefixes that would fill too much of the root table
  std::uint64_t unit_count_ = 0;      // that may be used
  std::uint64_t untouched_unit_ = 1;  // number 0 stands for none
  std::uint64_t unit_limit_ = 0;      // what allocate() may touch now
  std::array<std::uint32_t, kBlockUnits.size()> free_lists_{};
  // Of the change under way; reserved at creation.
  std::vector<Step> steps_;
  std::vector<Block> gone_;   // unreachable once the change is visible
  std::vector<Block> fresh_;  // made by it: free again should it fail
};

}  // namespace lmn
