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
  auto slots = SlotArray<const ProgramEntry>::create(spec.max_entries);
  if (!slots) return make_error(std::move(slots.error()).with_context(spec.name));
  return std::unique_ptr<Map>(new ProgArrayMap(spec, options, host, std::move(*slots)));
}

void* ProgArrayMap::lookup(const void*, std::uint32_t) noexcept { return nullptr; }
int ProgArrayMap::update(const void*, const void*, std::uint64_t, std::uint32_t) noexcept {
  return -EOPNOTSUPP;
}
int ProgArrayMap::erase(const void*) noexcept { return -EOPNOTSUPP; }

const ProgramEntry* ProgArrayMap::find_program(std::uint32_t index) noexcept {
  return slots_.load(index);
}

int ProgArrayMap::copy_value(const void* key, std::span<std::uint8_t> out, std::uint64_t) noexcept {
  const EpochScope scope(options().epoch);
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
  if (const ProgramEntry* old = slots_.exchange(index, entry)) host_.release_program(old);
  return 0;
}

int ProgArrayMap::erase_from_user(const void* key) noexcept {
  const std::uint32_t index = load_key32(key);
  if (index >= spec().max_entries) return -E2BIG;
  const ProgramEntry* old = slots_.exchange(index, nullptr);
  if (old == nullptr) return -ENOENT;
  host_.release_program(old);
  return 0;
}

void ProgArrayMap::drop_user_references() noexcept {
  slots_.clear([this](const ProgramEntry* entry) { host_.release_program(entry); });
}

}  // namespace lmn
