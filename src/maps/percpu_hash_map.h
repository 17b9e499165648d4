// SPDX-License-Identifier: Apache-2.0
//
// PERCPU_HASH: a hash with one value per CPU under each key; with an LruClock, LRU_PERCPU_HASH
// (lru_hash_map.cc).
//
// Keys live in the table; values in one block per CPU, indexed by the element's number, so that two
// workers never share a line. A program that makes a key sets its CPU's value and zeroes the
// others'. Values are replaced in place, as in the kernel. User space sees all CPUs, each value
// rounded up to 8 bytes, the rounding's bytes included. Threads: Map's; a program's lookup takes no
// lock (keyed_map.h). Tested by maps_test.cc and tests/contract/maps_contract_test.cc. Source:
// Linux 6.18, kernel/bpf/hashtab.c.
#pragma once

#include "maps/keyed_map.h"
#include "maps/map_memory.h"

namespace lmn {

class PercpuHashMap final : public KeyedMap {
 public:
  static Result<std::unique_ptr<Map>> create(const MapSpec& spec, const MapOptions& options);
  ~PercpuHashMap() override { retire_all(); }

  void* lookup(const void* key, std::uint32_t cpu) noexcept override;
  int update(const void* key, const void* value, std::uint64_t flags,
             std::uint32_t cpu) noexcept override LMN_EXCLUDES(lock_);
  int copy_value(const void* key, std::span<std::uint8_t> out,
                 std::uint64_t flags) noexcept override LMN_EXCLUDES(lock_);
  FastPath fast_path() const noexcept override { return {FastPathKind::kPercpuHash, &percpu_}; }

 protected:
  int copy_element(std::uint32_t element, std::span<std::uint8_t> out,
                   std::uint64_t flags) noexcept override LMN_REQUIRES(lock_);
  void* value_of(std::uint32_t element, std::uint32_t cpu) noexcept override LMN_REQUIRES(lock_) {
    return value_at(element, cpu);
  }
  void retire_element(std::uint32_t element) noexcept override LMN_REQUIRES(lock_);
  int update_from_user(const void* key, std::span<const std::uint8_t> value,
                       std::uint64_t flags) noexcept override LMN_EXCLUDES(lock_);
  int lookup_and_erase_from_user(const void* key, std::span<std::uint8_t> out,
                                 std::uint64_t flags) noexcept override LMN_EXCLUDES(lock_);

 private:
  PercpuHashMap(const MapSpec& spec, const MapOptions& options, HashTable table,
                std::optional<LruClock> lru, MapMemory values);
  void retire_all() noexcept LMN_EXCLUDES(lock_);
  // The element of `key`, or one to be linked by the caller if it is not there and `flags` allow;
  // or -errno.
  int find_or_take(const void* key, std::uint64_t hash, std::uint64_t flags, std::uint32_t& element,
                   bool& is_new) noexcept LMN_REQUIRES(lock_);
  std::uint8_t* value_at(std::uint32_t element, std::uint32_t cpu) const {
    return values_.data() + cpu * block_bytes_ + (element - 1) * stride_;
  }

  MapMemory values_;
  std::size_t stride_;
  std::size_t block_bytes_;
  PercpuHashDescriptor percpu_;
};

}  // namespace lmn
