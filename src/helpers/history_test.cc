// SPDX-License-Identifier: Apache-2.0
//
// Goal: faults that packet engines had in their helpers do not come back here. Method: each test is
// one known fault, named after it; the comment says what went wrong there.
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "helpers/helpers.h"
#include "helpers/test_run.h"
#include "maps/map.h"

namespace lmn {
namespace {

const std::vector<std::uint8_t> kPacket(100, 0x11);

// Linux CVE-2021-0941: a limit on growth that was taken from the MTU let a packet grow past its
// buffer. Here the buffer is the only limit: no sequence of helpers leaves it.
TEST(History, Cve2021_0941_NoSequenceLeavesTheFrame) {
  for (const std::uint32_t frame_bytes : {2048u, 4096u}) {
    TestRun run(kPacket);
    run.buff.frame_bytes = frame_bytes;
    const std::uint8_t* first = run.buff.hard_start + limits::kFrameHeaderBytes;
    const std::uint8_t* last = run.buff.hard_start + frame_bytes - limits::kTailroomBytes;
    std::uint32_t state = 1;
    for (int i = 0; i < 100'000; ++i) {
      state = state * 1664525 + 1013904223;
      constexpr std::uint32_t kHelpers[] = {BPF_FUNC_xdp_adjust_head, BPF_FUNC_xdp_adjust_tail,
                                            BPF_FUNC_xdp_adjust_meta};
      const auto delta = static_cast<std::int32_t>(state) >> (state % 31);
      run.call(kHelpers[(state >> 16) % 3], 0, delta);
      ASSERT_LE(first, run.buff.data_meta);
      ASSERT_LE(run.buff.data_meta, run.buff.data);
      ASSERT_LE(run.buff.data + limits::kPacketBytesMin, run.buff.data_end);
      ASSERT_LE(run.buff.data_end, last);
    }
  }
}

// adjust_tail showed what an older packet had left in the frame.
TEST(History, GrowthShowsNoOlderPacket) {
  TestRun run(kPacket);
  ASSERT_EQ(run.call(BPF_FUNC_xdp_adjust_tail, 0, -50), 0);
  ASSERT_EQ(run.call(BPF_FUNC_xdp_adjust_tail, 0, 2000), 0);
  EXPECT_TRUE(std::all_of(run.buff.data + 50, run.buff.data_end, [](auto b) { return b == 0; }));
}

// Linux CVE-2025-39917: the length of a write to a dynptr was not compared with its size.
TEST(History, Cve2025_39917_DynptrWriteStaysInside) {
  TestRun run(kPacket);
  std::uint8_t memory[64] = {};
  const std::uint8_t source[64] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
  std::uint64_t dynptr[2] = {};
  ASSERT_EQ(run.call(BPF_FUNC_dynptr_from_mem, memory, 16, 0, dynptr), 0);
  const auto write = [&](std::uint64_t at, std::uint64_t length) {
    return run.call(BPF_FUNC_dynptr_write, dynptr, at, source, length, 0);
  };
  EXPECT_EQ(write(0, 17), -E2BIG);
  EXPECT_EQ(write(16, 1), -E2BIG);
  EXPECT_EQ(write(0xffffffff, 2), -E2BIG) << "the sum wraps";
  EXPECT_EQ(write(1, 0xffffffff), -E2BIG) << "the sum wraps";
  EXPECT_TRUE(std::ranges::all_of(memory, [](auto byte) { return byte == 0; }));
  EXPECT_EQ(write(0, 16), 0);
  EXPECT_EQ(std::ranges::count(memory, 1), 16);
}

// adjust_head let data run over the metadata before it, or metadata into the frame header;
// adjust_meta took lengths that no consumer expects.
TEST(History, MetadataIsKeptWholeAndInWords) {
  TestRun run(kPacket);
  ASSERT_EQ(run.call(BPF_FUNC_xdp_adjust_meta, 0, -8), 0);
  run.buff.data_meta[0] = 0xab;
  EXPECT_EQ(run.call(BPF_FUNC_xdp_adjust_head, 0, -209), -EINVAL);
  ASSERT_EQ(run.call(BPF_FUNC_xdp_adjust_head, 0, -208), 0);
  EXPECT_EQ(run.buff.metadata_length(), 8u);
  EXPECT_EQ(run.buff.data_meta[0], 0xab);
  EXPECT_EQ(run.call(BPF_FUNC_xdp_adjust_meta, 0, 2), -EACCES);
  EXPECT_EQ(run.call(BPF_FUNC_xdp_adjust_meta, 0, -4), -EINVAL);
}

class NoHost final : public MapHost {
 public:
  FrameSink* find_sink(std::uint32_t) noexcept override { return nullptr; }
  const ProgramEntry* acquire_program(std::uint32_t) noexcept override { return nullptr; }
  void release_program(const ProgramEntry*) noexcept override {}
};

// A walk over a map never ended when its callback deleted and inserted elements in turn.
TEST(History, WalkEndsWhenElementsAreReinserted) {
  MapSpec spec;
  spec.type = BPF_MAP_TYPE_HASH;
  spec.key_size = 4;
  spec.value_size = 8;
  spec.max_entries = 64;
  NoHost host;
  auto map = create_map(spec, {}, host);
  ASSERT_TRUE(map.has_value());
  const std::uint64_t value = 1;
  for (std::uint32_t key = 0; key < spec.max_entries; ++key) {
    ASSERT_EQ((*map)->update(&key, &value, BPF_ANY, 0), 0);
  }
  // Each call puts every element but the one shown in again, at the head of its chain: what comes
  // next has the element shown behind it.
  TestRun run(kPacket);
  run.context.engine_state = map->get();
  run.context.call_back = [](void* state, std::uint64_t,
                             std::span<const std::uint64_t> args) noexcept -> std::uint64_t {
    auto* all = static_cast<Map*>(state);
    const std::uint32_t shown = *reinterpret_cast<const std::uint32_t*>(args[1]);
    const std::uint64_t one = 1;
    for (std::uint32_t key = 0; key < all->spec().max_entries; ++key) {
      if (key == shown) continue;
      all->erase(&key);
      all->update(&key, &one, BPF_ANY, 0);
    }
    return 0;
  };
  EXPECT_LE(run.call(BPF_FUNC_for_each_map_elem, map->get(), 1, 0, 0), 64);
}

// Linux CVE-2021-34866: ring buffer helpers took maps of other types for rings.
TEST(History, Cve2021_34866_OtherMapsAreNoRings) {
  MapSpec spec;
  spec.type = BPF_MAP_TYPE_ARRAY;
  spec.key_size = 4;
  spec.value_size = 64;
  spec.max_entries = 4;
  NoHost host;
  auto map = create_map(spec, {}, host);
  ASSERT_TRUE(map.has_value());
  TestRun run(kPacket);
  const std::uint64_t record = 0;
  EXPECT_EQ(run.call(BPF_FUNC_ringbuf_output, map->get(), &record, 8, 0), -EINVAL);
  EXPECT_EQ(run.call(BPF_FUNC_ringbuf_reserve, map->get(), 8, 0), 0);
  EXPECT_EQ(run.call(BPF_FUNC_ringbuf_query, map->get(), BPF_RB_RING_SIZE), 0);
  alignas(8) std::array<std::uint8_t, sizeof(struct bpf_dynptr)> dynptr{};
  EXPECT_EQ(run.call(BPF_FUNC_ringbuf_reserve_dynptr, map->get(), 8, 0, dynptr.data()), -EINVAL);
  EXPECT_EQ(run.context.held_records.count(), 0u);
}

// A redirect helper that failed left the target of an earlier call, and of another program's map,
// to be used (Linux 109980b894e9).
TEST(History, FailedRedirectLeavesNoTarget) {
  MapSpec spec;
  spec.type = BPF_MAP_TYPE_DEVMAP;
  spec.key_size = 4;
  spec.value_size = 4;
  spec.max_entries = 4;
  NoHost host;
  auto map = create_map(spec, {}, host);
  ASSERT_TRUE(map.has_value());
  TestRun run(kPacket);
  ASSERT_EQ(run.call(BPF_FUNC_redirect_map, map->get(), 0, BPF_F_BROADCAST), XDP_REDIRECT);
  ASSERT_NE(run.context.redirect.map, nullptr);
  EXPECT_EQ(run.call(BPF_FUNC_redirect_map, map->get(), 3, XDP_DROP), XDP_DROP);
  EXPECT_EQ(run.context.redirect.kind, RedirectSlot::Kind::kNone);
  EXPECT_EQ(run.context.redirect.map, nullptr);
}

}  // namespace
}  // namespace lmn
