// SPDX-License-Identifier: Apache-2.0
//
// Goal: an LRU map keeps what is used. Method: the hit rate on a Zipf trace beside that of an exact
// LRU; small cases where only one element may go; the hand's own edges.
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <iterator>
#include <list>
#include <random>
#include <unordered_map>
#include <vector>

#include "maps/lru_clock.h"
#include "maps/map.h"

namespace lmn {
namespace {

class NoHost final : public MapHost {
 public:
  FrameSink* find_sink(std::uint32_t) noexcept override { return nullptr; }
  const ProgramEntry* acquire_program(std::uint32_t) noexcept override { return nullptr; }
  void release_program(const ProgramEntry*) noexcept override {}
};

std::unique_ptr<Map> make_lru_map(std::uint32_t type, std::uint32_t max_entries) {
  NoHost host;
  auto map = create_map(
      {.name = "m", .type = type, .key_size = 4, .value_size = 8, .max_entries = max_entries},
      {.cpu_count = 2, .hash_seed = 42}, host);
  EXPECT_TRUE(map.has_value());
  return std::move(*map);
}

// The trace of a cache: ranks of `universe` keys, the nth as likely as n^-exponent.
std::vector<std::uint32_t> zipf_trace(double exponent, std::uint32_t universe, std::size_t length) {
  std::vector<double> sums(universe);
  double sum = 0;
  for (std::uint32_t i = 0; i < universe; ++i) sums[i] = sum += std::pow(i + 1, -exponent);
  std::mt19937_64 random(7);
  std::uniform_real_distribution<double> draw(0, sum);
  std::vector<std::uint32_t> trace(length);
  for (auto& key : trace) {
    const auto at = std::ranges::lower_bound(sums, draw(random)) - sums.begin();
    key = static_cast<std::uint32_t>(std::min<std::ptrdiff_t>(at, universe - 1)) * 0x9e3779b9u;
  }
  return trace;
}

double exact_hit_rate(const std::vector<std::uint32_t>& trace, std::size_t capacity) {
  std::list<std::uint32_t> order;  // most recent first
  std::unordered_map<std::uint32_t, std::list<std::uint32_t>::iterator> places;
  std::size_t hits = 0;
  for (const std::uint32_t key : trace) {
    if (const auto found = places.find(key); found != places.end()) {
      ++hits;
      order.splice(order.begin(), order, found->second);
      continue;
    }
    if (places.size() == capacity) {
      places.erase(order.back());
      order.pop_back();
    }
    order.push_front(key);
    places[key] = order.begin();
  }
  return static_cast<double>(hits) / static_cast<double>(trace.size());
}

double map_hit_rate(const std::vector<std::uint32_t>& trace, Map& map) {
  std::size_t hits = 0;
  const std::uint64_t value = 1;
  for (const std::uint32_t key : trace) {
    if (map.lookup(&key, 0) != nullptr) {
      ++hits;
    } else {
      EXPECT_EQ(map.update(&key, &value, 0, 0), 0);
    }
  }
  return static_cast<double>(hits) / static_cast<double>(trace.size());
}

TEST(LruHashMap, HitRateOnZipfTracesIsThatOfAnExactLru) {
  for (const std::uint32_t type : {BPF_MAP_TYPE_LRU_HASH, BPF_MAP_TYPE_LRU_PERCPU_HASH}) {
    for (const double exponent : {0.8, 1.0, 1.2}) {
      const auto trace = zipf_trace(exponent, 20'000, 60'000);
      for (const std::uint32_t capacity : {100u, 1000u, 5000u}) {
        const double exact = exact_hit_rate(trace, capacity);
        const double ours = map_hit_rate(trace, *make_lru_map(type, capacity));
        EXPECT_GE(ours, exact - 0.02) << "zipf " << exponent << ", " << capacity << " of 20000";
      }
    }
  }
}

TEST(LruHashMap, WhatIsUsedBetweenTwoPassesStays) {
  for (const std::uint32_t type : {BPF_MAP_TYPE_LRU_HASH, BPF_MAP_TYPE_LRU_PERCPU_HASH}) {
    auto map = make_lru_map(type, 50);
    const std::uint32_t hot = 1'000'000;
    const std::uint64_t value = 5;
    EXPECT_EQ(map->update(&hot, &value, 0, 0), 0);
    for (std::uint32_t key = 0; key < 10'000; ++key) {
      if (key % 20 == 0) {
        ASSERT_NE(map->lookup(&hot, 0), nullptr) << key;
      }
      ASSERT_EQ(map->update(&key, &value, 0, 0), 0);
      ASSERT_EQ(map->element_count(), std::min<std::int64_t>(key + 2, 50));
    }
  }
}

TEST(LruHashMap, UserSpaceLookupIsNoUse) {
  auto map = make_lru_map(BPF_MAP_TYPE_LRU_HASH, 10);
  const std::uint32_t watched = 99;
  std::uint64_t value = 5;
  EXPECT_EQ(map->update(&watched, &value, 0, 0), 0);
  for (std::uint32_t key = 0; key < 10; ++key) {
    std::uint8_t out[8];
    EXPECT_EQ(map->user_lookup(&watched, out, 0), 0) << key;
    EXPECT_EQ(map->update(&key, &value, 0, 0), 0);
  }
  EXPECT_EQ(map->lookup(&watched, 0), nullptr);
}

TEST(LruClock, OnlyLinkedElementsGoAndTheHandComesRound) {
  auto clock = LruClock::create(200);
  ASSERT_TRUE(clock.has_value());
  clock->link(200, true);
  clock->link(3, false);
  EXPECT_EQ(clock->peek(0), 3u);
  EXPECT_EQ(clock->peek(1), 0u);
  EXPECT_EQ(clock->choose(), 3u);
  clock->unlink(3);
  clock->marks()[70] = 1;            // of an element that is not linked
  EXPECT_EQ(clock->choose(), 200u);  // its mark is cleared by the first pass
  clock->link(64, true);
  clock->link(65, true);
  clock->unlink(200);
  EXPECT_EQ(clock->choose(), 64u);
  clock->marks()[64] = 1;
  EXPECT_EQ(clock->choose(), 65u);  // the hand goes on from where it was
  clock->unlink(65);
  EXPECT_EQ(clock->choose(), 64u);
  clock->unlink(64);
  EXPECT_EQ(clock->choose(), 0u);
}

TEST(LruClock, APassIsBounded) {
  constexpr std::uint32_t kCount = 300'000;
  auto clock = LruClock::create(kCount);
  ASSERT_TRUE(clock.has_value());
  for (std::uint32_t element = 1; element <= kCount; ++element) clock->link(element, true);
  const std::uint32_t chosen = clock->choose();
  EXPECT_EQ(chosen, 65'536u);  // all before it were used too: the next in line goes
}

}  // namespace
}  // namespace lmn
