// SPDX-License-Identifier: Apache-2.0
//
// Goal: timers fire in the order of their times, never early, once; who forgets or cancels one is
// obeyed; forged numbers lead nowhere.
// Method: the table is used directly with a fake clock; random operations run beside a model that
// is a plain sorted list.
#include "maps/deferred_calls.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>
#include <random>
#include <set>
#include <thread>
#include <vector>

namespace lmn {
namespace {

using Kind = DeferredCalls::Kind;

class Deferred : public testing::Test {
 protected:
  void SetUp() override {
    auto made = DeferredCalls::create();
    ASSERT_TRUE(made.has_value());
    calls = std::move(*made);
  }
  std::uint64_t address(std::size_t index) {
    return reinterpret_cast<std::uintptr_t>(&fields[index * 2]);
  }
  int init(std::size_t index, Kind kind = Kind::kTimer, int clock_id = CLOCK_MONOTONIC) {
    return calls->init(kind, {address(index), nullptr, &fields[index * 2]}, clock_id);
  }
  void make(std::size_t index, Kind kind = Kind::kTimer) {
    ASSERT_EQ(init(index, kind), 0);
    ASSERT_EQ(calls->set_function(kind, address(index), function), 0);
  }
  // Indices of what is due, in the order it comes.
  std::vector<std::size_t> fire() {
    std::vector<std::size_t> fired;
    while (auto call = calls->take_due(clock.monotonic_ns())) {
      fired.push_back(
          static_cast<std::size_t>(static_cast<std::uint64_t*>(call->value) - fields.data()) / 2);
      calls->finish(call->number);
    }
    return fired;
  }

  FakeClock clock;
  // Never called here: only that there is one counts.
  DeferredFunction function{reinterpret_cast<CompiledProgram*>(0x1000), 7};
  std::array<std::uint64_t, 200> fields{};
  std::unique_ptr<DeferredCalls> calls;
};

TEST_F(Deferred, FiresInTheOrderOfTimesAndOfStarting) {
  for (std::size_t i = 0; i < 4; ++i) make(i);
  ASSERT_EQ(calls->start_timer(address(2), 100, false, clock), 0);
  ASSERT_EQ(calls->start_timer(address(0), 300, false, clock), 0);
  ASSERT_EQ(calls->start_timer(address(3), 100, false, clock), 0);
  ASSERT_EQ(calls->start_timer(address(1), 50, false, clock), 0);
  clock.advance_ns(49);
  EXPECT_TRUE(fire().empty());
  clock.advance_ns(51);
  EXPECT_EQ(fire(), (std::vector<std::size_t>{1, 2, 3}));
  EXPECT_EQ(calls->next_due_ns(), clock.monotonic_ns() + 200);
  clock.advance_ns(1'000);
  EXPECT_EQ(fire(), (std::vector<std::size_t>{0}));
  EXPECT_EQ(calls->next_due_ns(), UINT64_MAX);
}

TEST_F(Deferred, AbsoluteTimesAreOfTheTimersOwnClock) {
  struct TwoClocks final : Clock {
    std::uint64_t monotonic_ns() const noexcept override { return 1'000; }
    std::uint64_t monotonic_coarse_ns() const noexcept override { return 1'000; }
    std::uint64_t boot_ns() const noexcept override { return 5'000; }
    std::uint64_t tai_ns() const noexcept override { return 0; }
    std::uint64_t real_ns() const noexcept override { return 90'000; }
  } two;
  ASSERT_EQ(init(0, Kind::kTimer, CLOCK_REALTIME), 0);
  ASSERT_EQ(init(1, Kind::kTimer, CLOCK_BOOTTIME), 0);
  ASSERT_EQ(calls->set_function(Kind::kTimer, address(0), function), 0);
  ASSERT_EQ(calls->set_function(Kind::kTimer, address(1), function), 0);
  ASSERT_EQ(calls->start_timer(address(0), 90'500, true, two), 0);
  EXPECT_EQ(calls->next_due_ns(), 1'500u);
  ASSERT_EQ(calls->start_timer(address(1), 5'200, true, two), 0);
  EXPECT_EQ(calls->next_due_ns(), 1'200u);
  ASSERT_EQ(calls->start_timer(address(1), 3, true, two), 0);  // in the past: now
  EXPECT_EQ(calls->next_due_ns(), 1'000u);
  ASSERT_EQ(calls->start_timer(address(1), UINT64_MAX, false, two), 0);  // never wraps to the past
  EXPECT_EQ(calls->next_due_ns(), 1'500u);
}

TEST_F(Deferred, ErrnosAreTheKernels) {
  EXPECT_EQ(calls->set_function(Kind::kTimer, address(0), function), -EINVAL);
  EXPECT_EQ(calls->start_timer(address(0), 0, false, clock), -EINVAL);
  EXPECT_EQ(calls->cancel(address(0), 0), -EINVAL);
  EXPECT_EQ(init(0), 0);
  EXPECT_EQ(init(0), -EBUSY);
  EXPECT_EQ(calls->start_timer(address(0), 0, false, clock), -EINVAL);  // no function yet
  EXPECT_EQ(calls->start_work(address(0), clock), -EINVAL);             // a timer is no work
  EXPECT_EQ(calls->set_function(Kind::kTimer, address(0), function), 0);
  EXPECT_EQ(calls->start_timer(address(0), 5, false, clock), 0);
  EXPECT_EQ(calls->cancel(address(0), 0), 1);
  EXPECT_EQ(calls->cancel(address(0), 0), 0);
  EXPECT_EQ(calls->start_timer(address(0), 5, false, clock), -EINVAL);  // cancelling forgets it
}

TEST_F(Deferred, ACallbackCannotCancelItselfButStartAgain) {
  make(0);
  make(1);
  ASSERT_EQ(calls->start_timer(address(0), 0, false, clock), 0);
  const auto call = calls->take_due(clock.monotonic_ns());
  ASSERT_TRUE(call.has_value());
  EXPECT_EQ(calls->cancel(address(0), call->number), -EDEADLK);
  EXPECT_EQ(calls->cancel(address(1), call->number), 0);
  EXPECT_EQ(calls->start_timer(address(0), 10, false, clock), 0);
  calls->finish(call->number);
  clock.advance_ns(10);
  EXPECT_EQ(fire(), (std::vector<std::size_t>{0}));
}

TEST_F(Deferred, WhoCancelsACallThatRunsElsewhereWaitsForItsEnd) {
  make(0);
  ASSERT_EQ(calls->start_timer(address(0), 0, false, clock), 0);
  const auto call = calls->take_due(clock.monotonic_ns());
  ASSERT_TRUE(call.has_value());
  std::atomic<bool> has_ended{false};
  std::atomic<bool> saw_end{false};
  std::thread other([&] {
    EXPECT_EQ(calls->cancel(address(0), 0), 0);
    saw_end = has_ended.load();
  });
  for (int i = 0; i < 1000; ++i) std::this_thread::yield();
  has_ended = true;
  calls->finish(call->number);
  other.join();
  EXPECT_TRUE(saw_end);
}

TEST_F(Deferred, TwoCallbacksThatCancelEachOtherAreToldSo) {
  make(0);
  make(1);
  ASSERT_EQ(calls->start_timer(address(0), 0, false, clock), 0);
  ASSERT_EQ(calls->start_timer(address(1), 0, false, clock), 0);
  const auto first = calls->take_due(clock.monotonic_ns());
  const auto second = calls->take_due(clock.monotonic_ns());
  ASSERT_TRUE(first.has_value() && second.has_value());
  int answers[2] = {1, 1};
  // Each ends its own call after its answer, as a worker does.
  std::thread one([&] {
    answers[0] = calls->cancel(address(1), first->number);
    calls->finish(first->number);
  });
  std::thread two([&] {
    answers[1] = calls->cancel(address(0), second->number);
    calls->finish(second->number);
  });
  one.join();
  two.join();
  std::ranges::sort(answers);
  EXPECT_TRUE(answers[0] == -EDEADLK || answers[0] == 0);
  EXPECT_EQ(answers[1], 0);  // at least one gets through: nobody waits for ever
}

TEST_F(Deferred, ForgottenCallsAreGoneAlsoWhileTheyRun) {
  make(0);
  make(1);
  ASSERT_EQ(calls->start_timer(address(0), 0, false, clock), 0);
  ASSERT_EQ(calls->start_timer(address(1), 0, false, clock), 0);
  const auto call = calls->take_due(clock.monotonic_ns());
  calls->forget(address(0));
  calls->forget(address(1));
  EXPECT_EQ(calls->count(), 1u);  // the one that runs
  EXPECT_EQ(calls->start_timer(address(0), 0, false, clock), -EINVAL);
  EXPECT_EQ(init(0), 0);  // another one in the same field
  calls->finish(call->number);
  EXPECT_EQ(calls->count(), 1u);
  EXPECT_TRUE(fire().empty());
}

TEST_F(Deferred, ForgedNumbersLeadNowhere) {
  make(0);
  fields[2] = fields[0];  // another field with the number of the first
  EXPECT_EQ(calls->cancel(address(1), 0), -EINVAL);
  fields[4] = UINT64_MAX;
  EXPECT_EQ(calls->start_timer(address(2), 0, false, clock), -EINVAL);
  calls->forget(address(2));
  EXPECT_EQ(calls->count(), 1u);
}

TEST_F(Deferred, LimitIsAnError) {
  std::vector<std::uint64_t> many(std::size_t{DeferredCalls::kCallsMax + 1} * 2);
  const auto field = [&](std::size_t i) { return reinterpret_cast<std::uintptr_t>(&many[i * 2]); };
  for (std::size_t i = 0; i < DeferredCalls::kCallsMax; ++i) {
    ASSERT_EQ(calls->init(Kind::kTimer, {field(i), nullptr, nullptr}, 1), 0);
  }
  EXPECT_EQ(calls->init(Kind::kTimer, {field(DeferredCalls::kCallsMax), nullptr, nullptr}, 1),
            -ENOMEM);
  calls->forget(field(17));
  EXPECT_EQ(calls->init(Kind::kTimer, {field(DeferredCalls::kCallsMax), nullptr, nullptr}, 1), 0);
}

TEST_F(Deferred, AWorkThatWaitsIsStartedOnce) {
  make(0, Kind::kWork);
  ASSERT_EQ(init(1, Kind::kWork), 0);
  EXPECT_EQ(calls->start_work(address(1), clock), -EINVAL) << "no function yet";
  EXPECT_EQ(calls->start_work(address(0), clock), 0);
  EXPECT_EQ(calls->start_work(address(0), clock), 0) << "it waits already";
  EXPECT_EQ(calls->cancel(address(0), 0), -EINVAL) << "works are not cancelled";
  EXPECT_EQ(calls->start_timer(address(0), 0, false, clock), -EINVAL);
  EXPECT_EQ(fire(), (std::vector<std::size_t>{0}));
  EXPECT_EQ(calls->start_work(address(0), clock), 0);
  EXPECT_EQ(fire(), (std::vector<std::size_t>{0})) << "again, after it was done";
}

TEST_F(Deferred, AbsoluteTimesOfTheMonotonicClock) {
  make(0);
  clock.advance_ns(500);
  const std::uint64_t now = clock.monotonic_ns();
  ASSERT_EQ(calls->start_timer(address(0), now + 30, true, clock), 0);
  EXPECT_EQ(calls->next_due_ns(), now + 30);
  ASSERT_EQ(calls->start_timer(address(0), now - 30, true, clock), 0);
  EXPECT_EQ(fire(), (std::vector<std::size_t>{0}));
}

TEST_F(Deferred, ACallThatRunsIsNotTakenAgainBeforeItsEnd) {
  make(0);
  ASSERT_EQ(calls->start_timer(address(0), 0, false, clock), 0);
  const auto call = calls->take_due(clock.monotonic_ns());
  ASSERT_TRUE(call.has_value());
  ASSERT_EQ(calls->start_timer(address(0), 0, false, clock), 0);
  EXPECT_FALSE(calls->take_due(clock.monotonic_ns()).has_value());
  calls->finish(call->number);
  EXPECT_EQ(fire(), (std::vector<std::size_t>{0}));
}

TEST_F(Deferred, CancellingACallThatStartedAgainWhileItRuns) {
  make(0);
  ASSERT_EQ(calls->start_timer(address(0), 0, false, clock), 0);
  const auto call = calls->take_due(clock.monotonic_ns());
  ASSERT_TRUE(call.has_value());
  ASSERT_EQ(calls->start_timer(address(0), 100, false, clock), 0);
  int answer = -1;
  std::thread other([&] { answer = calls->cancel(address(0), 0); });
  while (calls->next_due_ns() != UINT64_MAX) std::this_thread::yield();  // until it is disarmed
  // The field is given up, and its map, while somebody still waits.
  calls->forget(address(0));
  EXPECT_EQ(calls->count(), 1u);
  calls->finish(call->number);
  other.join();
  EXPECT_EQ(answer, 1);
  EXPECT_EQ(calls->count(), 0u);
}

TEST_F(Deferred, WhoeverIsWaitedForMayNotWait) {
  make(0);
  make(1);
  ASSERT_EQ(calls->start_timer(address(0), 0, false, clock), 0);
  ASSERT_EQ(calls->start_timer(address(1), 0, false, clock), 0);
  const auto first = calls->take_due(clock.monotonic_ns());
  const auto second = calls->take_due(clock.monotonic_ns());
  ASSERT_TRUE(first.has_value());
  ASSERT_TRUE(second.has_value());
  ASSERT_EQ(calls->start_timer(address(1), 100, false, clock), 0);
  std::thread waiting([&] { EXPECT_EQ(calls->cancel(address(1), first->number), 1); });
  while (calls->next_due_ns() != UINT64_MAX) std::this_thread::yield();  // until it waits
  EXPECT_EQ(calls->cancel(address(0), second->number), -EDEADLK);
  calls->finish(second->number);
  waiting.join();
  calls->finish(first->number);
}

TEST_F(Deferred, AMapThatGoesTakesItsCallsAlong) {
  // Only their addresses count here.
  auto* one = reinterpret_cast<Map*>(0x1000);
  auto* two = reinterpret_cast<Map*>(0x2000);
  for (std::size_t i = 0; i < 4; ++i) {
    ASSERT_EQ(
        calls->init(Kind::kTimer, {address(i), i < 3 ? one : two, &fields[i * 2]}, CLOCK_MONOTONIC),
        0);
    ASSERT_EQ(calls->set_function(Kind::kTimer, address(i), function), 0);
    ASSERT_EQ(calls->start_timer(address(i), 0, false, clock), 0);
  }
  EXPECT_EQ(calls->map_of(address(3)), two);
  EXPECT_EQ(calls->map_of(address(9)), nullptr);
  const auto running = calls->take_due(clock.monotonic_ns());
  ASSERT_TRUE(running.has_value());
  calls->forget_map(*one);
  EXPECT_EQ(calls->count(), 2u) << "the one that runs, and the other map's";
  EXPECT_EQ(fire(), (std::vector<std::size_t>{3}));
  calls->forget_map(*one);
  calls->finish(running->number);
  EXPECT_EQ(calls->count(), 1u);
}

// Linux 6.18, bpf_timer_cancel: only callbacks that wait are counted.
TEST_F(Deferred, ACallbackMayCancelWhileAProgramWaitsForIt) {
  make(0);
  make(1);
  ASSERT_EQ(calls->start_timer(address(0), 0, false, clock), 0);
  const auto call = calls->take_due(clock.monotonic_ns());
  ASSERT_TRUE(call.has_value());
  ASSERT_EQ(calls->start_timer(address(0), 100, false, clock), 0);
  std::thread program([&] { EXPECT_EQ(calls->cancel(address(0), 0), 1); });
  while (calls->next_due_ns() != UINT64_MAX) std::this_thread::yield();  // until it waits
  ASSERT_EQ(calls->start_timer(address(1), 100, false, clock), 0);
  EXPECT_EQ(calls->cancel(address(1), call->number), 1);
  calls->finish(call->number);
  program.join();
}

// The model: due times by index, and a turn for equal ones.
TEST_F(Deferred, RandomOperationsMatchASortedList) {
  constexpr std::size_t kCount = 90;
  std::mt19937_64 random(5);
  struct Armed {
    std::uint64_t due;
    std::uint64_t turn;
    std::size_t index;
    auto operator<=>(const Armed&) const = default;
  };
  std::set<Armed> armed;
  std::array<bool, kCount> is_made{};
  std::uint64_t turn = 0;
  const auto drop = [&](std::size_t index) {
    return std::erase_if(armed, [&](const Armed& one) { return one.index == index; }) != 0;
  };
  for (int i = 0; i < 50'000; ++i) {
    const std::size_t index = random() % kCount;
    switch (random() % 5) {
      case 0:
        if (!is_made[index]) make(index);
        is_made[index] = true;
        break;
      case 1:
      case 2: {
        const std::uint64_t wait = random() % 50;
        const int answer = calls->start_timer(address(index), wait, false, clock);
        ASSERT_EQ(answer, is_made[index] ? 0 : -EINVAL);
        if (!is_made[index]) break;
        drop(index);
        armed.insert({clock.monotonic_ns() + wait, ++turn, index});
        break;
      }
      case 3:
        calls->forget(address(index));
        drop(index);
        is_made[index] = false;
        break;
      default: {
        clock.advance_ns(random() % 30);
        std::vector<std::size_t> expected;
        while (!armed.empty() && armed.begin()->due <= clock.monotonic_ns()) {
          expected.push_back(armed.begin()->index);
          armed.erase(armed.begin());
        }
        ASSERT_EQ(fire(), expected) << "operation " << i;
        break;
      }
    }
  }
}

}  // namespace
}  // namespace lmn
