// SPDX-License-Identifier: Apache-2.0
//
// PerfRing: one CPU's ring of samples in the layout of perf's memory, so that readers made for the
// kernel's read it.
//
// Page 0 is struct perf_event_mmap_page: data_head is ours, data_tail the reader's. Then 2^n pages
// of data, in which a record may wrap. A sample is {header, size, bytes} padded to 8 bytes. What
// finds no room is counted and told to the reader by a PERF_RECORD_LOST before the next sample that
// does.
//
// The reader can write every byte at any time: only data_tail is read back, and a tail that makes
// no sense is a full ring. Where we write is decided by a head of our own. Threads: output by any
// worker, under a lock; the reader is another process or thread. Owner: the host's event object.
// Tested by ringbuf_test.cc. Source: Linux 6.18, include/uapi/linux/perf_event.h,
// kernel/events/ring_buffer.c.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>

#include "base/mutex.h"
#include "maps/map_memory.h"

namespace lmn {

class PerfRing {
 public:
  // `page_count` data pages, a power of two. Errors: kInvalidArgument, kLimitExceeded.
  static Result<std::unique_ptr<PerfRing>> create(std::uint32_t page_count);

  // Appends one sample of the bytes of `first` and then `second` (a packet's, or none): 0, -E2BIG
  // when a record cannot be that long, -ENOSPC when there is no room now.
  int output(std::span<const std::uint8_t> first, std::span<const std::uint8_t> second) noexcept
      LMN_EXCLUDES(lock_);

  std::uint64_t lost_count() const noexcept { return lost_total_.load(std::memory_order_relaxed); }
  std::uint64_t sample_count() const noexcept { return samples_.load(std::memory_order_relaxed); }
  const SharedMemory* memory() const { return memory_.shared(); }

 private:
  explicit PerfRing(MapMemory memory);
  void append(std::span<const std::uint8_t> bytes) noexcept LMN_REQUIRES(lock_);
  void append_lost() noexcept LMN_REQUIRES(lock_);
  std::uint8_t* data() const { return memory_.data() + kMapPageBytes; }
  std::uint64_t data_bytes() const { return memory_.size() - kMapPageBytes; }

  MapMemory memory_;
  SpinLock lock_;
  std::uint64_t head_ LMN_GUARDED_BY(lock_) = 0;
  std::uint64_t lost_ LMN_GUARDED_BY(lock_) = 0;  // not told to the reader yet
  std::atomic<std::uint64_t> lost_total_{0};
  std::atomic<std::uint64_t> samples_{0};
};

}  // namespace lmn
