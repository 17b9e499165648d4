// SPDX-License-Identifier: Apache-2.0
//
// ARRAY: values numbered 0 to max_entries - 1, all there from the start and zero; also global data.
//
// One block of memory, values at a stride of value_size rounded up to 8. With BPF_F_MMAPABLE the
// block is a sealed memfd whose offset 0 is value 0, the kernel's layout for mmap. A map of one
// entry gives the addresses of its bytes to programs: that is how .data, .bss and .rodata are
// reached. Invariant: element i begins at memory_.data() + i * stride, 8-byte aligned. Threads:
// Map's; values are copied word by word without a lock, as in the kernel. Tested by maps_test.cc
// and tests/contract/maps_contract_test.cc. Source: Linux 6.18, kernel/bpf/arraymap.c.
#pragma once

#include "maps/array_fast.h"
#include "maps/map.h"
#include "maps/map_memory.h"

namespace lmn {

class ArrayMap final : public Map {
 public:
  static Result<std::unique_ptr<Map>> create(const MapSpec& spec, const MapOptions& options);
  ~ArrayMap() override;

  void* lookup(const void* key, std::uint32_t cpu) noexcept override;
  int update(const void* key, const void* value, std::uint64_t flags,
             std::uint32_t cpu) noexcept override;
  int erase(const void* key) noexcept override;
  bool next_element(MapWalk& walk, std::uint32_t cpu) noexcept override;
  void* direct_value(std::uint32_t offset) noexcept override;
  int copy_value(const void* key, std::span<std::uint8_t> out,
                 std::uint64_t flags) noexcept override;
  int next_key(const void* key, void* next) noexcept override;
  // Memory whose values hold more than bytes is nobody's to map, as in the kernel.
  const SharedMemory* mapped_memory() const noexcept override {
    return fields() == nullptr ? memory_.shared() : nullptr;
  }
  const void* key_of(const void* value, std::uint32_t& index) const noexcept override;
  FastPath fast_path() const noexcept override { return {FastPathKind::kArray, &fast_}; }

 private:
  ArrayMap(const MapSpec& spec, const MapOptions& options, MapMemory memory);
  void* value_at(std::uint32_t index) const { return memory_.data() + index * stride_; }

  MapMemory memory_;
  std::size_t stride_;
  ArrayDescriptor fast_;
};

// The next element of a walk over an array.
bool next_array_element(const ArrayDescriptor& table, MapWalk& walk, std::uint32_t cpu) noexcept;
// What every array answers to get_next_key: the next index; the first after null or an index out of
// range; -ENOENT after the last.
int next_array_key(const void* key, void* next, std::uint32_t max_entries) noexcept;
// The checks before an array's update: 0, -EINVAL, -E2BIG or -EEXIST, in the kernel's order. What
// BPF_F_LOCK needs is the caller's to check, after these.
int check_array_update(std::uint32_t index, std::uint32_t max_entries,
                       std::uint64_t flags) noexcept;

}  // namespace lmn
