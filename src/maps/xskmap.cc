// SPDX-License-Identifier: Apache-2.0
//
// XSKMAP. Tested by maps_test.cc and tests/contract/maps_contract_test.cc.
// Source: Linux 6.18, net/xdp/xskmap.c.
#include "maps/xskmap.h"

#include <fmt/format.h>
#include <linux/bpf.h>

#include <cerrno>

#include "maps/array_map.h"
#include "maps/map_checks.h"

namespace lmn {

Result<std::unique_ptr<Map>> create_xskmap(const MapSpec& spec, const MapOptions& options,
                                           MapHost& host) {
  return Xskmap::create(spec, options, host);
}

Result<std::unique_ptr<Map>> Xskmap::create(const MapSpec& spec, const MapOptions& options,
                                            MapHost& host) {
  constexpr std::uint32_t kFlags = BPF_F_NUMA_NODE | BPF_F_RDONLY | BPF_F_WRONLY;
  if (spec.max_entries == 0) return map_error(spec, EINVAL, "max_entries is 0");
  if (spec.key_size != 4 || spec.value_size != 4) {
    return map_error(
        spec, EINVAL,
        fmt::format("key_size is {}, value_size {}: both have 4", spec.key_size, spec.value_size));
  }
  if ((spec.map_flags & ~kFlags) != 0) {
    return map_error(spec, EINVAL, fmt::format("map_flags {:#x}: not for xskmaps", spec.map_flags));
  }
  auto slots = SlotArray<FrameSink>::create(spec.max_entries);
  if (!slots) return make_error(std::move(slots.error()).with_context(spec.name));
  return std::unique_ptr<Map>(new Xskmap(spec, options, host, std::move(*slots)));
}

Xskmap::~Xskmap() {
  slots_.clear([this](FrameSink* socket) { host_.release_socket(socket); });
}

void* Xskmap::lookup(const void* key, std::uint32_t) noexcept {
  return slots_.load(load_key32(key));
}
int Xskmap::update(const void*, const void*, std::uint64_t, std::uint32_t) noexcept {
  return -EOPNOTSUPP;
}
int Xskmap::erase(const void*) noexcept { return -EOPNOTSUPP; }
int Xskmap::copy_value(const void*, std::span<std::uint8_t>, std::uint64_t) noexcept {
  return -EOPNOTSUPP;
}

bool Xskmap::find_redirect_target(std::uint64_t key, RedirectTarget& target) noexcept {
  FrameSink* socket = slots_.load(key);
  if (socket == nullptr) return false;
  target = {.sink = socket};
  return true;
}

int Xskmap::next_key(const void* key, void* next) noexcept {
  return next_array_key(key, next, spec().max_entries);
}

int Xskmap::update_from_user(const void* key, std::span<const std::uint8_t> value,
                             std::uint64_t flags) noexcept {
  const std::uint32_t index = load_key32(key);
  if (flags > BPF_EXIST) return -EINVAL;
  if (index >= spec().max_entries) return -E2BIG;
  const std::uint32_t handle = load_key32(value.data());
  FrameSink* socket = host_.acquire_socket(handle);
  if (socket == nullptr) return host_.socket_error(handle);
  FrameSink* unwanted = socket;
  int error = 0;
  {
    const SpinGuard guard(lock_);
    const FrameSink* old = slots_.load(index);
    if (old == socket) {
      error = 0;  // there already: the flags are not looked at
    } else if (old != nullptr && flags == BPF_NOEXIST) {
      error = -EEXIST;
    } else if (old == nullptr && flags == BPF_EXIST) {
      error = -ENOENT;
    } else {
      unwanted = slots_.exchange(index, socket);
    }
  }
  if (unwanted != nullptr) host_.release_socket(unwanted);
  return error;
}

void Xskmap::forget_sink(const FrameSink& sink) noexcept {
  for (std::uint32_t index = 0; index < spec().max_entries && slots_.occupied() > 0; ++index) {
    FrameSink* old = nullptr;
    {
      // Another socket may have come into the slot meanwhile.
      const SpinGuard guard(lock_);
      if (slots_.load(index) == &sink) old = slots_.exchange(index, nullptr);
    }
    if (old != nullptr) host_.release_socket(old);
  }
}

int Xskmap::erase_from_user(const void* key) noexcept {
  const std::uint32_t index = load_key32(key);
  if (index >= spec().max_entries) return -EINVAL;
  FrameSink* old = nullptr;
  {
    const SpinGuard guard(lock_);
    old = slots_.exchange(index, nullptr);
  }
  if (old != nullptr) host_.release_socket(old);
  return 0;
}

}  // namespace lmn
