// SPDX-License-Identifier: Apache-2.0
//
// KeyedMap: deletion and iteration of hash maps. Tested by maps_test.cc.
// Source: Linux 6.18, kernel/bpf/hashtab.c.
#include "maps/keyed_map.h"

#include <algorithm>
#include <cstring>

#include "maps/map_batch.h"

namespace lmn {

Result<std::optional<LruClock>> KeyedMap::make_lru(const MapSpec& spec,
                                                   std::uint64_t element_count) {
  const bool is_lru =
      spec.type == BPF_MAP_TYPE_LRU_HASH || spec.type == BPF_MAP_TYPE_LRU_PERCPU_HASH;
  if (!is_lru) return std::optional<LruClock>();
  LMN_TRY(LruClock list, LruClock::create(element_count));
  return std::optional<LruClock>(std::move(list));
}

// The next two victims are fetched ahead: their lines were last touched a round of the hand ago.
std::uint32_t KeyedMap::evict() noexcept {
  const std::uint32_t victim = lru_->choose();
  if (victim == HashTable::kNone) return HashTable::kNone;
  const std::uint32_t next = lru_->peek(0);
  const std::uint32_t after = lru_->peek(1);
  if (next != HashTable::kNone) table_.prefetch_bucket_of(next);
  if (after != HashTable::kNone) table_.prefetch_element(after);
  unlink(victim);
  if (fields() != nullptr) [[unlikely]]
    retire_element(victim);
  return victim;
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

bool KeyedMap::next_element(MapWalk& walk, std::uint32_t cpu) noexcept {
  auto place = static_cast<std::uint32_t>(walk.place);
  while (true) {
    const SpinGuard guard(lock_);
    if (place >= table_.place_count()) return false;
    const std::uint32_t element = table_.next_from(place, kBucketsPerLook);
    if (element == HashTable::kNone) continue;
    walk.place = place + 1;
    walk.key = table_.key_at(element);
    walk.value = value_of(element, cpu);
    return walk.value != nullptr;
  }
}

// The cookie is a place in the table. Elements keep their places while they are in the map, so a
// walk gives each of them once; the kernel's cookie is a bucket, and it answers -ENOSPC where a
// bucket is more than there is room for.
int KeyedMap::lookup_batch_from_user(MapBatch& batch, bool erases) noexcept {
  if (batch.flags != 0) return -EINVAL;
  if (batch.count == 0) return 0;
  const std::uint32_t wanted = batch.count;
  const std::size_t value_bytes = user_value_bytes();
  batch.count = 0;
  std::uint32_t place = batch.from == nullptr ? 0 : load_key32(batch.from);
  auto* keys = static_cast<std::uint8_t*>(batch.keys);
  auto* values = static_cast<std::uint8_t*>(batch.values);
  int error = 0;
  while (error == 0) {
    const SpinGuard guard(lock_);
    if (place >= table_.place_count()) {
      // A cookie from behind the end is answered without another.
      if (batch.count == 0 && batch.from != nullptr && load_key32(batch.from) >= place) {
        return -ENOENT;
      }
      error = -ENOENT;
      break;
    }
    const std::uint32_t element = table_.next_from(place, kBucketsPerLook);
    if (element == HashTable::kNone) continue;
    if (batch.count == wanted) break;
    error =
        copy_element(element, {values + batch.count * value_bytes, value_bytes}, batch.elem_flags);
    if (error != 0) break;
    std::memcpy(keys + batch.count * std::size_t{spec().key_size}, table_.key_at(element),
                spec().key_size);
    if (erases) remove(element);
    ++batch.count;
    ++place;
  }
  store_key32(batch.next, place);
  return error;
}

}  // namespace lmn
