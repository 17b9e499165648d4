// SPDX-License-Identifier: Apache-2.0
//
// The reading half of LPM_TRIE: the longest prefix of an address in a few cache lines.
//
// internal; the writing half is lpm_index.h. The first bits of the address (7, 13 or 19, by the
// size of the map) index a table whose entries hold the longest prefix no longer than that, and a
// node for longer ones. (Prefixes so short that they would fill thousands of entries have a small
// table of their own.) A node takes 6 bits at once and is half a cache line: 63 bits say which
// prefixes of 0 to 5 further bits are there, 64 bits which of the 64 ways on have a node. Both are
// read by population count: the nodes below and the element numbers of the prefixes here lie in one
// block; few elements of a node without children lie in itself. Bits that all prefixes below share
// are skipped at once, up to 48 per node, so that sparse tries, IPv6 and long keys are no deeper
// than they are full. (Tables of all values of 16 or 24 bits are larger than the caches and, read
// at random, slower.)
//
//   const std::uint32_t element = lpm_find(table, data);
//
// or, for many lookups in flight, in five steps, each of which fetches what the next one reads:
//
//   LpmFlight<LpmAddress32> flight;
//   lpm_prefetch_root(map, key, flight);
//   lpm_prefetch_node(map, flight);
//   lpm_prefetch_child(map, flight);
//   lpm_prefetch_value(map, flight);
//   void* value = lpm_finish(map, key, flight);      // as lpm_lookup would answer now
//
// What is found or not, leaf or not, is chosen without branches: the processor would guess wrongly
// once per address, which costs more than going through two nodes where one would do. Two are
// enough for nearly all addresses.
//
// How a reader is never wrong beside a writer: every change becomes visible by one store, of a root
// table's number, of a block's or of an element's, and then changes the state; memory is used
// again, or the table that readers have left is changed, only after that. A reader that finds the
// state changed when it is through looks again; what it read meanwhile may have been anything, so
// every number is cut to the size of the memory, and steps are counted.
// Threads: any number of readers beside one writer. Tested by lpm_test.cc.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

#include "base/platform.h"
#include "base/platform_choose.h"

namespace lmn {

struct alignas(32) LpmNode {
  std::uint64_t prefixes;  // by place (lpm_place): the prefix of so many further bits is there
  std::uint64_t base;      // the bits to skip, and 6 zeros behind them
  std::uint64_t children;  // bit v: there is a node behind the 6 further bits v
  std::uint32_t block;     // unit of the first child; others before it, the elements behind it
  std::uint32_t shift;     // 58 less the number of bits to skip; perhaps with kLpmLeafBit
};
static_assert(sizeof(LpmNode) == 32, "two nodes are a cache line");

inline constexpr std::uint32_t kLpmStride = 6;
inline constexpr std::uint32_t kLpmSkipBitsMax = 48;  // a multiple of the stride, as all skips
// A node without children and with few elements has these in itself, from `children` on.
inline constexpr std::uint32_t kLpmLeafBit = 1u << 31;
inline constexpr std::uint32_t kLpmLeafElementsMax = 3;
inline constexpr std::uint32_t kLpmElementsPerUnit = sizeof(LpmNode) / sizeof(std::uint32_t);
inline constexpr std::uint32_t kLpmBlockUnitsMax = 64 + 8;  // 64 children, 63 elements
// A table with so many is larger than the caches. A lookup alone does not take a second step there
// before it knows that there is a second node: to guess that there is none, and go on to what comes
// behind the lookup while the first one is fetched, is worth more than the wrong guesses cost.
inline constexpr std::uint32_t kLpmLargeRootBits = 19;
inline constexpr std::uint32_t kNoLpmElement = 0;

// What a lookup needs to know of its map. A root entry is the element of the longest prefix of at
// most root_bits in its low half, the unit of a node in its high half; 0 for none. Prefixes that
// would fill more than 2^spread_bits entries are in the short table, which has one entry for so
// many root entries. Unit 0 is a node of nothing; every unit up to unit_mask, and
// kLpmBlockUnitsMax behind it, may be read.
struct LpmDescriptor {
  const std::uint64_t* state;   // bit 0: which root and short table hold; the rest counts changes
  const std::uint64_t* roots;   // two tables
  const std::uint64_t* shorts;  // two tables
  const LpmNode* units;
  std::uint64_t unit_mask;
  std::uint32_t root_bits;
  std::uint32_t spread_bits;
  std::uint32_t data_size;  // bytes of an address
};

// Of a map: where the value of element n is.
struct LpmMapDescriptor {
  LpmDescriptor index;
  std::uint8_t* values;  // of element 0, if there were one
  std::uint64_t stride;
};

// The bit of LpmNode::prefixes for the prefix of `length` < 6 further bits, the first ones of the 6
// in `bits`: longer prefixes are lower.
constexpr std::uint32_t lpm_place(std::uint32_t bits, std::uint32_t length) noexcept {
  return 64 - (2u << length) + (bits >> (kLpmStride - length));
}

// By 6 bits of an address: the bits of LpmNode::prefixes that it lies in; and, behind them, none,
// for an address that does not have the bits that the node skips.
inline constexpr auto kLpmPaths = [] {
  std::array<std::uint64_t, 65> paths{};
  for (std::uint32_t bits = 0; bits < 64; ++bits) {
    for (std::uint32_t length = 0; length < kLpmStride; ++length) {
      paths[bits] |= 1ull << lpm_place(bits, length);
    }
  }
  return paths;
}();

// --- addresses as numbers that are read from the front: window() is the bits to come, from the
// highest, at least 54 of them, and 0 behind the address; advance() takes 1 to 63 of them away.

struct LpmAddress32 {
  LMN_FAST static LpmAddress32 load(const std::uint8_t* data, std::uint32_t) noexcept {
    std::uint32_t raw;
    __builtin_memcpy(&raw, data, sizeof raw);
    return {std::uint64_t{big_endian(raw)} << 32};
  }
  LMN_FAST std::uint64_t window() const noexcept { return word; }
  LMN_FAST void advance(std::uint32_t bits) noexcept { word <<= bits & 63; }
  std::uint64_t word;
};

struct LpmAddress128 {
  LMN_FAST static LpmAddress128 load(const std::uint8_t* data, std::uint32_t) noexcept {
    std::uint64_t raw[2];
    __builtin_memcpy(raw, data, sizeof raw);
    return {big_endian(raw[0]), big_endian(raw[1])};
  }
  LMN_FAST std::uint64_t window() const noexcept { return high; }
  LMN_FAST void advance(std::uint32_t bits) noexcept {
    high = high << (bits & 63) | low >> (-bits & 63);
    low <<= bits & 63;
  }
  std::uint64_t high;
  std::uint64_t low;
};

// Of any size, read from where it lies.
struct LpmAddressBytes {
  LMN_FAST static LpmAddressBytes load(const std::uint8_t* data, std::uint32_t size) noexcept {
    return {data, size, 0};
  }
  LMN_FAST std::uint64_t window() const noexcept { return window_at(offset); }
  LMN_FAST void advance(std::uint32_t bits) noexcept { offset += bits; }
  // From bit `from` on.
  LMN_FAST std::uint64_t window_at(std::uint32_t from) const noexcept {
    const std::uint32_t at = from / 8;
    std::uint64_t word = 0;
    if (at + 8 <= size) {
      __builtin_memcpy(&word, data + at, sizeof word);
      word = big_endian(word);
    } else {
      for (std::uint32_t i = 0; i < 8 && at + i < size; ++i) {
        word |= std::uint64_t{data[at + i]} << (56 - 8 * i);
      }
    }
    return word << from % 8;
  }
  const std::uint8_t* data;
  std::uint32_t size;
  std::uint32_t offset;
};

// --- the search

// Where a search is. `best` is where the element of the longest prefix so far is written.
template <typename Address>
struct LpmFlight {
  std::uint64_t state;  // when it began
  std::uint64_t unit;   // the next node; behind the last one 0, and steps change nothing any more
  const std::uint32_t* best;
  Address rest;  // of the address
};

LMN_FAST std::uint32_t lpm_count(std::uint64_t bits) noexcept {
  return static_cast<std::uint32_t>(__builtin_popcountll(bits));
}

// The low half of an entry, which is its element.
LMN_FAST const std::uint32_t* lpm_element_of(const std::uint64_t* entry) noexcept {
  const auto* halves = reinterpret_cast<const std::uint32_t*>(entry);
  return std::endian::native == std::endian::little ? halves : halves + 1;
}

// Gives the root entry, which lpm_enter will read. REQUIRES: the address has root_bits.
template <typename Address>
LMN_FAST const std::uint64_t* lpm_start(const LpmDescriptor& table, const std::uint8_t* data,
                                        LpmFlight<Address>& flight) noexcept {
  Address address = Address::load(data, table.data_size);
  const std::uint64_t state = __atomic_load_n(table.state, __ATOMIC_ACQUIRE);
  const std::uint64_t first = (state & 1) << table.root_bits;
  const std::uint64_t* root = table.roots + first + (address.window() >> (64 - table.root_bits));
  address.advance(table.root_bits);
  flight.state = state;
  flight.best = lpm_element_of(root);
  flight.rest = address;
  return root;
}

template <typename Address>
LMN_FAST void lpm_enter(const LpmDescriptor& table, LpmFlight<Address>& flight) noexcept {
  const std::uint32_t* in_root = flight.best;
  const auto* root = reinterpret_cast<const std::uint64_t*>(
      reinterpret_cast<std::uintptr_t>(in_root) & ~std::uintptr_t{7});
  const std::uint64_t entry = __atomic_load_n(root, __ATOMIC_ACQUIRE);
  const auto number = static_cast<std::uint64_t>(root - table.roots);
  const std::uint64_t* in_short = table.shorts + (number >> table.spread_bits);
  const bool is_in_root = static_cast<std::uint32_t>(entry) != kNoLpmElement;
  flight.best = choose(is_in_root, in_root, lpm_element_of(in_short));
  flight.unit = entry >> 32 & table.unit_mask;
}

// Goes through one node.
template <typename Address>
LMN_FAST void lpm_step(const LpmDescriptor& table, LpmFlight<Address>& flight) noexcept {
  const LpmNode& node = table.units[flight.unit];
  const std::uint32_t* best = flight.best;
  Address rest = flight.rest;
  const std::uint64_t prefixes = __atomic_load_n(&node.prefixes, __ATOMIC_RELAXED);
  const std::uint64_t base = __atomic_load_n(&node.base, __ATOMIC_RELAXED);
  const std::uint64_t ways_on = __atomic_load_n(&node.children, __ATOMIC_RELAXED);
  const std::uint64_t block = __atomic_load_n(&node.block, __ATOMIC_ACQUIRE) & table.unit_mask;
  const std::uint32_t shift = __atomic_load_n(&node.shift, __ATOMIC_RELAXED);
  const bool is_leaf = (shift & kLpmLeafBit) != 0;

  // The skipped bits and 6 more, less the skipped bits as they should be.
  const std::uint64_t further = (rest.window() >> (shift & 63)) - base;
  const bool is_on_way = further < 64;
  const std::uint64_t bits = choose(is_on_way, further, std::uint64_t{64});

  // The longest prefix is the lowest bit; elements are in the order of the bits, counted from 1.
  const std::uint64_t here = prefixes & kLpmPaths[bits];
  const std::uint32_t number = lpm_count(prefixes & (here ^ (here - 1)));
  const auto* in_leaf = reinterpret_cast<const std::uint32_t*>(&node.children) - 1;
  const auto* in_block = reinterpret_cast<const std::uint32_t*>(table.units + block + 1) - 1;
  const std::uint32_t* element = choose(is_leaf, in_leaf, in_block) + number;

  const std::uint64_t children = choose(is_leaf || !is_on_way, std::uint64_t{0}, ways_on);
  const std::uint64_t bit = 1ull << (further & 63);
  const std::uint64_t next = (block - lpm_count(children & (bit - 1))) & table.unit_mask;
  flight.unit = choose((children & bit) != 0, next, std::uint64_t{0});
  rest.advance(64 - (shift & 63));
  flight.rest = rest;
  flight.best = choose(here != 0, element, best);
}

// Goes through all nodes that are left; the element of the longest prefix, or kNoLpmElement. What a
// reader that came late goes through may be anything: more steps than the address has bits for are
// not taken.
template <typename Address>
LMN_FAST std::uint32_t lpm_step_to_the_end(const LpmDescriptor& table,
                                           LpmFlight<Address>& flight) noexcept {
  for (std::uint32_t left = table.data_size * 8 / kLpmStride; left > 0; --left) {
    if (flight.unit == 0) [[likely]]
      break;
    lpm_step(table, flight);
  }
  return __atomic_load_n(flight.best, __ATOMIC_RELAXED);
}

// Whether what the flight has found is still so.
template <typename Address>
LMN_FAST bool lpm_is_current(const LpmDescriptor& table,
                             const LpmFlight<Address>& flight) noexcept {
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  return __atomic_load_n(table.state, __ATOMIC_RELAXED) == flight.state;
}

template <typename Address>
LMN_FAST std::uint32_t lpm_find_address(const LpmDescriptor& table,
                                        const std::uint8_t* data) noexcept {
  for (;;) {
    LpmFlight<Address> flight;
    lpm_start(table, data, flight);
    lpm_enter(table, flight);
    lpm_step(table, flight);
    if (table.root_bits < kLpmLargeRootBits) lpm_step(table, flight);
    const std::uint32_t found = lpm_step_to_the_end(table, flight);
    if (lpm_is_current(table, flight)) [[likely]]
      return found;
  }
}

// --- what programs call. `data`: data_size readable bytes, the address without its length; `key`:
// a 32-bit length and such an address.

// The element of the longest prefix that the whole address lies in, or kNoLpmElement.
LMN_FAST std::uint32_t lpm_find(const LpmDescriptor& table, const std::uint8_t* data) noexcept {
  if (table.data_size == 4) return lpm_find_address<LpmAddress32>(table, data);
  if (table.data_size == 16) return lpm_find_address<LpmAddress128>(table, data);
  return lpm_find_address<LpmAddressBytes>(table, data);
}

// Whether the key asks for a whole address: only those are answered here, others by the map.
LMN_FAST bool lpm_is_whole(const LpmMapDescriptor& map, const void* key) noexcept {
  std::uint32_t length;
  __builtin_memcpy(&length, key, sizeof length);
  return length == map.index.data_size * 8;
}

LMN_FAST const std::uint8_t* lpm_data(const void* key) noexcept {
  return static_cast<const std::uint8_t*>(key) + sizeof(std::uint32_t);
}

LMN_FAST void* lpm_value(const LpmMapDescriptor& map, std::uint64_t element) noexcept {
  return element == kNoLpmElement ? nullptr : map.values + element * map.stride;
}

// REQUIRES: lpm_is_whole(map, key).
LMN_FAST void* lpm_lookup(const LpmMapDescriptor& map, const void* key) noexcept {
  return lpm_value(map, lpm_find(map.index, lpm_data(key)));
}

// A lookup in flight; `Address` is the one for data_size. REQUIRES: the steps are taken in this
// order, each once, all with the same key, which stays where it is; lpm_is_whole(map, key).
template <typename Address>
LMN_FAST void lpm_prefetch_root(const LpmMapDescriptor& map, const void* key,
                                LpmFlight<Address>& flight) noexcept {
  __builtin_prefetch(lpm_start(map.index, lpm_data(key), flight));
}
template <typename Address>
LMN_FAST void lpm_prefetch_node(const LpmMapDescriptor& map, LpmFlight<Address>& flight) noexcept {
  lpm_enter(map.index, flight);
  __builtin_prefetch(map.index.units + flight.unit);
}
template <typename Address>
LMN_FAST void lpm_prefetch_child(const LpmMapDescriptor& map, LpmFlight<Address>& flight) noexcept {
  lpm_step(map.index, flight);
  __builtin_prefetch(map.index.units + flight.unit);
}
// From here on `unit` is the element.
template <typename Address>
LMN_FAST void lpm_prefetch_value(const LpmMapDescriptor& map, LpmFlight<Address>& flight) noexcept {
  LpmFlight<Address> here = flight;
  lpm_step(map.index, here);
  flight.unit = lpm_step_to_the_end(map.index, here);
  __builtin_prefetch(map.values + flight.unit * map.stride);
}
// What lpm_lookup would give now: what was found on the way if nothing has changed since.
template <typename Address>
LMN_FAST void* lpm_finish(const LpmMapDescriptor& map, const void* key,
                          const LpmFlight<Address>& flight) noexcept {
  if (lpm_is_current(map.index, flight)) [[likely]]
    return lpm_value(map, flight.unit);
  return lpm_value(map, lpm_find_address<Address>(map.index, lpm_data(key)));
}

}  // namespace lmn
