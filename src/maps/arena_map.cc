// SPDX-License-Identifier: Apache-2.0
//
// ARENA. Tested by maps_test.cc and tests/contract/maps_contract_test.cc.
// Source: Linux 6.18, kernel/bpf/arena.c.
#include "maps/arena_map.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/bpf.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

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
  std::unique_ptr<ArenaMap> arena(new ArenaMap(spec, options, std::move(*memory)));
  LMN_CHECK_OK(arena->map_for_user());
  return std::unique_ptr<Map>(std::move(arena));
}

ArenaMap::ArenaMap(const MapSpec& spec, const MapOptions& options, MapMemory memory)
    : Map(spec, options),
      memory_(std::move(memory)),
      pages_(spec.max_entries),
      free_(spec.max_entries) {}

ArenaMap::~ArenaMap() {
  if (user_view_ != nullptr) ::munmap(user_view_, memory_.size());
}

Result<void> ArenaMap::map_for_user() {
  const int fd = memory_.shared()->fd();
  constexpr int kRights = PROT_READ | PROT_WRITE;
  user_start_ = spec().map_extra;
  if (user_start_ != 0) {
    void* wanted = reinterpret_cast<void*>(static_cast<std::uintptr_t>(user_start_));
    void* got = ::mmap(wanted, memory_.size(), kRights, MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0);
    // Taken by something else: who wants to follow the pointers maps the arena elsewhere.
    if (got != MAP_FAILED && got != wanted) ::munmap(got, memory_.size());
    if (got == wanted) user_view_ = got;
    return {};
  }
  // Room for a border of 4 GiB and the arena behind it; the rest is given back.
  const std::size_t room = memory_.size() + kArenaBytesMax;
  void* reserved =
      ::mmap(nullptr, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved == MAP_FAILED) return map_error(spec(), ENOMEM, "no addresses for the arena");
  const auto first = reinterpret_cast<std::uintptr_t>(reserved);
  const std::uint64_t start = (first + kArenaBytesMax - 1) / kArenaBytesMax * kArenaBytesMax;
  void* view = reinterpret_cast<void*>(static_cast<std::uintptr_t>(start));
  void* got = ::mmap(view, memory_.size(), kRights, MAP_SHARED | MAP_FIXED, fd, 0);
  if (start > first) ::munmap(reserved, start - first);
  const std::uint64_t end = start + memory_.size();
  if (first + room > end) {
    ::munmap(reinterpret_cast<void*>(static_cast<std::uintptr_t>(end)), first + room - end);
  }
  if (got == MAP_FAILED) return map_error(spec(), ENOMEM, "the arena cannot be mapped");
  user_view_ = got;
  user_start_ = start;
  return {};
}

bool ArenaMap::note_touched(std::uint64_t page, std::uint64_t page_count) noexcept {
  constexpr std::uint64_t kPagesPerCall = 512;
  bool is_any = false;
  for (std::uint64_t done = 0; done < page_count; done += kPagesPerCall) {
    std::array<unsigned char, kPagesPerCall> resident;
    const std::uint64_t count = std::min(kPagesPerCall, page_count - done);
    std::uint8_t* first = memory_.data() + (page + done) * kMapPageBytes;
    if (::mincore(first, count * kMapPageBytes, resident.data()) != 0) continue;
    for (std::uint64_t i = 0; i < count; ++i) {
      if ((resident[i] & 1) == 0 || pages_[page + done + i]) continue;
      pages_[page + done + i] = true;
      free_.remove(page + done + i, 1);
      is_any = true;
    }
  }
  return is_any;
}

bool ArenaMap::has_page(std::uint64_t page) noexcept {
  if (!pages_[page]) note_touched(page, 1);
  return pages_[page];
}

std::optional<std::uint64_t> ArenaMap::allocate_pages(
    std::uint32_t page_count, std::optional<std::uint64_t> wanted) noexcept {
  if (page_count == 0 || page_count > spec().max_entries) return std::nullopt;
  if (wanted && *wanted % kMapPageBytes != 0) return std::nullopt;
  if (wanted && *wanted / kMapPageBytes > spec().max_entries - page_count) return std::nullopt;
  const SpinGuard guard(lock_);
  std::optional<std::uint64_t> page;
  do {
    page = wanted ? *wanted / kMapPageBytes : free_.find(page_count);
    if (!page || !free_.are_free(*page, page_count)) return std::nullopt;
  } while (note_touched(*page, page_count));
  free_.remove(*page, page_count);
  for (std::uint64_t i = 0; i < page_count; ++i) pages_[*page + i] = true;
  return *page * kMapPageBytes;
}

int ArenaMap::reserve_pages(std::uint64_t offset, std::uint32_t page_count) noexcept {
  const std::uint64_t page = offset / kMapPageBytes;
  if (page + page_count > spec().max_entries) return -EINVAL;
  const SpinGuard guard(lock_);
  note_touched(page, page_count);
  if (!free_.are_free(page, page_count)) return -EBUSY;
  free_.remove(page, page_count);
  return 0;
}

void ArenaMap::free_pages(std::uint64_t offset, std::uint32_t page_count) noexcept {
  const std::uint64_t first = offset / kMapPageBytes;
  if (page_count == 0 || first >= spec().max_entries) return;
  const std::uint64_t count = std::min<std::uint64_t>(page_count, spec().max_entries - first);
  const SpinGuard guard(lock_);
  free_.add(first, count);
  for (std::uint64_t i = 0; i < count; ++i) pages_[first + i] = false;
  // Emptied in the file itself: also those who have it mapped see zeros from now on.
  ::fallocate(memory_.shared()->fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
              static_cast<off_t>(first * kMapPageBytes), static_cast<off_t>(count * kMapPageBytes));
}

std::uint8_t* ArenaMap::address_of(std::uint64_t offset, std::size_t size) noexcept {
  if (size == 0 || offset >= memory_.size() || size > memory_.size() - offset) return nullptr;
  const std::uint64_t first = offset / kMapPageBytes;
  const std::uint64_t last = (offset + size - 1) / kMapPageBytes;
  const SpinGuard guard(lock_);
  for (std::uint64_t page = first; page <= last; ++page) {
    if (!has_page(page)) return nullptr;
  }
  return memory_.data() + offset;
}

std::uint8_t* ArenaMap::bytes_at(std::uint32_t address, std::int64_t offset,
                                 std::size_t size) noexcept {
  // The sum is not wrapped: beside the 4 GiB there is nothing.
  const std::int64_t low = static_cast<std::int64_t>(static_cast<std::uint32_t>(user_start_));
  const std::int64_t at = std::int64_t{address} + offset - low;
  return at < 0 ? nullptr : address_of(static_cast<std::uint64_t>(at), size);
}

int ArenaMap::fill(std::span<const std::uint8_t> contents) noexcept {
  if (contents.size() > memory_.size()) return -E2BIG;
  std::memcpy(memory_.data(), contents.data(), contents.size());
  const SpinGuard guard(lock_);
  note_touched(0, (contents.size() + kMapPageBytes - 1) / kMapPageBytes);
  return 0;
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
