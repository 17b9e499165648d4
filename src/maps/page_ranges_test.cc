// SPDX-License-Identifier: Apache-2.0
//
// Goal: pages are found where Linux finds them, and never twice.
// Method: known cases of the best fit; random additions and removals beside one bit per page.
#include "maps/page_ranges.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace lmn {
namespace {

TEST(PageRanges, TheSmallestThatFitsAndOfThoseTheLatest) {
  PageRanges free(100);
  free.remove(10, 1);  // [0,10) and [11,100)
  EXPECT_EQ(free.find(10), 0u);
  EXPECT_EQ(free.find(11), 11u);
  EXPECT_EQ(free.find(90), std::nullopt);
  free.remove(20, 1);  // [0,10), [11,20), [21,100)
  EXPECT_EQ(free.find(9), 11u);
  EXPECT_EQ(free.find(10), 0u);
  free.remove(9, 1);  // [0,9) came after [11,20)
  EXPECT_EQ(free.find(9), 0u);
  free.add(9, 2);  // [0,20) is one again
  EXPECT_EQ(free.find(20), 0u);
}

TEST(PageRanges, RandomChangesMatchABitPerPage) {
  constexpr std::uint64_t kPages = 60;
  std::mt19937_64 random(3);
  PageRanges free(kPages);
  std::vector<bool> model(kPages, true);
  for (int i = 0; i < 50'000; ++i) {
    const std::uint64_t first = random() % kPages;
    const std::uint64_t count = 1 + random() % std::min<std::uint64_t>(9, kPages - first);
    const bool frees = random() % 2 == 0;
    frees ? free.add(first, count) : free.remove(first, count);
    for (std::uint64_t page = first; page < first + count; ++page) model[page] = frees;
    const std::uint64_t at = random() % kPages;
    const std::uint64_t length = 1 + random() % (kPages - at);
    bool all = true;
    for (std::uint64_t page = at; page < at + length; ++page) all = all && model[page];
    ASSERT_EQ(free.are_free(at, length), all) << i;
    // What is found is free and within no longer range than needed.
    const std::uint64_t wanted = 1 + random() % 10;
    const auto found = free.find(wanted);
    std::uint64_t best = kPages + 1;
    for (std::uint64_t page = 0, run = 0; page <= kPages; ++page) {
      if (page < kPages && model[page]) {
        ++run;
        continue;
      }
      if (run >= wanted) best = std::min(best, run);
      run = 0;
    }
    ASSERT_EQ(found.has_value(), best <= kPages) << i;
    if (!found) continue;
    ASSERT_TRUE(free.are_free(*found, best)) << i;
    ASSERT_TRUE(*found + best == kPages || !model[*found + best]) << i;
  }
}

}  // namespace
}  // namespace lmn
