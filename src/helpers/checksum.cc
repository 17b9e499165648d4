// SPDX-License-Identifier: Apache-2.0
//
// bpf_csum_diff: the one's complement sum of new bytes, less that of old ones, plus a seed.
//
// The answer is a folded 16-bit sum since Linux 6.13 on every architecture, and odd lengths are
// summed as if a zero byte followed. What makes it exact and not just equal modulo 0xffff is which
// of the two zeros comes out, 0 or 0xffff: a sum is carried as a 32-bit number that is 0 only if
// all that went in was 0, and "old bytes only" is the complement of a sum of complements.
//
// Sums are taken over 32-bit words in memory order into a 64-bit accumulator, which cannot
// overflow: a program's memory is far shorter than 2^34 bytes. The words of a long buffer are
// independent of each other, so compilers make vector code of the loop.
// Tested by helpers_test.cc and tests/differential/helpers_test.cc.
// Source: Linux 6.18, net/core/filter.c (bpf_csum_diff), include/net/checksum.h,
// lib/checksum.c.
#include <cstring>

#include "helpers/bodies.h"

namespace lmn {
namespace {

std::uint32_t fold_to_32(std::uint64_t sum) {
  sum = (sum & 0xffff'ffffu) + (sum >> 32);
  sum = (sum & 0xffff'ffffu) + (sum >> 32);
  return static_cast<std::uint32_t>(sum);
}

// The sum of the bytes, added to `sum`.
std::uint32_t add_bytes(const std::uint8_t* bytes, std::uint32_t length, std::uint32_t sum) {
  std::uint64_t total = sum;
  std::uint32_t i = 0;
  for (; length - i >= 4; i += 4) {
    std::uint32_t word;
    std::memcpy(&word, bytes + i, sizeof word);
    total += word;
  }
  if (i < length) {
    std::uint32_t word = 0;
    std::memcpy(&word, bytes + i, length - i);
    total += word;
  }
  return fold_to_32(total);
}

std::uint32_t add(std::uint32_t a, std::uint32_t b) { return fold_to_32(std::uint64_t{a} + b); }

// 32 bits to 16: the halves and their carry.
std::uint16_t fold_to_16(std::uint32_t sum) {
  sum = (sum & 0xffffu) + (sum >> 16);
  sum = (sum & 0xffffu) + (sum >> 16);
  return static_cast<std::uint16_t>(sum);
}

}  // namespace

LMN_HELPER_BODY(csum_diff) {
  const auto* from = helper::as_pointer<const std::uint8_t>(r1);
  const std::uint32_t from_bytes = helper::as_u32(r2);
  const auto* to = helper::as_pointer<const std::uint8_t>(r3);
  const std::uint32_t to_bytes = helper::as_u32(r4);
  std::uint32_t sum = helper::as_u32(r5);
  if (from_bytes != 0 && to_bytes != 0) {
    sum = add(add_bytes(to, to_bytes, sum), ~add_bytes(from, from_bytes, 0));
  } else if (to_bytes != 0) {
    sum = add_bytes(to, to_bytes, sum);
  } else if (from_bytes != 0) {
    sum = ~add_bytes(from, from_bytes, ~sum);
  }
  return fold_to_16(sum);
}

}  // namespace lmn
