// SPDX-License-Identifier: Apache-2.0
//
// RingbufMemory: the memory of a ring buffer in the kernel's layout, in a sealed memfd.
//
//   page 0       consumer position      written by the consumer
//   page 1       producer position      written by the producer
//   then         data, twice its size
//
// The kernel maps its data pages twice in a row, so that a record that runs over the end can be
// read on. A file cannot alias its own pages; it need not: readers begin at `position & mask` in
// the first half and read on, so a record is simply written on into the second half. A consumer
// that maps the file as libbpf maps a kernel ring reads it unchanged.
//
// Whoever shares this memory may write anything at any time: positions and lengths read from it are
// hostile, are read once, and are checked by the map before use.
// Threads: positions are acquired and released. Owner: the map. Tested by ringbuf_test.cc.
// Source: Linux 6.18, kernel/bpf/ringbuf.c; include/uapi/linux/bpf.h (header bits).
#pragma once

#include <bit>
#include <cerrno>
#include <cstdint>

#include "maps/map_checks.h"
#include "maps/map_memory.h"
#include "maps/ringbuf_fast.h"

namespace lmn {

class RingbufMemory {
 public:
  static constexpr std::uint32_t kHeaderBytes = kRingbufHeaderBytes;
  static constexpr std::uint32_t kBusyBit = kRingbufBusyBit;
  static constexpr std::uint32_t kDiscardBit = kRingbufDiscardBit;
  static constexpr std::uint32_t kRecordBytesMax = kRingbufRecordBytesMax;

  // Checks the spec of RINGBUF and USER_RINGBUF as the kernel does, and makes the memory.
  static Result<RingbufMemory> create(const MapSpec& spec);

  std::uint64_t mask() const { return mask_; }
  std::uint64_t size_bytes() const { return mask_ + 1; }
  const SharedMemory* shared() const { return memory_.shared(); }

  std::uint64_t* consumer_position() const { return position_at(0); }
  std::uint64_t* producer_position() const { return position_at(kMapPageBytes); }
  // The header of the record at `position`, 8-byte aligned and never split.
  std::uint32_t* header_at(std::uint64_t position) const {
    return reinterpret_cast<std::uint32_t*>(data() + (position & mask_));
  }
  // Where the data begins; the second half ends 2 * size_bytes() later.
  std::uint8_t* data() const { return memory_.data() + 2 * kMapPageBytes; }

  // Bytes a record of `size` takes: header included, a multiple of 8.
  static std::uint64_t record_bytes(std::uint32_t size) { return ringbuf_record_bytes(size); }
  static std::uint64_t load_acquire(const std::uint64_t* at) {
    return __atomic_load_n(at, __ATOMIC_ACQUIRE);
  }
  static void store_release(std::uint64_t* at, std::uint64_t value) {
    __atomic_store_n(at, value, __ATOMIC_RELEASE);
  }

 private:
  std::uint64_t* position_at(std::size_t offset) const {
    return reinterpret_cast<std::uint64_t*>(memory_.data() + offset);
  }

  MapMemory memory_;
  std::uint64_t mask_ = 0;
};

}  // namespace lmn
