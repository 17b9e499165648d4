// SPDX-License-Identifier: Apache-2.0
//
// Goal: helpers that say where a program runs, and those that read memory by address, answer as the
// kernel's do.
// Method: HelperCaller, on CPU 0, where this process's programs are run. Addresses are those of the
// memory that both sides have, and such as nobody may read.
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <random>
#include <set>
#include <thread>

#include "differential/helper_caller.h"

namespace lmn {
namespace {

class PlaceHelpers : public testing::TestWithParam<std::uint32_t> {};

TEST_P(PlaceHelpers, AnswerAsTheKernel) {
  if (auto reason = why_no_kernel_oracle()) GTEST_SKIP() << *reason;
  std::thread([] {
    cpu_set_t first;
    CPU_ZERO(&first);
    CPU_SET(0, &first);
    ASSERT_EQ(::sched_setaffinity(0, sizeof first, &first), 0);
    HelperCaller caller(GetParam(), {});
    ASSERT_EQ(caller.error(), 0) << caller.log();
    const std::vector<std::uint8_t> packet(60);
    for (int i = 0; i < 10; ++i) {
      const Comparison c = caller.compare(packet, {});
      EXPECT_TRUE(c.is_equal()) << c.difference();
    }
  }).join();
}

INSTANTIATE_TEST_SUITE_P(Ids, PlaceHelpers,
                         testing::Values(BPF_FUNC_get_smp_processor_id, BPF_FUNC_get_numa_node_id,
                                         BPF_FUNC_get_cgroup_classid),
                         [](const auto& row) { return std::to_string(row.param); });

// The task is this thread, which has the idle task's name; what has no place in that is an error on
// both sides.
class CurrentTask : public testing::Test {
 protected:
  void SetUp() override {
    if (auto reason = why_no_kernel_oracle()) GTEST_SKIP() << *reason;
  }
  static void same(HelperCaller& caller, std::array<std::uint64_t, 5> words) {
    std::ranges::fill(caller.memory_in().first(64), std::uint8_t{0x5a});
    const Comparison c = caller.compare(std::vector<std::uint8_t>(60), words);
    EXPECT_TRUE(c.is_equal()) << words[0] << " " << words[1] << ": " << c.difference();
  }
};

TEST_F(CurrentTask, NameAndWhatIsBehindIt) {
  std::thread([] {
    cpu_set_t first;
    CPU_ZERO(&first);
    CPU_SET(0, &first);
    ASSERT_EQ(::sched_setaffinity(0, sizeof first, &first), 0);
    ASSERT_EQ(::prctl(PR_SET_NAME, "swapper/0"), 0);
    HelperCaller caller(BPF_FUNC_get_current_comm, {memory(0), size(1, 64)});
    ASSERT_EQ(caller.error(), 0) << caller.log();
    for (std::uint64_t bytes = 1; bytes <= 64; ++bytes) same(caller, {0, bytes});
  }).join();
}

TEST_F(CurrentTask, UserAndAncestors) {
  if (::getuid() != 0 || ::getgid() != 0) GTEST_SKIP() << "the task of a test run is not root's";
  HelperCaller user(BPF_FUNC_get_current_uid_gid, {});
  ASSERT_EQ(user.error(), 0) << user.log();
  same(user, {});
  HelperCaller ancestor(BPF_FUNC_get_current_ancestor_cgroup_id, {word()});
  ASSERT_EQ(ancestor.error(), 0) << ancestor.log();
  // Level 0 is the root on both sides; nobody is 1000 groups deep.
  for (const std::uint64_t level : {0ull, 1000ull, 0xffffffffull, 1ull << 32, ~0ull}) {
    same(ancestor, {level});
  }
}

TEST_F(CurrentTask, NumbersInANamespaceThatIsNotThere) {
  HelperCaller caller(BPF_FUNC_get_ns_current_pid_tgid, {word(), word(), memory(0), size(1, 64)});
  ASSERT_EQ(caller.error(), 0) << caller.log();
  for (const std::uint64_t device : {0ull, 1ull, 1ull << 32, ~0ull}) {
    for (const std::uint64_t inode : {0ull, 1ull, ~0ull}) {
      for (const std::uint64_t bytes : {1ull, 7ull, 8ull, 9ull, 64ull}) {
        same(caller, {device, inode, 0, bytes});
      }
    }
  }
}

class ProbeRead : public testing::TestWithParam<std::uint32_t> {
 protected:
  void SetUp() override {
    if (auto reason = why_no_kernel_oracle()) GTEST_SKIP() << *reason;
  }
  void ask(HelperCaller& caller, std::array<std::uint64_t, 5> words) {
    const std::vector<std::uint8_t> packet(60);
    const Comparison c = caller.compare(packet, words);
    EXPECT_TRUE(c.is_equal()) << words[0] << " " << words[1] << " " << words[2] << ": "
                              << c.difference();
    results_.insert(c.kernel.result > 0 ? 1 : c.kernel.result);
  }
  std::set<std::int64_t> results_;
  std::mt19937_64 random_{20251126};
};

TEST_P(ProbeRead, MemoryThatIsThere) {
  HelperCaller caller(GetParam(), {memory(0x3ff), size(0, 512), memory(0x3fff)});
  ASSERT_EQ(caller.error(), 0) << caller.log();
  for (int i = 0; i < 5'000; ++i) {
    if (i % 16 == 0) {
      for (auto& byte : caller.memory_in()) {
        byte = static_cast<std::uint8_t>(random_() % 32 == 0 ? 0 : random_());
      }
    }
    // The source begins behind the destination, and ends before the memory does.
    ask(caller, {random_() % 1024, random_() % 513, 2048 + random_() % 8192});
  }
  EXPECT_TRUE(results_.contains(0));
}

TEST_P(ProbeRead, AddressesThatNobodyMayRead) {
  HelperCaller caller(GetParam(), {memory(0x3ff), size(0, 512), word()});
  ASSERT_EQ(caller.error(), 0) << caller.log();
  for (auto& byte : caller.memory_in()) byte = 0x5a;
  for (const std::uint64_t address :
       {0ull, 1ull, 4096ull, 0xdeadbeefull, 1ull << 47, 1ull << 63, ~0ull - 4095}) {
    for (const std::uint64_t length : {0ull, 1ull, 8ull, 512ull})
      ask(caller, {16, length, address});
  }
  EXPECT_TRUE(results_.contains(-EFAULT));
}

INSTANTIATE_TEST_SUITE_P(Kernel, ProbeRead,
                         testing::Values(BPF_FUNC_probe_read_kernel,
                                         BPF_FUNC_probe_read_kernel_str),
                         [](const auto& row) { return std::to_string(row.param); });

// There is no user memory at the addresses of the program's own.
class ProbeReadUser : public ProbeRead {};

TEST_P(ProbeReadUser, IsAlwaysAFault) {
  HelperCaller caller(GetParam(), {memory(0x3ff), size(0, 512), word()});
  ASSERT_EQ(caller.error(), 0) << caller.log();
  for (auto& byte : caller.memory_in()) byte = 0x5a;
  for (const std::uint64_t address : {0ull, 1ull, 1ull << 63, ~0ull - 4095}) {
    for (const std::uint64_t length : {0ull, 1ull, 8ull, 512ull})
      ask(caller, {16, length, address});
  }
  EXPECT_TRUE(results_.contains(-EFAULT));
}

INSTANTIATE_TEST_SUITE_P(User, ProbeReadUser,
                         testing::Values(BPF_FUNC_probe_read_user, BPF_FUNC_probe_read_user_str),
                         [](const auto& row) { return std::to_string(row.param); });

}  // namespace
}  // namespace lmn
