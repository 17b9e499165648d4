// SPDX-License-Identifier: Apache-2.0
//
// The random numbers of bpf_get_prandom_u32: xoshiro128++ (https://prng.di.unimi.it), seeded by
// splitmix64 so that near seeds give unlike streams. Tested by packet_test.cc.
#include "packet/run_context.h"

namespace lmn {
namespace {

std::uint32_t rotate_left(std::uint32_t value, int by) {
  return (value << by) | (value >> (32 - by));
}

std::uint64_t splitmix64(std::uint64_t& state) {
  std::uint64_t z = (state += 0x9e3779b97f4a7c15ull);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

}  // namespace

void PrandomState::seed(std::uint64_t value) noexcept {
  for (int i = 0; i < 4; i += 2) {
    const std::uint64_t word = splitmix64(value);
    s[i] = static_cast<std::uint32_t>(word);
    s[i + 1] = static_cast<std::uint32_t>(word >> 32);
  }
}

std::uint32_t PrandomState::next() noexcept {
  const std::uint32_t result = rotate_left(s[0] + s[3], 7) + s[0];
  const std::uint32_t t = s[1] << 9;
  s[2] ^= s[0];
  s[3] ^= s[1];
  s[1] ^= s[2];
  s[0] ^= s[3];
  s[2] ^= t;
  s[3] = rotate_left(s[3], 11);
  return result;
}

}  // namespace lmn
