// SPDX-License-Identifier: Apache-2.0
//
// ExamplesTest: one example in the kernel or in LMN, and packets given to it. The fixture of the
// suites here, each of which runs over both kinds of runner.
//
//   TEST_P(DropLogTest, ...) {
//     ASSERT_NO_FATAL_FAILURE(load("drop_log"));
//     EXPECT_EQ(verdict_of_untouched(packet), XDP_DROP);
//   }
//   INSTANTIATE_TEST_SUITE_P(Runners, DropLogTest, testing::ValuesIn(kBothRunners), runner_name);
//
// Threads: that of the test. Tested by what uses it.
#pragma once

#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <array>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "harness/kernel_oracle.h"
#include "harness/packet_builder.h"
#include "runners/object_runner.h"

namespace lmn {

using Bytes = std::vector<std::uint8_t>;

// The bytes of plain values in the machine's order, one behind the other: keys and values of maps.
template <typename... Values>
Bytes raw(Values... values) {
  Bytes out;
  (
      [&] {
        const auto* from = reinterpret_cast<const std::uint8_t*>(&values);
        out.insert(out.end(), from, from + sizeof values);
      }(),
      ...);
  return out;
}

// A per-CPU value as user space sees it when only CPU 0 has been at work.
inline Bytes on_cpu0(Bytes value) {
  value.resize((value.size() + 7) / 8 * 8 * kernel_possible_cpus());
  return value;
}

inline std::string example_path(const std::string& name) {
  return std::string(LMN_BINARY_DIR) + "/bpf/" + name + ".bpf.o";
}

// What every suite here asks of a runner.
class ExampleUser {
 public:
  void load(RunnerKind kind, const std::string& name) {
    auto opened = open_runner(kind, example_path(name), "");
    ASSERT_TRUE(opened) << opened.error().to_string();
    runner_ = *std::move(opened);
  }

  PacketResult run(const Bytes& packet) { return take(runner_->run(packet)); }
  PacketResult run_from(std::uint32_t ifindex, const Bytes& packet) {
    return take(runner_->run_from(ifindex, packet));
  }

  // The verdict of a packet that must come out as it went in.
  std::uint32_t verdict_of_untouched(const Bytes& packet) {
    const PacketResult result = run(packet);
    EXPECT_EQ(result.packet, packet);
    return result.verdict;
  }

  void set_entry(std::string_view map, const Bytes& key, const Bytes& value) {
    const auto done = runner_->set_entry(map, key, value);
    ASSERT_TRUE(done) << done.error().to_string();
  }

  Bytes entry(std::string_view map, const Bytes& key) {
    auto found = runner_->entry(map, key);
    EXPECT_TRUE(found) << found.error().to_string();
    if (!found) return {};
    EXPECT_TRUE(found->has_value()) << "no such key in " << map;
    return found->value_or(Bytes());
  }

  std::vector<MapEntry> entries(std::string_view map) {
    auto found = runner_->entries(map);
    EXPECT_TRUE(found) << found.error().to_string();
    return found ? *found : std::vector<MapEntry>();
  }

  // 64-bit number `index` of CPU 0's part of a per-CPU array's entry: its counters.
  std::uint64_t counter(std::string_view map, std::uint32_t key, std::size_t index = 0) {
    const Bytes value = entry(map, raw(key));
    std::uint64_t number = 0;
    if (value.size() >= (index + 1) * sizeof number) {
      std::memcpy(&number, value.data() + index * sizeof number, sizeof number);
    }
    return number;
  }

  std::unique_ptr<ObjectRunner> runner_;

 private:
  static PacketResult take(Result<PacketResult> result) {
    EXPECT_TRUE(result) << result.error().to_string();
    return result ? *std::move(result) : PacketResult{};
  }
};

class ExamplesTest : public ::testing::TestWithParam<RunnerKind>, public ExampleUser {
 protected:
  void SetUp() override {
    if (auto reason = why_no_runner(GetParam())) GTEST_SKIP() << *reason;
  }
  void load(const std::string& name) { ExampleUser::load(GetParam(), name); }
};

inline std::string runner_name(const ::testing::TestParamInfo<RunnerKind>& info) {
  return info.param == RunnerKind::kKernel ? "Kernel" : "Interpreter";
}

inline constexpr auto kBothRunners =
    std::array<RunnerKind, 2>{RunnerKind::kKernel, RunnerKind::kInterpreter};

}  // namespace lmn
