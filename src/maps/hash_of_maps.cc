// SPDX-License-Identifier: Apache-2.0
//
// HASH_OF_MAPS. Tested by maps_test.cc and tests/contract/maps_contract_test.cc.
// Source: Linux 6.18, kernel/bpf/hashtab.c.
#include "maps/hash_of_maps.h"

#include <fmt/format.h>

#include "base/assert.h"
#include "maps/map_batch.h"
#include "maps/map_checks.h"

namespace lmn {

Result<std::unique_ptr<Map>> create_hash_of_maps(const MapSpec& spec, const MapOptions& options,
                                                 MapHost& host) {
  return HashOfMaps::create(spec, options, host);
}

Result<std::unique_ptr<Map>> HashOfMaps::create(const MapSpec& spec, const MapOptions& options,
                                                MapHost& host) {
  if (spec.value_size != 4) {
    return map_error(spec, EINVAL,
                     fmt::format("value_size is {}: a descriptor has 4", spec.value_size));
  }
  LMN_CHECK_OK(check_hash_spec(spec));
  LMN_TRY(InnerMaps inner, InnerMaps::create(spec, options, host));
  auto table = HashTable::create({.key_size = spec.key_size,
                                  .payload_bytes = sizeof(Map*),
                                  .max_entries = spec.max_entries,
                                  .seed = hash_seed_of(spec, options),
                                  .waits_for_readers = true,
                                  .epoch = options.epoch});
  if (!table) return make_error(std::move(table.error()).with_context(spec.name));
  return std::unique_ptr<Map>(new HashOfMaps(spec, options, std::move(inner), std::move(*table)));
}

HashOfMaps::~HashOfMaps() {
  const SpinGuard guard(lock_);
  for (std::uint32_t bucket = 0; table_.count() > 0; ++bucket) {
    std::uint32_t element = HashTable::kNone;
    while ((element = table_.first_in_buckets(bucket, bucket + 1)) != HashTable::kNone) {
      inner_.release(map_of(element));
      remove(element);
    }
  }
}

void* HashOfMaps::lookup(const void* key, std::uint32_t) noexcept {
  auto* payload = static_cast<Map**>(hash_lookup(fast_, key));
  return payload == nullptr ? nullptr : __atomic_load_n(payload, __ATOMIC_ACQUIRE);
}

int HashOfMaps::update(const void*, const void*, std::uint64_t, std::uint32_t) noexcept {
  return -EOPNOTSUPP;
}
int HashOfMaps::erase(const void*) noexcept { return -EOPNOTSUPP; }

int HashOfMaps::copy_element(std::uint32_t element, std::span<std::uint8_t> out,
                             std::uint64_t) noexcept {
  store_key32(out.data(), map_of(element)->id());
  return 0;
}

// Erased afterwards, key by key: inner maps are released outside of the lock. What was put under a
// key meanwhile stays.
int HashOfMaps::lookup_batch_from_user(MapBatch& batch, bool erases) noexcept {
  const int error = KeyedMap::lookup_batch_from_user(batch, false);
  const auto* keys = static_cast<const std::uint8_t*>(batch.keys);
  const auto* ids = static_cast<const std::uint8_t*>(batch.values);
  if (!erases || (error != 0 && error != -ENOENT)) return error;
  for (std::uint32_t i = 0; i < batch.count; ++i) {
    const std::uint32_t id = load_key32(ids + i * sizeof id);
    erase_map(keys + i * std::size_t{spec().key_size}, &id);
  }
  return error;
}

int HashOfMaps::copy_value(const void* key, std::span<std::uint8_t> out,
                           std::uint64_t flags) noexcept {
  const SpinGuard guard(lock_);
  const std::uint32_t element = find(key);
  return element == HashTable::kNone ? -ENOENT : copy_element(element, out, flags);
}

int HashOfMaps::update_from_user(const void* key, std::span<const std::uint8_t> value,
                                 std::uint64_t flags) noexcept {
  // The handle is judged before the flags, as in the kernel.
  int error = 0;
  Map* map = inner_.acquire(load_key32(value.data()), error);
  if (map == nullptr) return error;
  Map* old = nullptr;
  error = flags > BPF_EXIST ? -EINVAL : place(key, map, flags, old);
  if (error != 0) old = map;
  if (old != nullptr) inner_.release(old);
  return error;
}

// Puts `map` under the key; what was there is the caller's to release.
int HashOfMaps::place(const void* key, Map* map, std::uint64_t flags, Map*& old) noexcept {
  const SpinGuard guard(lock_);
  const std::uint64_t hash = table_.hash_of(key);
  std::uint32_t element = table_.find(key, hash);
  const int error = check_presence(element != HashTable::kNone, flags);
  if (error != 0) return error;
  if (element != HashTable::kNone) {
    old = map_of(element);
    __atomic_store_n(&map_of(element), map, __ATOMIC_RELEASE);
    return 0;
  }
  if (table_.count() == spec().max_entries) return -E2BIG;
  element = take();
  LMN_ASSERT(element != HashTable::kNone);  // removed ones are used again when there are no others
  __atomic_store_n(&map_of(element), map, __ATOMIC_RELAXED);
  link(element, key, hash);
  return 0;
}

int HashOfMaps::erase_from_user(const void* key) noexcept { return erase_map(key, nullptr); }

int HashOfMaps::erase_map(const void* key, const std::uint32_t* wanted_id) noexcept {
  Map* old = nullptr;
  {
    const SpinGuard guard(lock_);
    const std::uint32_t element = find(key);
    if (element == HashTable::kNone) return -ENOENT;
    old = map_of(element);
    if (wanted_id != nullptr && *wanted_id != old->id()) return -ENOENT;
    remove(element);
  }
  inner_.release(old);
  return 0;
}

}  // namespace lmn
