// SPDX-License-Identifier: Apache-2.0
//
// Batches: the calls that every map type shares, and the ways of types whose keys have an order.
// Hashes walk by places: keyed_map.cc. Tested by tests/contract/map_batch_test.cc.
// Source: Linux 6.18, kernel/bpf/syscall.c (bpf_map_do_batch, generic_map_*_batch).
#include "maps/map_batch.h"

#include <linux/bpf.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "maps/map.h"
#include "maps/write_scope.h"

namespace lmn {
namespace {

enum : unsigned { kLookup = 1, kUpdate = 2, kErase = 4, kLookupAndErase = 8 };
constexpr unsigned kAll = kLookup | kUpdate | kErase | kLookupAndErase;

// What the type has in the kernel.
unsigned batches_of(std::uint32_t type) {
  switch (type) {
    case BPF_MAP_TYPE_ARRAY:
    case BPF_MAP_TYPE_PERCPU_ARRAY:
    case BPF_MAP_TYPE_ARRAY_OF_MAPS:
      return kLookup | kUpdate;
    case BPF_MAP_TYPE_LPM_TRIE:
      return kLookup | kUpdate | kErase;
    case BPF_MAP_TYPE_HASH:
    case BPF_MAP_TYPE_PERCPU_HASH:
    case BPF_MAP_TYPE_LRU_HASH:
    case BPF_MAP_TYPE_LRU_PERCPU_HASH:
    case BPF_MAP_TYPE_HASH_OF_MAPS:
      return kAll;
    default:
      return 0;
  }
}

std::uint8_t* at(void* bytes, std::uint32_t index, std::size_t stride) {
  return static_cast<std::uint8_t*>(bytes) + index * stride;
}

}  // namespace

int Map::check_batch(unsigned what, const MapBatch& batch) const noexcept {
  if ((batches_of(spec_.type) & what) == 0) return -kErrnoNotSupp;
  if ((batch.elem_flags & ~std::uint64_t{BPF_F_LOCK}) != 0) return -EINVAL;
  if ((batch.elem_flags & BPF_F_LOCK) != 0 && !has_value_lock()) return -EINVAL;
  return 0;
}

int Map::user_lookup_batch(MapBatch& batch, MapAccess access) noexcept {
  if (!may_read(access)) return -EPERM;
  const int error = check_batch(kLookup, batch);
  return error != 0 ? error : lookup_batch_from_user(batch, false);
}

int Map::user_lookup_and_erase_batch(MapBatch& batch, MapAccess access) noexcept {
  const WriteScope scope(writers_);
  if (!may_read(access) || !may_write(access)) return -EPERM;
  const int error = check_batch(kLookupAndErase, batch);
  return error != 0 ? error : lookup_batch_from_user(batch, true);
}

int Map::user_update_batch(MapBatch& batch, MapAccess access) noexcept {
  const WriteScope scope(writers_);
  if (!may_write(access)) return -EPERM;
  int error = check_batch(kUpdate, batch);
  if (error != 0) return error;
  if (batch.count == 0) return 0;
  const std::uint32_t wanted = batch.count;
  const std::size_t value_bytes = user_value_bytes();
  for (batch.count = 0; batch.count < wanted; ++batch.count) {
    error = update_from_user(at(batch.keys, batch.count, spec_.key_size),
                             {at(batch.values, batch.count, value_bytes), value_bytes},
                             batch.elem_flags);
    if (error != 0) break;
  }
  return error;
}

int Map::user_erase_batch(MapBatch& batch, MapAccess access) noexcept {
  const WriteScope scope(writers_);
  if (!may_write(access)) return -EPERM;
  int error = check_batch(kErase, batch);
  if (error != 0) return error;
  if (batch.count == 0) return 0;
  const std::uint32_t wanted = batch.count;
  for (batch.count = 0; batch.count < wanted; ++batch.count) {
    error = erase_from_user(at(batch.keys, batch.count, spec_.key_size));
    if (error != 0) break;
  }
  return error;
}

// By keys: each is asked for the one behind it. The cookie is the last key that was given or passed
// over.
int Map::lookup_batch_from_user(MapBatch& batch, bool) noexcept {
  if (batch.count == 0) return 0;
  const std::uint32_t wanted = batch.count;
  const std::size_t value_bytes = user_value_bytes();
  batch.count = 0;
  std::vector<std::uint8_t> last(spec_.key_size);
  std::vector<std::uint8_t> key(spec_.key_size);
  bool has_last = batch.from != nullptr;
  if (has_last) std::memcpy(last.data(), batch.from, last.size());
  int error = 0;
  while (batch.count < wanted) {
    error = next_key(has_last ? last.data() : nullptr, key.data());
    if (error != 0) break;
    error = copy_value(key.data(), {at(batch.values, batch.count, value_bytes), value_bytes},
                       batch.elem_flags);
    if (error != 0 && error != -ENOENT) {
      batch.count = 0;
      return error;
    }
    if (error == 0) std::memcpy(at(batch.keys, batch.count++, key.size()), key.data(), key.size());
    error = 0;
    last.swap(key);
    has_last = true;
  }
  if (batch.count != 0) std::memcpy(batch.next, last.data(), last.size());
  return error;
}

}  // namespace lmn
