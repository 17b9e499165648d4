// SPDX-License-Identifier: Apache-2.0
//
// ProgramPair: one program of one object in the kernel and in LMN, run side by side: the fixture of
// the suites whose C programs leave results in maps. What ours calls counts as compared.
//
//   class HelperPrograms : public ProgramPair, public testing::WithParamInterface<const char*> {};
//   open("helpers_in_c", GetParam());
//   if (is_closed()) return;              // skipped or failed, and said so
//   run_on_both(packet);
//   compare("out");
//
// Threads: that of the test. Tested by what uses it.
#pragma once

#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "runners/counted_runner.h"

namespace lmn {

class ProgramPair : public testing::Test {
 protected:
  // Opens `program` of build/bpf/OBJECT.bpf.o in both. Skips where programs cannot be run.
  void open(const std::string& object, const std::string& program) {
    for (const RunnerKind kind : {RunnerKind::kKernel, RunnerKind::kInterpreter}) {
      if (auto reason = why_no_runner(kind)) GTEST_SKIP() << *reason;
    }
    const std::string path = std::string(LMN_BINARY_DIR) + "/bpf/" + object + ".bpf.o";
    auto kernel = open_runner(RunnerKind::kKernel, path, program);
    if (!kernel && is_kernel_optional) {
      GTEST_SKIP() << "this kernel refuses it: " << kernel.error().to_string();
    }
    auto ours = open_counted_runner(path, program);
    ASSERT_TRUE(kernel.has_value()) << kernel.error().to_string();
    ASSERT_TRUE(ours.has_value()) << ours.error().to_string();
    kernel_ = std::move(*kernel);
    ours_ = std::move(*ours);
  }
  bool is_closed() const { return IsSkipped() || HasFatalFailure() || ours_ == nullptr; }

  // The program passes in both, and leaves the same packet.
  void run_on_both(std::span<const std::uint8_t> packet) {
    const auto kernel = kernel_->run(packet);
    const auto ours = ours_->run(packet);
    ASSERT_TRUE(kernel.has_value()) << kernel.error().to_string();
    ASSERT_TRUE(ours.has_value()) << ours.error().to_string();
    ASSERT_EQ(kernel->verdict, static_cast<std::uint32_t>(XDP_PASS)) << "the program gave up";
    ASSERT_TRUE(*kernel == *ours) << "verdicts " << kernel->verdict << " and " << ours->verdict;
  }

  // Both hold the same elements of `map`; the first byte that differs is shown, and what follows as
  // text.
  void compare(const char* map) {
    const auto theirs = kernel_->entries(map);
    const auto mine = ours_->entries(map);
    ASSERT_TRUE(theirs.has_value()) << theirs.error().to_string();
    ASSERT_TRUE(mine.has_value()) << mine.error().to_string();
    ASSERT_EQ(theirs->size(), mine->size()) << "map " << map;
    for (std::size_t i = 0; i < theirs->size(); ++i) {
      const auto& a = (*theirs)[i].value;
      const auto& b = (*mine)[i].value;
      ASSERT_EQ((*theirs)[i].key, (*mine)[i].key) << "map " << map;
      const auto at = std::ranges::mismatch(a, b);
      ASSERT_TRUE(at.in1 == a.end() && at.in2 == b.end())
          << "map " << map << ", entry " << i << ": from byte " << at.in1 - a.begin()
          << "\nkernel: " << testing::PrintToString(std::string(at.in1, a.end()))
          << "\nours:   " << testing::PrintToString(std::string(at.in2, b.end()));
    }
  }

  // 60 bytes: half of the packets have mostly bytes of `text`, so that strings and numbers occur.
  std::vector<std::uint8_t> random_packet(std::string_view text) {
    std::vector<std::uint8_t> packet(60);
    const bool is_text = random_() % 2 == 0;
    for (auto& byte : packet) {
      const bool takes_text = is_text && random_() % 16 != 0;
      byte = static_cast<std::uint8_t>(takes_text ? text[random_() % text.size()] : random_());
    }
    return packet;
  }

  bool is_kernel_optional = false;  // older kernels lack what the programs call
  std::unique_ptr<ObjectRunner> kernel_;
  std::unique_ptr<ObjectRunner> ours_;
  std::mt19937_64 random_{20251120};
};

}  // namespace lmn
