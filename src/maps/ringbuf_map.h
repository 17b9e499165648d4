// SPDX-License-Identifier: Apache-2.0
//
// RINGBUF: records of any size from programs to one reader in user space, in order, in the kernel's
// memory layout.
//
// A program reserves room, writes, and submits or discards; a record is seen when it and all before
// it are done with. What does not fit is refused and counted: lost_count(). A reader that has
// caught up wants to be woken by the next record: whether one was due is counted in wakeup_count(),
// and the owner rings the reader's bell once per batch; no system call here.
//
// What is written where, and why a hostile reader cannot do harm, is said in ringbuf_fast.h, which
// has the writing for compiled programs too. Threads: reserve by any number of workers, under one
// lock; commit and discard by whoever reserved; consume() by one thread.
// Tested by ringbuf_test.cc, maps_concurrency_test.cc and tests/contract/maps_contract_test.cc.
// Source: Linux 6.18, kernel/bpf/ringbuf.c.
#pragma once

#include "maps/map.h"
#include "maps/ringbuf_fast.h"
#include "maps/ringbuf_memory.h"

namespace lmn {

class RingbufMap final : public Map {
 public:
  static Result<std::unique_ptr<Map>> create(const MapSpec& spec, const MapOptions& options);

  // Room for `size` bytes, 8-byte aligned and in one piece, or null: too large, or full.
  void* reserve(std::uint64_t size) noexcept LMN_EXCLUDES(state_.lock);
  // REQUIRES: `sample` came from reserve() of this map and was not given back. `flags` as
  // bpf_ringbuf_submit's: BPF_RB_NO_WAKEUP, BPF_RB_FORCE_WAKEUP.
  void submit(void* sample, std::uint64_t flags) noexcept { commit(sample, flags, 0); }
  void discard(void* sample, std::uint64_t flags) noexcept {
    commit(sample, flags, RingbufMemory::kDiscardBit);
  }
  // bpf_ringbuf_output: 0, -EINVAL for unknown flags, -EAGAIN when there is no room.
  int output(std::span<const std::uint8_t> record, std::uint64_t flags) noexcept
      LMN_EXCLUDES(state_.lock);
  // bpf_ringbuf_query: BPF_RB_AVAIL_DATA, _RING_SIZE, _CONS_POS, _PROD_POS; 0 for others.
  std::uint64_t query(std::uint64_t what) const noexcept;

  std::uint64_t lost_count() const noexcept {
    return __atomic_load_n(&state_.lost_count, __ATOMIC_RELAXED);
  }
  // Times a reader would have been woken.
  std::uint64_t wakeup_count() const noexcept {
    return __atomic_load_n(&state_.wakeup_count, __ATOMIC_RELAXED);
  }

  // Gives each finished record to `visit(std::span<const std::uint8_t>)`, in order, and moves the
  // consumer position on. Returns the number given. For a reader in this process.
  template <typename Visit>
  std::size_t consume(Visit visit) {
    std::size_t given = 0;
    std::uint64_t position = RingbufMemory::load_acquire(memory_.consumer_position());
    if (position % 8 != 0) return 0;  // somebody wrote there: no record begins so
    while (position < RingbufMemory::load_acquire(&state_.producer)) {
      const std::uint32_t word = __atomic_load_n(memory_.header_at(position), __ATOMIC_ACQUIRE);
      if ((word & RingbufMemory::kBusyBit) != 0) break;
      const std::uint32_t size = word & ~RingbufMemory::kDiscardBit;
      if (RingbufMemory::record_bytes(size) > memory_.size_bytes()) break;  // somebody wrote there
      if ((word & RingbufMemory::kDiscardBit) == 0) {
        const auto* record = reinterpret_cast<const std::uint8_t*>(memory_.header_at(position));
        visit(std::span<const std::uint8_t>(record + RingbufMemory::kHeaderBytes, size));
        ++given;
      }
      position += RingbufMemory::record_bytes(size);
      RingbufMemory::store_release(memory_.consumer_position(), position);
    }
    return given;
  }

  void* lookup(const void* key, std::uint32_t cpu) noexcept override;
  int update(const void* key, const void* value, std::uint64_t flags,
             std::uint32_t cpu) noexcept override;
  int erase(const void* key) noexcept override;
  int copy_value(const void* key, std::span<std::uint8_t> out,
                 std::uint64_t flags) noexcept override;
  int next_key(const void* key, void* next) noexcept override;
  const SharedMemory* mapped_memory() const noexcept override { return memory_.shared(); }
  FastPath fast_path() const noexcept override { return {FastPathKind::kRingbuf, &fast_}; }

 private:
  RingbufMap(const MapSpec& spec, const MapOptions& options, RingbufMemory memory,
             MapMemory lengths);
  void commit(void* sample, std::uint64_t flags, std::uint32_t bits) noexcept;

  RingbufMemory memory_;
  MapMemory lengths_;
  RingbufState state_;
  const RingbufDescriptor fast_;
};

}  // namespace lmn
