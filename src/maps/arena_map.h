// SPDX-License-Identifier: Apache-2.0
//
// ARENA: up to 4 GiB of pages shared by a program and user space, given out page by page.
//
// max_entries is the number of pages. The memory is one sealed memfd, so that user space maps the
// very pages; what nobody has asked for takes none. Pages are given out where Linux gives them out
// (page_ranges.h), zeroed; a page given back is returned to the system, so that the next owner
// finds zeros again. A page that user space touches is there from then on, as in the kernel, where
// it is made by the fault.
//
// A program's address of a byte has 64 bits in user space's view (user_start() + offset) and in
// its own the low 32 of these; offset_of() takes both. With map_extra that is where user space has
// to map the arena; without, the arena is mapped in this process at a border of 4 GiB, so that who
// embeds the engine can follow the program's pointers.
//
//   auto offset = arena.allocate_pages(2, std::nullopt);
//   std::uint64_t pointer = arena.user_start() + *offset;       // what the program is given
//   std::uint8_t* bytes = arena.bytes_at(static_cast<std::uint32_t>(pointer), 8);
//
// Invariants: (1) a page that is there is not free; (2) a free page is nobody's. Threads: any,
// under a lock; giving pages back makes a system call under it: not for the packet path. Not done
// yet: BPF_F_SEGV_ON_FAULT (a memfd cannot refuse). Tested by keyless_maps_test.cc,
// page_ranges_test.cc, tests/contract/maps_contract_test.cc and tests/differential/arena_test.cc.
// Source: Linux 6.18, kernel/bpf/arena.c.
#pragma once

#include <optional>
#include <vector>

#include "base/mutex.h"
#include "maps/map.h"
#include "maps/map_memory.h"
#include "maps/page_ranges.h"

namespace lmn {

class ArenaMap final : public Map {
 public:
  ~ArenaMap() override;
  static Result<std::unique_ptr<Map>> create(const MapSpec& spec, const MapOptions& options);

  // The address of the first byte as user space sees it.
  std::uint64_t user_start() const { return user_start_; }
  // The offset that an address of either view stands for; beyond the arena for what is outside.
  std::uint64_t offset_of(std::uint64_t address) const {
    return static_cast<std::uint32_t>(address - user_start_);
  }

  // The offset of `page_count` fresh pages in a row, at `wanted` if given; nothing when there is no
  // such room, or `wanted` is no page of the arena.
  std::optional<std::uint64_t> allocate_pages(std::uint32_t page_count,
                                              std::optional<std::uint64_t> wanted) noexcept
      LMN_EXCLUDES(lock_);
  // Pages that nobody gets: 0, -EINVAL outside of the arena, -EBUSY when one is not free.
  int reserve_pages(std::uint64_t offset, std::uint32_t page_count) noexcept LMN_EXCLUDES(lock_);
  // Gives pages back; what is not in use, or outside, is passed over.
  void free_pages(std::uint64_t offset, std::uint32_t page_count) noexcept LMN_EXCLUDES(lock_);
  // The host address of `size` bytes at `offset`, or null unless all their pages are there.
  std::uint8_t* address_of(std::uint64_t offset, std::size_t size) noexcept LMN_EXCLUDES(lock_);
  // The same for a program's address, of which the low 32 bits count, and an offset beside it.
  std::uint8_t* bytes_at(std::uint32_t address, std::int64_t offset, std::size_t size) noexcept
      LMN_EXCLUDES(lock_);

  void* lookup(const void* key, std::uint32_t cpu) noexcept override;
  int update(const void* key, const void* value, std::uint64_t flags,
             std::uint32_t cpu) noexcept override;
  int erase(const void* key) noexcept override;
  int copy_value(const void* key, std::span<std::uint8_t> out,
                 std::uint64_t flags) noexcept override;
  int next_key(const void* key, void* next) noexcept override;
  const SharedMemory* mapped_memory() const noexcept override { return memory_.shared(); }

 protected:
  int fill(std::span<const std::uint8_t> contents) noexcept override LMN_EXCLUDES(lock_);

 private:
  ArenaMap(const MapSpec& spec, const MapOptions& options, MapMemory memory);
  // Maps the memory where user space's addresses say, if that place is free in this process.
  Result<void> map_for_user();
  bool has_page(std::uint64_t page) noexcept LMN_REQUIRES(lock_);
  // What user space has touched of these pages is there, and not free. True: there was something.
  bool note_touched(std::uint64_t page, std::uint64_t page_count) noexcept LMN_REQUIRES(lock_);

  MapMemory memory_;
  std::uint64_t user_start_ = 0;
  void* user_view_ = nullptr;  // this process's own mapping at user_start_, or null
  SpinLock lock_;
  std::vector<bool> pages_ LMN_GUARDED_BY(lock_);  // that are there
  PageRanges free_ LMN_GUARDED_BY(lock_);
};

}  // namespace lmn
