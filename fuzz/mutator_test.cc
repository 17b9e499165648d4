// SPDX-License-Identifier: Apache-2.0
//
// Goal: the smoke runs are reproducible, bounded and reach something. Method: the Mutator alone, no
// target.
#include "mutator.h"

#include <gtest/gtest.h>

#include <set>

namespace lmn::fuzz {
namespace {

using Bytes = std::vector<std::uint8_t>;

Bytes mutate_many(std::uint64_t seed, Bytes bytes, std::size_t size_max) {
  Mutator mutator(seed);
  const Bytes other = {9, 8, 7, 6};
  for (int i = 0; i < 1000; ++i) mutator.mutate(bytes, other, size_max);
  return bytes;
}

TEST(Mutator, SameSeedGivesSameBytes) {
  const Bytes input(64, 0x55);
  EXPECT_EQ(mutate_many(7, input, 256), mutate_many(7, input, 256));
  EXPECT_NE(mutate_many(7, input, 256), mutate_many(8, input, 256));
}

TEST(Mutator, StaysWithinTheSizeAndTakesEmptyInput) {
  Mutator mutator(3);
  Bytes bytes;
  for (int i = 0; i < 20'000; ++i) {
    mutator.mutate(bytes, {}, 32);
    ASSERT_LE(bytes.size(), 32u);
  }
}

TEST(Mutator, ReachesEverySingleByteChangeAndManyLengths) {
  Mutator mutator(1);
  std::set<std::uint8_t> first_bytes;
  std::set<std::size_t> lengths;
  for (int i = 0; i < 50'000; ++i) {
    Bytes bytes(8, 0);
    mutator.mutate(bytes, {}, 64);
    if (bytes.empty()) continue;
    first_bytes.insert(bytes[0]);
    lengths.insert(bytes.size());
  }
  EXPECT_EQ(first_bytes.size(), 256u);
  EXPECT_GT(lengths.size(), 20u);
}

}  // namespace
}  // namespace lmn::fuzz
