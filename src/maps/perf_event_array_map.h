// SPDX-License-Identifier: Apache-2.0
//
// PERF_EVENT_ARRAY: numbered slots for rings of samples, one per CPU by custom.
//
// User space writes event handles and cannot read them back. A program writes a sample into the
// slot of its CPU or of a number; the host's events are PerfRings (perf_ring.h). Without
// BPF_F_PRESERVE_ELEMS the slots are emptied when user space's last handle of the map goes.
// Invariant: a slot holds one reference from MapHost::acquire_event.
// Threads: Map's; a slot is one atomic pointer.
// Not done yet: counters of hardware events (bpf_perf_event_read).
// Tested by ringbuf_test.cc and tests/contract/maps_contract_test.cc.
// Source: Linux 6.18, kernel/bpf/arraymap.c; kernel/trace/bpf_trace.c (errno of output).
#pragma once

#include "maps/map.h"
#include "maps/perf_ring.h"
#include "maps/slot_array.h"

namespace lmn {

class PerfEventArrayMap final : public Map {
 public:
  static Result<std::unique_ptr<Map>> create(const MapSpec& spec, const MapOptions& options,
                                             MapHost& host);
  ~PerfEventArrayMap() override { clear(); }

  // What bpf_perf_event_output does with `index` (BPF_F_CURRENT_CPU: `cpu`): 0, -E2BIG out of range
  // or too long, -ENOENT an empty slot, -ENOSPC a full ring.
  int output(std::uint64_t index, std::uint32_t cpu, std::span<const std::uint8_t> first,
             std::span<const std::uint8_t> second) noexcept;

  void* lookup(const void* key, std::uint32_t cpu) noexcept override;
  int update(const void* key, const void* value, std::uint64_t flags,
             std::uint32_t cpu) noexcept override;
  int erase(const void* key) noexcept override;
  int copy_value(const void* key, std::span<std::uint8_t> out,
                 std::uint64_t flags) noexcept override;
  int next_key(const void* key, void* next) noexcept override;
  void drop_user_references() noexcept override;

 protected:
  int update_from_user(const void* key, std::span<const std::uint8_t> value,
                       std::uint64_t flags) noexcept override;
  int erase_from_user(const void* key) noexcept override;

 private:
  PerfEventArrayMap(const MapSpec& spec, const MapOptions& options, MapHost& host,
                    SlotArray<PerfRing> slots)
      : Map(spec, options), host_(host), slots_(std::move(slots)) {}
  void clear() noexcept {
    slots_.clear([this](PerfRing* ring) { host_.release_event(ring); });
  }

  MapHost& host_;
  SlotArray<PerfRing> slots_;
};

}  // namespace lmn
