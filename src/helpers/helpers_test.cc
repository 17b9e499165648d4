// SPDX-License-Identifier: Apache-2.0
//
// Goal: every helper body at its edges, by rules.md's numbers rather than by the kernel of the
// machine (that is tests/differential/helpers_test.cc), and the tables of helpers.def.
// Method: bodies are called directly on a frame as a driver would make it.
#include "helpers/helpers.h"

#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <cerrno>
#include <memory>

#include "helpers/test_run.h"
#include "maps/map.h"

namespace lmn {
namespace {

constexpr int kEnotsupp = 524;

std::vector<std::uint8_t> counting_packet(std::size_t size) {
  std::vector<std::uint8_t> packet(size);
  for (std::size_t i = 0; i < size; ++i) packet[i] = static_cast<std::uint8_t>(i + 1);
  return packet;
}

// --- the tables

TEST(HelperTable, CallableRowsAreKnownAndHaveSomethingBehindThem) {
  const auto known = known_helper_protos();
  for (const HelperProto& proto : helper_protos()) {
    EXPECT_TRUE(std::ranges::any_of(known, [&](auto& k) { return k.id == proto.id; }));
    EXPECT_EQ(helper_refusal(proto.id), "") << proto.name;
    EXPECT_EQ(helper_function(proto.id) == nullptr, proto.id == BPF_FUNC_tail_call) << proto.name;
  }
  EXPECT_GT(known.size(), helper_protos().size());
}

TEST(HelperTable, RefusedRowsSayWhyAndHaveNoBody) {
  for (const HelperProto& proto : known_helper_protos()) {
    const bool is_callable =
        std::ranges::any_of(helper_protos(), [&](auto& p) { return p.id == proto.id; });
    if (is_callable) continue;
    EXPECT_NE(helper_refusal(proto.id), "") << proto.name;
    EXPECT_EQ(helper_function(proto.id), nullptr) << proto.name;
  }
  EXPECT_EQ(helper_refusal(4), "") << "bpf_probe_read is not an XDP helper at all";
  EXPECT_EQ(helper_function(4), nullptr);
  EXPECT_EQ(helper_function(0xffffffff), nullptr);
}

TEST(HelperTable, SizesFollowTheMemoryTheyMeasure) {
  for (const HelperProto& proto : known_helper_protos()) {
    for (std::size_t i = 0; i < proto.args.size(); ++i) {
      const HelperArg& arg = proto.args[i];
      const bool is_size = arg.kind == ArgKind::kConstSize || arg.kind == ArgKind::kConstSizeOrZero;
      if (is_size) {
        ASSERT_GT(i, 0u) << proto.name;
        EXPECT_EQ(proto.args[i - 1].kind, ArgKind::kPtrToMem) << proto.name;
      }
      if (arg.kind == ArgKind::kPtrToMem && (arg.flags & kArgFixedSize) == 0) {
        ASSERT_LT(i + 1, proto.args.size()) << proto.name;
        const ArgKind next = proto.args[i + 1].kind;
        EXPECT_TRUE(next == ArgKind::kConstSize || next == ArgKind::kConstSizeOrZero) << proto.name;
      }
      EXPECT_EQ((arg.flags & kArgFixedSize) != 0, arg.fixed_size != 0) << proto.name;
    }
  }
}

// --- packet geometry. Head-room 256, frame header 40, packet 100, tail-room 320.

struct GeometryCase {
  const char* what;
  int metadata_bytes;
  std::int64_t delta;
  std::int64_t expected;
};

class AdjustHead : public testing::TestWithParam<GeometryCase> {};

TEST_P(AdjustHead, ReturnsAndMoves) {
  const GeometryCase& c = GetParam();
  TestRun run(counting_packet(100));
  run.buff.data_meta -= c.metadata_bytes;
  for (int i = 0; i < c.metadata_bytes; ++i) run.buff.data_meta[i] = static_cast<std::uint8_t>(i);
  const auto metadata = run.metadata();
  const std::uint8_t* before = run.buff.data;
  EXPECT_EQ(run.call(BPF_FUNC_xdp_adjust_head, 0, c.delta), c.expected);
  const std::ptrdiff_t moved = c.expected == 0 ? static_cast<std::int32_t>(c.delta) : 0;
  EXPECT_EQ(run.buff.data - before, moved);
  EXPECT_EQ(run.metadata(), metadata) << "the metadata moves along";
  EXPECT_EQ(run.context.packet_generation, c.expected == 0 ? 1u : 0u);
}

INSTANTIATE_TEST_SUITE_P(
    Edges, AdjustHead,
    testing::Values(GeometryCase{"nothing", 0, 0, 0}, GeometryCase{"to the header", 0, -216, 0},
                    GeometryCase{"into the header", 0, -217, -EINVAL},
                    GeometryCase{"metadata to the header", 32, -184, 0},
                    GeometryCase{"metadata into the header", 32, -185, -EINVAL},
                    GeometryCase{"down to 14 bytes", 0, 86, 0},
                    GeometryCase{"under 14 bytes", 0, 87, -EINVAL},
                    GeometryCase{"down to 14 with metadata", 200, 86, 0},
                    GeometryCase{"smallest int", 0, INT32_MIN, -EINVAL},
                    GeometryCase{"largest int", 0, INT32_MAX, -EINVAL},
                    GeometryCase{"upper half is cut off", 0, (1ll << 32) + 4, 0}),
    [](const auto& row) { return std::to_string(row.index); });

TEST(AdjustHeadMarker, UnsupportedMetadataDoesNotCountAndStaysMarked) {
  TestRun run(counting_packet(100));
  run.buff.data_meta = run.buff.data + 1;
  EXPECT_EQ(run.call(BPF_FUNC_xdp_adjust_head, 0, -216), 0);
  EXPECT_EQ(run.buff.data_meta, run.buff.data + 1);
}

class AdjustTail : public testing::TestWithParam<GeometryCase> {};

TEST_P(AdjustTail, ReturnsAndMoves) {
  const GeometryCase& c = GetParam();
  TestRun run(counting_packet(100));
  const std::uint8_t* before = run.buff.data_end;
  EXPECT_EQ(run.call(BPF_FUNC_xdp_adjust_tail, 0, c.delta), c.expected);
  const std::ptrdiff_t moved = c.expected == 0 ? static_cast<std::int32_t>(c.delta) : 0;
  EXPECT_EQ(run.buff.data_end - before, moved);
  for (const std::uint8_t* p = before; p < run.buff.data_end; ++p) EXPECT_EQ(*p, 0);
  EXPECT_EQ(run.context.packet_generation, c.expected == 0 ? 1u : 0u);
}

INSTANTIATE_TEST_SUITE_P(
    Edges, AdjustTail,
    testing::Values(GeometryCase{"nothing", 0, 0, 0}, GeometryCase{"to the tail-room", 0, 3420, 0},
                    GeometryCase{"into the tail-room", 0, 3421, -EINVAL},
                    GeometryCase{"down to 14 bytes", 0, -86, 0},
                    GeometryCase{"under 14 bytes", 0, -87, -EINVAL},
                    GeometryCase{"smallest int", 0, INT32_MIN, -EINVAL},
                    GeometryCase{"largest int", 0, INT32_MAX, -EINVAL},
                    GeometryCase{"upper half is cut off", 0, (1ll << 32) + 4, 0}),
    [](const auto& row) { return std::to_string(row.index); });

class AdjustMeta : public testing::TestWithParam<GeometryCase> {};

TEST_P(AdjustMeta, Returns) {
  const GeometryCase& c = GetParam();
  TestRun run(counting_packet(100));
  run.buff.data_meta -= c.metadata_bytes;
  EXPECT_EQ(run.call(BPF_FUNC_xdp_adjust_meta, 0, c.delta), c.expected);
  const std::ptrdiff_t moved = c.expected == 0 ? static_cast<std::int32_t>(c.delta) : 0;
  EXPECT_EQ(run.metadata().size(), static_cast<std::size_t>(c.metadata_bytes - moved));
}

INSTANTIATE_TEST_SUITE_P(
    Edges, AdjustMeta,
    testing::Values(GeometryCase{"nothing", 0, 0, 0}, GeometryCase{"one word", 0, -4, 0},
                    GeometryCase{"no whole word", 0, -6, -EACCES},
                    GeometryCase{"all that fits", 0, -216, 0},
                    GeometryCase{"into the header", 0, -217, -EINVAL},
                    GeometryCase{"into the header by a word", 0, -220, -EINVAL},
                    GeometryCase{"past data", 0, 4, -EINVAL}, GeometryCase{"given back", 32, 32, 0},
                    GeometryCase{"given back too much", 32, 36, -EINVAL},
                    GeometryCase{"smallest int", 0, INT32_MIN, -EINVAL},
                    GeometryCase{"largest int", 0, INT32_MAX, -EINVAL}),
    [](const auto& row) { return std::to_string(row.index); });

TEST(AdjustMetaLimits, LongestIs252AndAboveIsRefusedByLength) {
  TestRun run(counting_packet(100));
  ASSERT_EQ(run.call(BPF_FUNC_xdp_adjust_head, 0, 80), 0);
  EXPECT_EQ(run.call(BPF_FUNC_xdp_adjust_meta, 0, -256), -EACCES);
  EXPECT_EQ(run.call(BPF_FUNC_xdp_adjust_meta, 0, -252), 0);
  EXPECT_EQ(run.metadata().size(), 252u);
}

TEST(AdjustMetaLimits, DriverWithoutMetadata) {
  TestRun run(counting_packet(100));
  run.buff.data_meta = run.buff.data + 1;
  EXPECT_EQ(run.call(BPF_FUNC_xdp_adjust_meta, 0, -4), -kEnotsupp);
}

TEST(GetBuffLen, FollowsTheEdges) {
  TestRun run(counting_packet(100));
  EXPECT_EQ(run.call(BPF_FUNC_xdp_get_buff_len, 0), 100);
  run.call(BPF_FUNC_xdp_adjust_head, 0, -10);
  run.call(BPF_FUNC_xdp_adjust_tail, 0, 5);
  EXPECT_EQ(run.call(BPF_FUNC_xdp_get_buff_len, 0), 115);
}

// --- packet bytes

TEST(PacketBytes, LoadsAndStoresInsideOnly) {
  struct Case {
    std::uint64_t offset;
    std::uint64_t length;
    std::int64_t expected;
  };
  constexpr Case kCases[] = {
      {0, 1, 0},
      {0, 100, 0},
      {99, 1, 0},
      {100, 1, -EINVAL},
      {0, 101, -EINVAL},
      {50, 51, -EINVAL},
      {0xffff, 1, -EINVAL},
      {0x10000, 1, -EFAULT},
      {0, 0x10000, -EFAULT},
      {0xffffffff, 2, -EFAULT},
      {1ull << 32, 4, 0},
  };
  std::vector<std::uint8_t> memory(0x10000, 0x77);
  for (const Case& c : kCases) {
    TestRun run(counting_packet(100));
    std::ranges::fill(memory, 0x77);
    EXPECT_EQ(run.call(BPF_FUNC_xdp_load_bytes, 0, c.offset, memory.data(), c.length), c.expected);
    const auto at = static_cast<std::uint32_t>(c.offset);
    for (std::size_t i = 0; i < c.length; ++i) {
      ASSERT_EQ(memory[i], c.expected == 0 ? at + i + 1 : 0x77u) << c.offset << "+" << i;
    }
    std::ranges::fill(memory, 0x55);
    EXPECT_EQ(run.call(BPF_FUNC_xdp_store_bytes, 0, c.offset, memory.data(), c.length), c.expected);
    const auto packet = run.packet();
    for (std::size_t i = 0; i < packet.size(); ++i) {
      const bool is_stored = c.expected == 0 && i >= at && i < at + c.length;
      ASSERT_EQ(packet[i], is_stored ? 0x55u : i + 1);
    }
    EXPECT_EQ(run.context.packet_generation, 0u) << "bytes change, the edges do not";
  }
}

// --- redirect

class ScriptedMap final : public Map {
 public:
  explicit ScriptedMap(std::uint32_t type) : Map(spec_of(type), {.cpu_count = 2}) {}

  void* lookup(const void* key, std::uint32_t cpu) noexcept override {
    const auto k = *static_cast<const std::uint32_t*>(key);
    return k < 4 ? &values[cpu * 4 + k] : nullptr;
  }
  int update(const void* key, const void* value, std::uint64_t flags,
             std::uint32_t cpu) noexcept override {
    if (flags > BPF_EXIST) return -EINVAL;
    auto* slot = static_cast<std::uint64_t*>(lookup(key, cpu));
    if (slot == nullptr) return -E2BIG;
    *slot = *static_cast<const std::uint64_t*>(value);
    return 0;
  }
  int erase(const void* key) noexcept override { return lookup(key, 0) ? 0 : -ENOENT; }
  bool find_redirect_target(std::uint64_t key, RedirectTarget& target) noexcept override {
    asked_key = key;
    if (key != 1) return false;
    target.ifindex = 77;
    target.program = &entry;
    return true;
  }
  int copy_value(const void*, std::span<std::uint8_t>, std::uint64_t) noexcept override {
    return -EOPNOTSUPP;
  }
  int next_key(const void*, void*) noexcept override { return -ENOENT; }

  std::uint64_t values[8] = {};
  std::uint64_t asked_key = 0;
  ProgramEntry entry;

 private:
  static MapSpec spec_of(std::uint32_t type) {
    MapSpec spec;
    spec.type = type;
    spec.key_size = 4;
    spec.value_size = 8;
    spec.max_entries = 4;
    return spec;
  }
};

TEST(Redirect, TakesAnInterfaceAndNoFlags) {
  TestRun run(counting_packet(60));
  EXPECT_EQ(run.call(BPF_FUNC_redirect, (5ull << 32) | 9, 0), XDP_REDIRECT);
  EXPECT_EQ(run.context.redirect.kind, RedirectSlot::Kind::kIfindex);
  EXPECT_EQ(run.context.redirect.ifindex, 9u);
  EXPECT_EQ(run.call(BPF_FUNC_redirect, 3, 1), XDP_ABORTED);
  EXPECT_EQ(run.call(BPF_FUNC_redirect, 3, 1ull << 40), XDP_ABORTED);
  EXPECT_EQ(run.context.redirect.ifindex, 9u) << "a refused call leaves the slot alone";
}

TEST(RedirectMap, FillsTheSlotFromTheEntry) {
  TestRun run(counting_packet(60));
  ScriptedMap map(BPF_MAP_TYPE_DEVMAP);
  EXPECT_EQ(run.call(BPF_FUNC_redirect_map, &map, (1ull << 32) | 1, XDP_DROP), XDP_REDIRECT);
  EXPECT_EQ(map.asked_key, 1u) << "keys are 32 bits wide";
  EXPECT_EQ(run.context.redirect.kind, RedirectSlot::Kind::kSink);
  EXPECT_EQ(run.context.redirect.ifindex, 77u);
  EXPECT_EQ(run.context.redirect.program, &map.entry);
  EXPECT_EQ(run.context.redirect.map, &map);
}

TEST(RedirectMap, EmptySlotGivesTheFallbackAndClears) {
  TestRun run(counting_packet(60));
  ScriptedMap map(BPF_MAP_TYPE_DEVMAP);
  for (std::uint64_t verdict = XDP_ABORTED; verdict <= XDP_TX; ++verdict) {
    run.call(BPF_FUNC_redirect, 9, 0);
    EXPECT_EQ(run.call(BPF_FUNC_redirect_map, &map, 2, verdict),
              static_cast<std::int64_t>(verdict));
    EXPECT_EQ(run.context.redirect.kind, RedirectSlot::Kind::kNone);
  }
}

TEST(RedirectMap, FlagsByMapType) {
  struct Case {
    std::uint32_t type;
    std::uint64_t flags;
    std::int64_t expected;
    RedirectSlot::Kind kind;
  };
  using Kind = RedirectSlot::Kind;
  constexpr Case kCases[] = {
      {BPF_MAP_TYPE_DEVMAP, BPF_F_BROADCAST, XDP_REDIRECT, Kind::kBroadcast},
      {BPF_MAP_TYPE_DEVMAP_HASH, BPF_F_BROADCAST | BPF_F_EXCLUDE_INGRESS, XDP_REDIRECT,
       Kind::kBroadcast},
      {BPF_MAP_TYPE_DEVMAP, 16 + 1, XDP_DROP, Kind::kNone},
      {BPF_MAP_TYPE_DEVMAP, 4, XDP_ABORTED, Kind::kIfindex},
      {BPF_MAP_TYPE_DEVMAP, 32, XDP_ABORTED, Kind::kIfindex},
      {BPF_MAP_TYPE_DEVMAP, 1ull << 32, XDP_ABORTED, Kind::kIfindex},
      {BPF_MAP_TYPE_CPUMAP, BPF_F_BROADCAST, XDP_ABORTED, Kind::kIfindex},
      {BPF_MAP_TYPE_XSKMAP, BPF_F_EXCLUDE_INGRESS, XDP_ABORTED, Kind::kIfindex},
      {BPF_MAP_TYPE_XSKMAP, XDP_PASS, XDP_PASS, Kind::kNone},
  };
  for (const Case& c : kCases) {
    TestRun run(counting_packet(60));
    ScriptedMap map(c.type);
    run.call(BPF_FUNC_redirect, 9, 0);
    EXPECT_EQ(run.call(BPF_FUNC_redirect_map, &map, 2, c.flags), c.expected) << c.flags;
    EXPECT_EQ(run.context.redirect.kind, c.kind) << c.type << " " << c.flags;
    EXPECT_EQ(run.context.redirect.excludes_ingress,
              c.kind == Kind::kBroadcast && (c.flags & BPF_F_EXCLUDE_INGRESS) != 0);
  }
}

// --- map access

TEST(MapAccess, PassesOnToTheSlotOfTheCpu) {
  TestRun run(counting_packet(60));
  ScriptedMap map(BPF_MAP_TYPE_PERCPU_ARRAY);
  run.context.cpu = 1;
  const std::uint32_t key = 2;
  const std::uint32_t absent = 9;
  const std::uint64_t value = 42;
  EXPECT_EQ(run.call(BPF_FUNC_map_update_elem, &map, &key, &value, BPF_ANY), 0);
  EXPECT_EQ(map.values[4 + 2], 42u);
  EXPECT_EQ(run.call(BPF_FUNC_map_update_elem, &map, &key, &value, 77), -EINVAL);
  EXPECT_EQ(run.call(BPF_FUNC_map_lookup_elem, &map, &key),
            static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(&map.values[6])));
  EXPECT_EQ(run.call(BPF_FUNC_map_lookup_elem, &map, &absent), 0);
  EXPECT_EQ(run.call(BPF_FUNC_map_lookup_percpu_elem, &map, &key, 0),
            static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(&map.values[2])));
  EXPECT_EQ(run.call(BPF_FUNC_map_lookup_percpu_elem, &map, &key, 2), 0) << "no such CPU";
  EXPECT_EQ(run.call(BPF_FUNC_map_delete_elem, &map, &key), 0);
  EXPECT_EQ(run.call(BPF_FUNC_map_delete_elem, &map, &absent), -ENOENT);
  std::uint64_t out = 0;
  EXPECT_EQ(run.call(BPF_FUNC_map_push_elem, &map, &value, 0), -EOPNOTSUPP);
  EXPECT_EQ(run.call(BPF_FUNC_map_pop_elem, &map, &out), -EOPNOTSUPP);
  EXPECT_EQ(run.call(BPF_FUNC_map_peek_elem, &map, &out), -EOPNOTSUPP);
}

// --- checksum

TEST(CsumDiff, KnownSums) {
  TestRun run(counting_packet(60));
  const std::uint8_t ones[8] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
  const std::uint8_t zeros[8] = {};
  const std::uint8_t odd[3] = {0x01, 0x02, 0x03};
  EXPECT_EQ(run.call(BPF_FUNC_csum_diff, 0, 0, 0, 0, 0), 0);
  EXPECT_EQ(run.call(BPF_FUNC_csum_diff, 0, 0, 0, 0, 0xffffffff), 0xffff);
  EXPECT_EQ(run.call(BPF_FUNC_csum_diff, 0, 0, zeros, 8, 0), 0);
  EXPECT_EQ(run.call(BPF_FUNC_csum_diff, 0, 0, ones, 8, 0), 0xffff);
  EXPECT_EQ(run.call(BPF_FUNC_csum_diff, 0, 0, odd, 3, 0), 0x0201 + 0x0003);
  EXPECT_EQ(run.call(BPF_FUNC_csum_diff, odd, 3, odd, 3, 0), 0xffff) << "the other zero";
  EXPECT_EQ(run.call(BPF_FUNC_csum_diff, odd, 3, 0, 0, 0), 0xffff - (0x0201 + 0x0003));
}

// --- time, place, random numbers

TEST(Time, IsTheClocksOfTheRun) {
  TestRun run(counting_packet(60));
  const auto now = static_cast<std::int64_t>(run.clock.monotonic_ns());
  EXPECT_EQ(run.call(BPF_FUNC_ktime_get_ns), now);
  EXPECT_EQ(run.call(BPF_FUNC_ktime_get_boot_ns), now);
  EXPECT_EQ(run.call(BPF_FUNC_ktime_get_coarse_ns), now);
  EXPECT_EQ(run.call(BPF_FUNC_ktime_get_tai_ns), now);
  const std::int64_t jiffies = run.call(BPF_FUNC_jiffies64);
  run.clock.advance_ns(1'000'000'000);
  EXPECT_EQ(run.call(BPF_FUNC_jiffies64) - jiffies, 250);
}

TEST(Place, IsTheRunsOwn) {
  TestRun run(counting_packet(60));
  run.context.cpu = 3;
  run.context.numa_node = 1;
  EXPECT_EQ(run.call(BPF_FUNC_get_smp_processor_id), 3);
  EXPECT_EQ(run.call(BPF_FUNC_get_numa_node_id), 1);
  char name[16];
  EXPECT_EQ(run.call(BPF_FUNC_get_current_comm, name, sizeof name), 0);
  EXPECT_STREQ(name, "swapper/3");
  EXPECT_EQ(run.call(BPF_FUNC_get_current_comm, name, 4), 0);
  EXPECT_STREQ(name, "swa");
}

TEST(Place, CurrentTaskIsTheIdleTask) {
  TestRun run(counting_packet(60));
  EXPECT_EQ(run.call(BPF_FUNC_get_current_pid_tgid), 0);
  EXPECT_EQ(run.call(BPF_FUNC_get_current_uid_gid), 0);
  EXPECT_EQ(run.call(BPF_FUNC_get_cgroup_classid), 0);
  EXPECT_EQ(run.call(BPF_FUNC_get_current_cgroup_id), 1);
  EXPECT_EQ(run.call(BPF_FUNC_get_current_ancestor_cgroup_id, 0), 1);
  EXPECT_EQ(run.call(BPF_FUNC_get_current_ancestor_cgroup_id, 1), 0);
  EXPECT_EQ(run.call(BPF_FUNC_get_current_ancestor_cgroup_id, -1), 0);
  struct bpf_pidns_info info = {1, 2};
  EXPECT_EQ(run.call(BPF_FUNC_get_ns_current_pid_tgid, 4, 5, &info, sizeof info), -EINVAL);
  EXPECT_EQ(info.pid, 0u);
  EXPECT_EQ(info.tgid, 0u);
}

TEST(CheckMtu, NeedsADeviceTable) {
  TestRun run(counting_packet(60));
  std::uint32_t mtu = 0;
  EXPECT_EQ(run.call(BPF_FUNC_check_mtu, 0, 1, &mtu, 0, 0), -ENODEV);
  EXPECT_EQ(run.call(BPF_FUNC_check_mtu, 0, 0, &mtu, 0, 0), -ENODEV) << "came in nowhere";
}

TEST(Random, FollowsTheSeedAndFillsAll32Bits) {
  TestRun a(counting_packet(60));
  TestRun b(counting_packet(60));
  a.context.prandom.seed(7);
  b.context.prandom.seed(7);
  std::int64_t seen = 0;
  for (int i = 0; i < 64; ++i) {
    const std::int64_t value = a.call(BPF_FUNC_get_prandom_u32);
    EXPECT_EQ(value, b.call(BPF_FUNC_get_prandom_u32));
    EXPECT_EQ(value >> 32, 0);
    seen |= value;
  }
  EXPECT_EQ(seen, 0xffffffff);
}

// --- reading by address

TEST(ProbeRead, ReadsTheProgramsOwnMemoryOnly) {
  TestRun run(counting_packet(60));
  const std::uint8_t memory[8] = {'a', 'b', 'c', 0, 'd', 'e', 'f', 'g'};
  run.allow_read(memory);
  std::uint8_t out[8];
  const auto reset = [&] { std::ranges::fill(out, 0x77); };
  reset();
  EXPECT_EQ(run.call(BPF_FUNC_probe_read_kernel, out, 8, memory), 0);
  EXPECT_EQ(std::memcmp(out, memory, 8), 0);
  reset();
  EXPECT_EQ(run.call(BPF_FUNC_probe_read_kernel, out, 8, memory + 1), -EFAULT);
  EXPECT_EQ(std::ranges::count(out, 0), 8) << "a fault zeroes the destination";
  EXPECT_EQ(run.call(BPF_FUNC_probe_read_kernel, out, 8, 0x1234), -ERANGE);
  reset();
  EXPECT_EQ(run.call(BPF_FUNC_probe_read_kernel_str, out, 8, memory), 4);
  EXPECT_STREQ(reinterpret_cast<const char*>(out), "abc");
  EXPECT_EQ(run.call(BPF_FUNC_probe_read_kernel_str, out, 3, memory), 3) << "cut";
  EXPECT_STREQ(reinterpret_cast<const char*>(out), "ab");
  EXPECT_EQ(run.call(BPF_FUNC_probe_read_kernel_str, out, 8, memory + 4), -EFAULT) << "no zero";
  EXPECT_EQ(run.call(BPF_FUNC_probe_read_user, out, 8, memory), -EFAULT);
  EXPECT_EQ(run.call(BPF_FUNC_probe_read_user_str, out, 8, memory), -EFAULT);
  EXPECT_EQ(run.call(BPF_FUNC_probe_read_kernel, out, 0, memory), 0);
  EXPECT_EQ(run.call(BPF_FUNC_probe_read_kernel, out, 0, 0), -ERANGE);
}

// --- print

TEST(Print, TracePrintkGivesTheLineAndItsLength) {
  TestRun run(counting_packet(60));
  const char format[] = "port %d of %s\n";
  const char name[] = "eth0";
  run.allow_read({reinterpret_cast<const std::uint8_t*>(name), sizeof name});
  EXPECT_EQ(run.call(BPF_FUNC_trace_printk, format, sizeof format, 80, name), 16);
  ASSERT_EQ(run.trace.lines.size(), 1u);
  EXPECT_EQ(run.trace.lines[0], "port 80 of eth0\n");
  EXPECT_EQ(run.call(BPF_FUNC_trace_printk, format, sizeof format - 1, 80, name), -EINVAL)
      << "no zero at its end";
  EXPECT_EQ(run.call(BPF_FUNC_trace_printk, "%d%d%d%d", 9, 1, 2, 3), -EINVAL);
  EXPECT_EQ(run.trace.lines.size(), 1u);
  run.context.trace = nullptr;
  EXPECT_EQ(run.call(BPF_FUNC_trace_printk, "x", 2), 1) << "nobody listens";
}

TEST(Print, LongLinesAreCutButCounted) {
  TestRun run(counting_packet(60));
  const std::string format(1500, 'x');
  EXPECT_EQ(run.call(BPF_FUNC_trace_printk, format.c_str(), format.size() + 1), 1500);
  EXPECT_EQ(run.trace.lines[0], std::string(1023, 'x'));
}

TEST(Print, TraceVprintkTakesAnArray) {
  TestRun run(counting_packet(60));
  const std::uint64_t args[13] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13};
  const char format[] = "%d %d %d %d %d";
  EXPECT_EQ(run.call(BPF_FUNC_trace_vprintk, format, sizeof format, args, 40), 9);
  EXPECT_EQ(run.trace.lines[0], "1 2 3 4 5");
  EXPECT_EQ(run.call(BPF_FUNC_trace_vprintk, format, sizeof format, args, 32), -EINVAL);
  EXPECT_EQ(run.call(BPF_FUNC_trace_vprintk, format, sizeof format, args, 41), -EINVAL);
  EXPECT_EQ(run.call(BPF_FUNC_trace_vprintk, format, sizeof format, args, 96), 9);
  EXPECT_EQ(run.call(BPF_FUNC_trace_vprintk, format, sizeof format, args, 104), -EINVAL);
  EXPECT_EQ(run.call(BPF_FUNC_trace_vprintk, format, sizeof format, 0, 40), -EINVAL);
  EXPECT_EQ(run.call(BPF_FUNC_trace_vprintk, "x", 2, 0, 0), 1);
}

TEST(Print, SnprintfCutsAndCountsItsZero) {
  TestRun run(counting_packet(60));
  const std::uint64_t args[1] = {123456};
  char out[8];
  EXPECT_EQ(run.call(BPF_FUNC_snprintf, out, 8, "%d", args, 8), 7);
  EXPECT_STREQ(out, "123456");
  EXPECT_EQ(run.call(BPF_FUNC_snprintf, out, 4, "%d", args, 8), 7);
  EXPECT_STREQ(out, "123");
  EXPECT_EQ(run.call(BPF_FUNC_snprintf, 0, 0, "%d", args, 8), 7);
  EXPECT_EQ(run.call(BPF_FUNC_snprintf, out, 8, "%d", args, 7), -EINVAL);
}

}  // namespace
}  // namespace lmn
