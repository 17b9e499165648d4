// SPDX-License-Identifier: Apache-2.0
//
// LPM_TRIE: values under prefixes; a lookup finds the longest prefix that its key lies in.
//
// A key is struct bpf_lpm_trie_key: a length in bits, then data of 1 to 256 bytes, most significant
// bit first. The trie is binary and path-compressed: a node stands for a prefix that is there, or
// is intermediate and parts two. It is the kernel's shape, so that get_next_key gives the kernel's
// order (longer prefixes before the shorter ones they lie in, zero bits first), and so that the
// bits of a key beyond its length come back as they were written. Beside it an LpmIndex
// (lpm_index.h) answers what programs ask, the longest prefix of a whole address, without a lock
// and in a few cache lines; every change is made in both. The trie answers the rest.
//
// Nodes and values are numbered and live in memory reserved at creation; with very large
// max_entries as much is reserved as the machine has, and an update beyond that is -ENOMEM, as in
// the kernel. Values lie by themselves, so that lookups touch no more lines than they must. A
// removed value is used again when no program reads it any more (limbo.h): a value address a
// program holds goes on showing the old value. Invariants: (1) an intermediate node has two
// children; (2) a child's prefix is longer than its parent's and begins with it; (3) entry_count_
// nodes are not intermediate; (4) those are in the index too. Threads: Map's, by one lock; a
// program's lookup of a whole address takes none. Tested by lpm_test.cc, maps_test.cc and
// tests/contract/maps_contract_test.cc. Source: Linux 6.18, kernel/bpf/lpm_trie.c.
#pragma once

#include "base/mutex.h"
#include "maps/limbo.h"
#include "maps/lpm_index.h"
#include "maps/map.h"
#include "maps/map_memory.h"

namespace lmn {

class LpmTrieMap final : public Map {
 public:
  static Result<std::unique_ptr<Map>> create(const MapSpec& spec, const MapOptions& options);

  // Without a lock for keys of full length.
  void* lookup(const void* key, std::uint32_t cpu) noexcept override LMN_EXCLUDES(lock_);
  int update(const void* key, const void* value, std::uint64_t flags,
             std::uint32_t cpu) noexcept override LMN_EXCLUDES(lock_);
  int erase(const void* key) noexcept override LMN_EXCLUDES(lock_);
  int copy_value(const void* key, std::span<std::uint8_t> out,
                 std::uint64_t flags) noexcept override LMN_EXCLUDES(lock_);
  int next_key(const void* key, void* next) noexcept override LMN_EXCLUDES(lock_);
  FastPath fast_path() const noexcept override { return {FastPathKind::kLpm, &fast_}; }

 private:
  static constexpr std::uint32_t kNone = 0;
  // Values beyond max_entries: as many as may be removed in one grace period. Memory that is never
  // needed is never given.
  static constexpr std::uint32_t kWaitingValues = 1u << 22;

  struct Node {
    std::uint32_t child[2];  // kNone: none
    std::uint32_t prefix_length;
    std::uint32_t value;  // kNone: intermediate
  };
  static std::size_t node_bytes(std::uint32_t data_size) {
    return (sizeof(Node) + data_size + alignof(Node) - 1) / alignof(Node) * alignof(Node);
  }
  // The memory, by what is in it.
  struct Memory {
    MapMemory nodes;
    MapMemory values;
    Limbo released;  // removed values
    std::uint32_t node_count = 0;
    std::uint32_t value_count = 0;
  };
  // A key taken apart.
  struct Prefix {
    std::uint32_t length;
    const std::uint8_t* data;
  };

  using LookupFn = void* (*)(const LpmMapDescriptor&, const void*) noexcept;

  LpmTrieMap(const MapSpec& spec, const MapOptions& options, Memory memory, LpmIndex index);
  static Result<Memory> reserve_memory(const MapSpec& spec, Epoch* epoch);
  static Prefix parse(const void* key) noexcept;
  Node& node(std::uint32_t number) const {
    return *reinterpret_cast<Node*>(memory_.nodes.data() + (number - 1) * node_stride_);
  }
  std::uint8_t* data_of(std::uint32_t number) const {
    return reinterpret_cast<std::uint8_t*>(&node(number)) + sizeof(Node);
  }
  // Of the value, not the node, of this number.
  std::uint8_t* value_at(std::uint32_t value) const {
    return memory_.values.data() + (value - 1) * value_stride_;
  }
  bool is_intermediate(std::uint32_t number) const { return node(number).value == kNone; }
  // The bits that node and key have in common, at most the shorter one's length.
  std::uint32_t match_length(std::uint32_t number, const Prefix& key) const noexcept;

  std::uint32_t find_longest(const Prefix& key) const noexcept LMN_REQUIRES(lock_);
  int insert(const Prefix& key, const void* value, std::uint64_t flags) noexcept
      LMN_REQUIRES(lock_);
  void part(std::uint32_t* slot, std::uint32_t fresh, std::uint32_t fork,
            std::uint32_t matched) noexcept LMN_REQUIRES(lock_);
  LpmIndex::Parent parent_of(std::uint32_t number) const noexcept LMN_REQUIRES(lock_);
  int check_add(std::uint64_t flags) const noexcept LMN_REQUIRES(lock_);
  void remove(std::uint32_t* link, std::uint32_t* parent_link) noexcept LMN_REQUIRES(lock_);
  std::uint32_t leftmost(std::uint32_t number) const noexcept LMN_REQUIRES(lock_);
  std::uint32_t find_successor(const Prefix& key) const noexcept LMN_REQUIRES(lock_);
  // A new node for the key with a new value, and a second one if `needs_fork`; false without
  // memory.
  bool take_nodes(bool needs_fork, std::uint32_t& fresh, std::uint32_t& fork) noexcept
      LMN_REQUIRES(lock_);
  std::uint32_t take_node() noexcept LMN_REQUIRES(lock_);
  void release_node(std::uint32_t number) noexcept LMN_REQUIRES(lock_);
  std::uint32_t take_value() noexcept LMN_REQUIRES(lock_);
  void release_value(std::uint32_t value) noexcept LMN_REQUIRES(lock_);

  Memory memory_;
  std::uint32_t data_size_;  // bytes
  std::size_t node_stride_;
  std::size_t value_stride_;
  const LookupFn lookup_;
  mutable SpinLock lock_;
  LpmIndex index_ LMN_GUARDED_BY(lock_);
  const LpmMapDescriptor fast_;  // what lookups without the lock read
  std::uint32_t root_ LMN_GUARDED_BY(lock_) = kNone;
  std::uint32_t entry_count_ LMN_GUARDED_BY(lock_) = 0;
  std::uint32_t untouched_node_ LMN_GUARDED_BY(lock_) = 0;  // up to here have been taken once
  std::uint32_t untouched_value_ LMN_GUARDED_BY(lock_) = 0;
  std::uint32_t released_node_ LMN_GUARDED_BY(lock_) = kNone;  // linked by child[0]
};

}  // namespace lmn
