// SPDX-License-Identifier: Apache-2.0
//
// ARRAY. Tested by maps_test.cc and tests/contract/maps_contract_test.cc.
// Source: Linux 6.18, kernel/bpf/arraymap.c.
#include "maps/array_map.h"

#include <linux/bpf.h>

#include <cerrno>

#include "maps/map_checks.h"

namespace lmn {

Result<std::unique_ptr<Map>> create_array_map(const MapSpec& spec, const MapOptions& options,
                                              MapHost&) {
  return ArrayMap::create(spec, options);
}

Result<std::unique_ptr<Map>> ArrayMap::create(const MapSpec& spec, const MapOptions& options) {
  LMN_CHECK_OK(check_array_spec(spec));
  // Both factors fit 32 bits, so the product fits 64.
  const std::uint64_t size_bytes = round_up_to_8(spec.value_size) * spec.max_entries;
  const bool is_mapped = (spec.map_flags & BPF_F_MMAPABLE) != 0;
  auto memory = is_mapped ? MapMemory::create_mapped(size_bytes) : MapMemory::create(size_bytes);
  if (!memory) return make_error(std::move(memory.error()).with_context(spec.name));
  return std::unique_ptr<Map>(new ArrayMap(spec, options, std::move(*memory)));
}

ArrayMap::ArrayMap(const MapSpec& spec, const MapOptions& options, MapMemory memory)
    : Map(spec, options),
      memory_(std::move(memory)),
      stride_(static_cast<std::size_t>(round_up_to_8(spec.value_size))),
      fast_{.values = memory_.data(),
            .stride = stride_,
            .cpu_stride = 0,
            .max_entries = spec.max_entries} {}

ArrayMap::~ArrayMap() {
  for (std::uint32_t i = 0; fields() != nullptr && i < spec().max_entries; ++i) {
    retire_value(value_at(i));
  }
}

void* ArrayMap::lookup(const void* key, std::uint32_t) noexcept {
  return array_lookup(fast_, key, 0);
}

int ArrayMap::update(const void* key, const void* value, std::uint64_t flags,
                     std::uint32_t) noexcept {
  const std::uint32_t index = load_key32(key);
  const int error = check_array_update(index, spec().max_entries, flags);
  if (error != 0) return error;
  int result = 0;
  if ((flags & BPF_F_LOCK) == 0) {
    put_value(value_at(index), value, spec().value_size);
  } else if (has_value_lock()) {
    result = put_locked(value_at(index), value);
  } else {
    return -EINVAL;
  }
  retire_value(value_at(index));
  return result;
}

const void* ArrayMap::key_of(const void* value, std::uint32_t& index) const noexcept {
  const auto offset =
      static_cast<std::uint64_t>(static_cast<const std::uint8_t*>(value) - memory_.data());
  if (offset % stride_ != 0 || offset / stride_ >= spec().max_entries) return nullptr;
  index = static_cast<std::uint32_t>(offset / stride_);
  return &index;
}

bool ArrayMap::next_element(MapWalk& walk, std::uint32_t) noexcept {
  return next_array_element(fast_, walk, 0);
}

int ArrayMap::erase(const void*) noexcept { return -EINVAL; }

void* ArrayMap::direct_value(std::uint32_t offset) noexcept {
  if (spec().max_entries != 1 || offset >= spec().value_size) return nullptr;
  return memory_.data() + offset;
}

int ArrayMap::copy_value(const void* key, std::span<std::uint8_t> out,
                         std::uint64_t flags) noexcept {
  void* value = lookup(key, 0);
  if (value == nullptr) return -ENOENT;
  if ((flags & BPF_F_LOCK) != 0) return get_locked(out.data(), value);
  get_value(out.data(), value, spec().value_size);
  return 0;
}

int ArrayMap::next_key(const void* key, void* next) noexcept {
  return next_array_key(key, next, spec().max_entries);
}

bool next_array_element(const ArrayDescriptor& table, MapWalk& walk, std::uint32_t cpu) noexcept {
  if (walk.place >= table.max_entries) return false;
  walk.index = static_cast<std::uint32_t>(walk.place++);
  walk.key = &walk.index;
  walk.value = array_lookup(table, walk.key, cpu);
  return true;
}

int next_array_key(const void* key, void* next, std::uint32_t max_entries) noexcept {
  const std::uint32_t index = key == nullptr ? UINT32_MAX : load_key32(key);
  if (index < max_entries && index == max_entries - 1) return -ENOENT;
  store_key32(next, index < max_entries ? index + 1 : 0);
  return 0;
}

int check_array_update(std::uint32_t index, std::uint32_t max_entries,
                       std::uint64_t flags) noexcept {
  if ((flags & ~std::uint64_t{BPF_F_LOCK}) > BPF_EXIST) return -EINVAL;
  if (index >= max_entries) return -E2BIG;
  if ((flags & BPF_NOEXIST) != 0) return -EEXIST;
  return 0;
}

}  // namespace lmn
