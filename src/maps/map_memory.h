// SPDX-License-Identifier: Apache-2.0
//
// MapMemory: the zeroed, page-aligned memory of one map, and the ways to copy values in and out of
// it.
//
// All of a map's memory is reserved when the map is made; the system gives pages as they are first
// touched. An mmapable map's memory is a sealed memfd (base/shared_memory.h), others' is anonymous.
// Sizes are computed by map_bytes(), which cannot wrap: element size times count is where maps have
// gone wrong before (CVE-2021-38166, CVE-2024-26883).
//
// store_value and load_value move 8-byte words as relaxed atomics: a worker and a control thread
// may copy the same value at the same time, as in the kernel, and an aligned 64-bit counter is
// never seen half-written. Owner: the map. Move-only. Threads: the map's rule. Tested by
// maps_test.cc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

#include "base/result.h"
#include "base/shared_memory.h"

namespace lmn {

class MapMemory {
 public:
  // Errors: kLimitExceeded with ENOMEM for sizes over kMapBytesMax or the machine's memory (as the
  // kernel's vmalloc), kIo when the system refuses.
  static Result<MapMemory> create(std::uint64_t size_bytes);
  static Result<MapMemory> create_mapped(std::uint64_t size_bytes);

  // The most create() gives: kMapBytesMax or the machine's memory, whichever is less.
  static std::uint64_t size_bytes_max();

  MapMemory() = default;
  MapMemory(MapMemory&& other) noexcept
      : shared_(std::move(other.shared_)),
        data_(std::exchange(other.data_, nullptr)),
        size_bytes_(std::exchange(other.size_bytes_, 0)) {}
  MapMemory& operator=(MapMemory&& other) noexcept {
    std::swap(shared_, other.shared_);
    std::swap(data_, other.data_);
    std::swap(size_bytes_, other.size_bytes_);
    return *this;
  }
  ~MapMemory();

  // Asks the system for huge pages behind memory that is read at random and large enough to have
  // some: a walk of the page tables costs as much as the miss itself. It may give none.
  void prefer_huge_pages() const noexcept;

  std::uint8_t* data() const { return data_; }
  std::size_t size() const { return size_bytes_; }
  // Null unless made by create_mapped.
  const SharedMemory* shared() const { return shared_.data() == nullptr ? nullptr : &shared_; }

 private:
  SharedMemory shared_;
  std::uint8_t* data_ = nullptr;
  std::size_t size_bytes_ = 0;
};

inline constexpr std::uint64_t round_up_to_8(std::uint64_t bytes) { return (bytes + 7) & ~7ull; }
inline constexpr std::size_t kMapPageBytes = 4096;

// count * stride, or nothing when that is no 64-bit number.
std::optional<std::uint64_t> map_bytes(std::uint64_t count, std::uint64_t stride);

// REQUIRES: `value` is 8-byte aligned and lies in map memory; `size` readable bytes at `from`.
void store_value(void* value, const void* from, std::size_t size) noexcept;
void load_value(void* to, const void* value, std::size_t size) noexcept;
void zero_value(void* value, std::size_t size) noexcept;

// Keys have no alignment: user space and programs give addresses of any kind.
inline std::uint32_t load_key32(const void* key) noexcept {
  std::uint32_t value;
  __builtin_memcpy(&value, key, sizeof value);
  return value;
}
inline void store_key32(void* key, std::uint32_t value) noexcept {
  __builtin_memcpy(key, &value, sizeof value);
}

}  // namespace lmn
