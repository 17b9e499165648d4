// SPDX-License-Identifier: Apache-2.0
//
// PERCPU_ARRAY. Tested by maps_test.cc and tests/contract/maps_contract_test.cc.
// Source: Linux 6.18, kernel/bpf/arraymap.c.
#include "maps/percpu_array_map.h"

#include <linux/bpf.h>

#include <cerrno>

#include "maps/array_map.h"
#include "maps/map_checks.h"

namespace lmn {

Result<std::unique_ptr<Map>> create_percpu_array_map(const MapSpec& spec, const MapOptions& options,
                                                     MapHost&) {
  return PercpuArrayMap::create(spec, options);
}

std::optional<std::uint64_t> percpu_block_bytes(std::uint64_t count, std::uint32_t value_size) {
  const auto bytes = map_bytes(count, round_up_to_8(value_size));
  if (!bytes || *bytes > UINT64_MAX - kMapPageBytes) return std::nullopt;
  return (*bytes + kMapPageBytes - 1) / kMapPageBytes * kMapPageBytes;
}

Result<std::unique_ptr<Map>> PercpuArrayMap::create(const MapSpec& spec,
                                                    const MapOptions& options) {
  LMN_CHECK_OK(check_array_spec(spec));
  const auto block_bytes = percpu_block_bytes(spec.max_entries, spec.value_size);
  const auto size_bytes = block_bytes ? map_bytes(options.cpu_count, *block_bytes) : std::nullopt;
  if (!size_bytes) return map_error(spec, ENOMEM, "its size is no 64-bit number");
  auto memory = MapMemory::create(*size_bytes);
  if (!memory) return make_error(std::move(memory.error()).with_context(spec.name));
  return std::unique_ptr<Map>(new PercpuArrayMap(spec, options, std::move(*memory)));
}

PercpuArrayMap::PercpuArrayMap(const MapSpec& spec, const MapOptions& options, MapMemory memory)
    : Map(spec, options),
      memory_(std::move(memory)),
      stride_(static_cast<std::size_t>(round_up_to_8(spec.value_size))),
      block_bytes_(memory_.size() / options.cpu_count),
      fast_{.values = memory_.data(),
            .stride = stride_,
            .cpu_stride = block_bytes_,
            .max_entries = spec.max_entries} {}

PercpuArrayMap::~PercpuArrayMap() {
  for (std::uint32_t i = 0; fields() != nullptr && i < spec().max_entries; ++i) {
    for (std::uint32_t cpu = 0; cpu < cpu_count(); ++cpu) retire_value(value_at(i, cpu));
  }
}

void* PercpuArrayMap::lookup(const void* key, std::uint32_t cpu) noexcept {
  return array_lookup(fast_, key, cpu);
}

int PercpuArrayMap::update(const void* key, const void* value, std::uint64_t flags,
                           std::uint32_t cpu) noexcept {
  const std::uint32_t index = load_key32(key);
  const int error = check_array_update(index, spec().max_entries, flags);
  if (error != 0) return error;
  if ((flags & BPF_F_LOCK) != 0) return -EINVAL;  // no lock in per-CPU values
  put_value(value_at(index, cpu), value, spec().value_size);
  retire_value(value_at(index, cpu));
  return 0;
}

bool PercpuArrayMap::next_element(MapWalk& walk, std::uint32_t cpu) noexcept {
  return next_array_element(fast_, walk, cpu);
}

int PercpuArrayMap::erase(const void*) noexcept { return -EINVAL; }

int PercpuArrayMap::copy_value(const void* key, std::span<std::uint8_t> out,
                               std::uint64_t) noexcept {
  const std::uint32_t index = load_key32(key);
  if (index >= spec().max_entries) return -ENOENT;
  for (std::uint32_t cpu = 0; cpu < cpu_count(); ++cpu) {
    get_value(out.data() + cpu * stride_, value_at(index, cpu), stride_);
  }
  return 0;
}

int PercpuArrayMap::update_from_user(const void* key, std::span<const std::uint8_t> value,
                                     std::uint64_t flags) noexcept {
  const std::uint32_t index = load_key32(key);
  const int error = check_array_update(index, spec().max_entries, flags);
  if (error != 0) return error;
  if ((flags & BPF_F_LOCK) != 0) return -EINVAL;  // no lock in per-CPU values
  for (std::uint32_t cpu = 0; cpu < cpu_count(); ++cpu) {
    put_value(value_at(index, cpu), value.data() + cpu * stride_, stride_);
    retire_value(value_at(index, cpu));
  }
  return 0;
}

int PercpuArrayMap::next_key(const void* key, void* next) noexcept {
  return next_array_key(key, next, spec().max_entries);
}

}  // namespace lmn
