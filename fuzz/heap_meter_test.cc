// SPDX-License-Identifier: Apache-2.0
//
// Goal: the meter sees the worst moment, not the sum and not the end. Method: allocations of known
// size, in builds where it can watch.
#include "heap_meter.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

namespace lmn::fuzz {
namespace {

TEST(HeapMeterTest, PeakIsWhatWasLiveAtOnce) {
  if (!heap_meter::start()) GTEST_SKIP() << "no AddressSanitizer in this build";
  auto before = std::make_unique<std::vector<char>>(1 << 20);
  heap_meter::reset_peak();
  for (int i = 0; i < 3; ++i) {
    const std::vector<char> bytes(1 << 16);
    EXPECT_EQ(bytes.back(), 0);
  }
  EXPECT_GE(heap_meter::peak_bytes(), 1u << 16);
  EXPECT_LT(heap_meter::peak_bytes(), 2u << 16) << "one after the other";
  {
    const std::vector<char> one(1 << 16);
    const std::vector<char> two(1 << 16);
    EXPECT_EQ(one, two);
  }
  EXPECT_GE(heap_meter::peak_bytes(), 2u << 16);
  before.reset();
  heap_meter::reset_peak();
  EXPECT_EQ(heap_meter::peak_bytes(), 0u);
}

}  // namespace
}  // namespace lmn::fuzz
