// SPDX-License-Identifier: Apache-2.0
//
// The reading half of LPM_TRIE: the longest prefix of an address in a few cache lines.
//
// internal; the writing half is lpm_index.h. The first bits of the address (7, 13 or 19, by the
// size of the map) index a table whose entries hold the longest prefix no longer than that, and a
// node for longer ones. A node takes 6 bits at once and is half a cache line: 63 bits say which
// prefixes of 0 to 5 further bits are there, 64 bits which of the 64 ways on have a node. Both are
// read by population count: the nodes below and then the element numbers of the prefixes here lie
// in one block; few elements of a node without children lie in itself. Bits that all prefixes below
// share are skipped at once, up to 48 per node, so that sparse tries, IPv6 and long keys are no
// deeper than they are full. (Tables of all values of 16 or 24 bits are larger than the caches and,
// read at random, slower.)
//
//   const std::uint32_t element = lpm_find(table, address);
//
// How a reader is never wrong beside a writer: a change becomes visible by one store, of a root
// entry, of a block number or of the state; and memory is used again, or the other of the two root
// tables changed, only after the state has changed. A reader that finds the state changed when it
// is through looks again; what it read meanwhile may have been anything, so every index is
// checked against the memory's end.
// Threads: any number of readers beside one writer. Tested by lpm_test.cc.
#pragma once

#include <array>
#include <cstdint>

#include "base/platform.h"

namespace lmn {

struct alignas(32) LpmNode {
  std::uint64_t prefixes;   // bit 2^n - 1 + v: the prefix of the n < 6 further bits v is there
  std::uint64_t skip;       // bits in front of those, from the highest
  std::uint64_t children;   // bit v: there is a node behind the 6 further bits v
  std::uint32_t block;      // unit of the first child; behind the children are the elements, as u32
  std::uint32_t skip_bits;  // a multiple of 6, at most kLpmSkipBitsMax; perhaps with kLpmLeafBit
};
static_assert(sizeof(LpmNode) == 32, "two nodes are a cache line");

inline constexpr std::uint32_t kLpmStride = 6;
inline constexpr std::uint32_t kLpmSkipBitsMax = 48;
// A node without children and with few elements has these in itself, from `children` on.
inline constexpr std::uint32_t kLpmLeafBit = 1u << 31;
inline constexpr std::uint32_t kLpmLeafElementsMax = 3;
inline constexpr std::uint32_t kLpmElementsPerUnit = sizeof(LpmNode) / sizeof(std::uint32_t);
inline constexpr std::uint32_t kLpmBlockUnitsMax = 64 + 8;  // 64 children, 63 elements
inline constexpr std::uint32_t kNoLpmElement = 0;

// What a lookup needs to know of its map. A root entry is the element of the longest prefix of at
// most root_bits in its low half, the unit of a node in its high half; 0 for none.
struct LpmDescriptor {
  const std::uint64_t* state;  // bit 0: which root table holds; the rest counts changes
  const std::uint64_t* roots;  // two tables
  const LpmNode* units;
  std::uint64_t unit_count;
  std::uint32_t root_bits;
  std::uint32_t data_size;  // bytes of an address
};

// Of a map: where the value of element n is.
struct LpmMapDescriptor {
  LpmDescriptor index;
  std::uint8_t* values;  // of element 0, if there were one
  std::uint64_t stride;
};

// By 6 bits of an address: the bits of LpmNode::prefixes that it lies in.
inline constexpr auto kLpmPaths = [] {
  std::array<std::uint64_t, 64> paths{};
  for (std::uint32_t bits = 0; bits < 64; ++bits) {
    for (std::uint32_t length = 0; length < kLpmStride; ++length) {
      paths[bits] |= 1ull << ((1u << length) - 1 + (bits >> (kLpmStride - length)));
    }
  }
  return paths;
}();

// --- addresses as numbers: window(n) is the address from bit n on, from the highest bit, of which
// at least 57 bits are right and bits beyond the address 0.

struct LpmAddress32 {
  explicit LpmAddress32(const std::uint8_t* data) noexcept {
    std::uint32_t raw;
    __builtin_memcpy(&raw, data, sizeof raw);
    word = std::uint64_t{big_endian(raw)} << 32;
  }
  std::uint64_t window(std::uint32_t from) const noexcept { return word << (from & 63); }
  std::uint64_t word;
};

struct LpmAddress128 {
  explicit LpmAddress128(const std::uint8_t* data) noexcept {
    std::uint64_t raw[2];
    __builtin_memcpy(raw, data, sizeof raw);
    high = big_endian(raw[0]);
    low = big_endian(raw[1]);
  }
  std::uint64_t window(std::uint32_t from) const noexcept {
    const std::uint32_t shift = from & 63;
    const std::uint64_t first = from < 64 ? high : low;
    const std::uint64_t second = from < 64 ? low : 0;
    return from < 128 ? first << shift | (second >> 1) >> (63 - shift) : 0;
  }
  std::uint64_t high;
  std::uint64_t low;
};

struct LpmAddressBytes {
  LpmAddressBytes(const std::uint8_t* bytes, std::uint32_t byte_count) noexcept
      : data(bytes), size(byte_count) {}
  std::uint64_t window(std::uint32_t from) const noexcept {
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
};

// --- the search

LMN_FAST std::uint32_t lpm_count(std::uint64_t bits) noexcept {
  return static_cast<std::uint32_t>(__builtin_popcountll(bits));
}

// The element of the longest prefix below `unit` that the address lies in, else `best`. What is
// found or not, leaf or not, is chosen without branches: they would be guessed wrongly once per
// address, which costs more than all the arithmetic.
template <typename Address>
LMN_FAST std::uint32_t lpm_descend(const LpmDescriptor& table, const Address& address,
                                   std::uint64_t unit, std::uint32_t best) noexcept {
  const std::uint32_t* elements = &best;
  std::uint64_t hits = 1;   // the prefixes of a node that the address lies in, and
  std::uint64_t among = 1;  // all that it has
  std::uint32_t offset = table.root_bits;
  while (unit != 0 && unit < table.unit_count) {
    const LpmNode& node = table.units[unit];
    const std::uint64_t prefixes = __atomic_load_n(&node.prefixes, __ATOMIC_RELAXED);
    const std::uint64_t skip = __atomic_load_n(&node.skip, __ATOMIC_RELAXED);
    const std::uint64_t block_read = __atomic_load_n(&node.block, __ATOMIC_ACQUIRE);
    const std::uint64_t block = block_read < table.unit_count ? block_read : 0;
    const std::uint32_t kind = __atomic_load_n(&node.skip_bits, __ATOMIC_RELAXED);
    const std::uint64_t is_node = static_cast<std::uint64_t>(kind >> 31) - 1;  // all bits, or none
    const std::uint64_t children = __atomic_load_n(&node.children, __ATOMIC_RELAXED) & is_node;
    const std::uint32_t skip_bits = kind & 63;
    const std::uint64_t window = address.window(offset);
    const bool is_on_way = (((window ^ skip) >> 1) >> (63 - skip_bits)) == 0;
    const std::uint64_t bits = (window << skip_bits) >> (64 - kLpmStride);
    const std::uint64_t here = is_on_way ? prefixes & kLpmPaths[bits] : 0;
    const auto* in_leaf = reinterpret_cast<const std::uint32_t*>(&node.children);
    const auto* in_block =
        reinterpret_cast<const std::uint32_t*>(table.units + block + lpm_count(children));
    const std::uint32_t* here_elements = is_node != 0 ? in_block : in_leaf;
    elements = here != 0 ? here_elements : elements;
    among = here != 0 ? prefixes : among;
    hits = here != 0 ? here : hits;
    if (!is_on_way || (children >> bits & 1) == 0) break;
    unit = block + lpm_count(children & ((1ull << bits) - 1));
    offset += skip_bits + kLpmStride;
  }
  const std::uint64_t longest = 0x8000000000000000ull >> __builtin_clzll(hits);
  return __atomic_load_n(elements + lpm_count(among & (longest - 1)), __ATOMIC_RELAXED);
}

LMN_FAST const std::uint64_t* lpm_root(const LpmDescriptor& table, std::uint64_t state,
                                       std::uint64_t window) noexcept {
  const std::uint64_t first = (state & 1) << table.root_bits;
  return table.roots + first + (window >> (64 - table.root_bits));
}

template <typename Address>
LMN_FAST std::uint32_t lpm_find_address(const LpmDescriptor& table,
                                        const Address& address) noexcept {
  for (;;) {
    const std::uint64_t state = __atomic_load_n(table.state, __ATOMIC_ACQUIRE);
    const std::uint64_t root =
        __atomic_load_n(lpm_root(table, state, address.window(0)), __ATOMIC_ACQUIRE);
    const std::uint32_t found =
        lpm_descend(table, address, root >> 32, static_cast<std::uint32_t>(root));
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if (__atomic_load_n(table.state, __ATOMIC_RELAXED) == state) return found;
  }
}

// --- what programs call. `data`: data_size readable bytes, the address without its length.

// The element of the longest prefix that the whole address lies in, or kNoLpmElement.
LMN_FAST std::uint32_t lpm_find(const LpmDescriptor& table, const std::uint8_t* data) noexcept {
  if (table.data_size == 4) return lpm_find_address(table, LpmAddress32(data));
  if (table.data_size == 16) return lpm_find_address(table, LpmAddress128(data));
  return lpm_find_address(table, LpmAddressBytes(data, table.data_size));
}

// Whether the key, a 32-bit length and an address, asks for a whole address: only those are
// answered here, others by the map.
LMN_FAST bool lpm_is_whole(const LpmMapDescriptor& table, const void* key) noexcept {
  std::uint32_t length;
  __builtin_memcpy(&length, key, sizeof length);
  return length == table.index.data_size * 8;
}

// REQUIRES: lpm_is_whole(table, key).
LMN_FAST void* lpm_lookup(const LpmMapDescriptor& table, const void* key) noexcept {
  const auto* data = static_cast<const std::uint8_t*>(key) + sizeof(std::uint32_t);
  const std::uint32_t found = lpm_find(table.index, data);
  return found == kNoLpmElement ? nullptr : table.values + found * table.stride;
}

// Fetch the lines that lpm_find will read first: the root entry, and some time later the node.
LMN_FAST const std::uint64_t* lpm_prefetch_root(const LpmDescriptor& table,
                                                const std::uint8_t* data) noexcept {
  const std::uint64_t window = table.data_size == 4
                                   ? LpmAddress32(data).window(0)
                                   : LpmAddressBytes(data, table.data_size).window(0);
  const std::uint64_t state = __atomic_load_n(table.state, __ATOMIC_RELAXED);
  const std::uint64_t* root = lpm_root(table, state, window);
  __builtin_prefetch(root);
  return root;
}

LMN_FAST void lpm_prefetch_node(const LpmDescriptor& table, const std::uint64_t* root) noexcept {
  __builtin_prefetch(table.units + (__atomic_load_n(root, __ATOMIC_RELAXED) >> 32));
}

}  // namespace lmn
