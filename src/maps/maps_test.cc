// SPDX-License-Identifier: Apache-2.0
//
// Goal: what the contract suite cannot see from user space: the program side of maps (addresses,
// redirect targets, programs, direct values), sizes at which arithmetic used to wrap, who holds
// references to programs, and two threads on one map. Method: a host that counts, edge tables, and
// a worker thread beside a control thread (meaningful under TSan).
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <map>
#include <random>
#include <thread>
#include <vector>

#include "abi/limits.h"
#include "abi/map_type_info.h"
#include "maps/hash_table.h"
#include "maps/map.h"
#include "maps/map_memory.h"

namespace lmn {
namespace {

class NullSink final : public FrameSink {
 public:
  int check(std::uint32_t) const noexcept override { return 0; }
  void enqueue(XdpFrame*) noexcept override {}
  void flush() noexcept override {}
  std::uint64_t pending() const noexcept override { return 0; }
};

// Ports 1 and 2; programs 10 (xdp), 11 (xdp, frags), 12 (devmap), 13 (devmap, frags). Counts what
// is held.
class TestHost final : public MapHost {
 public:
  TestHost() {
    programs_[10] = {.id = 110, .type = BPF_PROG_TYPE_XDP, .expected_attach_type = BPF_XDP};
    programs_[11] = {
        .id = 111, .type = BPF_PROG_TYPE_XDP, .expected_attach_type = BPF_XDP, .has_frags = true};
    programs_[12] = {.id = 112, .type = BPF_PROG_TYPE_XDP, .expected_attach_type = BPF_XDP_DEVMAP};
    programs_[13] = {.id = 113,
                     .type = BPF_PROG_TYPE_XDP,
                     .expected_attach_type = BPF_XDP_DEVMAP,
                     .has_frags = true};
  }
  FrameSink* find_sink(std::uint32_t ifindex) noexcept override {
    return ifindex == 1 || ifindex == 2 ? &sinks_[ifindex - 1] : nullptr;
  }
  const ProgramEntry* acquire_program(std::uint32_t handle) noexcept override {
    const auto found = programs_.find(handle);
    if (found == programs_.end()) return nullptr;
    ++held_;
    return &found->second;
  }
  void release_program(const ProgramEntry*) noexcept override { --held_; }
  Map* acquire_map(std::uint32_t handle) noexcept override {
    const auto found = maps_.find(handle);
    if (found == maps_.end()) return nullptr;
    ++held_;
    return found->second;
  }
  void release_map(Map*) noexcept override { --held_; }
  FrameSink* acquire_cpu_queue(std::uint32_t, std::uint32_t,
                               const ProgramEntry* program) noexcept override {
    if (!has_queues_) return nullptr;
    ++held_;
    programs_of_queues_.push_back(program);
    return &sinks_[0];
  }
  // Queues go in the order in which they came, each with its program.
  void release_cpu_queue(FrameSink*) noexcept override {
    --held_;
    if (programs_of_queues_.front() != nullptr) release_program(programs_of_queues_.front());
    programs_of_queues_.erase(programs_of_queues_.begin());
  }
  FrameSink* acquire_socket(std::uint32_t handle) noexcept override {
    held_ += handle == 30;
    return handle == 30 ? &sinks_[0] : nullptr;
  }
  void release_socket(FrameSink*) noexcept override { --held_; }
  void set_has_queues() { has_queues_ = true; }
  void add_map(std::uint32_t handle, Map* map) { maps_[handle] = map; }
  int held() const { return held_; }

 private:
  std::array<NullSink, 2> sinks_;
  std::map<std::uint32_t, ProgramEntry> programs_;
  std::map<std::uint32_t, Map*> maps_;
  int held_ = 0;
  bool has_queues_ = false;
  std::vector<const ProgramEntry*> programs_of_queues_;
};

MapSpec make_spec(std::uint32_t type, std::uint32_t key_size, std::uint32_t value_size,
                  std::uint32_t max_entries, std::uint32_t flags = 0) {
  return {.name = "m",
          .type = type,
          .key_size = key_size,
          .value_size = value_size,
          .max_entries = max_entries,
          .map_flags = flags};
}

std::unique_ptr<Map> make_map(const MapSpec& spec, MapHost& host, std::uint32_t cpu_count = 2) {
  auto map = create_map(spec, {.cpu_count = cpu_count, .hash_seed = 42}, host);
  EXPECT_TRUE(map.has_value()) << map.error().to_string();
  return map ? std::move(*map) : nullptr;
}

std::span<const std::uint8_t> bytes_of(const auto& value) {
  return {reinterpret_cast<const std::uint8_t*>(&value), sizeof value};
}
std::span<std::uint8_t> writable_bytes_of(auto& value) {
  return {reinterpret_cast<std::uint8_t*>(&value), sizeof value};
}

TEST(MapTypes, RowsAreFoundByNumber) {
  EXPECT_EQ(find_map_type_info(BPF_MAP_TYPE_HASH)->name, "hash");
  EXPECT_EQ(find_map_type_info(0), nullptr);
  EXPECT_EQ(find_map_type_info(99), nullptr);
  for (const MapTypeInfo& info : map_type_infos()) EXPECT_EQ(find_map_type_info(info.type), &info);
}

TEST(CreateMap, SizesThatWrapIn32BitsAreRefusedOrRight) {
  TestHost host;
  struct Case {
    MapSpec spec;
    int errno_value;
  };
  const Case cases[] = {
      // 2^29 * 8 is 2^32: in 32 bits nothing (CVE-2021-38166).
      {make_spec(BPF_MAP_TYPE_ARRAY, 4, 0x7fffffff, 0xffffffff), ENOMEM},
      {make_spec(BPF_MAP_TYPE_PERCPU_ARRAY, 4, 32768, 0xffffffff), ENOMEM},
      {make_spec(BPF_MAP_TYPE_HASH, 4, 4, 0xffffffff), E2BIG},
      {make_spec(BPF_MAP_TYPE_HASH, 4, 4, (1u << 31) + 1), E2BIG},  // next power wraps
      {make_spec(BPF_MAP_TYPE_HASH, 4, 4, (1u << 27) + 1), E2BIG},
      {make_spec(BPF_MAP_TYPE_HASH, 4, 4 << 20, 1), E2BIG},
      {make_spec(BPF_MAP_TYPE_HASH, 0xffffffff, 0xffffffff, 1), E2BIG},
      {make_spec(BPF_MAP_TYPE_ARRAY, 4, 0xfffffff9, 1), E2BIG},  // rounds up to 0 in 32 bits
      {make_spec(77, 4, 4, 1), EINVAL},
  };
  for (const Case& c : cases) {
    auto map = create_map(c.spec, {.cpu_count = 4}, host);
    ASSERT_FALSE(map.has_value()) << c.spec.type << " " << c.spec.max_entries;
    EXPECT_EQ(map.error().errno_value, c.errno_value) << map.error().to_string();
  }
  // 2^29 elements of 8 bytes: 4 GiB, reserved and usable at both ends.
  auto map = make_map(make_spec(BPF_MAP_TYPE_ARRAY, 4, 8, 1u << 29), host);
  const std::uint32_t last = (1u << 29) - 1;
  auto* value = static_cast<std::uint64_t*>(map->lookup(&last, 0));
  ASSERT_NE(value, nullptr);
  *value = 7;
  const std::uint32_t first = 0;
  EXPECT_EQ(*static_cast<std::uint64_t*>(map->lookup(&first, 0)), 0u);
}

TEST(MapMemory, ProductsAreCheckedAndLimitsHold) {
  EXPECT_EQ(map_bytes(1ull << 32, 1ull << 31), 1ull << 63);
  EXPECT_EQ(map_bytes(1ull << 33, 1ull << 31), std::nullopt);
  EXPECT_FALSE(MapMemory::create(limits::kMapBytesMax + 1).has_value());
  auto memory = MapMemory::create(13);
  ASSERT_TRUE(memory.has_value());
  const std::uint8_t from[13] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13};
  store_value(memory->data(), from, sizeof from);
  std::uint8_t to[13] = {};
  load_value(to, memory->data(), sizeof to);
  EXPECT_EQ(std::memcmp(from, to, sizeof to), 0);
  zero_value(memory->data(), 12);
  EXPECT_EQ(memory->data()[11], 0);
  EXPECT_EQ(memory->data()[12], 13);
}

TEST(ArrayMap, GlobalDataHasContentsAddressesAndFreezes) {
  TestHost host;
  MapSpec spec = make_spec(BPF_MAP_TYPE_ARRAY, 4, 12, 1, BPF_F_MMAPABLE | BPF_F_RDONLY_PROG);
  spec.contents = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
  spec.is_frozen_at_load = true;
  auto map = make_map(spec, host);
  EXPECT_TRUE(map->is_frozen());
  const std::uint32_t key = 0;
  EXPECT_EQ(map->direct_value(0), map->lookup(&key, 0));
  EXPECT_EQ(*static_cast<std::uint8_t*>(map->direct_value(11)), 12);
  EXPECT_EQ(map->direct_value(12), nullptr);
  ASSERT_NE(map->mapped_memory(), nullptr);
  EXPECT_EQ(map->mapped_memory()->data(), map->direct_value(0));
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(map->direct_value(0)) % kMapPageBytes, 0u);
  std::array<std::uint8_t, 12> value{};
  EXPECT_EQ(map->user_update(&key, value, BPF_ANY), -EPERM);
  EXPECT_EQ(map->user_erase(&key), -EPERM);
  EXPECT_EQ(map->user_lookup(&key, value, 0), 0);
  EXPECT_EQ(value[0], 1);
  EXPECT_EQ(map->freeze(), -EPERM);  // a frozen map may not be written, and freezing asks for that
  spec.contents.resize(13);
  EXPECT_FALSE(create_map(spec, {}, host).has_value());
  EXPECT_EQ(make_map(make_spec(BPF_MAP_TYPE_ARRAY, 4, 12, 2), host)->direct_value(0), nullptr);
}

TEST(PercpuMaps, WorkersHaveTheirOwnValueAndUserSpaceSeesAll) {
  TestHost host;
  for (const std::uint32_t type : {BPF_MAP_TYPE_PERCPU_ARRAY, BPF_MAP_TYPE_PERCPU_HASH}) {
    auto map = make_map(make_spec(type, 4, 4, 3), host, 3);
    EXPECT_EQ(map->user_value_bytes(), 24u);
    const std::uint32_t key = 1;
    const std::uint32_t value = 0xabcd;
    EXPECT_EQ(map->update(&key, &value, BPF_ANY, 1), 0);
    std::array<std::uint64_t, 3> all{9, 9, 9};
    EXPECT_EQ(map->user_lookup(&key, writable_bytes_of(all), 0), 0);
    EXPECT_EQ(all, (std::array<std::uint64_t, 3>{0, 0xabcd, 0})) << type;
    // Different lines for different CPUs.
    const auto* of_first = static_cast<std::uint8_t*>(map->lookup(&key, 0));
    const auto* of_second = static_cast<std::uint8_t*>(map->lookup(&key, 1));
    EXPECT_GE(std::abs(of_second - of_first), 64);
  }
}

TEST(PercpuHashMap, AnElementUsedAgainShowsNoOldValues) {
  TestHost host;
  auto map = make_map(make_spec(BPF_MAP_TYPE_PERCPU_HASH, 4, 8, 1), host, 2);
  const std::array<std::uint64_t, 2> secret{1, 2};
  std::uint32_t key = 5;
  EXPECT_EQ(map->user_update(&key, bytes_of(secret), BPF_ANY), 0);
  EXPECT_EQ(map->erase(&key), 0);
  key = 6;
  const std::uint64_t value = 3;
  EXPECT_EQ(map->update(&key, &value, BPF_ANY, 0), 0);
  EXPECT_EQ(*static_cast<std::uint64_t*>(map->lookup(&key, 1)), 0u);
}

TEST(HashMap, ValueAddressesOutliveReplacementAndDeletion) {
  TestHost host;
  auto map = make_map(make_spec(BPF_MAP_TYPE_HASH, 4, 8, 4), host);
  const std::uint32_t key = 5;
  std::uint64_t value = 1;
  EXPECT_EQ(map->update(&key, &value, BPF_ANY, 0), 0);
  auto* held = static_cast<std::uint64_t*>(map->lookup(&key, 0));
  value = 2;
  EXPECT_EQ(map->update(&key, &value, BPF_EXIST, 0), 0);
  EXPECT_EQ(*held, 1u);  // the old element keeps the old value
  auto* now = static_cast<std::uint64_t*>(map->lookup(&key, 0));
  EXPECT_NE(now, held);
  std::uint32_t index = 0;
  const auto* key_in_map = static_cast<const std::uint32_t*>(map->key_of(now, index));
  EXPECT_EQ(map->erase(key_in_map), 0);  // as a timer's callback does
  EXPECT_EQ(*key_in_map, 5u);
  EXPECT_EQ(*now, 2u);
  EXPECT_EQ(map->lookup(&key, 0), nullptr);
}

TEST(HashMap, FullMeansMaxEntriesAndReplacementStillWorks) {
  TestHost host;
  for (const std::uint32_t flags : {0u, std::uint32_t{BPF_F_NO_PREALLOC}}) {
    auto map = make_map(make_spec(BPF_MAP_TYPE_HASH, 4, 4, 3, flags), host);
    for (std::uint32_t key = 0; key < 3; ++key) EXPECT_EQ(map->update(&key, &key, 0, 0), 0);
    std::uint32_t key = 3;
    EXPECT_EQ(map->update(&key, &key, BPF_ANY, 0), -E2BIG);
    key = 2;
    for (int i = 0; i < 10; ++i) EXPECT_EQ(map->update(&key, &key, BPF_ANY, 0), 0);
    EXPECT_EQ(map->erase(&key), 0);
    key = 3;
    EXPECT_EQ(map->update(&key, &key, BPF_ANY, 0), 0);
  }
}

TEST(LruHashMap, RoundsEntriesForListsPerCpu) {
  TestHost host;
  const MapSpec spec = make_spec(BPF_MAP_TYPE_LRU_HASH, 4, 4, 10, BPF_F_NO_COMMON_LRU);
  EXPECT_EQ(make_map(spec, host, 4)->spec().max_entries, 12u);
}

TEST(ProgArrayMap, HoldsReferencesAndDemandsOneKind) {
  TestHost host;
  {
    auto map = make_map(make_spec(BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 4), host);
    const std::uint32_t slots[] = {0, 1, 2, 4};
    std::uint32_t handle = 99;
    EXPECT_EQ(map->user_update(&slots[0], bytes_of(handle), BPF_ANY), -EBADF);
    handle = 10;
    EXPECT_EQ(map->user_update(&slots[3], bytes_of(handle), BPF_ANY), -E2BIG);
    EXPECT_EQ(map->user_update(&slots[0], bytes_of(handle), BPF_EXIST), -EINVAL);
    EXPECT_EQ(map->user_update(&slots[0], bytes_of(handle), BPF_ANY), 0);
    EXPECT_EQ(map->user_update(&slots[1], bytes_of(handle), BPF_ANY), 0);
    EXPECT_EQ(host.held(), 2);
    EXPECT_EQ(map->find_program(0)->id, 110u);
    EXPECT_EQ(map->find_program(2), nullptr);
    EXPECT_EQ(map->find_program(4), nullptr);
    for (const std::uint32_t other : {11u, 12u}) {  // frags, attach type
      handle = other;
      EXPECT_EQ(map->user_update(&slots[2], bytes_of(handle), BPF_ANY), -EINVAL);
    }
    EXPECT_EQ(host.held(), 2);
    std::uint32_t id = 0;
    EXPECT_EQ(map->user_lookup(&slots[0], writable_bytes_of(id), 0), 0);
    EXPECT_EQ(id, 110u);
    EXPECT_EQ(map->lookup(&slots[0], 0), nullptr);
    EXPECT_EQ(map->user_erase(&slots[1]), 0);
    EXPECT_EQ(map->user_erase(&slots[1]), -ENOENT);
    EXPECT_EQ(host.held(), 1);
    EXPECT_FALSE(map->accept_program({.id = 1, .type = BPF_PROG_TYPE_SCHED_CLS}));
    map->drop_user_references();
    EXPECT_EQ(host.held(), 0);
    EXPECT_EQ(map->user_update(&slots[0], bytes_of(handle = 10), BPF_ANY), 0);
  }
  EXPECT_EQ(host.held(), 0);
}

// Devmaps get a flag when they are made that nobody may ask for.
TEST(MapsOfMaps, HoldDevmapsMadeFromTheirShape) {
  for (const std::uint32_t type : {BPF_MAP_TYPE_DEVMAP, BPF_MAP_TYPE_DEVMAP_HASH}) {
    TestHost host;
    MapSpec spec = make_spec(BPF_MAP_TYPE_HASH_OF_MAPS, 4, 4, 2);
    spec.inner = std::make_shared<const MapSpec>(make_spec(type, 4, 4, 8));
    auto outer = make_map(spec, host);
    auto inner = create_map(*outer->inner_shape(), {}, host);
    ASSERT_TRUE(inner) << inner.error().to_string();
    host.add_map(20, inner->get());
    const std::uint32_t key = 1;
    const std::uint32_t handle = 20;
    EXPECT_EQ(outer->user_update(&key, bytes_of(handle), BPF_ANY), 0);
    outer.reset();
    EXPECT_EQ(host.held(), 0);
  }
}

TEST(MapsOfMaps, LookupGivesTheInnerMapAndReferencesAreReturned) {
  for (const std::uint32_t type : {BPF_MAP_TYPE_ARRAY_OF_MAPS, BPF_MAP_TYPE_HASH_OF_MAPS}) {
    TestHost host;
    auto inner = make_map(make_spec(BPF_MAP_TYPE_HASH, 4, 8, 4), host);
    auto other = make_map(make_spec(BPF_MAP_TYPE_HASH, 4, 4, 4), host);
    inner->set_id(77);
    host.add_map(20, inner.get());
    host.add_map(21, other.get());
    MapSpec spec = make_spec(type, 4, 4, 2);
    EXPECT_EQ(create_map(spec, {}, host).error().errno_value, EBADF);
    spec.inner = std::make_shared<const MapSpec>(make_spec(BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 1));
    EXPECT_EQ(create_map(spec, {}, host).error().errno_value, kErrnoNotSupp);
    spec.inner = std::make_shared<const MapSpec>(make_spec(BPF_MAP_TYPE_ARRAY_OF_MAPS, 4, 4, 1));
    EXPECT_EQ(create_map(spec, {}, host).error().errno_value, EINVAL);
    spec.inner = std::make_shared<const MapSpec>(make_spec(BPF_MAP_TYPE_HASH, 4, 8, 9));
    {
      auto map = make_map(spec, host);
      EXPECT_EQ(map->inner_shape()->value_size, 8u);
      const std::uint32_t key = 1;
      std::uint32_t handle = 21;
      EXPECT_EQ(map->user_update(&key, bytes_of(handle), BPF_ANY), -EINVAL);
      handle = 20;
      EXPECT_EQ(map->user_update(&key, bytes_of(handle), BPF_ANY), 0);
      EXPECT_EQ(map->user_update(&key, bytes_of(handle), BPF_ANY), 0);
      EXPECT_EQ(host.held(), 1);
      EXPECT_EQ(map->lookup(&key, 0), inner.get());
      EXPECT_EQ(map->user_lookup(&key, writable_bytes_of(handle), 0), 0);
      EXPECT_EQ(handle, 77u);
    }
    EXPECT_EQ(host.held(), 0);
  }
}

TEST(Devmap, ResolvesPortsAndProgramsOnce) {
  TestHost host;
  {
    auto map = make_map(make_spec(BPF_MAP_TYPE_DEVMAP, 4, 8, 4), host);
    EXPECT_NE(map->spec().map_flags & BPF_F_RDONLY_PROG, 0u);
    struct Value {
      std::uint32_t ifindex;
      std::int32_t program;
    };
    struct Case {
      std::uint32_t key;
      Value value;
      int error;
    };
    const Case cases[] = {
        {0, {1, 0}, 0},        {1, {2, 12}, 0},       {2, {3, 0}, -EINVAL}, {2, {0, 12}, -EINVAL},
        {2, {1, 10}, -EINVAL}, {2, {1, 13}, -EINVAL}, {3, {0, -1}, 0},      {4, {1, 0}, -E2BIG},
    };
    for (const Case& c : cases) {
      EXPECT_EQ(map->user_update(&c.key, bytes_of(c.value), BPF_ANY), c.error) << c.key;
    }
    EXPECT_EQ(host.held(), 1);
    RedirectTarget target;
    ASSERT_TRUE(map->find_redirect_target(1, target));
    EXPECT_EQ(target.ifindex, 2u);
    EXPECT_EQ(target.sink, host.find_sink(2));
    EXPECT_EQ(target.program->id, 112u);
    EXPECT_FALSE(map->find_redirect_target(2, target));
    EXPECT_FALSE(map->find_redirect_target(4, target));
    EXPECT_FALSE(map->find_redirect_target(1ull << 32, target));  // not slot 0
    std::uint64_t cursor = 0;
    std::vector<std::uint32_t> walked;
    while (map->next_redirect_target(cursor, target)) walked.push_back(target.ifindex);
    EXPECT_EQ(walked, (std::vector<std::uint32_t>{1, 2}));
    const std::uint32_t key = 1;
    const auto* seen = static_cast<bpf_devmap_val*>(map->lookup(&key, 0));
    ASSERT_NE(seen, nullptr);
    EXPECT_EQ(seen->ifindex, 2u);
    EXPECT_EQ(seen->bpf_prog.id, 112u);
    EXPECT_EQ(map->user_erase(&key), 0);
    EXPECT_EQ(host.held(), 0);
    EXPECT_EQ(map->lookup(&key, 0), nullptr);
    EXPECT_EQ(seen->ifindex, 2u);  // what a program holds stays readable
    EXPECT_EQ(map->user_update(&key, bytes_of(Value{1, 12}), BPF_ANY), 0);
  }
  EXPECT_EQ(host.held(), 0);
}

TEST(Cpumap, AHostWithoutQueuesSaysSo) {
  TestHost host;
  auto map = make_map(make_spec(BPF_MAP_TYPE_CPUMAP, 4, 8, 2), host);
  const std::uint32_t key = 1;
  const std::array<std::uint32_t, 2> value{192, 0};
  RedirectTarget target;
  EXPECT_EQ(map->user_update(&key, bytes_of(value), BPF_ANY), -EOPNOTSUPP);
  EXPECT_FALSE(map->find_redirect_target(1, target));
  host.set_has_queues();
  EXPECT_EQ(map->user_update(&key, bytes_of(value), BPF_ANY), 0);
  EXPECT_TRUE(map->find_redirect_target(1, target));
  EXPECT_EQ(target.sink, host.find_sink(1));
  EXPECT_FALSE(map->find_redirect_target(0, target));
  EXPECT_FALSE(map->find_redirect_target((1ull << 32) + 1, target));
  EXPECT_EQ(map->lookup(&key, 0), nullptr);
  EXPECT_EQ(host.held(), 1);
  map = nullptr;
  EXPECT_EQ(host.held(), 0);
}

TEST(Xskmap, RedirectsToSocketsAndReturnsThem) {
  TestHost host;
  auto map = make_map(make_spec(BPF_MAP_TYPE_XSKMAP, 4, 4, 2), host);
  const std::uint32_t key = 1;
  std::uint32_t handle = 30;
  RedirectTarget target;
  EXPECT_EQ(map->user_update(&key, bytes_of(handle), BPF_ANY), 0);
  EXPECT_EQ(map->user_update(&key, bytes_of(handle), BPF_NOEXIST), 0);  // the same one
  EXPECT_EQ(host.held(), 1);
  EXPECT_TRUE(map->find_redirect_target(1, target));
  EXPECT_EQ(target.sink, host.find_sink(1));
  EXPECT_EQ(map->lookup(&key, 0), host.find_sink(1));
  EXPECT_EQ(map->user_lookup(&key, writable_bytes_of(handle), 0), -EOPNOTSUPP);
  map = nullptr;
  EXPECT_EQ(host.held(), 0);
}

TEST(DevmapHash, WalksEveryTargetAndLetsGoOfPrograms) {
  TestHost host;
  {
    auto map = make_map(make_spec(BPF_MAP_TYPE_DEVMAP_HASH, 4, 8, 100), host);
    for (std::uint32_t key = 0; key < 100; ++key) {
      const std::array<std::uint32_t, 2> value{1 + key % 2, 12};
      EXPECT_EQ(map->user_update(&key, bytes_of(value), BPF_NOEXIST), 0);
    }
    std::uint32_t key = 100;
    std::array<std::uint32_t, 2> value{1, 12};
    EXPECT_EQ(map->user_update(&key, bytes_of(value), BPF_ANY), -E2BIG);
    EXPECT_EQ(host.held(), 100);
    std::uint64_t cursor = 0;
    RedirectTarget target;
    int walked = 0;
    while (map->next_redirect_target(cursor, target)) ++walked;
    EXPECT_EQ(walked, 100);
    EXPECT_EQ(map->element_count(), 0) << "Linux 6.18 counts the elements of hashes only";
    EXPECT_TRUE(map->find_redirect_target(99, target));
    EXPECT_EQ(target.ifindex, 2u);
    EXPECT_FALSE(map->find_redirect_target((1ull << 32) + 99, target));
    key = 99;
    const void* seen = map->lookup(&key, 0);
    ASSERT_NE(seen, nullptr);
    EXPECT_EQ(static_cast<const bpf_devmap_val*>(seen)->bpf_prog.id, 112u);
    EXPECT_EQ(map->user_erase(&key), 0);
    EXPECT_EQ(host.held(), 99);
  }
  EXPECT_EQ(host.held(), 0);
}

TEST(Maps, RightsFollowTheHandle) {
  TestHost host;
  auto map = make_map(make_spec(BPF_MAP_TYPE_HASH, 4, 4, 4, BPF_F_RDONLY), host);
  const std::uint32_t key = 1;
  std::uint32_t value = 2;
  EXPECT_EQ(map->user_update(&key, bytes_of(value), BPF_ANY), -EPERM);
  EXPECT_EQ(map->user_update(&key, bytes_of(value), BPF_ANY, MapAccess::kReadWrite), 0);
  EXPECT_EQ(map->user_lookup(&key, writable_bytes_of(value), 0), 0);
  EXPECT_EQ(map->user_lookup(&key, writable_bytes_of(value), 0, MapAccess::kWrite), -EPERM);
  EXPECT_EQ(map->user_lookup_and_erase(&key, writable_bytes_of(value), 0), -EPERM);
  EXPECT_EQ(map->freeze(), -EPERM);
  EXPECT_EQ(map->freeze(MapAccess::kWrite), 0);
  EXPECT_EQ(map->freeze(MapAccess::kWrite), -EPERM);
}

// One worker and one control thread on the same few keys: no race that TSan reports, and every
// value read is one that was written (both halves alike).
TEST(Maps, AWorkerAndAControlThreadMayMeet) {
  TestHost host;
  for (const std::uint32_t type : {BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_LRU_HASH, BPF_MAP_TYPE_HASH,
                                   BPF_MAP_TYPE_PERCPU_ARRAY, BPF_MAP_TYPE_PERCPU_HASH}) {
    auto map = make_map(make_spec(type, 4, 8, 8), host, 1);
    std::atomic<bool> is_done{false};
    std::thread control([&] {
      for (std::uint32_t i = 0; i < 20'000; ++i) {
        const std::uint32_t key = i % 8;
        const std::uint64_t value = (std::uint64_t{i} << 32) | i;
        std::uint64_t seen = 0;
        std::uint32_t next = 0;
        map->user_update(&key, bytes_of(value), BPF_ANY);
        if (map->user_lookup(&key, writable_bytes_of(seen), 0) == 0) {
          EXPECT_EQ(seen >> 32, seen & 0xffffffff);
        }
        map->user_next_key(&key, &next);
        if (i % 3 == 0) map->user_erase(&key);
      }
      is_done = true;
    });
    while (!is_done) {
      for (std::uint32_t key = 0; key < 8; ++key) {
        const std::uint64_t value = (std::uint64_t{key} << 32) | key;
        map->update(&key, &value, BPF_ANY, 0);
        if (const void* found = map->lookup(&key, 0)) {
          std::uint64_t seen = 0;
          load_value(&seen, found, sizeof seen);
          EXPECT_EQ(seen >> 32, seen & 0xffffffff);
        }
        map->erase(&key);
      }
    }
    control.join();
  }
}

TEST(Devmap, AWorkerNeverSeesHalfASlot) {
  TestHost host;
  auto map = make_map(make_spec(BPF_MAP_TYPE_DEVMAP, 4, 8, 1), host);
  std::atomic<bool> is_done{false};
  std::thread control([&] {
    const std::uint32_t key = 0;
    for (std::uint32_t i = 0; i < 20'000; ++i) {
      const std::uint64_t value = 1 + i % 3;  // ports 1, 2 and one that is not there
      map->user_update(&key, bytes_of(value), BPF_ANY);
      if (i % 5 == 0) map->user_erase(&key);
    }
    is_done = true;
  });
  while (!is_done) {
    RedirectTarget target;
    if (map->find_redirect_target(0, target)) {
      EXPECT_EQ(target.sink, host.find_sink(target.ifindex));
    }
  }
  control.join();
}

}  // namespace
}  // namespace lmn
