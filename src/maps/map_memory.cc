// SPDX-License-Identifier: Apache-2.0
//
// MapMemory over anonymous mmap(2) or a memfd, and word-wise value copies. Tested by maps_test.cc.
#include "maps/map_memory.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "abi/limits.h"

namespace lmn {
namespace {

Result<void> check_size(std::uint64_t size_bytes) {
  if (size_bytes <= MapMemory::size_bytes_max()) return {};
  return make_errno_error(ErrorCode::kLimitExceeded, ENOMEM,
                          fmt::format("map memory of {} bytes: more than the limit of {}",
                                      size_bytes, MapMemory::size_bytes_max()));
}

// Relaxed atomic access to a word of map memory; the other side of the copy is private.
template <typename T>
void store_word(std::uint8_t* to, const std::uint8_t* from) noexcept {
  T word;
  std::memcpy(&word, from, sizeof word);
  __atomic_store_n(reinterpret_cast<T*>(to), word, __ATOMIC_RELAXED);
}

template <typename T>
void load_word(std::uint8_t* to, const std::uint8_t* from) noexcept {
  const T word = __atomic_load_n(reinterpret_cast<const T*>(from), __ATOMIC_RELAXED);
  std::memcpy(to, &word, sizeof word);
}

}  // namespace

std::uint64_t MapMemory::size_bytes_max() {
  const auto physical_bytes = static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) *
                              static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  return std::min(limits::kMapBytesMax, physical_bytes);
}

Result<MapMemory> MapMemory::create(std::uint64_t size_bytes) {
  LMN_CHECK_OK(check_size(size_bytes));
  MapMemory memory;
  memory.size_bytes_ = static_cast<std::size_t>(std::max<std::uint64_t>(size_bytes, 1));
  void* at = ::mmap(nullptr, memory.size_bytes_, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) {
    return make_errno_error(ErrorCode::kIo, ENOMEM,
                            fmt::format("map memory of {} bytes: {}", size_bytes, strerror(errno)));
  }
  memory.data_ = static_cast<std::uint8_t*>(at);
  return memory;
}

Result<MapMemory> MapMemory::create_mapped(std::uint64_t size_bytes) {
  LMN_CHECK_OK(check_size(size_bytes));
  MapMemory memory;
  LMN_TRY(memory.shared_, SharedMemory::create("bpf-map", static_cast<std::size_t>(size_bytes)));
  memory.data_ = memory.shared_.data();
  memory.size_bytes_ = memory.shared_.size();
  return memory;
}

MapMemory::~MapMemory() {
  if (data_ != nullptr && shared_.data() == nullptr) ::munmap(data_, size_bytes_);
}

std::optional<std::uint64_t> map_bytes(std::uint64_t count, std::uint64_t stride) {
  std::uint64_t product = 0;
  if (__builtin_mul_overflow(count, stride, &product)) return std::nullopt;
  return product;
}

void MapMemory::prefer_huge_pages() const noexcept {
  constexpr std::size_t kHugePageBytes = 2u << 20;
  if (size_bytes_ < 2 * kHugePageBytes || shared_.data() != nullptr) return;
  // A wish: the answer changes nothing that can be seen but time.
  (void)::madvise(data_, size_bytes_, MADV_HUGEPAGE);
}

void store_value(void* value, const void* from, std::size_t size) noexcept {
  auto* to = static_cast<std::uint8_t*>(value);
  const auto* source = static_cast<const std::uint8_t*>(from);
  std::size_t done = 0;
  for (; done + 8 <= size; done += 8) store_word<std::uint64_t>(to + done, source + done);
  if (done + 4 <= size) store_word<std::uint32_t>(to + done, source + done), done += 4;
  for (; done < size; ++done) store_word<std::uint8_t>(to + done, source + done);
}

void load_value(void* to, const void* value, std::size_t size) noexcept {
  auto* target = static_cast<std::uint8_t*>(to);
  const auto* from = static_cast<const std::uint8_t*>(value);
  std::size_t done = 0;
  for (; done + 8 <= size; done += 8) load_word<std::uint64_t>(target + done, from + done);
  if (done + 4 <= size) load_word<std::uint32_t>(target + done, from + done), done += 4;
  for (; done < size; ++done) load_word<std::uint8_t>(target + done, from + done);
}

void zero_value(void* value, std::size_t size) noexcept {
  auto* to = static_cast<std::uint8_t*>(value);
  const std::uint8_t zeros[8] = {};
  std::size_t done = 0;
  for (; done + 8 <= size; done += 8) store_word<std::uint64_t>(to + done, zeros);
  for (; done < size; ++done) store_word<std::uint8_t>(to + done, zeros);
}

}  // namespace lmn
