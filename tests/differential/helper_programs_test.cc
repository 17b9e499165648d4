// SPDX-License-Identifier: Apache-2.0
//
// Goal: helpers that only whole programs can show (callbacks, walks over maps, printed strings)
// leave the same results, texts and maps in the kernel and in LMN.
// Method: programs/helpers_in_c.c, compiled by clang as a user would, runs on random packets in
// both; after each packet its result is compared, at the end every map.
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <algorithm>
#include <memory>
#include <random>

#include "runners/object_runner.h"

namespace lmn {
namespace {

class HelperPrograms : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    for (const RunnerKind kind : {RunnerKind::kKernel, RunnerKind::kInterpreter}) {
      if (auto reason = why_no_runner(kind)) GTEST_SKIP() << *reason;
    }
    const std::string path = std::string(LMN_BINARY_DIR) + "/bpf/helpers_in_c.bpf.o";
    auto kernel = open_runner(RunnerKind::kKernel, path, GetParam());
    auto ours = open_runner(RunnerKind::kInterpreter, path, GetParam());
    ASSERT_TRUE(kernel.has_value()) << kernel.error().to_string();
    ASSERT_TRUE(ours.has_value()) << ours.error().to_string();
    kernel_ = std::move(*kernel);
    ours_ = std::move(*ours);
  }

  std::unique_ptr<ObjectRunner> kernel_;
  std::unique_ptr<ObjectRunner> ours_;
  std::mt19937_64 random_{20251120};
};

// Letters, digits and the bytes of texts often, any byte sometimes.
std::vector<std::uint8_t> random_packet(std::mt19937_64& random) {
  constexpr std::string_view kText = "AB 0123456789-x+az%\xc3\xa9\n";
  std::vector<std::uint8_t> packet(60);
  const bool is_text = random() % 2 == 0;
  for (auto& byte : packet) {
    const bool takes_text = is_text && random() % 16 != 0;
    byte = static_cast<std::uint8_t>(takes_text ? kText[random() % kText.size()] : random());
  }
  return packet;
}

TEST_P(HelperPrograms, LeaveTheSameResults) {
  constexpr int kPackets = 2'000;
  for (int i = 0; i < kPackets; ++i) {
    const auto packet = random_packet(random_);
    const auto kernel = kernel_->run(packet);
    const auto ours = ours_->run(packet);
    ASSERT_TRUE(kernel.has_value()) << kernel.error().to_string();
    ASSERT_TRUE(ours.has_value()) << ours.error().to_string();
    ASSERT_EQ(kernel->verdict, static_cast<std::uint32_t>(XDP_PASS)) << "the program gave up";
    ASSERT_TRUE(*kernel == *ours) << "packet " << i;
    const auto theirs = kernel_->entries("out");
    const auto mine = ours_->entries("out");
    ASSERT_TRUE(theirs.has_value()) << theirs.error().to_string();
    ASSERT_TRUE(mine.has_value()) << mine.error().to_string();
    ASSERT_EQ(theirs->size(), 1u);
    ASSERT_EQ(mine->size(), 1u);
    const auto at = std::ranges::mismatch(theirs->front().value, mine->front().value);
    ASSERT_TRUE(at.in1 == theirs->front().value.end())
        << "packet " << i << ": result byte " << at.in1 - theirs->front().value.begin()
        << "\nkernel: " << testing::PrintToString(std::string(at.in1, theirs->front().value.end()))
        << "\nours:   " << testing::PrintToString(std::string(at.in2, mine->front().value.end()));
  }
  std::vector<const char*> maps;  // the others use no further ones
  if (GetParam() == std::string_view("walks"))
    maps = {"table", "percpu_table", "numbers", "percpu_numbers"};
  if (GetParam() == std::string_view("other_cpus")) maps = {"percpu_numbers", "percpu_table"};
  if (GetParam() == std::string_view("locks")) maps = {"guarded_table", "guarded_array"};
  for (const char* map : maps) {
    const auto theirs = kernel_->entries(map);
    const auto mine = ours_->entries(map);
    ASSERT_TRUE(theirs.has_value() && mine.has_value());
    EXPECT_TRUE(*theirs == *mine) << map;
  }
}

TEST(HelperRefusal, SaysWhichHelperAndWhy) {
  const std::string path = std::string(LMN_BINARY_DIR) + "/bpf/helpers_in_c.bpf.o";
  const auto runner = open_runner(RunnerKind::kInterpreter, path, "refused");
  ASSERT_FALSE(runner.has_value());
  const std::string text = runner.error().to_string();
  EXPECT_TRUE(text.contains("bpf_get_current_task#35")) << text;
  EXPECT_TRUE(text.contains("a user-space engine does not have")) << text;
}

INSTANTIATE_TEST_SUITE_P(Programs, HelperPrograms,
                         testing::Values("loops", "walks", "texts", "mtu", "rings", "queues",
                                         "locks", "ring_dynptrs", "other_cpus"),
                         [](const auto& row) { return std::string(row.param); });

}  // namespace
}  // namespace lmn
