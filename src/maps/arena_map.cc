// SPDX-License-Identifier: Apache-2.0
//
// ARENA. Tested by maps_test.cc and tests/contract/maps_contract_test.cc.
// Source: Linux 6.18, kernel/bpf/arena.c.
#include "maps/arena_map.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/bpf.h>

#include <cerrno>

#include "maps/map_checks.h"

namespace lmn {
namespace {

constexpr std::uint64_t kArenaBytesMax = 1ull << 32;  // addresses in programs have 32 bits

Result<void> check_spec(const MapSpec& spec) {
  constexpr std::uint32_t kFlags = BPF_F_SEGV_ON_FAULT | BPF_F_MMAPABLE | BPF_F_NO_USER_CONV;
  if (spec.key_size != 0 || spec.value_size != 0) {
    return map_error(spec, EINVAL, "an arena has no keys and no values: both sizes are 0");
  }
  if (spec.max_entries == 0) return map_error(spec, EINVAL, "max_entries is 0");
  if ((spec.map_flags & BPF_F_MMAPABLE) == 0) {
    return map_error(spec, EINVAL, "this type is made with BPF_F_MMAPABLE only");
  }
  if ((spec.map_flags & ~kFlags) != 0) {
    return map_error(spec, EINVAL, fmt::format("map_flags {:#x}: not for arenas", spec.map_flags));
  }
  if (spec.map_extra % kMapPageBytes != 0) {
    return map_error(spec, EINVAL,
                     fmt::format("map_extra is {:#x}: an address of a page", spec.map_extra));
  }
  const std::uint64_t size_bytes = std::uint64_t{spec.max_entries} * kMapPageBytes;
  if (size_bytes > kArenaBytesMax) {
    return map_error(
        spec, E2BIG,
        fmt::format("{} pages: at most {}", spec.max_entries, kArenaBytesMax / kMapPageBytes));
  }
  if (spec.map_extra >> 32 != (spec.map_extra + size_bytes - 1) >> 32) {
    return map_error(spec, ERANGE,
                     fmt::format("map_extra is {:#x}: its {} bytes cross a border of 4 GiB",
                                 spec.map_extra, size_bytes));
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<Map>> create_arena_map(const MapSpec& spec, const MapOptions& options,
                                              MapHost&) {
  return ArenaMap::create(spec, options);
}

Result<std::unique_ptr<Map>> ArenaMap::create(const MapSpec& spec, const MapOptions& options) {
  LMN_CHECK_OK(check_spec(spec));
  auto memory = MapMemory::create_mapped(std::uint64_t{spec.max_entries} * kMapPageBytes);
  if (!memory) return make_error(std::move(memory.error()).with_context(spec.name));
  return std::unique_ptr<Map>(new ArenaMap(spec, options, std::move(*memory)));
}

ArenaMap::ArenaMap(const MapSpec& spec, const MapOptions& options, MapMemory memory)
    : Map(spec, options), memory_(std::move(memory)), used_(spec.max_entries) {}

bool ArenaMap::is_free(std::uint64_t page, std::uint64_t page_count) const {
  for (std::uint64_t i = 0; i < page_count; ++i) {
    if (used_[page + i]) return false;
  }
  return true;
}

std::optional<std::uint64_t> ArenaMap::find_free(std::uint64_t page_count) const {
  std::uint64_t run = 0;
  for (std::uint64_t page = 0; page < used_.size(); ++page) {
    run = used_[page] ? 0 : run + 1;
    if (run == page_count) return page + 1 - page_count;
  }
  return std::nullopt;
}

std::optional<std::uint64_t> ArenaMap::allocate_pages(
    std::uint32_t page_count, std::optional<std::uint64_t> wanted) noexcept {
  if (page_count == 0 || page_count > spec().max_entries) return std::nullopt;
  if (wanted && *wanted % kMapPageBytes != 0) return std::nullopt;
  const SpinGuard guard(lock_);
  std::optional<std::uint64_t> page;
  if (!wanted) {
    page = find_free(page_count);
  } else if (*wanted / kMapPageBytes <= spec().max_entries - page_count) {
    if (is_free(*wanted / kMapPageBytes, page_count)) page = *wanted / kMapPageBytes;
  }
  if (!page) return std::nullopt;
  for (std::uint64_t i = 0; i < page_count; ++i) used_[*page + i] = true;
  return *page * kMapPageBytes;
}

void ArenaMap::free_pages(std::uint64_t offset, std::uint32_t page_count) noexcept {
  const SpinGuard guard(lock_);
  for (std::uint64_t i = 0; i < page_count; ++i) {
    const std::uint64_t page = offset / kMapPageBytes + i;
    if (page >= used_.size()) return;
    if (!used_[page]) continue;
    used_[page] = false;
    // Emptied in the file itself: also those who have it mapped see zeros from now on.
    ::fallocate(memory_.shared()->fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                static_cast<off_t>(page * kMapPageBytes), static_cast<off_t>(kMapPageBytes));
  }
}

std::uint8_t* ArenaMap::address_of(std::uint64_t offset, std::size_t size) noexcept {
  if (size == 0 || offset >= memory_.size() || size > memory_.size() - offset) return nullptr;
  const std::uint64_t first = offset / kMapPageBytes;
  const std::uint64_t last = (offset + size - 1) / kMapPageBytes;
  const SpinGuard guard(lock_);
  for (std::uint64_t page = first; page <= last; ++page) {
    if (!used_[page]) return nullptr;
  }
  return memory_.data() + offset;
}

void* ArenaMap::lookup(const void*, std::uint32_t) noexcept { return nullptr; }
int ArenaMap::update(const void*, const void*, std::uint64_t, std::uint32_t) noexcept {
  return -EOPNOTSUPP;
}
int ArenaMap::erase(const void*) noexcept { return -EOPNOTSUPP; }
int ArenaMap::copy_value(const void*, std::span<std::uint8_t>, std::uint64_t) noexcept {
  return -EINVAL;
}
int ArenaMap::next_key(const void*, void*) noexcept { return -EOPNOTSUPP; }

}  // namespace lmn
