// SPDX-License-Identifier: Apache-2.0
//
// Goal: programs that look up in DEVMAP_HASH and HASH_OF_MAPS, which take no lock for it, find what
// is or was under their key, and never another key's. Method: a control thread puts, replaces and
// takes away entries of few keys that share chains and buckets; two workers look up meanwhile. A
// key's target says whose it is (the ifindex, the inner map), so that a wrong one shows; keys that
// are only ever replaced must always be found.
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <array>
#include <atomic>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "base/epoch.h"
#include "maps/map.h"

namespace lmn {
namespace {

constexpr std::uint32_t kKeys = 12;
constexpr std::uint32_t kStableKeys = 4;  // these are replaced, never taken away
constexpr std::uint32_t kTargetsPerKey = 3;
constexpr int kSteps = 30'000;

class Numbers {
 public:
  explicit Numbers(std::uint32_t seed) : random_(seed) {}
  std::uint32_t below(std::uint32_t end) { return static_cast<std::uint32_t>(random_() % end); }

 private:
  std::mt19937 random_;
};

class NullSink final : public FrameSink {
 public:
  int check(std::uint32_t) const noexcept override { return 0; }
  void enqueue(XdpFrame*) noexcept override {}
  void flush() noexcept override {}
  std::uint64_t pending() const noexcept override { return 0; }
};

// Targets are numbered from 1: key * kTargetsPerKey and more.
std::uint32_t target_of(std::uint32_t key, std::uint32_t which) {
  return 1 + key * kTargetsPerKey + which;
}
bool is_of_key(std::uint64_t target, std::uint32_t key) {
  return target > 0 && (target - 1) / kTargetsPerKey == key;
}

// A port and an inner map for each target.
class Targets final : public MapHost {
 public:
  Targets() {
    for (std::unique_ptr<Map>& map : maps_) {
      map = std::move(*create_map(inner_spec(), {}, *this));
    }
  }
  static MapSpec inner_spec() {
    MapSpec spec;
    spec.name = "inner";
    spec.type = BPF_MAP_TYPE_ARRAY;
    spec.key_size = 4;
    spec.value_size = 4;
    spec.max_entries = 1;
    return spec;
  }
  FrameSink* find_sink(std::uint32_t ifindex) noexcept override { return &sinks_[ifindex]; }
  const ProgramEntry* acquire_program(std::uint32_t) noexcept override { return nullptr; }
  void release_program(const ProgramEntry*) noexcept override {}
  Map* acquire_map(std::uint32_t handle) noexcept override { return maps_[handle].get(); }
  void release_map(Map*) noexcept override {}

  // 0 when there is no such target.
  std::uint64_t number_of(const Map* map) const {
    for (std::size_t i = 1; i < maps_.size(); ++i) {
      if (maps_[i].get() == map) return i;
    }
    return 0;
  }
  std::uint64_t number_of(const FrameSink* sink) const {
    return static_cast<std::uint64_t>(static_cast<const NullSink*>(sink) - sinks_.data());
  }

 private:
  std::array<NullSink, 1 + kKeys * kTargetsPerKey> sinks_;
  std::array<std::unique_ptr<Map>, 1 + kKeys * kTargetsPerKey> maps_;
};

class ReadersBesideAWriter {
 public:
  // `keys_max`: the map's max_entries; few of them make chains longer than one.
  ReadersBesideAWriter(std::uint32_t type, std::uint32_t keys_max, bool has_epoch) {
    if (has_epoch) epoch_.start();
    MapSpec spec;
    spec.name = "m";
    spec.type = type;
    spec.key_size = 4;
    spec.value_size = 4;
    spec.max_entries = keys_max;
    spec.inner = std::make_shared<const MapSpec>(Targets::inner_spec());
    map_ = std::move(*create_map(spec, {.epoch = has_epoch ? &epoch_ : nullptr}, targets_));
    for (std::uint32_t key = 0; key < kStableKeys; ++key) put(key, 0);
  }
  // `find` gives the number of the key's target, 0 for none.
  using Find = std::function<std::uint64_t(Map&, const Targets&, std::uint32_t)>;
  void run(const Find& find) {
    std::atomic<bool> is_done{false};
    std::vector<std::thread> readers;
    for (std::uint32_t t = 0; t < 2; ++t) {
      readers.emplace_back([&, t] {
        EpochReader reader(epoch_);
        Numbers numbers(t);
        while (!is_done.load(std::memory_order_relaxed)) {
          for (int i = 0; i < 64; ++i) look_up(find, numbers.below(kKeys));
          reader.pass();
        }
      });
    }
    Numbers numbers(9);
    // On when the readers have not come to it yet, too.
    for (int step = 0; step < kSteps || hits_.load() < 10'000; ++step) {
      const std::uint32_t key = numbers.below(kKeys);
      if (key < kStableKeys || numbers.below(2) == 0) {
        put(key, numbers.below(kTargetsPerKey));
      } else {
        map_->user_erase(&key);
      }
    }
    is_done = true;
    for (std::thread& reader : readers) reader.join();
    EXPECT_EQ(wrong_.load(), 0u);
  }

 private:
  void put(std::uint32_t key, std::uint32_t which) {
    const std::uint32_t target = target_of(key, which);
    std::array<std::uint8_t, 4> value;
    std::memcpy(value.data(), &target, sizeof target);
    const int error = map_->user_update(&key, value, BPF_ANY);
    EXPECT_TRUE(error == 0 || error == -E2BIG) << error;
  }
  void look_up(const Find& find, std::uint32_t key) {
    const std::uint64_t found = find(*map_, targets_, key);
    if (found == 0) {
      wrong_ += key < kStableKeys ? 1 : 0;
    } else {
      wrong_ += is_of_key(found, key) ? 0 : 1;
      hits_.fetch_add(1, std::memory_order_relaxed);
    }
  }

  Epoch epoch_;
  Targets targets_;
  std::unique_ptr<Map> map_;
  std::atomic<std::uint64_t> wrong_{0};
  std::atomic<std::uint64_t> hits_{0};
};

std::uint64_t redirect_target(Map& map, const Targets& targets, std::uint32_t key) {
  RedirectTarget target;
  if (!map.find_redirect_target(key, target)) return 0;
  // All of one slot, or of none.
  return targets.number_of(target.sink) == target.ifindex ? target.ifindex : UINT64_MAX;
}
std::uint64_t value_seen(Map& map, const Targets&, std::uint32_t key) {
  const auto* value = static_cast<const std::uint32_t*>(map.lookup(&key, 0));
  return value == nullptr ? 0 : __atomic_load_n(value, __ATOMIC_RELAXED);
}
std::uint64_t inner_map(Map& map, const Targets& targets, std::uint32_t key) {
  const auto* found = static_cast<const Map*>(map.lookup(&key, 0));
  return found == nullptr ? 0 : targets.number_of(found);
}

TEST(DevmapHashReaders, FindTheirOwnTargets) {
  for (const bool has_epoch : {true, false}) {
    ReadersBesideAWriter(BPF_MAP_TYPE_DEVMAP_HASH, 8, has_epoch).run(redirect_target);
  }
}

TEST(DevmapHashReaders, KeepTheValueTheyLookedUp) {
  ReadersBesideAWriter(BPF_MAP_TYPE_DEVMAP_HASH, 8, true).run(value_seen);
}

TEST(HashOfMapsReaders, FindTheirOwnMaps) {
  ReadersBesideAWriter(BPF_MAP_TYPE_HASH_OF_MAPS, 8, true).run(inner_map);
}

// Removed elements wait, and do not count: a map holds max_entries, no more and no fewer.
TEST(HashOfMapsReaders, TheMapIsFullAtMaxEntries) {
  for (const std::uint32_t type : {BPF_MAP_TYPE_DEVMAP_HASH, BPF_MAP_TYPE_HASH_OF_MAPS}) {
    Targets targets;
    MapSpec spec;
    spec.name = "m";
    spec.type = type;
    spec.key_size = 4;
    spec.value_size = 4;
    spec.max_entries = 3;
    spec.inner = std::make_shared<const MapSpec>(Targets::inner_spec());
    auto map = std::move(*create_map(spec, {}, targets));
    const std::array<std::uint8_t, 4> value = {1, 0, 0, 0};
    for (std::uint32_t key = 0; key < 10'000; ++key) {
      ASSERT_EQ(map->user_update(&key, value, BPF_ANY), key < 3 ? 0 : -E2BIG);
      if (key < 3) continue;
      const std::uint32_t oldest = key - 3;
      ASSERT_EQ(map->user_erase(&oldest), 0);
      ASSERT_EQ(map->user_update(&key, value, BPF_ANY), 0);
    }
  }
}

}  // namespace
}  // namespace lmn
