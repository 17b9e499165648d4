// SPDX-License-Identifier: Apache-2.0
//
// Goal: HashTable finds what is in it and nothing else: full, overflowing, while it changes, and
// for keys of every size. Method: random operations beside std::unordered_map; tables whose keys
// all want one bucket; a thread that changes keys while others look them up.
#include "maps/hash_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

namespace lmn {
namespace {

HashTable make_table(const HashTable::Shape& shape) {
  auto table = HashTable::create(shape);
  EXPECT_TRUE(table.has_value());
  return std::move(*table);
}

std::string key_of(std::uint64_t number, std::uint32_t size) {
  std::string key(size, 'k');
  for (std::uint32_t i = 0; i < std::min(size, 8u); ++i) {
    key[size - 1 - i] = static_cast<char>(number >> (8 * i));
  }
  return key;
}

TEST(HashTable, AgreesWithAModelForEveryKeySize) {
  for (const std::uint32_t size :
       {1u, 2u, 3u, 4u, 6u, 7u, 8u, 9u, 12u, 13u, 16u, 17u, 20u, 31u, 32u, 33u, 40u, 100u, 512u}) {
    constexpr std::uint32_t kEntries = 200;
    HashTable table = make_table({.key_size = size, .max_entries = kEntries, .seed = size});
    std::unordered_map<std::string, std::uint32_t> model;
    std::mt19937_64 random(size);
    for (int step = 0; step < 20'000; ++step) {
      const std::string key = key_of(random() % 250, size);
      const std::uint64_t hash = table.hash_of(key.data());
      const std::uint32_t element = table.find(key.data(), hash);
      const auto found = model.find(key);
      ASSERT_EQ(element, found == model.end() ? HashTable::kNone : found->second) << size;
      if (element != HashTable::kNone) {
        table.unlink(element);
        table.release(element);
        model.erase(found);
      } else if (const std::uint32_t fresh = table.take(); fresh != HashTable::kNone) {
        table.link(fresh, key.data(), hash);
        model[key] = fresh;
      } else {
        ASSERT_EQ(model.size(), kEntries);
      }
      ASSERT_EQ(table.count(), model.size());
    }
  }
}

TEST(HashTable, EveryElementIsSeenOnceInAWalk) {
  HashTable table = make_table({.key_size = 4, .max_entries = 1000, .seed = 1});
  for (std::uint32_t key = 0; key < 1000; ++key) {
    table.link(table.take(), &key, table.hash_of(&key));
  }
  EXPECT_EQ(table.take(), HashTable::kNone);
  std::vector<bool> seen(1000);
  for (std::uint32_t bucket = 0; bucket < table.bucket_count(); ++bucket) {
    std::uint32_t element = table.first_in_buckets(bucket, bucket + 1);
    for (; element != HashTable::kNone; element = table.next_in_chain(element)) {
      ASSERT_EQ(table.bucket_of(element), bucket);
      std::uint32_t key = 0;
      std::memcpy(&key, table.key_at(element), sizeof key);
      ASSERT_FALSE(seen[key]);
      seen[key] = true;
    }
  }
  EXPECT_EQ(std::ranges::count(seen, true), 1000);
}

TEST(HashTable, PatternedKeysFillBucketsEvenly) {
  // 4096 keys in 512 buckets of 12: by chance fewer than 5 % of the keys leave their bucket.
  for (const std::uint32_t stride : {1u, 4096u, 65536u, 0x9e3779b9u}) {
    for (const std::uint64_t seed : {0ull, 7ull, ~0ull}) {
      HashTable table = make_table({.key_size = 4, .max_entries = 4096, .seed = seed});
      int gone_on = 0;
      std::array<int, 256> tags{};
      for (std::uint32_t i = 0; i < 4096; ++i) {
        const std::uint32_t key = i * stride;
        const std::uint32_t element = table.take();
        const std::uint64_t hash = table.hash_of(&key);
        table.link(element, &key, hash);
        ++tags[hash_tag(hash)];
        if (table.bucket_of(element) != (hash & (table.bucket_count() - 1))) ++gone_on;
      }
      EXPECT_LT(gone_on, 4096 / 20) << stride << " " << seed;
      EXPECT_LT(*std::ranges::max_element(tags), 60) << stride << " " << seed;  // 16 on average
    }
  }
}

// Keys that all want one bucket, more of them than it has slots, in and out in random order.
TEST(HashTable, OverflowIsCountedBothWays) {
  HashTable table = make_table({.key_size = 4, .max_entries = 400, .seed = 3});
  std::vector<std::uint32_t> keys;
  for (std::uint32_t key = 0; keys.size() < 60; ++key) {
    if ((table.hash_of(&key) & (table.bucket_count() - 1)) == 5) keys.push_back(key);
  }
  std::mt19937 random(1);
  std::unordered_map<std::uint32_t, std::uint32_t> there;
  for (int step = 0; step < 10'000; ++step) {
    const std::uint32_t key = keys[random() % keys.size()];
    const std::uint64_t hash = table.hash_of(&key);
    if (const auto found = there.find(key); found != there.end()) {
      table.unlink(found->second);
      table.release(found->second);
      there.erase(found);
    } else {
      const std::uint32_t element = table.take();
      table.link(element, &key, hash);
      there[key] = element;
    }
    for (const std::uint32_t other : keys) {
      const auto found = there.find(other);
      ASSERT_EQ(table.find(&other, table.hash_of(&other)),
                found == there.end() ? HashTable::kNone : found->second);
    }
  }
  for (const auto& [key, element] : there) table.unlink(element);
  for (std::uint32_t bucket = 0; bucket < table.bucket_count(); ++bucket) {
    const std::uint64_t high = table.descriptor().buckets[bucket].tags_high;
    EXPECT_EQ(high & 0xff'ffff'ffffull, 0u) << bucket;  // no tag, and nobody gone on
  }
}

TEST(HashTable, SizesFollowTheShape) {
  // 16-byte keys, 8-byte values: the kernel takes 89 bytes for each.
  HashTable table =
      make_table({.key_size = 16, .payload_bytes = 8, .max_entries = 1'000'000, .spare_count = 2});
  EXPECT_LT(static_cast<double>(table.memory_bytes()) / 1e6, 40);
  EXPECT_EQ(make_table({.key_size = 1, .max_entries = 1}).bucket_count(), 1u);
  EXPECT_EQ(make_table({.key_size = 1, .max_entries = 9}).bucket_count(), 1u);
  EXPECT_EQ(make_table({.key_size = 1, .max_entries = 10}).bucket_count(), 2u);
}

TEST(HashTable, PrefetchingHalvesChangeNothing) {
  HashTable table = make_table({.key_size = 16, .payload_bytes = 8, .max_entries = 64, .seed = 9});
  const std::string key = key_of(1, 16);
  const HashDescriptor& d = table.descriptor();
  std::uint64_t hash = hash_prefetch_bucket(d, key.data());
  EXPECT_EQ(hash, table.hash_of(key.data()));
  hash_prefetch_element(d, hash);
  EXPECT_EQ(hash_finish(d, key.data(), hash), nullptr);
  const std::uint32_t element = table.take();
  table.link(element, key.data(), hash);
  hash_prefetch_element(d, hash);
  EXPECT_EQ(hash_finish(d, key.data(), hash), table.payload_at(element));
  EXPECT_EQ(hash_lookup(d, key.data()), table.payload_at(element));
}

// One thread replaces, removes and adds keys of two words whose halves belong together; readers
// look up keys that are always there and keys made of two halves that never are.
TEST(HashTable, ReadersBesideAWriterMissNothingAndFindNothingFalse) {
  constexpr std::uint32_t kFixed = 16;
  constexpr std::uint32_t kMoving = 32;
  HashTable table = make_table(
      {.key_size = 16, .payload_bytes = 8, .max_entries = 50, .spare_count = 1, .seed = 4});
  using Key = std::array<std::uint64_t, 2>;
  const auto add = [&](const Key& key) {
    const std::uint32_t element = table.take();
    table.link(element, key.data(), table.hash_of(key.data()));
    return element;
  };
  std::array<std::uint32_t, kFixed> fixed{};
  for (std::uint32_t i = 0; i < kFixed; ++i) fixed[i] = add({i, ~std::uint64_t{i}});
  std::atomic<bool> is_done{false};
  std::atomic<int> missed{0};
  std::atomic<int> false_hits{0};
  const auto read = [&](std::uint64_t seed) {
    std::mt19937_64 random(seed);
    while (!is_done.load(std::memory_order_relaxed)) {
      const std::uint64_t i = random() % kFixed;
      const Key there = {i, ~i};
      if (table.find(there.data(), table.hash_of(there.data())) == HashTable::kNone) ++missed;
      const std::uint64_t a = 100 + random() % kMoving;
      const Key never = {a, ~(a + 1)};
      if (table.find(never.data(), table.hash_of(never.data())) != HashTable::kNone) ++false_hits;
    }
  };
  std::thread first(read, 1);
  std::thread second(read, 2);
  std::mt19937_64 random(3);
  std::uint32_t spare = table.take();
  for (int step = 0; step < 200'000; ++step) {
    const std::uint64_t i = random() % kFixed;
    const Key key = {i, ~i};
    table.replace(fixed[i], spare, key.data(), table.hash_of(key.data()));
    std::swap(fixed[i], spare);
    const std::uint64_t m = 100 + random() % kMoving;
    const Key moving = {m, ~m};
    const std::uint64_t hash = table.hash_of(moving.data());
    if (const std::uint32_t element = table.find(moving.data(), hash)) {
      table.unlink(element);
      table.release(element);
    } else {
      add(moving);
    }
  }
  is_done = true;
  first.join();
  second.join();
  EXPECT_EQ(missed.load(), 0);
  EXPECT_EQ(false_hits.load(), 0);
}

}  // namespace
}  // namespace lmn
