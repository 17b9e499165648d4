// SPDX-License-Identifier: Apache-2.0
//
// Goal: bpf_timer_cancel_async takes a timer back, says whether it was armed, and never waits. The
// kernel of the machine may lack it (7.0), so nothing is compared.
// Method: the body is called on a table of timers with a fake clock.
#include <gtest/gtest.h>

#include <array>
#include <cerrno>
#include <ctime>

#include "base/clock.h"
#include "kfuncs/kfuncs.h"
#include "maps/deferred_calls.h"

namespace lmn {
namespace {

using Kind = DeferredCalls::Kind;

TEST(TimerCancelAsync, SaysWhatTheTimerWasAndLeavesItItsCallback) {
  auto calls = DeferredCalls::create();
  ASSERT_TRUE(calls.has_value());
  const FakeClock clock(1'000);
  RunContext context;
  context.deferred = calls->get();
  std::array<std::uint64_t, 2> field{};
  const auto address = static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(field.data()));
  const auto cancel = [&] {
    const HelperFn body = kfunc_function("bpf_timer_cancel_async");
    return static_cast<std::int64_t>(body(address, 0, 0, 0, 0, &context));
  };
  EXPECT_EQ(cancel(), -EINVAL) << "there is none yet";
  ASSERT_EQ((*calls)->init(Kind::kTimer, {address, nullptr, field.data()}, CLOCK_MONOTONIC), 0);
  EXPECT_EQ(cancel(), 0);
  const DeferredFunction function{reinterpret_cast<CompiledProgram*>(&field), 1};
  ASSERT_EQ((*calls)->set_function(Kind::kTimer, address, function), 0);
  ASSERT_EQ((*calls)->start_timer(address, 5, false, clock), 0);
  EXPECT_EQ(cancel(), 1);
  EXPECT_FALSE((*calls)->take_due(1'000'000).has_value());
  // Its callback is there still: it can be started again.
  ASSERT_EQ((*calls)->start_timer(address, 5, false, clock), 0);
  const auto due = (*calls)->take_due(1'000'000);
  ASSERT_TRUE(due.has_value());
  EXPECT_EQ(cancel(), -1) << "it runs";
  (*calls)->finish(due->number);
  EXPECT_EQ(cancel(), 0);
  context.deferred = nullptr;
  EXPECT_EQ(cancel(), -EINVAL);
}

}  // namespace
}  // namespace lmn
