// SPDX-License-Identifier: Apache-2.0
//
// Goal: the program side of map types without keys: what queues, stacks and filters answer at their
// edges, and who gets an arena's pages. Method: small maps at their limits.
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <cerrno>
#include <cstring>

#include "maps/arena_map.h"
#include "maps/map.h"

namespace lmn {
namespace {

class TestHost final : public MapHost {
 public:
  FrameSink* find_sink(std::uint32_t) noexcept override { return nullptr; }
  const ProgramEntry* acquire_program(std::uint32_t) noexcept override { return nullptr; }
  void release_program(const ProgramEntry*) noexcept override {}
};

MapSpec make_spec(std::uint32_t type, std::uint32_t key_size, std::uint32_t value_size,
                  std::uint32_t max_entries, std::uint32_t flags = 0) {
  MapSpec spec;
  spec.name = "m";
  spec.type = type;
  spec.key_size = key_size;
  spec.value_size = value_size;
  spec.max_entries = max_entries;
  spec.map_flags = flags;
  return spec;
}

std::unique_ptr<Map> make_map(const MapSpec& spec, MapHost& host) {
  auto map = create_map(spec, {.hash_seed = 42}, host);
  EXPECT_TRUE(map.has_value()) << map.error().to_string();
  return map ? std::move(*map) : nullptr;
}

TEST(QueueStackMap, EmptyGivesZeroesAndFullMayDropTheOldest) {
  TestHost host;
  for (const std::uint32_t type : {BPF_MAP_TYPE_QUEUE, BPF_MAP_TYPE_STACK}) {
    auto map = make_map(make_spec(type, 0, 4, 2), host);
    std::uint32_t value = 9;
    EXPECT_EQ(map->pop(&value), -ENOENT);
    EXPECT_EQ(value, 0u);  // a program must not read what lay there before
    for (std::uint32_t i = 1; i <= 2; ++i) EXPECT_EQ(map->push(&i, BPF_ANY), 0);
    value = 3;
    EXPECT_EQ(map->push(&value, BPF_ANY), -E2BIG);
    EXPECT_EQ(map->push(&value, BPF_NOEXIST), -EINVAL);
    EXPECT_EQ(map->push(&value, BPF_EXIST), 0);  // 1 is gone
    EXPECT_EQ(map->peek(&value), 0);
    EXPECT_EQ(value, type == BPF_MAP_TYPE_QUEUE ? 2u : 3u);
    EXPECT_EQ(map->pop(&value), 0);
    EXPECT_EQ(map->pop(&value), 0);
    EXPECT_EQ(value, type == BPF_MAP_TYPE_QUEUE ? 3u : 2u);
    EXPECT_EQ(map->peek(&value), -ENOENT);
    EXPECT_EQ(map->update(nullptr, &value, BPF_ANY, 0), -EINVAL);
  }
}

TEST(BloomFilterMap, NeverForgetsAndSeldomErrs) {
  TestHost host;
  auto map = make_map(make_spec(BPF_MAP_TYPE_BLOOM_FILTER, 0, 8, 1000), host);
  for (std::uint64_t value = 0; value < 1000; ++value) EXPECT_EQ(map->push(&value, BPF_ANY), 0);
  for (std::uint64_t value = 0; value < 1000; ++value) EXPECT_EQ(map->peek(&value), 0);
  int mistaken = 0;
  for (std::uint64_t value = 1000; value < 11'000; ++value) mistaken += map->peek(&value) == 0;
  EXPECT_LT(mistaken, 500);  // 5 functions and 8 bits an entry: 2 % by the formula
  EXPECT_EQ(map->pop(&mistaken), -EOPNOTSUPP);
}

TEST(ArenaMap, PagesAreGivenOutOnceAndZeroed) {
  TestHost host;
  auto made = make_map(make_spec(BPF_MAP_TYPE_ARENA, 0, 0, 8, BPF_F_MMAPABLE), host);
  auto& arena = static_cast<ArenaMap&>(*made);
  EXPECT_EQ(arena.address_of(0, 1), nullptr);
  EXPECT_EQ(arena.allocate_pages(3, std::nullopt), 0u);
  EXPECT_EQ(arena.allocate_pages(2, 4 * 4096), 4u * 4096);
  EXPECT_EQ(arena.allocate_pages(1, 4 * 4096), std::nullopt);  // taken
  EXPECT_EQ(arena.allocate_pages(1, 100), std::nullopt);       // no page
  EXPECT_EQ(arena.allocate_pages(2, 7 * 4096), std::nullopt);  // over the end
  EXPECT_EQ(arena.allocate_pages(1, ~0xfffull), std::nullopt);
  EXPECT_EQ(arena.allocate_pages(9, std::nullopt), std::nullopt);
  EXPECT_EQ(arena.allocate_pages(0, std::nullopt), std::nullopt);
  EXPECT_EQ(arena.allocate_pages(2, std::nullopt), 6u * 4096);  // page 3 alone is too short
  EXPECT_EQ(arena.allocate_pages(2, std::nullopt), std::nullopt);
  std::uint8_t* bytes = arena.address_of(4096, 8192);
  ASSERT_NE(bytes, nullptr);
  EXPECT_EQ(arena.address_of(4096, 8193), nullptr);  // page 3 is not in use
  EXPECT_EQ(arena.address_of(~0ull, 2), nullptr);
  std::memset(bytes, 0xaa, 8192);
  arena.free_pages(4096, 100);  // what is outside is passed over
  EXPECT_EQ(arena.address_of(4096, 1), nullptr);
  EXPECT_EQ(arena.allocate_pages(2, 4096), 4096u);
  EXPECT_EQ(*arena.address_of(4096, 1), 0);
  EXPECT_EQ(bytes[8191], 0);
}

}  // namespace
}  // namespace lmn
