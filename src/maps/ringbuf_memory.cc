// SPDX-License-Identifier: Apache-2.0
//
// RingbufMemory. Tested by ringbuf_test.cc and tests/contract/maps_contract_test.cc.
// Source: Linux 6.18, kernel/bpf/ringbuf.c.
#include "maps/ringbuf_memory.h"

#include <fmt/format.h>
#include <linux/bpf.h>

namespace lmn {

static_assert(RingbufMemory::kHeaderBytes == BPF_RINGBUF_HDR_SZ);
static_assert(RingbufMemory::kBusyBit == BPF_RINGBUF_BUSY_BIT);
static_assert(RingbufMemory::kDiscardBit == BPF_RINGBUF_DISCARD_BIT);

Result<RingbufMemory> RingbufMemory::create(const MapSpec& spec) {
  if ((spec.map_flags & ~std::uint32_t{BPF_F_NUMA_NODE}) != 0) {
    return map_error(spec, EINVAL,
                     fmt::format("map_flags {:#x}: not for ring buffers", spec.map_flags));
  }
  if (spec.key_size != 0 || spec.value_size != 0) {
    return map_error(spec, EINVAL, "a ring buffer has no keys and no values: both sizes are 0");
  }
  if (!std::has_single_bit(spec.max_entries) || spec.max_entries % kMapPageBytes != 0) {
    return map_error(spec, EINVAL,
                     fmt::format("max_entries is {}: a power of two of whole pages, in bytes",
                                 spec.max_entries));
  }
  RingbufMemory ring;
  auto memory = MapMemory::create_mapped(2 * kMapPageBytes + 2 * std::uint64_t{spec.max_entries});
  if (!memory) return make_error(std::move(memory.error()).with_context(spec.name));
  ring.memory_ = std::move(*memory);
  ring.mask_ = spec.max_entries - 1;
  return ring;
}

}  // namespace lmn
