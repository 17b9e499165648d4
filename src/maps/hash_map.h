// SPDX-License-Identifier: Apache-2.0
//
// HASH: values under keys of any bytes; with an LruClock, LRU_HASH (lru_hash_map.cc).
//
// Values live in the table's elements, so their addresses are stable. Replacing a value takes the
// CPU's spare element, puts it in the old one's place, and keeps the old one as the next spare: a
// program that holds the old value's address goes on reading the old value, as with the kernel's
// preallocated hash. With BPF_F_NO_PREALLOC an element that was removed or replaced waits until no
// program reads it (limbo.h). Memory is reserved at creation and given by the system as elements
// are first used, with and without the flag.
// Threads: Map's; a program's lookup takes no lock (keyed_map.h).
// Tested by maps_test.cc, maps_concurrency_test.cc and tests/contract/maps_contract_test.cc.
// Source: Linux 6.18, kernel/bpf/hashtab.c.
#pragma once

#include <vector>

#include "maps/keyed_map.h"

namespace lmn {

class HashMap final : public KeyedMap {
 public:
  static Result<std::unique_ptr<Map>> create(const MapSpec& spec, const MapOptions& options);
  ~HashMap() override { retire_all(); }

  void* lookup(const void* key, std::uint32_t cpu) noexcept override;
  int update(const void* key, const void* value, std::uint64_t flags,
             std::uint32_t cpu) noexcept override LMN_EXCLUDES(lock_);
  int copy_value(const void* key, std::span<std::uint8_t> out,
                 std::uint64_t flags) noexcept override LMN_EXCLUDES(lock_);
  const void* key_of(const void* value, std::uint32_t& index) const noexcept override
      LMN_EXCLUDES(lock_);
  FastPath fast_path() const noexcept override { return {FastPathKind::kHash, &fast_}; }

 protected:
  int copy_element(std::uint32_t element, std::span<std::uint8_t> out,
                   std::uint64_t flags) noexcept override LMN_REQUIRES(lock_);
  void* value_of(std::uint32_t element, std::uint32_t cpu) noexcept override LMN_REQUIRES(lock_);
  void retire_element(std::uint32_t element) noexcept override LMN_REQUIRES(lock_);
  int lookup_and_erase_from_user(const void* key, std::span<std::uint8_t> out,
                                 std::uint64_t flags) noexcept override LMN_EXCLUDES(lock_);

 private:
  HashMap(const MapSpec& spec, const MapOptions& options, HashTable table,
          std::optional<LruClock> lru);

  void retire_all() noexcept LMN_EXCLUDES(lock_);
  std::uint32_t take_for(std::uint32_t old, std::uint32_t cpu) noexcept LMN_REQUIRES(lock_);
  void put_aside(std::uint32_t old, std::uint32_t cpu) noexcept LMN_REQUIRES(lock_);

  std::vector<std::uint32_t> spares_ LMN_GUARDED_BY(lock_);  // by CPU
};

}  // namespace lmn
