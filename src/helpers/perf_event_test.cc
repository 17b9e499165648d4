// SPDX-License-Identifier: Apache-2.0
//
// Goal: bpf_perf_event_output writes the program's bytes and the packet's first ones, into the slot
// it is told, and refuses what makes no sense.
// Method: the body on a map whose only slot is a PerfRing. The kernel's answers to random calls are
// in tests/differential/perf_event_test.cc.
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <cerrno>
#include <cstring>

#include "helpers/test_run.h"
#include "maps/perf_event_array_map.h"

namespace lmn {
namespace {

class OneRing final : public MapHost {
 public:
  FrameSink* find_sink(std::uint32_t) noexcept override { return nullptr; }
  const ProgramEntry* acquire_program(std::uint32_t) noexcept override { return nullptr; }
  void release_program(const ProgramEntry*) noexcept override {}
  PerfRing* acquire_event(std::uint32_t) noexcept override { return ring.get(); }
  std::unique_ptr<PerfRing> ring;
};

class PerfEventHelpers : public testing::Test {
 protected:
  void SetUp() override {
    auto ring = PerfRing::create(1);
    ASSERT_TRUE(ring.has_value()) << ring.error().to_string();
    host_.ring = std::move(*ring);
    map_ = make(BPF_MAP_TYPE_PERF_EVENT_ARRAY);
    const std::uint32_t slot = 1;
    const std::array<std::uint8_t, 4> handle{};
    ASSERT_EQ(map_->user_update(&slot, handle, 0), 0);
  }
  std::unique_ptr<Map> make(std::uint32_t type) {
    MapSpec spec;
    spec.name = "events";
    spec.type = type;
    spec.key_size = spec.value_size = 4;
    spec.max_entries = 2;
    auto map = create_map(spec, {}, host_);
    EXPECT_TRUE(map.has_value()) << map.error().to_string();
    return std::move(*map);
  }
  std::int64_t output(Map& map, std::uint64_t flags, std::string_view bytes) {
    return run_.call(BPF_FUNC_perf_event_output, 0, &map, flags, bytes.data(), bytes.size());
  }

  OneRing host_;
  std::unique_ptr<Map> map_;
  const std::vector<std::uint8_t> packet_ = std::vector<std::uint8_t>(20, 'p');
  TestRun run_{packet_};
};

TEST_F(PerfEventHelpers, WritesTheProgramsBytesAndThenThePackets) {
  run_.context.cpu = 1;
  ASSERT_EQ(output(*map_, BPF_F_CURRENT_CPU | 3ull << 32, "sample"), 0);
  // Header (type, misc, size), the size of what follows, the bytes, padding to 8.
  const std::uint8_t* record = host_.ring->memory()->data() + 4096;
  EXPECT_EQ(std::memcmp(record, "\x09\0\0\0\0\0\x18\0\x0c\0\0\0sampleppp\0\0\0", 24), 0);
  EXPECT_EQ(host_.ring->sample_count(), 1u);
}

TEST_F(PerfEventHelpers, TheSlotIsTheCpusOrTheNumbered) {
  EXPECT_EQ(output(*map_, BPF_F_CURRENT_CPU, "x"), -ENOENT) << "CPU 0 has no ring";
  EXPECT_EQ(output(*map_, 0, "x"), -ENOENT);
  EXPECT_EQ(output(*map_, 1, "x"), 0);
  EXPECT_EQ(output(*map_, 2, "x"), -E2BIG);
  run_.context.cpu = 2;
  EXPECT_EQ(output(*map_, BPF_F_CURRENT_CPU, "x"), -E2BIG);
}

TEST_F(PerfEventHelpers, RefusesWhatMakesNoSense) {
  EXPECT_EQ(output(*map_, 1 | 1ull << 52, "x"), -EINVAL);
  EXPECT_EQ(output(*map_, 1 | 20ull << 32, "x"), 0) << "all of the packet";
  EXPECT_EQ(output(*map_, 1 | 21ull << 32, "x"), -EFAULT) << "more than it has";
  const auto array = make(BPF_MAP_TYPE_ARRAY);
  EXPECT_EQ(output(*array, 1, "x"), -EINVAL);
}

}  // namespace
}  // namespace lmn
