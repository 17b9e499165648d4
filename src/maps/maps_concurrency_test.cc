// SPDX-License-Identifier: Apache-2.0
//
// Goal: what four threads see of one map at once is linearizable, key by key.
// Method: a key is written by one thread only, in numbered writes (an update, or now and then a
// deletion), and read by all. Then a read is right exactly when it shows the last write that had
// returned before it began or a later one that had begun before it ended, and a thread's reads
// never go back. Queues: what went in comes out once, and what one thread put in comes out in its
// order. Every thread is a reader of an Epoch, as a worker is, and passes every kBatch operations.
//
// LMN_CONCURRENCY_OPERATIONS sets the operations per map (default 200,000);
// ./dev conformance maps_concurrent takes 10,000,000. The same under the thread sanitizer: ./dev
// tsan.
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <thread>
#include <vector>

#include "base/epoch.h"
#include "maps/map.h"
#include "maps/ringbuf_map.h"

namespace lmn {
namespace {

constexpr std::uint32_t kThreads = 4;
constexpr std::uint32_t kKeys = 64;
constexpr std::uint64_t kBatch = 64;

std::uint64_t operation_count() {
  const char* text = std::getenv("LMN_CONCURRENCY_OPERATIONS");
  return text == nullptr ? 200'000 : std::strtoull(text, nullptr, 0);
}

class NoHost final : public MapHost {
 public:
  FrameSink* find_sink(std::uint32_t) noexcept override { return nullptr; }
  const ProgramEntry* acquire_program(std::uint32_t) noexcept override { return nullptr; }
  void release_program(const ProgramEntry*) noexcept override {}
};

struct Value {
  std::uint64_t write;
  std::uint64_t check;
};
std::uint64_t check_of(std::uint32_t key, std::uint64_t write) {
  return (write * 0x9e3779b97f4a7c15ull) ^ (key + 1);
}

// Calls body(thread, operations) in each thread.
void run_threads(const std::function<void(std::uint32_t, std::uint64_t)>& body) {
  std::vector<std::thread> threads;
  for (std::uint32_t t = 0; t < kThreads; ++t) {
    threads.emplace_back(body, t, operation_count() / kThreads);
  }
  for (std::thread& thread : threads) thread.join();
}

// One map with keys, and what is known of its keys' writes.
class KeyedHistory {
 public:
  struct Shape {
    std::uint32_t type;
    std::uint32_t max_entries;
    std::uint32_t flags = 0;
    bool may_miss = false;     // LRU: a key may vanish at any time
    bool is_recycled = false;  // a value that was looked up may become another key's at once
  };

  explicit KeyedHistory(const Shape& shape) : shape_(shape) {
    NoHost host;
    epoch_.start();
    map_ = std::move(*create_map({.name = "m",
                                  .type = shape.type,
                                  .key_size = is_trie() ? 8u : 4u,
                                  .value_size = sizeof(Value),
                                  .max_entries = shape.max_entries,
                                  .map_flags = shape.flags},
                                 {.cpu_count = kThreads, .hash_seed = 5, .epoch = &epoch_}, host));
    if (!is_trie()) return;
    // What a lookup finds in a trie when the key's own prefix is not there.
    const Value value{0, 0};
    const Key all = {8, 10};
    EXPECT_EQ(map_->update(&all, &value, 0, 0), 0);
  }

  void run() {
    run_threads([this](std::uint32_t thread, std::uint64_t operations) {
      EpochReader reader(epoch_);
      std::mt19937 random(thread);
      std::array<std::uint64_t, kKeys> seen{};
      for (std::uint64_t i = 0; i < operations; ++i) {
        const std::uint32_t key = random() % kKeys;
        if (random() % 3 == 0) {
          write(thread, key / kThreads * kThreads + thread);
        } else {
          read(key, random() % 8 == 0, seen[key]);
        }
        if (i % kBatch == 0) reader.pass();
      }
    });
  }
  std::uint64_t wrong_count() const { return wrong_.load(); }
  std::uint64_t hit_count() const { return hits_.load(); }

 private:
  struct Key {
    std::uint32_t first;
    std::uint32_t second;
  };
  struct alignas(64) Writes {
    std::atomic<std::uint64_t> begun{0};
    std::atomic<std::uint64_t> done{0};
  };

  bool is_trie() const { return shape_.type == BPF_MAP_TYPE_LPM_TRIE; }
  static bool is_erase(std::uint64_t write) { return write % 5 == 0; }
  // Of a trie: 10.key.0.0/16, or an address in it.
  Key key_of(std::uint32_t number, std::uint32_t length) const {
    return is_trie() ? Key{length, 10 | number << 8 | (length == 32 ? 0x55660000u : 0)}
                     : Key{number * 0x9e3779b9u, 0};
  }

  void write(std::uint32_t cpu, std::uint32_t number) {
    Writes& writes = writes_[number];
    const std::uint64_t next = writes.done.load(std::memory_order_relaxed) + 1;
    const Key key = key_of(number, 16);
    writes.begun.store(next);
    if (is_erase(next)) {
      map_->erase(&key);
    } else {
      const Value value{next, check_of(number, next)};
      if (map_->update(&key, &value, BPF_ANY, cpu) != 0) ++wrong_;
    }
    writes.done.store(next);
  }

  // The write that a lookup shows, 0 for none; false when the value became another key's meanwhile.
  bool look_up(std::uint32_t number, bool from_user, std::uint64_t& write) {
    const Key key = key_of(number, 32);
    Value value{};
    if (from_user) {
      std::array<std::uint8_t, sizeof(Value)> out{};
      if (map_->user_lookup(&key, out, 0) != 0) return write = 0, true;
      std::memcpy(&value, out.data(), sizeof value);
    } else {
      const auto* found = static_cast<const Value*>(map_->lookup(&key, 0));
      if (found == nullptr) return write = 0, true;
      value.write = __atomic_load_n(&found->write, __ATOMIC_RELAXED);
      value.check = __atomic_load_n(&found->check, __ATOMIC_RELAXED);
    }
    write = value.write;
    const bool is_whole = value.write == 0 || value.check == check_of(number, value.write);
    if (!is_whole && (from_user || !shape_.is_recycled)) ++wrong_;
    return is_whole;
  }

  void read(std::uint32_t number, bool from_user, std::uint64_t& seen) {
    Writes& writes = writes_[number];
    const std::uint64_t earliest = std::max(writes.done.load(), seen);
    std::uint64_t write = 0;
    if (!look_up(number, from_user, write)) return;
    const std::uint64_t latest = writes.begun.load();
    if (write != 0) {
      hits_.fetch_add(1, std::memory_order_relaxed);
      if (write < earliest || write > latest || is_erase(write)) ++wrong_;
      seen = std::max(seen, write);
      return;
    }
    if (shape_.may_miss) return;
    // Nothing there: at the start (write 0), or after a deletion among the possible writes.
    const std::uint64_t erase = (earliest + 4) / 5 * 5;
    if (erase > latest) ++wrong_;
    seen = std::max(seen, erase);
  }

  Shape shape_;
  Epoch epoch_;
  std::unique_ptr<Map> map_;
  std::array<Writes, kKeys> writes_;
  std::atomic<std::uint64_t> wrong_{0};
  std::atomic<std::uint64_t> hits_{0};
};

class MapsConcurrency : public testing::TestWithParam<KeyedHistory::Shape> {};

TEST_P(MapsConcurrency, HistoriesAreLinearizablePerKey) {
  KeyedHistory history(GetParam());
  history.run();
  EXPECT_EQ(history.wrong_count(), 0u);
  EXPECT_GT(history.hit_count(), operation_count() / 10);
}

INSTANTIATE_TEST_SUITE_P(
    Types, MapsConcurrency,
    testing::Values(
        KeyedHistory::Shape{.type = BPF_MAP_TYPE_HASH, .max_entries = kKeys, .is_recycled = true},
        KeyedHistory::Shape{
            .type = BPF_MAP_TYPE_HASH, .max_entries = kKeys, .flags = BPF_F_NO_PREALLOC},
        KeyedHistory::Shape{.type = BPF_MAP_TYPE_LRU_HASH,
                            .max_entries = kKeys / 2,
                            .may_miss = true,
                            .is_recycled = true},
        KeyedHistory::Shape{
            .type = BPF_MAP_TYPE_LPM_TRIE, .max_entries = kKeys + 1, .flags = BPF_F_NO_PREALLOC}),
    [](const auto& param) {
      switch (param.param.type) {
        case BPF_MAP_TYPE_HASH:
          return param.param.flags == 0 ? "Hash" : "HashNoPrealloc";
        case BPF_MAP_TYPE_LRU_HASH:
          return "LruHash";
        default:
          return "LpmTrie";
      }
    });

// What one taker sees of each producer: numbers that only grow.
class Takes {
 public:
  bool add(std::uint64_t item) {
    std::uint64_t& last = last_[item >> 48];
    const bool is_later = (item & 0xffff'ffff'ffff) > last;
    last = item & 0xffff'ffff'ffff;
    ++count_;
    return is_later;
  }
  std::uint64_t count() const { return count_; }

 private:
  std::array<std::uint64_t, kThreads> last_{};
  std::uint64_t count_ = 0;
};

TEST(MapsConcurrencyQueue, WhatWentInComesOutOnceAndInOrder) {
  NoHost host;
  const auto map = std::move(*create_map(
      {.name = "q", .type = BPF_MAP_TYPE_QUEUE, .value_size = 8, .max_entries = 100}, {}, host));
  std::atomic<std::uint64_t> pushed{0};
  std::atomic<std::uint64_t> popped{0};
  std::atomic<std::uint64_t> pushed_sum{0};
  std::atomic<std::uint64_t> popped_sum{0};
  std::atomic<int> wrong{0};
  run_threads([&](std::uint32_t thread, std::uint64_t operations) {
    std::mt19937 random(thread);
    Takes takes;
    std::uint64_t next = 0;
    for (std::uint64_t i = 0; i < operations; ++i) {
      std::uint64_t item = std::uint64_t{thread} << 48 | (next + 1);
      if (random() % 2 == 0) {
        if (map->push(&item, BPF_ANY) != 0) continue;
        ++next;
        pushed += 1;
        pushed_sum += item;
      } else if (map->pop(&item) == 0) {
        if (!takes.add(item)) ++wrong;
        popped_sum += item;
      }
    }
    popped += takes.count();
  });
  std::uint64_t item = 0;
  while (map->pop(&item) == 0) {
    popped += 1;
    popped_sum += item;
  }
  EXPECT_EQ(wrong.load(), 0);
  EXPECT_EQ(popped.load(), pushed.load());
  EXPECT_EQ(popped_sum.load(), pushed_sum.load());
  EXPECT_GT(pushed.load(), operation_count() / 10);
}

// As a compiled program writes a record: the fast path, and the map where it declines.
bool output_fast(RingbufMap& ring, std::span<const std::uint8_t> record) {
  const auto& fast = *static_cast<const RingbufDescriptor*>(ring.fast_path().descriptor);
  void* sample = nullptr;
  if (!ringbuf_try_reserve(fast, record.size(), sample)) sample = ring.reserve(record.size());
  if (sample == nullptr) return false;
  std::ranges::copy(record, static_cast<std::uint8_t*>(sample));
  if (!ringbuf_try_commit(fast, sample, BPF_RB_NO_WAKEUP, 0)) ring.submit(sample, BPF_RB_NO_WAKEUP);
  return true;
}

TEST(MapsConcurrencyRingbuf, EveryRecordArrivesOnceAndInOrder) {
  NoHost host;
  const auto map = std::move(
      *create_map({.name = "r", .type = BPF_MAP_TYPE_RINGBUF, .max_entries = 1u << 16}, {}, host));
  auto& ring = static_cast<RingbufMap&>(*map);
  std::atomic<std::uint64_t> sent{0};
  std::atomic<std::uint32_t> producers{kThreads - 1};
  int wrong = 0;
  Takes takes;
  const auto take = [&](std::span<const std::uint8_t> record) {
    std::uint64_t item = 0;
    std::memcpy(&item, record.data(), sizeof item);
    for (const std::uint8_t byte : record.subspan(8)) wrong += byte != record[0];
    wrong += !takes.add(item);
  };
  run_threads([&](std::uint32_t thread, std::uint64_t operations) {
    if (thread == kThreads - 1) {
      while (producers.load() > 0) ring.consume(take);
      ring.consume(take);
      return;
    }
    std::mt19937 random(thread);
    std::uint64_t next = 0;
    for (std::uint64_t i = 0; i < operations; ++i) {
      const std::uint64_t item = std::uint64_t{thread} << 48 | (next + 1);
      std::array<std::uint8_t, 40> record;
      record.fill(static_cast<std::uint8_t>(item));
      std::memcpy(record.data(), &item, sizeof item);
      const auto bytes = std::span(record).first(8 + random() % 32);
      const bool is_written =
          thread == 0 ? ring.output(bytes, BPF_RB_NO_WAKEUP) == 0 : output_fast(ring, bytes);
      if (!is_written) {
        std::this_thread::yield();
        continue;
      }
      ++next;
    }
    sent += next;
    --producers;
  });
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(takes.count(), sent.load());
  EXPECT_GT(sent.load(), 1000u);
}

}  // namespace
}  // namespace lmn
