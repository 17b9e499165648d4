// SPDX-License-Identifier: Apache-2.0
//
// ARENA: up to 4 GiB of pages shared by a program and user space, given out page by page.
//
// max_entries is the number of pages. The memory is one sealed memfd, so that user space maps the
// very pages; what nobody has asked for takes none. Pages are given out by the lowest free place
// that is long enough, zeroed; a page given back is returned to the system, so that the next owner
// finds zeros again. Addresses here are byte offsets in the arena: what stands before them
// (map_extra, the program's base) is the caller's. Invariant: page i is in use if and only if its
// bit is set. Threads: any, under a lock; giving pages back makes a system call under it: not for
// the packet path. Not done yet: the address space casts of programs; BPF_F_SEGV_ON_FAULT (a memfd
// cannot refuse). Tested by maps_test.cc and tests/contract/maps_contract_test.cc. Source:
// Linux 6.18, kernel/bpf/arena.c.
#pragma once

#include <optional>
#include <vector>

#include "base/mutex.h"
#include "maps/map.h"
#include "maps/map_memory.h"

namespace lmn {

class ArenaMap final : public Map {
 public:
  static Result<std::unique_ptr<Map>> create(const MapSpec& spec, const MapOptions& options);

  // The offset of `page_count` fresh pages in a row, at `wanted` if given; nothing when there is no
  // such room, or `wanted` is no page of the arena.
  std::optional<std::uint64_t> allocate_pages(std::uint32_t page_count,
                                              std::optional<std::uint64_t> wanted) noexcept
      LMN_EXCLUDES(lock_);
  // Gives pages back; what is not in use, or outside, is passed over.
  void free_pages(std::uint64_t offset, std::uint32_t page_count) noexcept LMN_EXCLUDES(lock_);
  // The host address of `size` bytes at `offset`, or null unless all their pages are in use.
  std::uint8_t* address_of(std::uint64_t offset, std::size_t size) noexcept LMN_EXCLUDES(lock_);

  void* lookup(const void* key, std::uint32_t cpu) noexcept override;
  int update(const void* key, const void* value, std::uint64_t flags,
             std::uint32_t cpu) noexcept override;
  int erase(const void* key) noexcept override;
  int copy_value(const void* key, std::span<std::uint8_t> out,
                 std::uint64_t flags) noexcept override;
  int next_key(const void* key, void* next) noexcept override;
  const SharedMemory* mapped_memory() const noexcept override { return memory_.shared(); }

 private:
  ArenaMap(const MapSpec& spec, const MapOptions& options, MapMemory memory);
  bool is_free(std::uint64_t page, std::uint64_t page_count) const LMN_REQUIRES(lock_);
  std::optional<std::uint64_t> find_free(std::uint64_t page_count) const LMN_REQUIRES(lock_);

  MapMemory memory_;
  SpinLock lock_;
  std::vector<bool> used_ LMN_GUARDED_BY(lock_);
};

}  // namespace lmn
