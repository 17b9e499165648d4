// SPDX-License-Identifier: Apache-2.0
//
// The lookup of ARRAY and PERCPU_ARRAY: an index compared and multiplied.
//
// internal; the maps are array_map.h and percpu_array_map.h. With a constant index and descriptor a
// compiler makes an address of it. A plain array has a cpu_stride of 0.
// Threads: any. Tested by maps_test.cc.
#pragma once

#include <cstdint>

#include "base/platform.h"

namespace lmn {

struct ArrayDescriptor {
  std::uint8_t* values;
  std::uint64_t stride;      // bytes from one value to the next
  std::uint64_t cpu_stride;  // bytes from one CPU's values to the next one's
  std::uint32_t max_entries;
};

LMN_FAST void* array_lookup(const ArrayDescriptor& table, const void* key,
                            std::uint32_t cpu) noexcept {
  std::uint32_t index;
  __builtin_memcpy(&index, key, sizeof index);
  if (index >= table.max_entries) return nullptr;
  return table.values + cpu * table.cpu_stride + index * table.stride;
}

LMN_FAST void array_prefetch(const ArrayDescriptor& table, const void* key,
                             std::uint32_t cpu) noexcept {
  std::uint32_t index;
  __builtin_memcpy(&index, key, sizeof index);
  __builtin_prefetch(table.values + cpu * table.cpu_stride + index * table.stride);
}

}  // namespace lmn
