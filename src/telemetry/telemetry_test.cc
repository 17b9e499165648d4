// SPDX-License-Identifier: Apache-2.0
//
// Goal: counters count and their names are unique. Method: walk the table.
#include <gtest/gtest.h>

#include <set>

#include "telemetry/counters.h"

namespace lmn {
namespace {

TEST(Counters, AddSetSnapshot) {
  Counters counters;
  counters.add(Counter::kRxPackets);
  counters.add(Counter::kRxBytes, 60);
  counters.set(Counter::kRxKernelDropped, 3);
  const CounterSnapshot snapshot = counters.snapshot();
  EXPECT_EQ(snapshot[static_cast<std::size_t>(Counter::kRxBytes)], 60u);
  EXPECT_EQ(counters.get(Counter::kRxKernelDropped), 3u);
}

TEST(Counters, NamesAreUnique) {
  std::set<std::string_view> names;
  for (std::size_t i = 0; i < kCounterCount; ++i)
    names.insert(counter_name(static_cast<Counter>(i)));
  EXPECT_EQ(names.size(), kCounterCount);
}

}  // namespace
}  // namespace lmn
