// SPDX-License-Identifier: Apache-2.0
//
// RINGBUF. Tested by ringbuf_test.cc and tests/contract/maps_contract_test.cc.
// Source: Linux 6.18, kernel/bpf/ringbuf.c.
#include "maps/ringbuf_map.h"

#include <linux/bpf.h>

#include <algorithm>
#include <cstring>

namespace lmn {

Result<std::unique_ptr<Map>> create_ringbuf_map(const MapSpec& spec, const MapOptions& options,
                                                MapHost&) {
  return RingbufMap::create(spec, options);
}

Result<std::unique_ptr<Map>> RingbufMap::create(const MapSpec& spec, const MapOptions& options) {
  LMN_TRY(RingbufMemory memory, RingbufMemory::create(spec));
  auto lengths = MapMemory::create(spec.max_entries / 8 * sizeof(std::uint32_t));
  if (!lengths) return make_error(std::move(lengths.error()).with_context(spec.name));
  return std::unique_ptr<Map>(
      new RingbufMap(spec, options, std::move(memory), std::move(*lengths)));
}

RingbufMap::RingbufMap(const MapSpec& spec, const MapOptions& options, RingbufMemory memory,
                       MapMemory lengths)
    : Map(spec, options),
      memory_(std::move(memory)),
      lengths_(std::move(lengths)),
      fast_{.state = &state_,
            .consumer_position = memory_.consumer_position(),
            .producer_position = memory_.producer_position(),
            .data = memory_.data(),
            .lengths = reinterpret_cast<std::uint32_t*>(lengths_.data()),
            .mask = memory_.mask()} {}

void* RingbufMap::reserve(std::uint64_t size) noexcept {
  const SpinGuard guard(fast_.state->lock);
  return ringbuf_reserve_locked(fast_, size);
}

void RingbufMap::commit(void* sample, std::uint64_t flags, std::uint32_t bits) noexcept {
  if (ringbuf_try_commit(fast_, sample, flags, bits)) return;
  // What ran into the second half is also where the kernel's aliased pages would show it.
  const RingbufRecord record = ringbuf_record_of(fast_, sample);
  const std::uint64_t end = record.offset + RingbufMemory::kHeaderBytes + record.length;
  std::memcpy(memory_.data(), memory_.data() + memory_.size_bytes(), end - memory_.size_bytes());
  ringbuf_publish(fast_, record, flags, bits);
}

int RingbufMap::output(std::span<const std::uint8_t> record, std::uint64_t flags) noexcept {
  constexpr std::uint64_t kFlags = BPF_RB_NO_WAKEUP | BPF_RB_FORCE_WAKEUP;
  if ((flags & ~kFlags) != 0) return -EINVAL;
  void* sample = reserve(record.size());
  if (sample == nullptr) return -EAGAIN;
  std::ranges::copy(record, static_cast<std::uint8_t*>(sample));
  submit(sample, flags);
  return 0;
}

std::uint64_t RingbufMap::query(std::uint64_t what) const noexcept {
  const std::uint64_t producer = RingbufMemory::load_acquire(&state_.producer);
  const std::uint64_t consumer = RingbufMemory::load_acquire(memory_.consumer_position());
  switch (what) {
    case BPF_RB_AVAIL_DATA:
      return producer - consumer;
    case BPF_RB_RING_SIZE:
      return memory_.size_bytes();
    case BPF_RB_CONS_POS:
      return consumer;
    case BPF_RB_PROD_POS:
      return producer;
    default:
      return 0;
  }
}

void* RingbufMap::lookup(const void*, std::uint32_t) noexcept { return nullptr; }
int RingbufMap::update(const void*, const void*, std::uint64_t, std::uint32_t) noexcept {
  return -kErrnoNotSupp;
}
int RingbufMap::erase(const void*) noexcept { return -kErrnoNotSupp; }
int RingbufMap::copy_value(const void*, std::span<std::uint8_t>, std::uint64_t) noexcept {
  return -kErrnoNotSupp;
}
int RingbufMap::next_key(const void*, void*) noexcept { return -kErrnoNotSupp; }

}  // namespace lmn
