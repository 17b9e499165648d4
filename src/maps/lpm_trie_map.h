// SPDX-License-Identifier: Apache-2.0
//
// LPM_TRIE: values under prefixes; a lookup finds the longest prefix that its key lies in.
//
// A key is struct bpf_lpm_trie_key: a length in bits, then data of 1 to 256 bytes, most significant
// bit first. The trie is binary and path-compressed: a node stands for a prefix that is there, an
// entry, or is a fork and parts two. It is the kernel's shape, so that get_next_key gives the
// kernel's order (longer prefixes before the shorter ones they lie in, zero bits first), and so
// that the bits of a key beyond its length come back as they were written. Beside it an LpmIndex
// (lpm_index.h) answers what programs ask, the longest prefix of a whole address, without a lock
// and in a few cache lines; every change is made in both. The trie answers the rest.
//
// Forks have no data of their own, which would be half of a trie of IPv6: they name an entry below,
// whose data begins as theirs. Nodes and values are numbered and live in memory reserved at
// creation; with very large max_entries as much is reserved as the machine has, and an update
// beyond that is -ENOMEM, as in the kernel. Values lie by themselves, so that lookups touch no more
// lines than they must. A removed value is used again when no program reads it any more (limbo.h):
// a value address a program holds goes on showing the old value. Invariants: (1) a fork has two
// children, and names an entry below itself; (2) a child's prefix is longer than its parent's and
// begins with it; (3) there are entry_count_ entries; (4) those are in the index too. Threads:
// Map's, by one lock; a program's lookup of a whole address takes none. Tested by lpm_test.cc,
// maps_test.cc and tests/contract/maps_contract_test.cc. Source: Linux 6.18, kernel/bpf/lpm_trie.c.
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

  static constexpr std::uint32_t kForkBit = 1u << 31;  // of a node's number

  struct Node {
    std::uint32_t child[2];  // kNone: none
    std::uint32_t prefix_length;
    std::uint32_t value;  // of a fork: the entry that it names
  };
  static std::size_t entry_bytes(std::uint32_t data_size) {
    return (sizeof(Node) + data_size + alignof(Node) - 1) / alignof(Node) * alignof(Node);
  }
  // The memory, by what is in it.
  struct Memory {
    MapMemory entries;  // each a Node and its data
    MapMemory forks;
    MapMemory values;
    Limbo released;  // removed values
    std::uint32_t entry_count = 0;
    std::uint32_t fork_count = 0;
    std::uint32_t value_count = 0;
  };
  // Which nodes of a kind are free.
  struct FreeNodes {
    std::uint32_t untouched = 0;     // up to here have been taken once
    std::uint32_t released = kNone;  // linked by child[0]
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
  static bool is_fork(std::uint32_t number) { return (number & kForkBit) != 0; }
  Node& node(std::uint32_t number) const {
    if (is_fork(number)) {
      return reinterpret_cast<Node*>(memory_.forks.data())[(number & ~kForkBit) - 1];
    }
    return *reinterpret_cast<Node*>(memory_.entries.data() + (number - 1) * entry_stride_);
  }
  // The node itself if it is an entry, else the one it names.
  std::uint32_t entry_of(std::uint32_t number) const {
    return is_fork(number) ? node(number).value : number;
  }
  std::uint8_t* data_of(std::uint32_t number) const {
    return reinterpret_cast<std::uint8_t*>(&node(entry_of(number))) + sizeof(Node);
  }
  // Of the value, not the node, of this number.
  std::uint8_t* value_at(std::uint32_t value) const {
    return memory_.values.data() + (value - 1) * value_stride_;
  }
  // The bits that node and key have in common, at most the shorter one's length.
  std::uint32_t match_length(std::uint32_t number, const Prefix& key) const noexcept;

  std::uint32_t find_longest(const Prefix& key) const noexcept LMN_REQUIRES(lock_);
  int insert(const Prefix& key, const void* value, std::uint64_t flags) noexcept
      LMN_REQUIRES(lock_);
  int replace_value(std::uint32_t number, const Prefix& key, const void* value) noexcept
      LMN_REQUIRES(lock_);
  void part(std::uint32_t* slot, std::uint32_t fresh, std::uint32_t fork,
            std::uint32_t matched) noexcept LMN_REQUIRES(lock_);
  LpmIndex::Parent parent_of(std::uint32_t number) const noexcept LMN_REQUIRES(lock_);
  int check_add(std::uint64_t flags) const noexcept LMN_REQUIRES(lock_);
  void remove(std::uint32_t* link, std::uint32_t* parent_link) noexcept LMN_REQUIRES(lock_);
  std::uint32_t fork_in_place_of(std::uint32_t number) noexcept LMN_REQUIRES(lock_);
  void rename_in_forks(std::uint32_t gone, std::uint32_t other) noexcept LMN_REQUIRES(lock_);
  std::uint32_t leftmost(std::uint32_t number) const noexcept LMN_REQUIRES(lock_);
  std::uint32_t find_successor(const Prefix& key) const noexcept LMN_REQUIRES(lock_);
  // A new entry with a new value, and a fork if `needs_fork`; false without memory.
  bool take_nodes(bool needs_fork, std::uint32_t& fresh, std::uint32_t& fork) noexcept
      LMN_REQUIRES(lock_);
  // kNone without memory.
  std::uint32_t take_entry() noexcept LMN_REQUIRES(lock_) {
    return take_node(free_entries_, 0, memory_.entry_count);
  }
  std::uint32_t take_fork() noexcept LMN_REQUIRES(lock_) {
    return take_node(free_forks_, kForkBit, memory_.fork_count);
  }
  std::uint32_t take_node(FreeNodes& free, std::uint32_t kind, std::uint32_t count) noexcept
      LMN_REQUIRES(lock_);
  void release_node(std::uint32_t number) noexcept LMN_REQUIRES(lock_);
  std::uint32_t take_value() noexcept LMN_REQUIRES(lock_);
  void release_value(std::uint32_t value) noexcept LMN_REQUIRES(lock_);

  Memory memory_;
  std::uint32_t data_size_;  // bytes
  std::size_t entry_stride_;
  std::size_t value_stride_;
  const LookupFn lookup_;
  mutable SpinLock lock_;
  LpmIndex index_ LMN_GUARDED_BY(lock_);
  const LpmMapDescriptor fast_;  // what lookups without the lock read
  std::uint32_t root_ LMN_GUARDED_BY(lock_) = kNone;
  std::uint32_t entry_count_ LMN_GUARDED_BY(lock_) = 0;
  FreeNodes free_entries_ LMN_GUARDED_BY(lock_);
  FreeNodes free_forks_ LMN_GUARDED_BY(lock_);
  std::uint32_t untouched_value_ LMN_GUARDED_BY(lock_) = 0;  // up to here have been taken once
};

}  // namespace lmn
