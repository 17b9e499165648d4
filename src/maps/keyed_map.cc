// SPDX-License-Identifier: Apache-2.0
//
// KeyedMap: deletion and iteration of hash maps. Tested by maps_test.cc.
// Source: Linux 6.18, kernel/bpf/hashtab.c.
#include "maps/keyed_map.h"

#include <algorithm>
#include <cstring>

namespace lmn {

Result<std::optional<LruList>> KeyedMap::make_lru(const MapSpec& spec,
                                                  std::uint64_t element_count) {
  const bool is_lru =
      spec.type == BPF_MAP_TYPE_LRU_HASH || spec.type == BPF_MAP_TYPE_LRU_PERCPU_HASH;
  if (!is_lru) return std::optional<LruList>();
  LMN_TRY(LruList list, LruList::create(element_count));
  return std::optional<LruList>(std::move(list));
}

int KeyedMap::erase(const void* key) noexcept {
  const SpinGuard guard(lock_);
  const std::uint32_t element = find(key);
  if (element == HashTable::kNone) return -ENOENT;
  remove(element);
  return 0;
}

std::int64_t KeyedMap::element_count() noexcept {
  const SpinGuard guard(lock_);
  return table_.count();
}

int KeyedMap::next_key(const void* key, void* next) noexcept {
  std::uint32_t bucket = 0;
  std::uint32_t bucket_count = 0;
  {
    const SpinGuard guard(lock_);
    bucket_count = table_.bucket_count();
    const std::uint32_t element =
        key == nullptr ? HashTable::kNone : table_.find(key, table_.hash_of(key));
    if (element != HashTable::kNone) {
      const std::uint32_t follower = table_.next_in_chain(element);
      if (follower != HashTable::kNone) {
        std::memcpy(next, table_.key_at(follower), spec().key_size);
        return 0;
      }
      bucket = table_.bucket_of(element) + 1;
    }
  }
  while (bucket < bucket_count) {
    const std::uint32_t end = bucket + std::min(kBucketsPerLook, bucket_count - bucket);
    const SpinGuard guard(lock_);
    const std::uint32_t element = table_.first_in_buckets(bucket, end);
    if (element != HashTable::kNone) {
      std::memcpy(next, table_.key_at(element), spec().key_size);
      return 0;
    }
    bucket = end;
  }
  return -ENOENT;
}

}  // namespace lmn
