// SPDX-License-Identifier: Apache-2.0
//
// PROG_ARRAY. Tested by maps_test.cc and tests/contract/maps_contract_test.cc.
// Source: Linux 6.18, kernel/bpf/arraymap.c.
#include "maps/prog_array_map.h"

#include <linux/bpf.h>

#include <cerrno>

#include "maps/array_map.h"
#include "maps/map_checks.h"

namespace lmn {

Result<std::unique_ptr<Map>> create_prog_array_map(const MapSpec& spec, const MapOptions& options,
                                                   MapHost& host) {
  return ProgArrayMap::create(spec, options, host);
}

Result<std::unique_ptr<Map>> ProgArrayMap::create(const MapSpec& spec, const MapOptions& options,
                                                  MapHost& host) {
  LMN_CHECK_OK(check_handle_array_spec(spec));
  auto memory = MapMemory::create(std::uint64_t{spec.max_entries} * sizeof(Slot));
  if (!memory) return make_error(std::move(memory.error()).with_context(spec.name));
  return std::unique_ptr<Map>(new ProgArrayMap(spec, options, host, std::move(*memory)));
}

ProgArrayMap::ProgArrayMap(const MapSpec& spec, const MapOptions& options, MapHost& host,
                           MapMemory memory)
    : Map(spec, options), host_(host), memory_(std::move(memory)) {}

ProgArrayMap::Slot& ProgArrayMap::slot(std::uint32_t index) const {
  static_assert(sizeof(Slot) == sizeof(void*) && Slot::is_always_lock_free,
                "zeroed memory is an array of empty slots");
  return reinterpret_cast<Slot*>(memory_.data())[index];
}

void* ProgArrayMap::lookup(const void*, std::uint32_t) noexcept { return nullptr; }
int ProgArrayMap::update(const void*, const void*, std::uint64_t, std::uint32_t) noexcept {
  return -EOPNOTSUPP;
}
int ProgArrayMap::erase(const void*) noexcept { return -EOPNOTSUPP; }

const ProgramEntry* ProgArrayMap::find_program(std::uint32_t index) noexcept {
  return index < spec().max_entries ? slot(index).load(std::memory_order_acquire) : nullptr;
}

int ProgArrayMap::copy_value(const void* key, std::span<std::uint8_t> out, std::uint64_t) noexcept {
  const ProgramEntry* entry = find_program(load_key32(key));
  if (entry == nullptr) return -ENOENT;
  store_key32(out.data(), entry->id);
  return 0;
}

int ProgArrayMap::next_key(const void* key, void* next) noexcept {
  return next_array_key(key, next, spec().max_entries);
}

int ProgArrayMap::update_from_user(const void* key, std::span<const std::uint8_t> value,
                                   std::uint64_t flags) noexcept {
  if (flags != BPF_ANY) return -EINVAL;
  const std::uint32_t index = load_key32(key);
  if (index >= spec().max_entries) return -E2BIG;
  const std::uint32_t handle = load_key32(value.data());
  const ProgramEntry* entry = host_.acquire_program(handle);
  if (entry == nullptr) return host_.program_error(handle);
  if (!owner_.accept(*entry, true)) {
    host_.release_program(entry);
    return -EINVAL;
  }
  replace(index, entry);
  return 0;
}

int ProgArrayMap::erase_from_user(const void* key) noexcept {
  const std::uint32_t index = load_key32(key);
  return index < spec().max_entries ? replace(index, nullptr) : -E2BIG;
}

// Puts `entry` into the slot and releases what was there; -ENOENT when that was nothing.
int ProgArrayMap::replace(std::uint32_t index, const ProgramEntry* entry) noexcept {
  if (entry != nullptr) occupied_.fetch_add(1, std::memory_order_relaxed);
  const ProgramEntry* old = slot(index).exchange(entry, std::memory_order_acq_rel);
  if (old == nullptr) return -ENOENT;
  occupied_.fetch_sub(1, std::memory_order_relaxed);
  host_.release_program(old);
  return 0;
}

void ProgArrayMap::drop_user_references() noexcept {
  std::uint32_t index = 0;
  while (index < spec().max_entries && occupied_.load(std::memory_order_relaxed) > 0) {
    replace(index++, nullptr);
  }
}

}  // namespace lmn
