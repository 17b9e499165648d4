// SPDX-License-Identifier: Apache-2.0
//
// Goal: connections are found, made, changed and refused as the kernel does it, to the errno, and
// their fields lie where the machine's BTF says. Method: programs/conntrack_in_c.c asks random
// questions with few different values, so that they meet, in the kernel and in LMN, in a network
// namespace of its own; what it left in its map is compared after each. Then the table that the
// kernel has filled is read by ctnetlink and compared with ours. Time-outs are long or over at
// once, since the two sides do not tick together.
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <sched.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "engine/engine.h"
#include "harness/provoked.h"
#include "packet/conntrack_table.h"
#include "packet/jiffies.h"
#include "runners/counted_runner.h"

namespace lmn {
namespace {

constexpr std::size_t kNumbers = 64;
constexpr std::size_t kTicks = 4;
constexpr std::int64_t kTicksApart = 25;  // a tenth of a second

struct Answer {
  std::array<std::int64_t, kNumbers> number{};
  std::array<std::int64_t, kTicks> ticks{};
};

Result<Answer> ask(ObjectRunner& runner, std::span<const std::uint8_t> packet) {
  LMN_TRY(const auto ran, runner.run(packet));
  if (ran.verdict != XDP_PASS) return make_error(ErrorCode::kRefused, "the program gave up");
  LMN_TRY(const auto entries, runner.entries("out"));
  Answer answer;
  if (entries.empty() || entries[0].value.size() < sizeof answer) {
    return make_error(ErrorCode::kMalformed, "no answer in the map");
  }
  std::memcpy(&answer, entries[0].value.data(), sizeof answer);
  return answer;
}

// In a thread of its own, so that the namespace ends with the test.
template <typename Run>
void in_own_namespace(Run run) {
  std::thread([&run] {
    if (::unshare(CLONE_NEWNET) != 0) {
      GTEST_SKIP() << "needs a network namespace of its own: CAP_SYS_ADMIN";
    }
    run();
  }).join();
}

class Conntrack : public testing::Test {
 protected:
  bool open() {
    const std::string path = std::string(LMN_BINARY_DIR) + "/bpf/conntrack_in_c.bpf.o";
    auto kernel = open_runner(RunnerKind::kKernel, path, "find_or_make");
    if (!kernel) {
      skip_reason_ = "the kernel lacks these functions: " + kernel.error().to_string();
      return false;
    }
    kernel_ = std::move(*kernel);
    auto ours = open_counted_runner(path, "find_or_make");
    EXPECT_TRUE(ours.has_value()) << ours.error().to_string();
    if (ours) ours_ = std::move(*ours);
    return ours_ != nullptr;
  }
  // How many packets agreed; says the first that did not.
  int compare(int packets) {
    for (int i = 0; i < packets; ++i) {
      std::vector<std::uint8_t> packet(60);
      for (auto& byte : packet) byte = static_cast<std::uint8_t>(random_());
      const auto kernel = ask(*kernel_, packet);
      const auto mine = ask(*ours_, packet);
      EXPECT_TRUE(kernel.has_value()) << kernel.error().to_string();
      EXPECT_TRUE(mine.has_value()) << mine.error().to_string();
      if (!kernel || !mine || !agree(*kernel, *mine, i)) return i;
      note(*kernel);
    }
    return packets;
  }
  static bool agree(const Answer& kernel, const Answer& mine, int packet) {
    bool is_same = true;
    for (std::size_t i = 0; i < kNumbers; ++i) {
      EXPECT_EQ(kernel.number[i], mine.number[i]) << "packet " << packet << ", number " << i;
      is_same = is_same && kernel.number[i] == mine.number[i];
    }
    for (std::size_t i = 0; i < kTicks; ++i) {
      const std::int64_t apart = kernel.ticks[i] - mine.ticks[i];
      const bool is_near = apart <= kTicksApart && apart >= -kTicksApart;
      EXPECT_TRUE(is_near) << "packet " << packet << ", ticks " << i << ": kernel "
                           << kernel.ticks[i] << ", ours " << mine.ticks[i];
      is_same = is_same && is_near;
    }
    return is_same;
  }
  void note(const Answer& answer) {
    for (const std::size_t i : {0u, 24u, 25u, 26u, 30u, 34u, 35u, 36u}) {
      if (answer.number[i] != 0) ++errors_[answer.number[i]];
      Provoked::instance().add("conntrack", answer.number[i]);
    }
    found_ += static_cast<int>(answer.number[3]);
    made_ += static_cast<int>(answer.number[37]);
  }

  std::string skip_reason_;
  std::unique_ptr<ObjectRunner> kernel_;
  std::unique_ptr<ObjectRunner> ours_;
  std::mt19937 random_{20261120};
  std::map<std::int64_t, int> errors_;
  int found_ = 0;
  int made_ = 0;
};

TEST_F(Conntrack, AnswersAreTheKernels) {
  for (const RunnerKind kind : {RunnerKind::kKernel, RunnerKind::kInterpreter}) {
    if (auto reason = why_no_runner(kind)) GTEST_SKIP() << *reason;
  }
  in_own_namespace([this] {
    constexpr int kPackets = 20'000;
    if (!open()) return;
    EXPECT_EQ(compare(kPackets), kPackets);
    // Every errno that there is has been seen, and both ends of a question.
    std::string seen;
    for (const auto& [error, count] : errors_) {
      seen += std::to_string(error) + " (" + std::to_string(count) + ") ";
    }
    std::printf("found %d, made %d; errors: %s\n", found_, made_, seen.c_str());
    for (const int error : {EINVAL, EPROTO, ENONET, ENOENT, EAFNOSUPPORT, EBUSY, EPERM}) {
      EXPECT_GT(errors_[-error], 0) << error;
    }
    EXPECT_GT(found_, 1000);
    EXPECT_GT(made_, 100);
  });
  if (!skip_reason_.empty()) GTEST_SKIP() << skip_reason_;
}

// Connections without their timeouts; how many seconds each has is added to `seconds_left`.
std::multiset<std::string> lines_of(const std::string& text,
                                    std::map<std::string, unsigned long>& seconds_left) {
  std::multiset<std::string> lines;
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t end = text.find('\n', at);
    std::string line = text.substr(at, end - at);
    // Seconds are cut off on both sides, at different moments.
    const std::size_t timeout = line.find(" timeout ");
    const std::size_t digits = line.find_first_not_of("0123456789", timeout + 9);
    const unsigned long seconds = std::strtoul(line.c_str() + timeout + 9, nullptr, 10);
    line.erase(timeout, digits == std::string::npos ? std::string::npos : digits - timeout);
    lines.insert(line);
    seconds_left[line] = seconds;
    at = end + 1;
  }
  return lines;
}

TEST_F(Conntrack, TheHostsTableIsRead) {
  for (const RunnerKind kind : {RunnerKind::kKernel, RunnerKind::kInterpreter}) {
    if (auto reason = why_no_runner(kind)) GTEST_SKIP() << *reason;
  }
  in_own_namespace([this] {
    if (!open()) return;
    constexpr int kPackets = 500;
    ASSERT_EQ(compare(kPackets), kPackets);
    auto table = ConntrackTable::create({1024, 1, {}});
    ASSERT_TRUE(table.has_value());
    const SystemClock clock;
    const auto now = static_cast<std::uint32_t>(jiffies_of(clock));
    const auto read = (*table)->read_host(now);
    if (!read) {
      skip_reason_ = "the kernel shows no connections: " + read.error().to_string();
      return;
    }
    EXPECT_GT(*read, 10u);
    std::map<std::string, unsigned long> seconds_left;
    const auto theirs = lines_of((*table)->to_text(now), seconds_left);
    const auto mine =
        lines_of(ours_->engine()->kernel_tables().conntrack().to_text(now), seconds_left);
    std::vector<std::string> apart;
    std::ranges::set_symmetric_difference(theirs, mine, std::back_inserter(apart));
    for (const std::string& line : apart) {
      // It ended on one side, and will on the other before this is printed.
      if (seconds_left[line] <= 1) continue;
      ADD_FAILURE() << (theirs.contains(line) ? "only the kernel has: " : "only we have: ") << line
                    << ", for " << seconds_left[line] << " s";
    }
  });
  if (!skip_reason_.empty()) GTEST_SKIP() << skip_reason_;
}

}  // namespace
}  // namespace lmn
