// SPDX-License-Identifier: Apache-2.0
//
// USER_RINGBUF. Tested by ringbuf_test.cc and tests/contract/maps_contract_test.cc.
// Source: Linux 6.18, kernel/bpf/ringbuf.c.
#include "maps/user_ringbuf_map.h"

namespace lmn {
namespace {

constexpr std::uint32_t kDynptrBytesMax = (1u << 24) - 1;  // DYNPTR_MAX_SIZE: programs get a dynptr

}  // namespace

Result<std::unique_ptr<Map>> create_user_ringbuf_map(const MapSpec& spec, const MapOptions& options,
                                                     MapHost&) {
  return UserRingbufMap::create(spec, options);
}

Result<std::unique_ptr<Map>> UserRingbufMap::create(const MapSpec& spec,
                                                    const MapOptions& options) {
  LMN_TRY(RingbufMemory memory, RingbufMemory::create(spec));
  return std::unique_ptr<Map>(new UserRingbufMap(spec, options, std::move(memory)));
}

int UserRingbufMap::next_sample(std::span<std::uint8_t>& sample) noexcept {
  const std::uint64_t producer = RingbufMemory::load_acquire(memory_.producer_position());
  if (producer % 8 != 0) return -EINVAL;
  if (consumer_ >= producer) return -ENODATA;
  std::uint32_t* header = memory_.header_at(consumer_);
  const std::uint32_t word = __atomic_load_n(header, __ATOMIC_ACQUIRE);
  const std::uint32_t size = word & ~(RingbufMemory::kBusyBit | RingbufMemory::kDiscardBit);
  const std::uint64_t record_bytes = RingbufMemory::record_bytes(size);
  if (record_bytes > producer - consumer_) return -EINVAL;
  if (record_bytes > memory_.size_bytes()) return -E2BIG;
  if (size > kDynptrBytesMax) return -E2BIG;
  if ((word & RingbufMemory::kDiscardBit) != 0) {
    advance(size);
    return -EAGAIN;
  }
  if ((word & RingbufMemory::kBusyBit) != 0) return -ENODATA;
  // Behind a header in the last 8 bytes the record begins at the start, where writers put it: only
  // a record that itself runs over the end goes on in the second half.
  const std::uint64_t start = (consumer_ + RingbufMemory::kHeaderBytes) & memory_.mask();
  sample = {memory_.data() + start, size};
  return 0;
}

void UserRingbufMap::finish_sample(std::span<const std::uint8_t> sample) noexcept {
  advance(static_cast<std::uint32_t>(sample.size()));
}

void UserRingbufMap::advance(std::uint32_t size) noexcept {
  consumer_ += RingbufMemory::record_bytes(size);
  RingbufMemory::store_release(memory_.consumer_position(), consumer_);
}

void* UserRingbufMap::lookup(const void*, std::uint32_t) noexcept { return nullptr; }
int UserRingbufMap::update(const void*, const void*, std::uint64_t, std::uint32_t) noexcept {
  return -kErrnoNotSupp;
}
int UserRingbufMap::erase(const void*) noexcept { return -kErrnoNotSupp; }
int UserRingbufMap::copy_value(const void*, std::span<std::uint8_t>, std::uint64_t) noexcept {
  return -kErrnoNotSupp;
}
int UserRingbufMap::next_key(const void*, void*) noexcept { return -kErrnoNotSupp; }

}  // namespace lmn
