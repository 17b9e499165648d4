// SPDX-License-Identifier: Apache-2.0
//
// Goal: batches answer as the kernel's: which types have which, counts, errnos, contents; and a
// walk in several calls gives each element that stays exactly once, whatever happens in between.
// Method: the same batches of random keys and values go to both sides. Types with an order are
// compared call by call; of hashes, whose cookies are each side's own, whole walks are compared as
// sets. Walks with changes in between are ours alone.
//
// LMN_CONTRACT_SEED sets the seed.
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <map>
#include <random>
#include <set>

#include "abi/map_type_info.h"
#include "contract/map_shapes.h"
#include "contract/map_under_test.h"
#include "contract/maps_world.h"

namespace lmn {
namespace {

using Batch = MapUnderTest::Batch;
using Random = std::mt19937_64;
using Contents = std::multiset<std::pair<Bytes, Bytes>>;

struct BatchShape {
  std::uint32_t type;
  std::uint32_t key_size;
  std::uint32_t value_size;
  std::uint32_t max_entries;
  std::uint32_t flags = 0;
  Fields fields = Fields::kNone;
};

constexpr BatchShape kShapes[] = {
    {BPF_MAP_TYPE_ARRAY, 4, 13, 20},
    {BPF_MAP_TYPE_ARRAY, 4, 8, 7, BPF_F_RDONLY},
    {BPF_MAP_TYPE_ARRAY, 4, 8, 7, BPF_F_WRONLY},
    {BPF_MAP_TYPE_ARRAY, 4, 0, 9, 0, Fields::kLock},
    {BPF_MAP_TYPE_ARRAY, 4, 0, 5, 0, Fields::kTimer},
    {BPF_MAP_TYPE_HASH, 4, 0, 20, 0, Fields::kLock},
    {BPF_MAP_TYPE_HASH, 4, 0, 20, BPF_F_NO_PREALLOC, Fields::kAll},
    {BPF_MAP_TYPE_PERCPU_HASH, 4, 0, 12, 0, Fields::kPointers},
    {BPF_MAP_TYPE_PERCPU_ARRAY, 4, 5, 9},
    {BPF_MAP_TYPE_HASH, 4, 8, 40},
    {BPF_MAP_TYPE_HASH, 13, 3, 30, BPF_F_NO_PREALLOC},
    {BPF_MAP_TYPE_HASH, 4, 8, 7, BPF_F_RDONLY},
    {BPF_MAP_TYPE_PERCPU_HASH, 4, 12, 25},
    {BPF_MAP_TYPE_LRU_HASH, 4, 8, 600},
    {BPF_MAP_TYPE_LRU_PERCPU_HASH, 4, 8, 600},
    {BPF_MAP_TYPE_LPM_TRIE, 8, 8, 40, BPF_F_NO_PREALLOC},
    {BPF_MAP_TYPE_ARRAY_OF_MAPS, 4, 4, 5},
    {BPF_MAP_TYPE_HASH_OF_MAPS, 4, 4, 6},
    {BPF_MAP_TYPE_QUEUE, 0, 8, 5},
    {BPF_MAP_TYPE_STACK, 0, 8, 5},
    {BPF_MAP_TYPE_BLOOM_FILTER, 0, 8, 5},
    {BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 4},
    {BPF_MAP_TYPE_PERF_EVENT_ARRAY, 4, 4, 4},
    {BPF_MAP_TYPE_DEVMAP, 4, 4, 4},
    {BPF_MAP_TYPE_DEVMAP_HASH, 4, 4, 4},
    {BPF_MAP_TYPE_CPUMAP, 4, 4, 2},
    {BPF_MAP_TYPE_XSKMAP, 4, 4, 4},
    {BPF_MAP_TYPE_RINGBUF, 0, 0, 4096},
    {BPF_MAP_TYPE_USER_RINGBUF, 0, 0, 4096},
    {BPF_MAP_TYPE_ARENA, 0, 0, 4, BPF_F_MMAPABLE},
};

bool walks_by_places(std::uint32_t type) {
  switch (type) {
    case BPF_MAP_TYPE_HASH:
    case BPF_MAP_TYPE_PERCPU_HASH:
    case BPF_MAP_TYPE_LRU_HASH:
    case BPF_MAP_TYPE_LRU_PERCPU_HASH:
    case BPF_MAP_TYPE_HASH_OF_MAPS:
      return true;
    default:
      return false;
  }
}

class BatchDuel {
 public:
  BatchDuel(const BatchShape& shape, MapsWorld& world, const TypedValues& types, Random& random)
      : world_(world), random_(random) {
    spec_.type = shape.type;
    spec_.key_size = shape.key_size;
    spec_.value_size = shape.value_size;
    spec_.max_entries = shape.max_entries;
    spec_.map_flags = shape.flags;
    types.describe(spec_, shape.fields);
    info_ = find_map_type_info(shape.type);
    int inner_fd = 0;
    if ((info_->flags & kMapHoldsMaps) != 0) {
      spec_.inner = world.map_template(0);
      inner_fd = static_cast<int>(world.map_handles()[0]);
    }
    ours_ = make_lmn_map(spec_, world);
    theirs_ = make_kernel_map(spec_, inner_fd, spec_.btf != nullptr ? types.fd() : 0);
  }
  bool is_ready() const { return ours_ != nullptr && theirs_ != nullptr; }

  void step() {
    switch (random_() % 6) {
      case 0:
      case 1:
        return change(Batch::kUpdate);
      case 2:
        return change(Batch::kErase);
      case 3:
        return one_lookup(Batch::kLookupAndErase);
      case 4:
        return one_lookup(Batch::kLookup);
      default:
        return whole_walk();
    }
  }
  std::uint64_t calls() const { return calls_; }

 private:
  std::size_t value_bytes() const {
    if ((info_->flags & kMapPerCpu) == 0) return spec_.value_size;
    return (spec_.value_size + 7ull) / 8 * 8 * kernel_possible_cpus();
  }

  Bytes random_keys(std::uint32_t count) {
    Bytes keys(std::size_t{count} * spec_.key_size);
    for (std::uint32_t i = 0; spec_.key_size != 0 && i < count; ++i) {
      const std::uint64_t number = random_() % (spec_.max_entries + spec_.max_entries / 4 + 1);
      std::uint8_t* key = keys.data() + std::size_t{i} * spec_.key_size;
      if (spec_.type == BPF_MAP_TYPE_LPM_TRIE) {
        key[0] = static_cast<std::uint8_t>(random_() % 34);
        key[4] = static_cast<std::uint8_t>(number);
      } else {
        std::memcpy(key, &number, std::min<std::size_t>(8, spec_.key_size));
      }
    }
    return keys;
  }
  Bytes random_values(std::uint32_t count) {
    Bytes values(count * value_bytes());
    for (std::uint8_t& byte : values) byte = static_cast<std::uint8_t>(random_());
    for (std::uint32_t i = 0; (info_->flags & kMapHoldsMaps) != 0 && i < count; ++i) {
      const auto& handles = world_.map_handles();
      const std::uint32_t handle = handles[random_() % 5 == 0 ? random_() % handles.size() : 0];
      std::memcpy(values.data() + i * value_bytes(), &handle, 4);
    }
    return values;
  }
  std::uint64_t random_elem_flags() {
    constexpr std::uint64_t kFlags[] = {0, 0, 0, 0, 0, 0, BPF_F_LOCK, 1, 2, 8, 1ull << 40};
    return kFlags[random_() % std::size(kFlags)];
  }

  void change(Batch what) {
    const auto count = static_cast<std::uint32_t>(random_() % 9);
    const Bytes keys = random_keys(count);
    const Bytes values = random_values(count);
    const std::uint64_t elem_flags = random_elem_flags();
    const std::uint64_t flags = random_() % 8 == 0 ? random_() : 0;
    int errors[2];
    std::uint32_t counts[2];
    int side = 0;
    for (MapUnderTest* map : {ours_.get(), theirs_.get()}) {
      Bytes keys_now = keys;
      Bytes values_now = values;
      MapBatch batch;
      batch.keys = keys_now.data();
      batch.values = values_now.data();
      batch.count = count;
      batch.elem_flags = elem_flags;
      batch.flags = flags;
      errors[side] = map->batch(what, batch);
      counts[side++] = batch.count;
    }
    ++calls_;
    ASSERT_EQ(errors[0], errors[1]) << "type " << spec_.type << " change, flags " << elem_flags;
    ASSERT_EQ(counts[0], counts[1]) << "type " << spec_.type;
  }

  // Room for all, so that the kernel's -ENOSPC of a full bucket is not met.
  void one_lookup(Batch what) {
    const std::uint32_t count = random_() % 8 == 0 ? 0 : spec_.max_entries * 2 + 1;
    const std::uint64_t elem_flags = random_elem_flags();
    const std::uint64_t flags = random_() % 8 == 0 ? 1 : 0;
    int errors[2];
    std::uint32_t counts[2];
    Contents found[2];
    int side = 0;
    for (MapUnderTest* map : {ours_.get(), theirs_.get()}) {
      errors[side] =
          look(*map, what, nullptr, nullptr, count, elem_flags, flags, counts[side], found[side]);
      ++side;
    }
    ++calls_;
    ASSERT_EQ(errors[0], errors[1])
        << "type " << spec_.type << " flags " << elem_flags << "/" << flags << " count " << count;
    ASSERT_EQ(counts[0], counts[1]) << "type " << spec_.type;
    ASSERT_TRUE(found[0] == found[1]) << "type " << spec_.type;
  }

  int look(MapUnderTest& map, Batch what, const void* from, void* next, std::uint32_t count,
           std::uint64_t elem_flags, std::uint64_t flags, std::uint32_t& found_count,
           Contents& found) {
    Bytes keys(std::size_t{count} * spec_.key_size);
    Bytes values(count * value_bytes());
    Bytes cookie(std::max<std::size_t>(spec_.key_size, 4) + 4);
    MapBatch batch;
    batch.from = from;
    batch.next = next != nullptr ? next : cookie.data();
    batch.keys = keys.data();
    batch.values = values.data();
    batch.count = count;
    batch.elem_flags = elem_flags;
    batch.flags = flags;
    const int error = map.batch(what, batch);
    found_count = batch.count;
    if (error != 0 && error != -ENOENT) return error;
    for (std::uint32_t i = 0; i < std::min(batch.count, count); ++i) {
      const auto key = keys.begin() + std::ptrdiff_t{i} * spec_.key_size;
      const auto value = values.begin() + static_cast<std::ptrdiff_t>(i * value_bytes());
      found.emplace(Bytes(key, key + spec_.key_size),
                    Bytes(value, value + static_cast<std::ptrdiff_t>(value_bytes())));
    }
    return error;
  }

  // In several calls. With an order each call is compared, else what came together.
  void whole_walk() {
    if (spec_.key_size == 0) return;
    const auto count = static_cast<std::uint32_t>(
        walks_by_places(spec_.type) ? spec_.max_entries / 2 + 10 : 1 + random_() % 5);
    Bytes cookies[2] = {Bytes(std::max(spec_.key_size, 4u)), Bytes(std::max(spec_.key_size, 4u))};
    Contents found[2];
    bool ended[2] = {false, false};
    for (int call = 0; !ended[0] || !ended[1]; ++call) {
      int errors[2] = {0, 0};
      std::uint32_t counts[2] = {0, 0};
      int side = 0;
      for (MapUnderTest* map : {ours_.get(), theirs_.get()}) {
        if (!ended[side]) {
          errors[side] = look(*map, Batch::kLookup, call == 0 ? nullptr : cookies[side].data(),
                              cookies[side].data(), count, 0, 0, counts[side], found[side]);
        }
        // A bucket of the kernel's that is fuller than there is room for.
        if (side == 1 && errors[side] == -ENOSPC) return;
        ended[side] = ended[side] || errors[side] != 0;
        ++side;
      }
      ++calls_;
      if (!walks_by_places(spec_.type)) {
        ASSERT_EQ(errors[0], errors[1]) << "type " << spec_.type;
        ASSERT_EQ(counts[0], counts[1]) << "type " << spec_.type;
        ASSERT_EQ(cookies[0], cookies[1]) << "type " << spec_.type;
      }
    }
    ASSERT_TRUE(found[0] == found[1]) << "type " << spec_.type;
  }

  MapSpec spec_;
  const MapTypeInfo* info_;
  MapsWorld& world_;
  Random& random_;
  std::unique_ptr<MapUnderTest> ours_;
  std::unique_ptr<MapUnderTest> theirs_;
  std::uint64_t calls_ = 0;
};

TEST(MapBatchContract, EveryTypeAnswersAsTheKernel) {
  auto world = MapsWorld::create();
  if (!world) GTEST_SKIP() << world.error().to_string();
  const char* text = std::getenv("LMN_CONTRACT_SEED");
  Random random(text == nullptr ? 1 : std::strtoull(text, nullptr, 0));
  const auto values = TypedValues::create();
  ASSERT_TRUE(values.has_value()) << values.error().to_string();
  std::set<std::uint32_t> types;
  std::uint64_t calls = 0;
  for (const BatchShape& shape : kShapes) {
    types.insert(shape.type);
    BatchDuel duel(shape, **world, *values, random);
    ASSERT_TRUE(duel.is_ready()) << "type " << shape.type;
    const bool is_slow =
        shape.type == BPF_MAP_TYPE_ARRAY_OF_MAPS || shape.type == BPF_MAP_TYPE_HASH_OF_MAPS;
    for (int i = 0; i < (is_slow ? 100 : 800) && !testing::Test::HasFatalFailure(); ++i)
      duel.step();
    calls += duel.calls();
  }
  EXPECT_EQ((*world)->held_maps(), 0);
  for (const MapTypeInfo& info : map_type_infos())
    EXPECT_TRUE(types.contains(info.type)) << info.name;
  std::cout << "calls " << calls << "\n";
}

// The promise to whoever dumps a map that is in use: what stays is met once, and once only.
TEST(MapBatchWalk, WhatStaysIsMetOnceWhateverChanges) {
  struct NoHost final : MapHost {
    FrameSink* find_sink(std::uint32_t) noexcept override { return nullptr; }
    const ProgramEntry* acquire_program(std::uint32_t) noexcept override { return nullptr; }
    void release_program(const ProgramEntry*) noexcept override {}
  } host;
  Random random(7);
  for (const std::uint32_t type : {BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_PERCPU_HASH}) {
    MapSpec spec;
    spec.type = type;
    spec.key_size = 4;
    spec.value_size = 8;
    spec.max_entries = 2000;
    auto map = create_map(spec, {.cpu_count = 2, .hash_seed = 3}, host);
    ASSERT_TRUE(map.has_value());
    const Bytes value((*map)->user_value_bytes(), 1);
    for (std::uint32_t key = 0; key < 1000; ++key) {
      ASSERT_EQ((*map)->user_update(&key, value, BPF_ANY), 0);
    }
    std::map<std::uint32_t, int> met;
    std::uint32_t cookie = 0;
    MapBatch batch;
    int error = 0;
    while (error == 0) {
      std::uint32_t keys[7];
      Bytes values(7 * value.size());
      batch.next = &cookie;
      batch.keys = keys;
      batch.values = values.data();
      batch.count = 7;
      error = (*map)->user_lookup_batch(batch);
      for (std::uint32_t i = 0; i < batch.count; ++i) ++met[keys[i]];
      batch.from = &cookie;
      // Keys from 1,000 on come and go; the others are replaced.
      const auto other = static_cast<std::uint32_t>(1000 + random() % 900);
      if (random() % 2 == 0) (*map)->user_update(&other, value, BPF_ANY);
      if (random() % 2 == 0) (*map)->user_erase(&other);
      const auto old = static_cast<std::uint32_t>(random() % 1000);
      ASSERT_EQ((*map)->user_update(&old, value, BPF_EXIST), 0);
    }
    ASSERT_EQ(error, -ENOENT);
    for (std::uint32_t key = 0; key < 1000; ++key) EXPECT_EQ(met[key], 1) << key;
    for (const auto& [key, times] : met) EXPECT_EQ(times, 1) << key;
    // From behind the end there is nothing, and the cookie stays.
    const std::uint32_t end = cookie;
    batch.count = 7;
    EXPECT_EQ((*map)->user_lookup_batch(batch), -ENOENT);
    EXPECT_EQ(batch.count, 0u);
    EXPECT_EQ(cookie, end);
  }
}

}  // namespace
}  // namespace lmn
