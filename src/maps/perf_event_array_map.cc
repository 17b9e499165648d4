// SPDX-License-Identifier: Apache-2.0
//
// PERF_EVENT_ARRAY. Tested by ringbuf_test.cc and tests/contract/maps_contract_test.cc.
// Source: Linux 6.18, kernel/bpf/arraymap.c.
#include "maps/perf_event_array_map.h"

#include <linux/bpf.h>

#include <cerrno>

#include "maps/array_map.h"
#include "maps/map_checks.h"

namespace lmn {

Result<std::unique_ptr<Map>> create_perf_event_array_map(const MapSpec& spec,
                                                         const MapOptions& options, MapHost& host) {
  return PerfEventArrayMap::create(spec, options, host);
}

Result<std::unique_ptr<Map>> PerfEventArrayMap::create(const MapSpec& spec,
                                                       const MapOptions& options, MapHost& host) {
  LMN_CHECK_OK(check_handle_array_spec(spec));
  auto slots = SlotArray<PerfRing>::create(spec.max_entries);
  if (!slots) return make_error(std::move(slots.error()).with_context(spec.name));
  return std::unique_ptr<Map>(new PerfEventArrayMap(spec, options, host, std::move(*slots)));
}

int PerfEventArrayMap::output(std::uint64_t index, std::uint32_t cpu,
                              std::span<const std::uint8_t> first,
                              std::span<const std::uint8_t> second) noexcept {
  if (index == BPF_F_CURRENT_CPU) index = cpu;
  if (index >= spec().max_entries) return -E2BIG;
  PerfRing* ring = slots_.load(index);
  return ring == nullptr ? -ENOENT : ring->output(first, second);
}

void* PerfEventArrayMap::lookup(const void*, std::uint32_t) noexcept { return nullptr; }
int PerfEventArrayMap::update(const void*, const void*, std::uint64_t, std::uint32_t) noexcept {
  return -EOPNOTSUPP;
}
int PerfEventArrayMap::erase(const void*) noexcept { return -EOPNOTSUPP; }
int PerfEventArrayMap::copy_value(const void*, std::span<std::uint8_t>, std::uint64_t) noexcept {
  return -kErrnoNotSupp;
}

int PerfEventArrayMap::next_key(const void* key, void* next) noexcept {
  return next_array_key(key, next, spec().max_entries);
}

int PerfEventArrayMap::update_from_user(const void* key, std::span<const std::uint8_t> value,
                                        std::uint64_t flags) noexcept {
  if (flags != BPF_ANY) return -EINVAL;
  const std::uint32_t index = load_key32(key);
  if (index >= spec().max_entries) return -E2BIG;
  PerfRing* ring = host_.acquire_event(load_key32(value.data()));
  if (ring == nullptr) return -EBADF;
  if (PerfRing* old = slots_.exchange(index, ring)) host_.release_event(old);
  return 0;
}

int PerfEventArrayMap::erase_from_user(const void* key) noexcept {
  const std::uint32_t index = load_key32(key);
  if (index >= spec().max_entries) return -E2BIG;
  PerfRing* old = slots_.exchange(index, nullptr);
  if (old == nullptr) return -ENOENT;
  host_.release_event(old);
  return 0;
}

void PerfEventArrayMap::drop_user_references() noexcept {
  if ((spec().map_flags & BPF_F_PRESERVE_ELEMS) == 0) clear();
}

}  // namespace lmn
