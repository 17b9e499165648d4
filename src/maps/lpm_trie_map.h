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
// Nodes are numbered and live in memory reserved at creation; with very large max_entries as much
// is reserved as the machine has, and an update beyond that is -ENOMEM, as in the kernel. A removed
// node is used again only after kQuarantine others: a value address a program holds goes on showing
// the old value.
// Invariants: (1) an intermediate node has two children; (2) a child's prefix is longer than its
// parent's and begins with it; (3) entry_count_ nodes are not intermediate; (4) those are in the
// index too.
// Threads: Map's, by one lock; a program's lookup of a whole address takes none.
// Tested by lpm_test.cc, maps_test.cc and tests/contract/maps_contract_test.cc.
// Source: Linux 6.18, kernel/bpf/lpm_trie.c.
#pragma once

#include "base/mutex.h"
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

 private:
  static constexpr std::uint32_t kNone = 0;
  static constexpr std::uint32_t kQuarantine = 64;

  struct Node {
    std::uint32_t child[2];  // kNone: none
    std::uint32_t prefix_length;
    std::uint32_t is_intermediate;
  };
  // A key taken apart.
  struct Prefix {
    std::uint32_t length;
    const std::uint8_t* data;
  };

  using FindFn = std::uint32_t (*)(const LpmDescriptor&, const std::uint8_t*) noexcept;

  LpmTrieMap(const MapSpec& spec, const MapOptions& options, MapMemory memory,
             std::uint32_t node_capacity, LpmIndex index);
  static Prefix parse(const void* key) noexcept;
  Node& node(std::uint32_t number) const {
    return *reinterpret_cast<Node*>(memory_.data() + (number - 1) * stride_);
  }
  std::uint8_t* data_of(std::uint32_t number) const {
    return reinterpret_cast<std::uint8_t*>(&node(number)) + sizeof(Node);
  }
  std::uint8_t* value_of(std::uint32_t number) const { return data_of(number) + data_stride_; }
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
  std::uint32_t take() noexcept LMN_REQUIRES(lock_);
  void release(std::uint32_t number) noexcept LMN_REQUIRES(lock_);

  MapMemory memory_;
  std::uint32_t data_size_;  // bytes
  std::size_t data_stride_;
  std::size_t stride_;
  std::uint32_t node_capacity_;
  const FindFn find_;
  mutable SpinLock lock_;
  LpmIndex index_ LMN_GUARDED_BY(lock_);
  const LpmDescriptor fast_;  // what lookups without the lock read
  std::uint32_t root_ LMN_GUARDED_BY(lock_) = kNone;
  std::uint32_t entry_count_ LMN_GUARDED_BY(lock_) = 0;
  std::uint32_t untouched_index_ LMN_GUARDED_BY(lock_) = 0;
  // Removed nodes, oldest first, linked by child[0].
  std::uint32_t released_first_ LMN_GUARDED_BY(lock_) = kNone;
  std::uint32_t released_last_ LMN_GUARDED_BY(lock_) = kNone;
  std::uint32_t released_count_ LMN_GUARDED_BY(lock_) = 0;
};

}  // namespace lmn
