// SPDX-License-Identifier: Apache-2.0
//
// BLOOM_FILTER: a set that answers "not there" for certain and "there" perhaps.
//
// Pushing a value sets one bit per hash function; peeking asks whether all of them are set. The
// number of functions is map_extra (1 to 15, 0 means 5), the number of bits the kernel's: about 1.4
// per entry and function, rounded up to a power of two. Nothing can be taken out. User space's
// lookup reads the value to ask for from the buffer. Threads: any; bits are set and read as relaxed
// atomics. Tested by maps_test.cc and tests/contract/maps_contract_test.cc. Source: Linux 6.18,
// kernel/bpf/bloom_filter.c.
#pragma once

#include "maps/map.h"
#include "maps/map_memory.h"

namespace lmn {

class BloomFilterMap final : public Map {
 public:
  static Result<std::unique_ptr<Map>> create(const MapSpec& spec, const MapOptions& options);

  void* lookup(const void* key, std::uint32_t cpu) noexcept override;
  int update(const void* key, const void* value, std::uint64_t flags,
             std::uint32_t cpu) noexcept override;
  int erase(const void* key) noexcept override;
  int push(const void* value, std::uint64_t flags) noexcept override;
  // 0: perhaps there; -ENOENT: not there. `value` is read, not written.
  int peek(void* value) noexcept override;
  // `out` holds the value to ask for.
  int copy_value(const void* key, std::span<std::uint8_t> out,
                 std::uint64_t flags) noexcept override;
  int next_key(const void* key, void* next) noexcept override;

 protected:
  int update_from_user(const void* key, std::span<const std::uint8_t> value,
                       std::uint64_t flags) noexcept override;

 private:
  BloomFilterMap(const MapSpec& spec, const MapOptions& options, MapMemory bits,
                 std::uint32_t bit_mask, std::uint32_t function_count);
  std::uint64_t bit_index(const void* value, std::uint32_t function) const noexcept;
  std::uint64_t* word_of(std::uint64_t bit) const {
    return reinterpret_cast<std::uint64_t*>(bits_.data()) + bit / 64;
  }

  MapMemory bits_;
  std::uint32_t bit_mask_;
  std::uint32_t function_count_;
  std::uint32_t seed_;
};

}  // namespace lmn
