// SPDX-License-Identifier: Apache-2.0
//
// Goal: a lock in a map's value excludes other workers, is given back whatever ends the run, and
// cannot hold a worker for ever.
// Method: the bodies are called on runs of their own, from several threads where it matters; the
// rules that a whole program is held to are in src/exec/trap_programs_test.cc.
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <array>
#include <thread>
#include <vector>

#include "helpers/test_run.h"

namespace lmn {
namespace {

constexpr std::array<std::uint8_t, 60> kPacket{};

struct Value {
  std::uint32_t lock = 0;
  std::uint64_t count = 0;
  std::uint64_t twice = 0;
};

TEST(SpinLockHelpers, TheRunKnowsWhatItHolds) {
  Value value;
  TestRun run(kPacket);
  run.call(BPF_FUNC_spin_lock, &value.lock);
  EXPECT_EQ(value.lock, 1u);
  EXPECT_TRUE(run.context.held_lock.is(&value.lock));
  run.call(BPF_FUNC_spin_unlock, &value.lock);
  EXPECT_EQ(value.lock, 0u);
  EXPECT_FALSE(run.context.held_lock.is_held());
}

TEST(SpinLockHelpers, WhoeverStopsTheRunGivesItBack) {
  Value value;
  TestRun run(kPacket);
  run.call(BPF_FUNC_spin_lock, &value.lock);
  run.context.held_lock.release();
  EXPECT_EQ(value.lock, 0u);
  run.context.held_lock.release();  // holds nothing now
  EXPECT_FALSE(run.context.held_lock.is_held());
}

TEST(SpinLockHelpers, WorkersTakeTurns) {
  constexpr std::uint64_t kRounds = 100'000;
  constexpr int kWorkers = 3;
  Value value;
  std::vector<std::jthread> workers;
  for (int i = 0; i < kWorkers; ++i) {
    workers.emplace_back([&value] {
      TestRun run(kPacket);
      for (std::uint64_t round = 0; round < kRounds; ++round) {
        run.call(BPF_FUNC_spin_lock, &value.lock);
        ++value.count;
        value.twice = value.count * 2;
        run.call(BPF_FUNC_spin_unlock, &value.lock);
      }
    });
  }
  workers.clear();
  EXPECT_EQ(value.count, kRounds * kWorkers);
  EXPECT_EQ(value.twice, value.count * 2);
  EXPECT_EQ(value.lock, 0u);
}

TEST(SpinLockHelpers, ALockThatNeverOpensStopsTheRun) {
  for (const std::uint32_t word : {1u, 0x80000000u}) {
    Value value{.lock = word};
    TestRun run(kPacket);
    run.context.stop = [](void* state) noexcept { static_cast<TestRun*>(state)->trace.print("!"); };
    run.call(BPF_FUNC_spin_lock, &value.lock);
    EXPECT_EQ(run.trace.lines.size(), 1u);
    EXPECT_FALSE(run.context.held_lock.is_held()) << "it belongs to somebody else";
    EXPECT_EQ(value.lock, word);
  }
}

}  // namespace
}  // namespace lmn
