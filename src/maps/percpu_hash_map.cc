// SPDX-License-Identifier: Apache-2.0
//
// PERCPU_HASH. Tested by maps_test.cc and tests/contract/maps_contract_test.cc.
// Source: Linux 6.18, kernel/bpf/hashtab.c.
#include "maps/percpu_hash_map.h"

#include "maps/map_checks.h"
#include "maps/percpu_array_map.h"

namespace lmn {

Result<std::unique_ptr<Map>> create_percpu_hash_map(const MapSpec& spec, const MapOptions& options,
                                                    MapHost&) {
  return PercpuHashMap::create(spec, options);
}

Result<std::unique_ptr<Map>> PercpuHashMap::create(const MapSpec& spec, const MapOptions& options) {
  LMN_CHECK_OK(check_hash_spec(spec));
  const auto block_bytes = percpu_block_bytes(spec.max_entries, spec.value_size);
  const auto size_bytes = block_bytes ? map_bytes(options.cpu_count, *block_bytes) : std::nullopt;
  if (!size_bytes) return map_error(spec, ENOMEM, "its size is no 64-bit number");
  auto values = MapMemory::create(*size_bytes);
  if (!values) return make_error(std::move(values.error()).with_context(spec.name));
  auto table = HashTable::create({.key_size = spec.key_size,
                                  .max_entries = spec.max_entries,
                                  .seed = hash_seed_of(spec, options)});
  if (!table) return make_error(std::move(table.error()).with_context(spec.name));
  auto lru = make_lru(spec, spec.max_entries);
  if (!lru) return make_error(std::move(lru.error()).with_context(spec.name));
  return std::unique_ptr<Map>(
      new PercpuHashMap(spec, options, std::move(*table), std::move(*lru), std::move(*values)));
}

PercpuHashMap::PercpuHashMap(const MapSpec& spec, const MapOptions& options, HashTable table,
                             std::optional<LruClock> lru, MapMemory values)
    : KeyedMap(spec, options, std::move(table), std::move(lru)),
      values_(std::move(values)),
      stride_(static_cast<std::size_t>(round_up_to_8(spec.value_size))),
      block_bytes_(values_.size() / options.cpu_count),
      percpu_{.keys = fast_,
              .values = values_.data(),
              .value_stride = stride_,
              .cpu_stride = block_bytes_} {}

void* PercpuHashMap::lookup(const void* key, std::uint32_t cpu) noexcept {
  return percpu_hash_lookup(percpu_, key, cpu);
}

int PercpuHashMap::find_or_take(const void* key, std::uint64_t hash, std::uint64_t flags,
                                std::uint32_t& element, bool& is_new) noexcept {
  if (flags > BPF_EXIST) return -EINVAL;
  element = table_.find(key, hash);
  is_new = element == HashTable::kNone;
  const int error = check_presence(!is_new, flags);
  if (error != 0) return error;
  if (!is_new) {
    hash_touch(fast_, element);
    return 0;
  }
  element = take();
  return element == HashTable::kNone ? -E2BIG : 0;
}

int PercpuHashMap::update(const void* key, const void* value, std::uint64_t flags,
                          std::uint32_t cpu) noexcept {
  const SpinGuard guard(lock_);
  const std::uint64_t hash = table_.hash_of(key);
  std::uint32_t element = HashTable::kNone;
  bool is_new = false;
  const int error = find_or_take(key, hash, flags, element, is_new);
  if (error != 0) return error;
  // A used-again element must not show another key's values (CVE-2021-4135's pattern). Programs
  // that held them may have put something in since.
  if (is_new && fields() != nullptr) [[unlikely]]
    retire_element(element);
  for (std::uint32_t other = 0; is_new && other < cpu_count(); ++other) {
    zero_value(value_at(element, other), stride_);
  }
  put_value(value_at(element, cpu), value, spec().value_size);
  retire_value(value_at(element, cpu));
  if (is_new) link(element, key, hash);
  return 0;
}

int PercpuHashMap::update_from_user(const void* key, std::span<const std::uint8_t> value,
                                    std::uint64_t flags) noexcept {
  const SpinGuard guard(lock_);
  const std::uint64_t hash = table_.hash_of(key);
  std::uint32_t element = HashTable::kNone;
  bool is_new = false;
  const int error = find_or_take(key, hash, flags, element, is_new);
  if (error != 0) return error;
  for (std::uint32_t cpu = 0; cpu < cpu_count(); ++cpu) {
    put_value(value_at(element, cpu), value.data() + cpu * stride_, stride_);
    retire_value(value_at(element, cpu));
  }
  if (is_new) link(element, key, hash);
  return 0;
}

int PercpuHashMap::copy_element(std::uint32_t element, std::span<std::uint8_t> out,
                                std::uint64_t) noexcept {
  for (std::uint32_t cpu = 0; cpu < cpu_count(); ++cpu) {
    get_value(out.data() + cpu * stride_, value_at(element, cpu), stride_);
  }
  return 0;
}

void PercpuHashMap::retire_element(std::uint32_t element) noexcept {
  for (std::uint32_t cpu = 0; cpu < cpu_count(); ++cpu) retire_value(value_at(element, cpu));
}

void PercpuHashMap::retire_all() noexcept {
  if (fields() == nullptr) return;
  const SpinGuard guard(lock_);
  for (std::uint32_t i = 1; i <= table_.touched_count(); ++i) retire_element(i);
}

int PercpuHashMap::copy_value(const void* key, std::span<std::uint8_t> out,
                              std::uint64_t flags) noexcept {
  const SpinGuard guard(lock_);
  const std::uint32_t element = find(key);
  return element == HashTable::kNone ? -ENOENT : copy_element(element, out, flags);
}

int PercpuHashMap::lookup_and_erase_from_user(const void* key, std::span<std::uint8_t> out,
                                              std::uint64_t flags) noexcept {
  const SpinGuard guard(lock_);
  const std::uint32_t element = find(key);
  if (element == HashTable::kNone) return -ENOENT;
  copy_element(element, out, flags);
  remove(element);
  return 0;
}

}  // namespace lmn
