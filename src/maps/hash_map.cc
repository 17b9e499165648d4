// SPDX-License-Identifier: Apache-2.0
//
// HASH. Tested by maps_test.cc and tests/contract/maps_contract_test.cc.
// Source: Linux 6.18, kernel/bpf/hashtab.c.
#include "maps/hash_map.h"

#include <cstring>

#include "maps/map_checks.h"

namespace lmn {

Result<std::unique_ptr<Map>> create_hash_map(const MapSpec& spec, const MapOptions& options,
                                             MapHost&) {
  return HashMap::create(spec, options);
}

Result<std::unique_ptr<Map>> HashMap::create(const MapSpec& spec, const MapOptions& options) {
  LMN_CHECK_OK(check_hash_spec(spec));
  auto table = HashTable::create({.key_size = spec.key_size,
                                  .payload_bytes = spec.value_size,
                                  .max_entries = spec.max_entries,
                                  .spare_count = options.cpu_count,
                                  .seed = hash_seed_of(spec, options),
                                  .waits_for_readers = (spec.map_flags & BPF_F_NO_PREALLOC) != 0,
                                  .epoch = options.epoch});
  if (!table) return make_error(std::move(table.error()).with_context(spec.name));
  auto lru = make_lru(spec, std::uint64_t{spec.max_entries} + options.cpu_count);
  if (!lru) return make_error(std::move(lru.error()).with_context(spec.name));
  return std::unique_ptr<Map>(new HashMap(spec, options, std::move(*table), std::move(*lru)));
}

HashMap::HashMap(const MapSpec& spec, const MapOptions& options, HashTable table,
                 std::optional<LruClock> lru)
    : KeyedMap(spec, options, std::move(table), std::move(lru)) {
  const SpinGuard guard(lock_);
  for (std::uint32_t cpu = 0; cpu < options.cpu_count; ++cpu) spares_.push_back(table_.take());
}

void* HashMap::lookup(const void* key, std::uint32_t) noexcept { return hash_lookup(fast_, key); }

int HashMap::update(const void* key, const void* value, std::uint64_t flags,
                    std::uint32_t cpu) noexcept {
  if ((flags & ~std::uint64_t{BPF_F_LOCK}) > BPF_EXIST) return -EINVAL;
  const bool is_locked = (flags & BPF_F_LOCK) != 0;
  if (is_locked && !has_value_lock()) return -EINVAL;
  const SpinGuard guard(lock_);
  const std::uint64_t hash = table_.hash_of(key);
  const std::uint32_t old = table_.find(key, hash);
  const int error = check_presence(old != HashTable::kNone, flags & ~std::uint64_t{BPF_F_LOCK});
  if (error != 0) return error;
  if (is_locked && old != HashTable::kNone) return put_locked(table_.payload_at(old), value);
  const std::uint32_t fresh = take_for(old, cpu);
  if (fresh == HashTable::kNone) return -E2BIG;
  put_value(table_.payload_at(fresh), value, spec().value_size);
  if (old == HashTable::kNone) {
    link(fresh, key, hash);
  } else {
    replace(old, fresh, key, hash);
    retire_value(table_.payload_at(old));
    put_aside(old, cpu);
  }
  return 0;
}

// An element for a new value: in the place of `old`, or for a new key; kNone when the map is full.
std::uint32_t HashMap::take_for(std::uint32_t old, std::uint32_t cpu) noexcept {
  if (old != HashTable::kNone) return table_.waits_for_readers() ? table_.take() : spares_[cpu];
  return table_.count() < spec().max_entries || lru_ ? take() : HashTable::kNone;
}

// What was replaced: programs may hold its value.
void HashMap::put_aside(std::uint32_t old, std::uint32_t cpu) noexcept {
  if (table_.waits_for_readers()) {
    table_.release(old);
  } else {
    spares_[cpu] = old;
  }
}

int HashMap::copy_element(std::uint32_t element, std::span<std::uint8_t> out,
                          std::uint64_t flags) noexcept {
  std::uint8_t* value = table_.payload_at(element);
  if ((flags & BPF_F_LOCK) != 0) return get_locked(out.data(), value);
  get_value(out.data(), value, spec().value_size);
  return 0;
}

int HashMap::copy_value(const void* key, std::span<std::uint8_t> out,
                        std::uint64_t flags) noexcept {
  const SpinGuard guard(lock_);
  const std::uint32_t element = find(key);
  return element == HashTable::kNone ? -ENOENT : copy_element(element, out, flags);
}

int HashMap::lookup_and_erase_from_user(const void* key, std::span<std::uint8_t> out,
                                        std::uint64_t flags) noexcept {
  const SpinGuard guard(lock_);
  const std::uint32_t element = find(key);
  if (element == HashTable::kNone) return -ENOENT;
  const int error = copy_element(element, out, flags);
  if (error == 0) remove(element);
  return error;
}

// Released elements too: a program may have put something into a value that was gone already.
void HashMap::retire_all() noexcept {
  if (fields() == nullptr) return;
  const SpinGuard guard(lock_);
  for (std::uint32_t i = 1; i <= table_.touched_count(); ++i) retire_element(i);
}

void* HashMap::value_of(std::uint32_t element, std::uint32_t) noexcept {
  return table_.payload_at(element);
}

void HashMap::retire_element(std::uint32_t element) noexcept {
  retire_value(table_.payload_at(element));
}

const void* HashMap::key_of(const void* value, std::uint32_t&) const noexcept {
  // Any address may be asked for: numbers, since pointers may not be moved out of their object.
  const auto address = reinterpret_cast<std::uintptr_t>(value) - fast_.key_stride;
  const std::uint64_t offset = address - reinterpret_cast<std::uintptr_t>(fast_.elements);
  const SpinGuard guard(lock_);
  const bool is_element = offset % fast_.stride == 0 && offset / fast_.stride >= 1 &&
                          offset / fast_.stride <= table_.element_count();
  return is_element ? fast_.elements + offset : nullptr;
}

}  // namespace lmn
