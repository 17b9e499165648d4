// SPDX-License-Identifier: Apache-2.0
//
// Sums 32-bit words in 64-bit lanes, which compilers turn into vector code. Tested by
// offload_test.cc.
#include "ports/offload/checksum.h"

namespace lmn {
namespace {

std::uint16_t fold(std::uint64_t sum) {
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(sum);
}

}  // namespace

std::uint16_t ones_complement_sum(ByteSpan bytes, std::uint32_t initial) noexcept {
  std::uint64_t sum = initial;
  std::size_t i = 0;
  for (; i + 4 <= bytes.size(); i += 4) sum += load_unaligned<std::uint32_t>(bytes.data() + i);
  for (; i + 2 <= bytes.size(); i += 2) sum += load_unaligned<std::uint16_t>(bytes.data() + i);
  if (i < bytes.size()) {
    const std::uint8_t last[2] = {bytes[i], 0};
    sum += load_unaligned<std::uint16_t>(last);
  }
  return fold(sum);
}

bool complete_checksum(std::span<std::uint8_t> frame, std::size_t start,
                       std::size_t offset) noexcept {
  if (start > frame.size() || offset > frame.size() - start) return false;
  if (frame.size() - start - offset < 2) return false;
  const auto checksum = static_cast<std::uint16_t>(~ones_complement_sum(frame.subspan(start)));
  const std::uint16_t stored = checksum == 0 ? 0xffff : checksum;
  store_unaligned(frame.data() + start + offset, stored);
  return true;
}

}  // namespace lmn
