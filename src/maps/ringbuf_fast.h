// SPDX-License-Identifier: Apache-2.0
//
// The writing of a ring buffer's records, for every packet: room is reserved under one short lock,
// which nobody else mostly holds; a record is committed without it.
//
// internal; the map is ringbuf_map.h, whose own functions are these with what may take longer: to
// wait for the lock, and to copy the part of a record that ran over the end of the ring. Who cannot
// (a compiled program) asks ringbuf_try_reserve and ringbuf_try_commit, and the map when they
// decline:
//
//   void* sample = nullptr;
//   if (!ringbuf_try_reserve(ring, size, sample)) sample = map.reserve(size);
//   if (sample == nullptr) return -EAGAIN;
//   ... fill it ...
//   if (!ringbuf_try_commit(ring, sample, flags, 0)) map.submit(sample, flags);
//
// The producer's position and the records' lengths are kept in memory of our own. Of the shared
// pages only the consumer position is read: a reader that lies about it loses records it has not
// read, but cannot make a reservation overlap one that is not committed yet (CVE-2024-41009).
// Invariants: (1) producer - pending <= size; (2) records between pending and producer are ours;
// (3) what is in the shared pages never decides where we write. Threads: reserve by any number, one
// at a time by the lock; commit by whoever reserved; the store of a record's header publishes it.
// Tested by ringbuf_test.cc and maps_concurrency_test.cc. Source: Linux 6.18,
// kernel/bpf/ringbuf.c.
#pragma once

#include <linux/bpf.h>

#include <cstdint>

#include "base/mutex.h"
#include "base/platform.h"

namespace lmn {

inline constexpr std::uint32_t kRingbufHeaderBytes = 8;                  // BPF_RINGBUF_HDR_SZ
inline constexpr std::uint32_t kRingbufBusyBit = 1u << 31;               // BPF_RINGBUF_BUSY_BIT
inline constexpr std::uint32_t kRingbufDiscardBit = 1u << 30;            // BPF_RINGBUF_DISCARD_BIT
inline constexpr std::uint32_t kRingbufRecordBytesMax = UINT32_MAX / 4;  // leaves both bits free
inline constexpr std::uint32_t kRingbufPageBytes = 4096;

// What changes, in a line of its own.
struct alignas(64) RingbufState {
  SpinLock lock;
  std::uint64_t producer = 0;                      // written under the lock
  std::uint64_t pending LMN_GUARDED_BY(lock) = 0;  // oldest record not committed
  std::uint64_t lost_count = 0;
  std::uint64_t wakeup_count = 0;  // times a reader would have been woken
};

struct RingbufDescriptor {
  RingbufState* state;
  const std::uint64_t* consumer_position;  // shared pages, as are the next two
  std::uint64_t* producer_position;
  std::uint8_t* data;
  std::uint32_t* lengths;  // by 8 bytes of data: our own copy of the header's first word
  std::uint64_t mask;      // size of the data less one
};

// Bytes a record of `size` takes: header included, a multiple of 8.
LMN_FAST std::uint64_t ringbuf_record_bytes(std::uint64_t size) noexcept {
  return (size + kRingbufHeaderBytes + 7) & ~7ull;
}

LMN_FAST std::uint32_t* ringbuf_length(const RingbufDescriptor& ring,
                                       std::uint64_t position) noexcept {
  return ring.lengths + (position & ring.mask) / 8;
}

LMN_FAST void* ringbuf_refuse(const RingbufDescriptor& ring) noexcept {
  __atomic_fetch_add(&ring.state->lost_count, 1, __ATOMIC_RELAXED);
  return nullptr;
}

// Moves pending over records that are finished.
LMN_FAST void ringbuf_advance_pending(const RingbufDescriptor& ring) noexcept
    LMN_REQUIRES(ring.state->lock) {
  while (ring.state->pending < ring.state->producer) {
    const std::uint32_t length =
        __atomic_load_n(ringbuf_length(ring, ring.state->pending), __ATOMIC_ACQUIRE);
    if ((length & kRingbufBusyBit) != 0) return;
    ring.state->pending += ringbuf_record_bytes(length);
  }
}

// Room for `size` bytes, 8-byte aligned and in one piece, or null: too large, or full.
LMN_FAST void* ringbuf_reserve_locked(const RingbufDescriptor& ring, std::uint64_t size) noexcept
    LMN_REQUIRES(ring.state->lock) {
  if (size > kRingbufRecordBytesMax) return ringbuf_refuse(ring);
  const std::uint64_t record_bytes = ringbuf_record_bytes(size);
  if (record_bytes > ring.mask + 1) return ringbuf_refuse(ring);  // CVE-2021-3489
  const std::uint64_t consumer = __atomic_load_n(ring.consumer_position, __ATOMIC_ACQUIRE);
  ringbuf_advance_pending(ring);
  const std::uint64_t position = ring.state->producer;
  const std::uint64_t end = position + record_bytes;
  // A consumer position beyond ours makes the difference huge, and the ring full.
  if (end - consumer > ring.mask) return ringbuf_refuse(ring);
  if (end - ring.state->pending > ring.mask) return ringbuf_refuse(ring);
  const std::uint64_t offset = position & ring.mask;
  const std::uint32_t length = static_cast<std::uint32_t>(size) | kRingbufBusyBit;
  auto* header = reinterpret_cast<std::uint32_t*>(ring.data + offset);
  __atomic_store_n(ringbuf_length(ring, position), length, __ATOMIC_RELAXED);
  __atomic_store_n(header, length, __ATOMIC_RELAXED);
  const std::uint64_t page = (offset + 2 * kRingbufPageBytes) / kRingbufPageBytes;
  __atomic_store_n(header + 1, static_cast<std::uint32_t>(page), __ATOMIC_RELAXED);  // pg_off
  __atomic_store_n(&ring.state->producer, end, __ATOMIC_RELEASE);
  __atomic_store_n(ring.producer_position, end, __ATOMIC_RELEASE);
  return header + kRingbufHeaderBytes / sizeof(std::uint32_t);
}

// As ringbuf_reserve_locked; false when another thread has the lock.
LMN_FAST bool ringbuf_try_reserve(const RingbufDescriptor& ring, std::uint64_t size,
                                  void*& sample) noexcept {
  if (!ring.state->lock.try_lock()) return false;
  sample = ringbuf_reserve_locked(ring, size);
  ring.state->lock.unlock();
  return true;
}

// Where a record lies in the data. REQUIRES: `sample` was reserved and is not committed.
struct RingbufRecord {
  std::uint64_t offset;
  std::uint32_t length;
};
LMN_FAST RingbufRecord ringbuf_record_of(const RingbufDescriptor& ring,
                                         const void* sample) noexcept {
  const auto offset = static_cast<std::uint64_t>(static_cast<const std::uint8_t*>(sample) -
                                                 ring.data - kRingbufHeaderBytes);
  const std::uint32_t length = __atomic_load_n(ringbuf_length(ring, offset), __ATOMIC_RELAXED);
  return {offset, length & ~kRingbufBusyBit};
}

// Finishes a record whose bytes are all where a reader finds them. `bits`: kRingbufDiscardBit or 0.
LMN_FAST void ringbuf_publish(const RingbufDescriptor& ring, const RingbufRecord& record,
                              std::uint64_t flags, std::uint32_t bits) noexcept {
  __atomic_store_n(ringbuf_length(ring, record.offset), record.length, __ATOMIC_RELEASE);
  auto* header = reinterpret_cast<std::uint32_t*>(ring.data + record.offset);
  if ((flags & BPF_RB_NO_WAKEUP) != 0) {
    __atomic_store_n(header, record.length | bits, __ATOMIC_RELEASE);
  } else {
    // Before the consumer position is read: a reader that does not see the record is seen to be
    // behind it.
    __atomic_exchange_n(header, record.length | bits, __ATOMIC_SEQ_CST);
    const std::uint64_t consumer = __atomic_load_n(ring.consumer_position, __ATOMIC_ACQUIRE);
    if ((consumer & ring.mask) == record.offset) flags |= BPF_RB_FORCE_WAKEUP;
  }
  if ((flags & BPF_RB_FORCE_WAKEUP) != 0) {
    __atomic_fetch_add(&ring.state->wakeup_count, 1, __ATOMIC_RELAXED);
  }
}

// Finishes a record; false, and nothing done, when it runs over the end of the ring.
LMN_FAST bool ringbuf_try_commit(const RingbufDescriptor& ring, const void* sample,
                                 std::uint64_t flags, std::uint32_t bits) noexcept {
  const RingbufRecord record = ringbuf_record_of(ring, sample);
  if (record.offset + kRingbufHeaderBytes + record.length > ring.mask + 1) return false;
  ringbuf_publish(ring, record, flags, bits);
  return true;
}

}  // namespace lmn
