// SPDX-License-Identifier: Apache-2.0
//
// Kfuncs of arenas: pages taken, given back, and set aside. What an arena is: maps/arena_map.h.
//
// Addresses are user space's view; a program may also pass the low half alone. Linux lets sleepable
// programs only call these. Nodes mean nothing: memory comes from where it is first used.
// Threads: any. Tested by tests/differential/arena_test.cc.
// Source: Linux 6.18, kernel/bpf/arena.c (bpf_arena_alloc_pages, bpf_arena_free_pages,
// bpf_arena_reserve_pages).
#include <linux/bpf.h>

#include <cerrno>
#include <optional>

#include "kfuncs/bodies.h"
#include "maps/arena_map.h"

namespace lmn {
namespace {

ArenaMap* arena_of(std::uint64_t map_argument) {
  Map* map = kfunc::as_pointer<Map>(map_argument);
  return map->spec().type == BPF_MAP_TYPE_ARENA ? static_cast<ArenaMap*>(map) : nullptr;
}

}  // namespace

LMN_KFUNC_BODY(bpf_arena_alloc_pages) {
  ArenaMap* arena = arena_of(r1);
  if (arena == nullptr || r5 != 0) return 0;
  std::optional<std::uint64_t> wanted;
  if (r2 != 0) {
    if (r2 % kMapPageBytes != 0) return 0;
    wanted = arena->offset_of(r2);
  }
  const auto offset = arena->allocate_pages(kfunc::as_u32(r3), wanted);
  return offset ? arena->user_start() + *offset : 0;
}

LMN_KFUNC_BODY(bpf_arena_free_pages) {
  ArenaMap* arena = arena_of(r1);
  if (arena == nullptr || kfunc::as_u32(r3) == 0 || r2 == 0) return 0;
  arena->free_pages(arena->offset_of(r2 & ~std::uint64_t{kMapPageBytes - 1}), kfunc::as_u32(r3));
  return 0;
}

LMN_KFUNC_BODY(bpf_arena_reserve_pages) {
  ArenaMap* arena = arena_of(r1);
  if (arena == nullptr) return kfunc::failure(EINVAL);
  if (kfunc::as_u32(r3) == 0 || r2 % kMapPageBytes != 0) return 0;
  return kfunc::result(arena->reserve_pages(arena->offset_of(r2), kfunc::as_u32(r3)));
}

}  // namespace lmn
