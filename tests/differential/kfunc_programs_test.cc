// SPDX-License-Identifier: Apache-2.0
//
// Goal: kernel functions leave the same results, packets and maps in the kernel and in LMN.
// Method: programs/kfuncs_in_c.c, compiled by clang as a user would, runs on random packets in
// both; after each packet its result and what it left in the maps is compared. Kernels
// before 6.18 lack some of the functions: there the test is skipped.
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <sys/utsname.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <random>

#include "runners/object_runner.h"

namespace lmn {
namespace {

bool is_linux_6_18_or_later() {
  struct utsname name = {};
  ::uname(&name);
  int major = 0;
  int minor = 0;
  std::sscanf(name.release, "%d.%d", &major, &minor);
  return major > 6 || (major == 6 && minor >= 18);
}

class KfuncPrograms : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    for (const RunnerKind kind : {RunnerKind::kKernel, RunnerKind::kInterpreter}) {
      if (auto reason = why_no_runner(kind)) GTEST_SKIP() << *reason;
    }
    const std::string path = std::string(LMN_BINARY_DIR) + "/bpf/kfuncs_in_c.bpf.o";
    auto ours = open_runner(RunnerKind::kInterpreter, path, GetParam());
    if (!ours && ours.error().code == ErrorCode::kNotSupported) {
      GTEST_SKIP() << "not provable yet: " << ours.error().to_string();
    }
    ASSERT_TRUE(ours.has_value()) << ours.error().to_string();
    auto kernel = open_runner(RunnerKind::kKernel, path, GetParam());
    if (!kernel && !is_linux_6_18_or_later()) {
      GTEST_SKIP() << "needs the functions of Linux 6.18: " << kernel.error().to_string();
    }
    ASSERT_TRUE(kernel.has_value()) << kernel.error().to_string();
    kernel_ = std::move(*kernel);
    ours_ = std::move(*ours);
  }

  std::unique_ptr<ObjectRunner> kernel_;
  std::unique_ptr<ObjectRunner> ours_;
  std::mt19937_64 random_{20251121};
};

// Few different bytes often, so that strings and positions meet; any byte sometimes.
std::vector<std::uint8_t> random_packet(std::mt19937_64& random) {
  constexpr std::string_view kText("abAB \0\xc4", 7);
  std::vector<std::uint8_t> packet(60);
  const bool is_text = random() % 2 == 0;
  for (auto& byte : packet) {
    const bool takes_text = is_text && random() % 16 != 0;
    byte = static_cast<std::uint8_t>(takes_text ? kText[random() % kText.size()] : random());
  }
  return packet;
}

TEST_P(KfuncPrograms, LeaveTheSameResults) {
  constexpr int kPackets = 2'000;
  for (int i = 0; i < kPackets; ++i) {
    const auto packet = random_packet(random_);
    const auto kernel = kernel_->run(packet);
    const auto ours = ours_->run(packet);
    ASSERT_TRUE(kernel.has_value()) << kernel.error().to_string();
    ASSERT_TRUE(ours.has_value()) << ours.error().to_string();
    ASSERT_EQ(kernel->verdict, static_cast<std::uint32_t>(XDP_PASS)) << "the program gave up";
    for (const char* map : {"out", "memory", "table"}) {
      const auto theirs = kernel_->entries(map);
      const auto mine = ours_->entries(map);
      if (!theirs || !mine) continue;  // this program does not use it
      ASSERT_EQ(theirs->size(), mine->size()) << "packet " << i << ", map " << map;
      for (std::size_t entry = 0; entry < theirs->size(); ++entry) {
        const auto& a = (*theirs)[entry].value;
        const auto& b = (*mine)[entry].value;
        const auto at = std::ranges::mismatch(a, b);
        ASSERT_TRUE(at.in1 == a.end())
            << "packet " << i << ", map " << map << ": byte " << at.in1 - a.begin() << ": kernel "
            << int{*at.in1} << ", ours " << int{*at.in2};
      }
    }
    ASSERT_TRUE(*kernel == *ours) << "packet " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(All, KfuncPrograms,
                         testing::Values("strings", "dynptrs", "iterators", "objects", "peeks",
                                         "reads", "sections"),
                         [](const auto& row) { return std::string(row.param); });

}  // namespace
}  // namespace lmn
