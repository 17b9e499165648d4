// SPDX-License-Identifier: Apache-2.0
//
// USER_RINGBUF: records from one writer in user space to programs: RINGBUF turned round.
//
// The writer owns the producer position, the headers and the data; all of it may change under our
// eyes. next_sample() therefore reads each word once and checks it against the room that is
// advertised and the ring's size before a program sees a byte; the consumer position is kept here
// and only shown in its page. A program drains under is_busy: two drains of one ring never overlap.
// Invariants: (1) consumer_ is a multiple of 8; (2) a sample lies within the data's two halves.
// Threads: one drain at a time, enforced by begin_drain(); the writer is another process. Tested by
// ringbuf_test.cc and tests/contract/maps_contract_test.cc. Source: Linux 6.18,
// kernel/bpf/ringbuf.c (bpf_user_ringbuf_drain).
#pragma once

#include <atomic>

#include "maps/map.h"
#include "maps/ringbuf_memory.h"

namespace lmn {

class UserRingbufMap final : public Map {
 public:
  // Samples in one drain at most (BPF_MAX_USER_RINGBUF_SAMPLES).
  static constexpr std::uint32_t kSamplesPerDrainMax = 128 * 1024;

  static Result<std::unique_ptr<Map>> create(const MapSpec& spec, const MapOptions& options);

  // False when a drain is under way: the helper answers -EBUSY.
  bool begin_drain() noexcept { return !is_busy_.exchange(true, std::memory_order_acquire); }
  void end_drain() noexcept { is_busy_.store(false, std::memory_order_release); }

  // The next sample: 0, -ENODATA when there is none yet, -EAGAIN when one was discarded and skipped
  // (ask again), -EINVAL or -E2BIG when what the writer wrote makes no sense.
  // REQUIRES: within a drain.
  int next_sample(std::span<std::uint8_t>& sample) noexcept;
  // Moves on over the sample that next_sample() gave last.
  void finish_sample(std::span<const std::uint8_t> sample) noexcept;

  void* lookup(const void* key, std::uint32_t cpu) noexcept override;
  int update(const void* key, const void* value, std::uint64_t flags,
             std::uint32_t cpu) noexcept override;
  int erase(const void* key) noexcept override;
  int copy_value(const void* key, std::span<std::uint8_t> out,
                 std::uint64_t flags) noexcept override;
  int next_key(const void* key, void* next) noexcept override;
  const SharedMemory* mapped_memory() const noexcept override { return memory_.shared(); }

 private:
  UserRingbufMap(const MapSpec& spec, const MapOptions& options, RingbufMemory memory)
      : Map(spec, options), memory_(std::move(memory)) {}
  void advance(std::uint32_t size) noexcept;

  RingbufMemory memory_;
  std::uint64_t consumer_ = 0;
  std::atomic<bool> is_busy_{false};
};

}  // namespace lmn
