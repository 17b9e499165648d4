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

void* RingbufMap::reserve(std::uint64_t size) noexcept {
  if (size > RingbufMemory::kRecordBytesMax) return refuse();
  const auto payload_bytes = static_cast<std::uint32_t>(size);
  const std::uint64_t record_bytes = RingbufMemory::record_bytes(payload_bytes);
  if (record_bytes > memory_.size_bytes()) return refuse();  // CVE-2021-3489
  const std::uint64_t consumer = RingbufMemory::load_acquire(memory_.consumer_position());

  const SpinGuard guard(lock_);
  advance_pending();
  const std::uint64_t position = producer_.load(std::memory_order_relaxed);
  const std::uint64_t end = position + record_bytes;
  // A consumer position beyond ours makes the difference huge, and the ring full.
  if (end - consumer > memory_.mask()) return refuse();
  if (end - pending_ > memory_.mask()) return refuse();
  std::uint32_t* header = memory_.header_at(position);
  length_at(position) = payload_bytes | RingbufMemory::kBusyBit;
  __atomic_store_n(header, payload_bytes | RingbufMemory::kBusyBit, __ATOMIC_RELAXED);
  const auto page =
      static_cast<std::uint32_t>(((position & memory_.mask()) + 2 * kMapPageBytes) / kMapPageBytes);
  __atomic_store_n(header + 1, page, __ATOMIC_RELAXED);  // pg_off
  producer_.store(end, std::memory_order_release);
  RingbufMemory::store_release(memory_.producer_position(), end);
  return header + RingbufMemory::kHeaderBytes / sizeof(std::uint32_t);
}

// Moves pending_ over records that are finished.
void RingbufMap::advance_pending() noexcept {
  const std::uint64_t producer = producer_.load(std::memory_order_relaxed);
  while (pending_ < producer) {
    const std::uint32_t length = length_at(pending_);
    if ((length & RingbufMemory::kBusyBit) != 0) return;
    pending_ += RingbufMemory::record_bytes(length);
  }
}

void RingbufMap::commit(void* sample, std::uint64_t flags, std::uint32_t bits) noexcept {
  auto* header = reinterpret_cast<std::uint32_t*>(static_cast<std::uint8_t*>(sample) -
                                                  RingbufMemory::kHeaderBytes);
  const auto offset =
      static_cast<std::uint64_t>(reinterpret_cast<std::uint8_t*>(header) - memory_.data());
  std::uint32_t length = 0;
  {
    const SpinGuard guard(lock_);
    length_at(offset) &= ~RingbufMemory::kBusyBit;
    length = length_at(offset);
  }
  // What ran into the second half is also where the kernel's aliased pages would show it.
  const std::uint64_t end = offset + RingbufMemory::kHeaderBytes + length;
  if (end > memory_.size_bytes()) {
    std::memcpy(memory_.data(), memory_.data() + memory_.size_bytes(), end - memory_.size_bytes());
  }
  __atomic_exchange_n(header, length | bits, __ATOMIC_ACQ_REL);
  const std::uint64_t consumer = RingbufMemory::load_acquire(memory_.consumer_position());
  const bool has_caught_up = (consumer & memory_.mask()) == offset;
  const bool is_wanted =
      (flags & BPF_RB_FORCE_WAKEUP) != 0 || (has_caught_up && (flags & BPF_RB_NO_WAKEUP) == 0);
  if (is_wanted) wakeups_.fetch_add(1, std::memory_order_relaxed);
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
  const std::uint64_t producer = producer_.load(std::memory_order_acquire);
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
