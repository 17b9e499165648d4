// SPDX-License-Identifier: Apache-2.0
//
// ARRAY_OF_MAPS. Tested by maps_test.cc and tests/contract/maps_contract_test.cc.
// Source: Linux 6.18, kernel/bpf/arraymap.c.
#include "maps/array_of_maps.h"

#include <linux/bpf.h>

#include <cerrno>

#include "maps/array_map.h"
#include "maps/map_checks.h"

namespace lmn {

Result<std::unique_ptr<Map>> create_array_of_maps(const MapSpec& spec, const MapOptions& options,
                                                  MapHost& host) {
  return ArrayOfMaps::create(spec, options, host);
}

Result<std::unique_ptr<Map>> ArrayOfMaps::create(const MapSpec& spec, const MapOptions& options,
                                                 MapHost& host) {
  LMN_CHECK_OK(check_handle_array_spec(spec));
  LMN_TRY(InnerMaps inner, InnerMaps::create(spec, options, host));
  auto slots = SlotArray<Map>::create(spec.max_entries);
  if (!slots) return make_error(std::move(slots.error()).with_context(spec.name));
  return std::unique_ptr<Map>(new ArrayOfMaps(spec, options, std::move(inner), std::move(*slots)));
}

ArrayOfMaps::~ArrayOfMaps() {
  slots_.clear([this](Map* map) { inner_.release(map); });
}

void* ArrayOfMaps::lookup(const void* key, std::uint32_t) noexcept {
  return slots_.load(load_key32(key));
}
int ArrayOfMaps::update(const void*, const void*, std::uint64_t, std::uint32_t) noexcept {
  return -EOPNOTSUPP;
}
int ArrayOfMaps::erase(const void*) noexcept { return -EOPNOTSUPP; }

int ArrayOfMaps::copy_value(const void* key, std::span<std::uint8_t> out, std::uint64_t) noexcept {
  const EpochScope scope(options().epoch);
  const Map* map = slots_.load(load_key32(key));
  if (map == nullptr) return -ENOENT;
  store_key32(out.data(), map->id());
  return 0;
}

int ArrayOfMaps::next_key(const void* key, void* next) noexcept {
  return next_array_key(key, next, spec().max_entries);
}

int ArrayOfMaps::update_from_user(const void* key, std::span<const std::uint8_t> value,
                                  std::uint64_t flags) noexcept {
  if (flags != BPF_ANY) return -EINVAL;
  const std::uint32_t index = load_key32(key);
  if (index >= spec().max_entries) return -E2BIG;
  int error = 0;
  Map* map = inner_.acquire(load_key32(value.data()), error);
  if (map == nullptr) return error;
  if (Map* old = slots_.exchange(index, map)) inner_.release(old);
  return 0;
}

int ArrayOfMaps::erase_from_user(const void* key) noexcept {
  const std::uint32_t index = load_key32(key);
  if (index >= spec().max_entries) return -E2BIG;
  Map* old = slots_.exchange(index, nullptr);
  if (old == nullptr) return -ENOENT;
  inner_.release(old);
  return 0;
}

}  // namespace lmn
