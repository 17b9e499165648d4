// SPDX-License-Identifier: Apache-2.0
//
// Comparing sixteen bytes with one at once: what a hash table does with the tags of a bucket.
//
//   std::uint32_t slots = equal_bytes(low, high, tag) & 0xfff;   // bit i: byte i is the tag
//
// The bytes come as two words and not as an address, since the caller has loaded them atomically.
// equal_bytes is the processor's instruction where there is one, equal_bytes_portable the same in
// plain arithmetic; a test compares the two on every byte. Threads: pure functions. Tested by
// base_test.cc.
#pragma once

#include <cstdint>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace lmn {

// Bit i: byte i of the word is zero. Exact: a carry cannot leave its byte, as the highest bit of
// each is masked off before the addition.
inline std::uint32_t zero_bytes_portable(std::uint64_t word) noexcept {
  constexpr std::uint64_t kLowSeven = 0x7f7f7f7f7f7f7f7full;
  constexpr std::uint64_t kGather = 0x0102040810204080ull;  // bit 8i to bit 56 + i
  const std::uint64_t zeros = ~(((word & kLowSeven) + kLowSeven) | word | kLowSeven);
  return static_cast<std::uint32_t>(((zeros >> 7) * kGather) >> 56);
}

inline std::uint32_t equal_bytes_portable(std::uint64_t low, std::uint64_t high,
                                          std::uint8_t byte) noexcept {
  const std::uint64_t pattern = byte * 0x0101010101010101ull;
  return zero_bytes_portable(low ^ pattern) | zero_bytes_portable(high ^ pattern) << 8;
}

inline std::uint32_t equal_bytes(std::uint64_t low, std::uint64_t high,
                                 std::uint8_t byte) noexcept {
#if defined(__SSE2__)
  const __m128i bytes = _mm_set_epi64x(static_cast<long long>(high), static_cast<long long>(low));
  const __m128i equal = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(static_cast<char>(byte)));
  return static_cast<std::uint32_t>(_mm_movemask_epi8(equal));
#else
  return equal_bytes_portable(low, high, byte);
#endif
}

}  // namespace lmn
