// SPDX-License-Identifier: Apache-2.0
//
// Goal: what a map is made from is judged as a whole: types that are not there, contents that do
// not fit, templates of inner maps; and what hangs in its values ends when it must. Method: small
// specs, one thing wrong in each. tests/contract compares creation with the kernel's.
#include "maps/map.h"

#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <linux/btf.h>

#include <cerrno>
#include <map>

#include "maps/deferred_calls.h"

namespace lmn {
namespace {

// Lends the maps that a test has made.
class Host final : public MapHost {
 public:
  FrameSink* find_sink(std::uint32_t) noexcept override { return nullptr; }
  const ProgramEntry* acquire_program(std::uint32_t) noexcept override { return nullptr; }
  void release_program(const ProgramEntry*) noexcept override {}
  Map* acquire_map(std::uint32_t handle) noexcept override {
    const auto found = maps.find(handle);
    if (found == maps.end()) return nullptr;
    ++held;
    return found->second.get();
  }
  int map_error(std::uint32_t handle) noexcept override { return handle > 100 ? -EBADF : -EINVAL; }
  void release_map(Map*) noexcept override { --held; }

  std::map<std::uint32_t, std::unique_ptr<Map>> maps;
  int held = 0;
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

TEST(MapTypes, ThoseOfSocketsTasksAndGroupsAreRefusedByName) {
  Host host;
  const std::pair<std::uint32_t, const char*> missing[] = {
      {BPF_MAP_TYPE_SK_STORAGE, "sk_storage"},     {BPF_MAP_TYPE_INODE_STORAGE, "inode_storage"},
      {BPF_MAP_TYPE_TASK_STORAGE, "task_storage"}, {BPF_MAP_TYPE_CGRP_STORAGE, "cgrp_storage"},
      {BPF_MAP_TYPE_SOCKMAP, "sockmap"},           {BPF_MAP_TYPE_SOCKHASH, "sockhash"},
      {BPF_MAP_TYPE_STACK_TRACE, "stack_trace"},   {BPF_MAP_TYPE_STRUCT_OPS, "struct_ops"}};
  for (const auto& [type, name] : missing) {
    const auto map = create_map(make_spec(type, 4, 8, 1), {}, host);
    ASSERT_FALSE(map.has_value()) << name;
    EXPECT_EQ(map.error().code, ErrorCode::kNotSupported);
    EXPECT_EQ(map.error().errno_value, EINVAL);
    EXPECT_NE(map.error().to_string().find(name), std::string::npos) << map.error().to_string();
  }
  const auto unknown = create_map(make_spec(77, 4, 8, 1), {}, host);
  ASSERT_FALSE(unknown.has_value());
  EXPECT_NE(unknown.error().to_string().find("map type 77"), std::string::npos);
}

TEST(MapContents, FillTheFirstElementOrAreRefused) {
  Host host;
  struct Case {
    MapSpec spec;
    std::size_t bytes;
    int error;
  };
  const Case cases[] = {{make_spec(BPF_MAP_TYPE_ARRAY, 4, 12, 1), 12, 0},
                        {make_spec(BPF_MAP_TYPE_ARRAY, 4, 12, 3), 12, 0},
                        {make_spec(BPF_MAP_TYPE_ARRAY, 4, 12, 1), 11, EINVAL},
                        {make_spec(BPF_MAP_TYPE_HASH, 4, 12, 1), 12, 0},
                        {make_spec(BPF_MAP_TYPE_HASH, 8, 12, 1), 12, EINVAL},
                        {make_spec(BPF_MAP_TYPE_PERCPU_ARRAY, 4, 8, 1), 8, 0}};
  for (const Case& c : cases) {
    MapSpec spec = c.spec;
    spec.contents.assign(c.bytes, 0x42);
    const auto map = create_map(spec, {}, host);
    EXPECT_EQ(map ? 0 : map.error().errno_value, c.error) << spec.type << ", " << c.bytes;
    if (!map) continue;
    const std::uint32_t first = 0;
    std::vector<std::uint8_t> value(spec.value_size);
    EXPECT_EQ((*map)->user_lookup(&first, value, 0), 0);
    EXPECT_EQ(value, spec.contents);
  }
}

TEST(MapContents, AFrozenMapIsFilledFirst) {
  Host host;
  MapSpec spec = make_spec(BPF_MAP_TYPE_ARRAY, 4, 4, 1, BPF_F_RDONLY_PROG);
  spec.contents = {1, 2, 3, 4};
  spec.is_frozen_at_load = true;
  auto map = create_map(spec, {}, host);
  ASSERT_TRUE(map.has_value());
  const std::uint32_t first = 0;
  std::vector<std::uint8_t> value(4);
  EXPECT_EQ((*map)->user_lookup(&first, value, 0), 0);
  EXPECT_EQ(value, spec.contents);
  EXPECT_EQ((*map)->user_update(&first, value, BPF_ANY), -EPERM);
}

// --- templates of inner maps

TEST(InnerMaps, TemplatesThatCannotBe) {
  Host host;
  const std::pair<MapSpec, int> templates[] = {
      {make_spec(BPF_MAP_TYPE_ARRAY_OF_MAPS, 4, 4, 1), EINVAL},
      {make_spec(BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 1), 524},  // ENOTSUPP
      {make_spec(99, 4, 4, 1), EINVAL},
      {make_spec(BPF_MAP_TYPE_HASH, 0, 4, 1), EINVAL},
      {make_spec(BPF_MAP_TYPE_HASH, 4, 4, 1), 0},
      {make_spec(BPF_MAP_TYPE_RINGBUF, 0, 0, 4096), 0},
      {make_spec(BPF_MAP_TYPE_XSKMAP, 4, 4, 2), 0}};
  for (const auto& [inner, error] : templates) {
    MapSpec spec = make_spec(BPF_MAP_TYPE_ARRAY_OF_MAPS, 4, 4, 2);
    spec.inner = std::make_shared<const MapSpec>(inner);
    const auto map = create_map(spec, {}, host);
    EXPECT_EQ(map ? 0 : map.error().errno_value, error) << inner.type;
  }
  const auto without = create_map(make_spec(BPF_MAP_TYPE_HASH_OF_MAPS, 4, 4, 2), {}, host);
  ASSERT_FALSE(without.has_value());
  EXPECT_EQ(without.error().errno_value, EBADF);
}

// A socket map's number of entries counts as an array's does; a hash's does not.
TEST(InnerMaps, TakeWhatFitsTheirTemplate) {
  Host host;
  const auto fits = [&](const MapSpec& inner, const MapSpec& offered) {
    MapSpec spec = make_spec(BPF_MAP_TYPE_ARRAY_OF_MAPS, 4, 4, 1);
    spec.inner = std::make_shared<const MapSpec>(inner);
    auto outer = create_map(spec, {}, host);
    EXPECT_TRUE(outer.has_value());
    host.maps[1] = std::move(*create_map(offered, {}, host));
    const std::uint32_t slot = 0;
    const std::vector<std::uint8_t> handle = {1, 0, 0, 0};
    const int error = (*outer)->user_update(&slot, handle, BPF_ANY);
    EXPECT_TRUE(error == 0 || error == -EINVAL) << error;
    EXPECT_EQ(host.held, error == 0 ? 1 : 0);
    outer->reset();
    EXPECT_EQ(host.held, 0);
    return error == 0;
  };
  const MapSpec array = make_spec(BPF_MAP_TYPE_ARRAY, 4, 8, 4);
  EXPECT_TRUE(fits(array, array));
  EXPECT_FALSE(fits(array, make_spec(BPF_MAP_TYPE_ARRAY, 4, 8, 5)));
  EXPECT_FALSE(fits(array, make_spec(BPF_MAP_TYPE_ARRAY, 4, 4, 4)));
  EXPECT_FALSE(fits(array, make_spec(BPF_MAP_TYPE_HASH, 4, 8, 4)));
  EXPECT_FALSE(fits(array, make_spec(BPF_MAP_TYPE_ARRAY, 4, 8, 4, BPF_F_MMAPABLE)));
  const MapSpec growing = make_spec(BPF_MAP_TYPE_ARRAY, 4, 8, 4, BPF_F_INNER_MAP);
  EXPECT_TRUE(fits(growing, make_spec(BPF_MAP_TYPE_ARRAY, 4, 8, 9, BPF_F_INNER_MAP)));
  const MapSpec hash = make_spec(BPF_MAP_TYPE_HASH, 4, 8, 4);
  EXPECT_TRUE(fits(hash, make_spec(BPF_MAP_TYPE_HASH, 4, 8, 9)));
  EXPECT_FALSE(fits(hash, make_spec(BPF_MAP_TYPE_HASH, 8, 8, 4)));
  const MapSpec sockets = make_spec(BPF_MAP_TYPE_XSKMAP, 4, 4, 2);
  EXPECT_TRUE(fits(sockets, sockets));
  EXPECT_FALSE(fits(sockets, make_spec(BPF_MAP_TYPE_XSKMAP, 4, 4, 3)));
}

TEST(InnerMaps, HandlesThatAreNone) {
  Host host;
  for (const std::uint32_t type : {BPF_MAP_TYPE_ARRAY_OF_MAPS, BPF_MAP_TYPE_HASH_OF_MAPS}) {
    MapSpec spec = make_spec(type, 4, 4, 2);
    spec.inner = std::make_shared<const MapSpec>(make_spec(BPF_MAP_TYPE_HASH, 4, 8, 4));
    auto outer = create_map(spec, {}, host);
    ASSERT_TRUE(outer.has_value());
    const std::uint32_t slot = 1;
    EXPECT_EQ((*outer)->user_update(&slot, std::vector<std::uint8_t>{50, 0, 0, 0}, 0), -EINVAL);
    EXPECT_EQ((*outer)->user_update(&slot, std::vector<std::uint8_t>{200, 0, 0, 0}, 0), -EBADF);
    std::vector<std::uint8_t> value(4);
    EXPECT_EQ((*outer)->user_lookup(&slot, value, 0), -ENOENT);
    EXPECT_EQ((*outer)->lookup(&slot, 0), nullptr);
  }
}

}  // namespace
}  // namespace lmn
