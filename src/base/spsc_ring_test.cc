// SPDX-License-Identifier: Apache-2.0
//
// Goal: a ring between two threads loses, doubles and reorders nothing, holds exactly what it was
// made for, and a sleeper misses no work. Method: the ring alone at its limits; then a thread that
// fills it and one that empties it, who sleep on each other. Under TSan this is the proof that the
// elements are published.
#include "base/spsc_ring.h"

#include <gtest/gtest.h>

#include <thread>

#include "base/sleep_bell.h"

namespace lmn {
namespace {

TEST(SpscRing, HoldsExactlyItsCapacity) {
  for (const std::size_t capacity : {1u, 2u, 3u, 192u, 256u}) {
    SpscRing<std::size_t> ring(capacity);
    for (int round = 0; round < 3; ++round) {
      for (std::size_t i = 0; i < capacity; ++i) {
        ASSERT_EQ(ring.room(), capacity - i);
        ASSERT_TRUE(ring.push(i));
      }
      EXPECT_FALSE(ring.push(99));
      EXPECT_EQ(ring.room(), 0u);
      EXPECT_EQ(ring.size(), capacity);
      std::size_t element = 0;
      for (std::size_t i = 0; i < capacity; ++i) {
        ASSERT_TRUE(ring.pop(element));
        ASSERT_EQ(element, i);
      }
      EXPECT_FALSE(ring.pop(element));
      EXPECT_TRUE(ring.is_empty());
      EXPECT_EQ(ring.room(), capacity);
    }
  }
}

TEST(SpscRing, TwoThreadsWhoSleepOnEachOther) {
  constexpr std::uint64_t kCount = 100'000;
  SpscRing<std::uint64_t> ring(7);
  SleepBell has_element;
  SleepBell has_room;
  std::thread reader([&] {
    for (std::uint64_t expected = 0; expected < kCount;) {
      std::uint64_t element = 0;
      if (ring.pop(element)) {
        if (element != expected++) std::abort();
        has_room.ring();
        continue;
      }
      has_element.lie_down();
      ring.is_empty() ? has_element.sleep() : has_element.get_up();
    }
  });
  for (std::uint64_t element = 0; element < kCount;) {
    if (ring.push(element)) {
      ++element;
      has_element.ring();
      continue;
    }
    has_room.lie_down();
    ring.room() == 0 ? has_room.sleep() : has_room.get_up();
  }
  reader.join();
  EXPECT_TRUE(ring.is_empty());
}

}  // namespace
}  // namespace lmn
