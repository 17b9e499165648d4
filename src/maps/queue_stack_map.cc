// SPDX-License-Identifier: Apache-2.0
//
// QUEUE and STACK. Tested by maps_test.cc and tests/contract/maps_contract_test.cc.
// Source: Linux 6.18, kernel/bpf/queue_stack_maps.c.
#include "maps/queue_stack_map.h"

#include <fmt/format.h>
#include <linux/bpf.h>

#include <cerrno>
#include <cstring>

#include "maps/map_checks.h"

namespace lmn {

Result<std::unique_ptr<Map>> create_queue_stack_map(const MapSpec& spec, const MapOptions& options,
                                                    MapHost&) {
  return QueueStackMap::create(spec, options);
}

Result<std::unique_ptr<Map>> QueueStackMap::create(const MapSpec& spec, const MapOptions& options) {
  constexpr std::uint32_t kFlags = BPF_F_NUMA_NODE | kAccessFlags;
  constexpr std::uint32_t kValueBytesMax = 4u << 20;  // KMALLOC_MAX_SIZE
  if (spec.max_entries == 0) return map_error(spec, EINVAL, "max_entries is 0");
  if (spec.key_size != 0) return map_error(spec, EINVAL, "key_size is not 0: there are no keys");
  if (spec.value_size == 0) return map_error(spec, EINVAL, "value_size is 0");
  if ((spec.map_flags & ~kFlags) != 0 || !is_program_access_ok(spec.map_flags)) {
    return map_error(spec, EINVAL,
                     fmt::format("map_flags {:#x}: not for queues and stacks", spec.map_flags));
  }
  if (spec.value_size > kValueBytesMax) {
    return map_error(spec, E2BIG,
                     fmt::format("value_size is {}: at most {}", spec.value_size, kValueBytesMax));
  }
  auto memory =
      MapMemory::create((std::uint64_t{spec.max_entries} + 1) * round_up_to_8(spec.value_size));
  if (!memory) return make_error(std::move(memory.error()).with_context(spec.name));
  return std::unique_ptr<Map>(new QueueStackMap(spec, options, std::move(*memory)));
}

QueueStackMap::QueueStackMap(const MapSpec& spec, const MapOptions& options, MapMemory memory)
    : Map(spec, options),
      memory_(std::move(memory)),
      stride_(static_cast<std::size_t>(round_up_to_8(spec.value_size))),
      place_count_(std::uint64_t{spec.max_entries} + 1),
      is_stack_(spec.type == BPF_MAP_TYPE_STACK) {}

void* QueueStackMap::lookup(const void*, std::uint32_t) noexcept { return nullptr; }
int QueueStackMap::update(const void*, const void*, std::uint64_t, std::uint32_t) noexcept {
  return -EINVAL;
}
int QueueStackMap::erase(const void*) noexcept { return -EINVAL; }
int QueueStackMap::next_key(const void*, void*) noexcept { return -EINVAL; }

int QueueStackMap::push(const void* value, std::uint64_t flags) noexcept {
  if ((flags & BPF_NOEXIST) != 0 || flags > BPF_EXIST) return -EINVAL;
  const SpinGuard guard(lock_);
  if (after(head_) == tail_) {
    if (flags != BPF_EXIST) return -E2BIG;
    tail_ = after(tail_);
  }
  store_value(value_at(head_), value, spec().value_size);
  head_ = after(head_);
  return 0;
}

int QueueStackMap::get(void* value, bool removes) noexcept {
  const SpinGuard guard(lock_);
  if (head_ == tail_) return -ENOENT;
  const std::uint64_t place = is_stack_ ? before(head_) : tail_;
  load_value(value, value_at(place), spec().value_size);
  if (!removes) return 0;
  if (is_stack_) {
    head_ = place;
  } else {
    tail_ = after(tail_);
  }
  return 0;
}

int QueueStackMap::pop(void* value) noexcept {
  const int error = get(value, true);
  if (error != 0) std::memset(value, 0, spec().value_size);
  return error;
}

int QueueStackMap::peek(void* value) noexcept {
  const int error = get(value, false);
  if (error != 0) std::memset(value, 0, spec().value_size);
  return error;
}

int QueueStackMap::copy_value(const void*, std::span<std::uint8_t> out, std::uint64_t) noexcept {
  return get(out.data(), false);
}

int QueueStackMap::update_from_user(const void*, std::span<const std::uint8_t> value,
                                    std::uint64_t flags) noexcept {
  return push(value.data(), flags);
}

int QueueStackMap::lookup_and_erase_from_user(const void*, std::span<std::uint8_t> out,
                                              std::uint64_t) noexcept {
  return get(out.data(), true);
}

}  // namespace lmn
