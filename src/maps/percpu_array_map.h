// SPDX-License-Identifier: Apache-2.0
//
// PERCPU_ARRAY: an array with one value per CPU, so that workers count without sharing a line.
//
// Each CPU has a block of its own, page-aligned: values of two CPUs never share a cache line. A
// program sees the value of its CPU; user space sees all, each rounded up to 8 bytes, the bytes of
// the rounding included (the kernel copies whole words too).
// Invariant: value i of CPU c begins at memory_.data() + c * block + i * stride, 8-byte aligned.
// Threads: Map's; block c is written by the worker of CPU c and by user-side updates.
// Tested by maps_test.cc and tests/contract/maps_contract_test.cc.
// Source: Linux 6.18, kernel/bpf/arraymap.c.
#pragma once

#include "maps/array_fast.h"
#include "maps/map.h"
#include "maps/map_memory.h"

namespace lmn {

class PercpuArrayMap final : public Map {
 public:
  static Result<std::unique_ptr<Map>> create(const MapSpec& spec, const MapOptions& options);
  ~PercpuArrayMap() override;

  void* lookup(const void* key, std::uint32_t cpu) noexcept override;
  int update(const void* key, const void* value, std::uint64_t flags,
             std::uint32_t cpu) noexcept override;
  int erase(const void* key) noexcept override;
  bool next_element(MapWalk& walk, std::uint32_t cpu) noexcept override;
  int copy_value(const void* key, std::span<std::uint8_t> out,
                 std::uint64_t flags) noexcept override;
  int next_key(const void* key, void* next) noexcept override;
  FastPath fast_path() const noexcept override { return {FastPathKind::kArray, &fast_}; }

 protected:
  int update_from_user(const void* key, std::span<const std::uint8_t> value,
                       std::uint64_t flags) noexcept override;

 private:
  PercpuArrayMap(const MapSpec& spec, const MapOptions& options, MapMemory memory);
  void* value_at(std::uint32_t index, std::uint32_t cpu) const {
    return memory_.data() + cpu * block_bytes_ + index * stride_;
  }

  MapMemory memory_;
  std::size_t stride_;
  std::size_t block_bytes_;
  ArrayDescriptor fast_;
};

// Bytes of one CPU's block of `count` values: whole pages. Nothing when that is no 64-bit number.
std::optional<std::uint64_t> percpu_block_bytes(std::uint64_t count, std::uint32_t value_size);

}  // namespace lmn
