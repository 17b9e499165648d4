// SPDX-License-Identifier: Apache-2.0
//
// Goal: memory that programs may still see is not used again before they are through, and is used
// again then; and a map that goes gives up all that hangs in it.
// Method: the test is the reader of the Epoch: it says when a batch ends. Cases named after a fault
// of other packet engines are that fault's regression test.
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "base/epoch.h"
#include "btf/map_fields.h"
#include "maps/map.h"
#include "maps/object_heap.h"

namespace lmn {
namespace {

class NoHost final : public MapHost {
 public:
  FrameSink* find_sink(std::uint32_t) noexcept override { return nullptr; }
  const ProgramEntry* acquire_program(std::uint32_t) noexcept override { return nullptr; }
  void release_program(const ProgramEntry*) noexcept override {}
};

ObjectLayout layout_of(std::uint32_t size_bytes) {
  ObjectLayout layout;
  layout.size_bytes = size_bytes;
  return layout;
}

TEST(Grace, DroppedObjectsWaitForTheReaders) {
  Epoch epoch;
  auto heap = *ObjectHeap::create(&epoch);
  EpochReader reader(epoch);
  const std::uint64_t object = heap->allocate(layout_of(64));
  std::memset(reinterpret_cast<void*>(object), 0x5a, 64);
  heap->release(object);
  // Within the batch its bytes stay what they were, and nobody else's.
  for (int i = 0; i < 1000; ++i) {
    const std::uint64_t other = heap->allocate(layout_of(64));
    ASSERT_NE(other, object);
    heap->release(other);
  }
  EXPECT_TRUE(heap->find(object).is_dropped);
  EXPECT_EQ(*reinterpret_cast<const std::uint8_t*>(object), 0x5a);
  reader.pass();
  bool is_used_again = false;
  for (int i = 0; i < 2000 && !is_used_again; ++i) {
    is_used_again = heap->allocate(layout_of(64)) == object;
  }
  EXPECT_TRUE(is_used_again);
}

// Whoever allocates and drops one for each packet does not run out.
TEST(Grace, AHeapOfOneWorkerDoesNotGrow) {
  Epoch epoch;
  auto heap = *ObjectHeap::create(&epoch);
  EpochReader reader(epoch);
  std::uint64_t first = UINT64_MAX;
  std::uint64_t last = 0;
  for (int batch = 0; batch < 2000; ++batch) {
    for (int i = 0; i < 64; ++i) {
      const std::uint64_t object = heap->allocate(layout_of(4096));
      ASSERT_NE(object, 0u) << batch;
      first = std::min(first, object);
      last = std::max(last, object);
      heap->release(object);
    }
    reader.pass();
  }
  EXPECT_LT(last - first, 4u << 20);
}

TEST(Grace, AFullHeapTakesWhatHasPassed) {
  Epoch epoch;
  auto heap = *ObjectHeap::create(&epoch);
  std::vector<std::uint64_t> objects;
  while (const std::uint64_t object = heap->allocate(layout_of(4096))) objects.push_back(object);
  EpochReader reader(epoch);
  // Of two sizes: what is dropped first is of no use for what is wanted.
  for (const std::uint64_t object : objects) heap->release(object);
  EXPECT_EQ(heap->allocate(layout_of(4096)), 0u);
  reader.pass();
  for (std::size_t i = 0; i < objects.size(); ++i) {
    ASSERT_NE(heap->allocate(layout_of(4096)), 0u) << i;
  }
}

MapSpec hash_spec(std::uint32_t flags) {
  MapSpec spec;
  spec.name = "m";
  spec.type = BPF_MAP_TYPE_HASH;
  spec.key_size = 4;
  spec.value_size = 8;
  spec.max_entries = 1000;
  spec.map_flags = flags;
  return spec;
}

// As in Linux: an element of a preallocated hash is used again at once, one that was allocated is
// freed when its readers are through.
TEST(Grace, ElementsAreUsedAgainAsInLinux) {
  for (const bool is_preallocated : {true, false}) {
    Epoch epoch;
    NoHost host;
    MapOptions options;
    options.epoch = &epoch;
    auto map = *create_map(hash_spec(is_preallocated ? 0 : BPF_F_NO_PREALLOC), options, host);
    EpochReader reader(epoch);
    const std::uint32_t key = 1;
    const std::uint64_t value = 1;
    ASSERT_EQ(map->update(&key, &value, BPF_ANY, 0), 0);
    const void* held = map->lookup(&key, 0);
    ASSERT_EQ(map->erase(&key), 0);
    bool is_used_again = false;
    for (std::uint32_t other = 2; other < 500; ++other) {
      const std::uint64_t theirs = 99;
      ASSERT_EQ(map->update(&other, &theirs, BPF_ANY, 0), 0);
      is_used_again = is_used_again || map->lookup(&other, 0) == held;
      ASSERT_TRUE(other % 2 != 0 || map->erase(&other) == 0);
    }
    EXPECT_EQ(is_used_again, is_preallocated);
    if (is_preallocated) continue;
    EXPECT_EQ(*static_cast<const std::uint64_t*>(held), 1u);
    reader.pass();
    for (std::uint32_t other = 1000; other < 1500 && !is_used_again; ++other) {
      ASSERT_EQ(map->update(&other, &value, BPF_ANY, 0), 0);
      is_used_again = map->lookup(&other, 0) == held;
    }
    EXPECT_TRUE(is_used_again);
  }
}

}  // namespace
}  // namespace lmn
