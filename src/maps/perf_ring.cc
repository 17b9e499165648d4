// SPDX-License-Identifier: Apache-2.0
//
// PerfRing. Tested by ringbuf_test.cc.
// Source: Linux 6.18, kernel/events/ring_buffer.c, core.c (perf_output_sample).
#include "maps/perf_ring.h"

#include <fmt/format.h>
#include <linux/perf_event.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

namespace lmn {
namespace {

// PERF_RECORD_LOST as a reader gets it.
struct LostRecord {
  perf_event_header header;
  std::uint64_t id;
  std::uint64_t lost;
};
static_assert(sizeof(LostRecord) == 24);

perf_event_mmap_page* page_of(const MapMemory& memory) {
  return reinterpret_cast<perf_event_mmap_page*>(memory.data());
}

template <typename T>
std::span<const std::uint8_t> bytes_of(const T& value) {
  return {reinterpret_cast<const std::uint8_t*>(&value), sizeof value};
}

}  // namespace

Result<std::unique_ptr<PerfRing>> PerfRing::create(std::uint32_t page_count) {
  if (!std::has_single_bit(page_count)) {
    return make_errno_error(ErrorCode::kInvalidArgument, EINVAL,
                            fmt::format("perf ring of {} pages: not a power of two", page_count));
  }
  LMN_TRY(MapMemory memory,
          MapMemory::create_mapped((std::uint64_t{page_count} + 1) * kMapPageBytes));
  return std::unique_ptr<PerfRing>(new PerfRing(std::move(memory)));
}

PerfRing::PerfRing(MapMemory memory) : memory_(std::move(memory)) {
  perf_event_mmap_page* page = page_of(memory_);
  page->data_offset = kMapPageBytes;
  page->data_size = data_bytes();
}

int PerfRing::output(std::span<const std::uint8_t> first,
                     std::span<const std::uint8_t> second) noexcept {
  constexpr std::size_t kSizeWordBytes = sizeof(std::uint32_t);
  const std::uint64_t raw_bytes = std::uint64_t{first.size()} + second.size();
  const std::uint64_t padded_bytes = round_up_to_8(raw_bytes + kSizeWordBytes);
  const std::uint64_t sample_bytes = sizeof(perf_event_header) + padded_bytes;
  if (sample_bytes > UINT16_MAX) return -E2BIG;

  const SpinGuard guard(lock_);
  const std::uint64_t needed = sample_bytes + (lost_ > 0 ? sizeof(LostRecord) : 0);
  const std::uint64_t tail = __atomic_load_n(&page_of(memory_)->data_tail, __ATOMIC_ACQUIRE);
  const std::uint64_t used = head_ - tail;
  // One byte stays free, as in perf: a full ring is not an empty one.
  if (used >= data_bytes() || needed > data_bytes() - used - 1) {
    ++lost_;
    lost_total_.fetch_add(1, std::memory_order_relaxed);
    return -ENOSPC;
  }
  if (lost_ > 0) append_lost();
  perf_event_header header = {};
  header.type = PERF_RECORD_SAMPLE;
  header.size = static_cast<std::uint16_t>(sample_bytes);
  const auto shown_bytes = static_cast<std::uint32_t>(padded_bytes - kSizeWordBytes);
  const std::uint8_t padding[8] = {};
  append(bytes_of(header));
  append(bytes_of(shown_bytes));
  append(first);
  append(second);
  append(std::span(padding).first(shown_bytes - raw_bytes));
  samples_.fetch_add(1, std::memory_order_relaxed);
  __atomic_store_n(&page_of(memory_)->data_head, head_, __ATOMIC_RELEASE);
  return 0;
}

void PerfRing::append_lost() noexcept {
  LostRecord record = {};
  record.header.type = PERF_RECORD_LOST;
  record.header.size = sizeof record;
  record.lost = lost_;
  append(bytes_of(record));
  lost_ = 0;
}

void PerfRing::append(std::span<const std::uint8_t> bytes) noexcept {
  while (!bytes.empty()) {
    const std::uint64_t at = head_ & (data_bytes() - 1);
    const std::size_t size = std::min<std::size_t>(bytes.size(), data_bytes() - at);
    std::memcpy(data() + at, bytes.data(), size);
    head_ += size;
    bytes = bytes.subspan(size);
  }
}

}  // namespace lmn
