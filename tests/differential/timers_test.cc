// SPDX-License-Identifier: Apache-2.0
//
// Goal: a bpf_timer on the engine's clock fires when its time has come, not before and once, again
// when its callback starts it anew, not when its element is gone; a callback that starts itself
// with no delay does not stop the packets; runs with the same seed and clock are the same to the
// byte. Method: programs/timers_in_c.c in an engine whose clock the test moves. What start answers
// to each flag is asked of the kernel too; that callbacks run there as here, with real time, is in
// value_programs_test.cc.
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/file.h"
#include "engine/engine.h"
#include "exec/run_deferred.h"
#include "object/object_reader.h"
#include "runners/object_runner.h"

namespace lmn {
namespace {

const std::string kObject = std::string(LMN_BINARY_DIR) + "/bpf/timers_in_c.bpf.o";
constexpr std::size_t kCallsKept = 8;

// As in the program.
struct Order {
  std::uint64_t wait_ns = 0;
  std::uint64_t flags = 0;
  std::uint64_t again_ns = 0;
  std::uint32_t again_count = 0;
  std::uint32_t cancels = 0;
  std::uint32_t key = 0;
  std::uint32_t deletes = 0;
  std::int64_t answer = -1;
};

struct Timed {
  std::uint64_t timer[2] = {};
  std::uint64_t called = 0;
  std::uint64_t at_ns[kCallsKept] = {};
  std::uint64_t random = 0;
  std::int64_t said = 0;
  std::uint32_t again_count = 0;
  std::uint32_t cancels = 0;
  std::uint64_t again_ns = 0;
};

template <typename T>
std::vector<std::uint8_t> bytes_of(const T& value) {
  std::vector<std::uint8_t> bytes(sizeof value);
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

// An engine on a clock of the test's.
class Timeline {
 public:
  explicit Timeline(std::uint64_t seed) {
    EngineOptions options;
    options.seed = seed;
    options.clock = &clock;
    engine = *Engine::create(options);
    const auto bytes = read_file(kObject, std::size_t{1} << 24);
    EXPECT_TRUE(bytes.has_value());
    ReadOptions read_options;
    read_options.object_name = "timers";
    const auto spec = read_object(*bytes, read_options);
    EXPECT_TRUE(spec.has_value()) << spec.error().to_string();
    LoadOptions load_options;
    load_options.object_name = "timers";
    auto loaded = engine->load(*spec, load_options);
    EXPECT_TRUE(loaded.has_value()) << loaded.error().to_string();
    object = *loaded;
  }
  // What bpf_timer_start answered. The run's own end is a place where timers fire.
  std::int64_t start(Order order) {
    const std::uint32_t zero = 0;
    Map& orders = *object->find_map("orders");
    EXPECT_EQ(orders.user_update(&zero, bytes_of(order), BPF_ANY), 0);
    run("start_timer", std::vector<std::uint8_t>(60));
    std::memcpy(&order, orders.lookup(&zero, 0), sizeof order);
    return order.answer;
  }
  std::vector<std::uint8_t> run(const char* program, const std::vector<std::uint8_t>& packet) {
    const auto ran = engine->test_run(*object->find_program(program), packet, {});
    EXPECT_TRUE(ran.has_value() && ran->traps.empty());
    return ran ? ran->packet : std::vector<std::uint8_t>{};
  }
  Timed timed(std::uint32_t key = 0) {
    Timed value;
    const void* at = object->find_map("timers")->lookup(&key, 0);
    EXPECT_NE(at, nullptr);
    if (at != nullptr) std::memcpy(&value, at, sizeof value);
    return value;
  }
  std::uint64_t calls() {
    const std::uint32_t zero = 0;
    std::uint64_t count = 0;
    std::memcpy(&count, object->find_map("calls")->lookup(&zero, 0), sizeof count);
    return count;
  }
  std::uint64_t now() const { return clock.monotonic_ns(); }

  FakeClock clock;
  std::unique_ptr<Engine> engine;
  LoadedObject* object = nullptr;
};

TEST(TimerClock, FiresWhenItsTimeHasComeAndOnce) {
  Timeline line(1);
  const std::uint64_t due = line.now() + 1000;
  ASSERT_EQ(line.start({.wait_ns = 1000}), 0);
  EXPECT_EQ(line.engine->run_deferred(), 0);
  line.clock.advance_ns(999);
  EXPECT_EQ(line.engine->run_deferred(), 0);
  EXPECT_EQ(line.timed().called, 0u);
  line.clock.advance_ns(1);
  EXPECT_EQ(line.engine->run_deferred(), 1);
  EXPECT_EQ(line.timed().called, 1u);
  EXPECT_EQ(line.timed().at_ns[0], due);
  line.clock.advance_ns(1'000'000);
  EXPECT_EQ(line.engine->run_deferred(), 0);
  EXPECT_EQ(line.calls(), 1u);
}

TEST(TimerClock, StartingAgainBeforeItFiresMovesIt) {
  Timeline line(1);
  ASSERT_EQ(line.start({.wait_ns = 1000}), 0);
  line.clock.advance_ns(900);
  ASSERT_EQ(line.start({.wait_ns = 1000}), 0);
  line.clock.advance_ns(999);
  EXPECT_EQ(line.engine->run_deferred(), 0);
  line.clock.advance_ns(1);
  EXPECT_EQ(line.engine->run_deferred(), 1);
  EXPECT_EQ(line.calls(), 1u);
}

TEST(TimerClock, AbsoluteTimesArePointsOfTheClock) {
  Timeline line(1);
  ASSERT_EQ(line.start({.wait_ns = line.now() + 500, .flags = BPF_F_TIMER_ABS}), 0);
  line.clock.advance_ns(499);
  EXPECT_EQ(line.engine->run_deferred(), 0);
  line.clock.advance_ns(1);
  EXPECT_EQ(line.engine->run_deferred(), 1);
  // The past is now: at the end of the run that says so.
  ASSERT_EQ(line.start({.wait_ns = 1, .flags = BPF_F_TIMER_ABS | BPF_F_TIMER_CPU_PIN}), 0);
  EXPECT_EQ(line.calls(), 2u);
}

TEST(TimerClock, ACallbackStartsItselfAnew) {
  Timeline line(1);
  const std::uint64_t start = line.now();
  ASSERT_EQ(line.start({.wait_ns = 100, .again_ns = 50, .again_count = 3}), 0);
  // Late: the next one counts from when the callback ran, not from when it should have.
  line.clock.advance_ns(1000);
  EXPECT_EQ(line.engine->run_deferred(), 1);
  for (int i = 0; i < 3; ++i) {
    line.clock.advance_ns(49);
    EXPECT_EQ(line.engine->run_deferred(), 0);
    line.clock.advance_ns(1);
    EXPECT_EQ(line.engine->run_deferred(), 1);
  }
  const Timed value = line.timed();
  EXPECT_EQ(value.called, 4u);
  for (std::uint64_t i = 0; i < 4; ++i) EXPECT_EQ(value.at_ns[i], start + 1000 + i * 50);
  line.clock.advance_ns(1000);
  EXPECT_EQ(line.engine->run_deferred(), 0);
}

// On a clock that stands still, a callback that starts itself with no delay is always due.
TEST(TimerClock, ACallbackWithoutDelayDoesNotStopTheRest) {
  Timeline line(1);
  ASSERT_EQ(line.start({.wait_ns = 10, .again_ns = 0, .again_count = UINT32_MAX}), 0);
  EXPECT_EQ(line.calls(), 0u);
  line.clock.advance_ns(10);
  for (int i = 1; i <= 3; ++i) {
    EXPECT_EQ(line.engine->run_deferred(), kDeferredPerBatchMax);
    EXPECT_EQ(line.calls(), static_cast<std::uint64_t>(i) * kDeferredPerBatchMax);
  }
  // Another timer gets its turn, and a packet its run.
  ASSERT_EQ(line.start({.wait_ns = 0, .key = 5}), 0);
  EXPECT_EQ(line.timed(5).called, 1u);
}

TEST(TimerClock, WhatACallbackCancels) {
  Timeline line(1);
  ASSERT_EQ(line.start({.wait_ns = 100, .again_ns = 50, .again_count = 1, .cancels = 1}), 0);
  line.clock.advance_ns(100);
  EXPECT_EQ(line.engine->run_deferred(), 1);
  EXPECT_EQ(line.timed().said, -EDEADLK) << "itself";
  line.clock.advance_ns(50);
  EXPECT_EQ(line.engine->run_deferred(), 1) << "so it was started anew";
  ASSERT_EQ(line.start({.wait_ns = 200, .key = 1}), 0);
  ASSERT_EQ(line.start({.wait_ns = 100, .cancels = 2, .key = 2}), 0);
  line.clock.advance_ns(300);
  EXPECT_EQ(line.engine->run_deferred(), 1);
  EXPECT_EQ(line.timed(2).said, 1) << "another one, which was armed";
  EXPECT_EQ(line.timed(1).called, 0u);
}

// Pattern 92 of the history of faults: an element goes while its timer is armed.
TEST(TimerClock, NoTimerOutlivesItsElement) {
  Timeline line(1);
  ASSERT_EQ(line.start({.wait_ns = 100, .deletes = 1}), 0);
  ASSERT_EQ(line.start({.wait_ns = 100, .key = 1}), 0);
  const std::uint32_t one = 1;
  EXPECT_EQ(line.object->find_map("timers")->user_erase(&one), 0);
  ASSERT_EQ(line.start({.wait_ns = 100, .key = 2}), 0);
  line.clock.advance_ns(1000);
  EXPECT_EQ(line.engine->run_deferred(), 1) << "the one whose element is there";
  EXPECT_EQ(line.calls(), 1u);
}

TEST(TimerClock, FlagsAnswerAsInTheKernel) {
  Timeline line(1);
  constexpr std::uint64_t kHour = 3'600'000'000'000;
  std::unique_ptr<ObjectRunner> kernel;
  if (const auto reason = why_no_runner(RunnerKind::kKernel); !reason) {
    auto opened = open_runner(RunnerKind::kKernel, kObject, "start_timer");
    ASSERT_TRUE(opened.has_value()) << opened.error().to_string();
    kernel = std::move(*opened);
  }
  for (const std::uint64_t flags : {0ull, 1ull, 2ull, 3ull, 4ull, 7ull, 1ull << 32, ~0ull}) {
    const Order order{.wait_ns = kHour * 1'000'000, .flags = flags};
    const std::int64_t mine = line.start(order);
    EXPECT_EQ(mine, flags <= 3 ? 0 : -EINVAL) << flags;
    if (kernel == nullptr) continue;
    const std::uint32_t zero = 0;
    ASSERT_TRUE(kernel->set_entry("orders", bytes_of(zero), bytes_of(order)).has_value());
    ASSERT_TRUE(kernel->run(std::vector<std::uint8_t>(60)).has_value());
    const auto entries = kernel->entries("orders");
    ASSERT_TRUE(entries.has_value());
    Order after;
    std::memcpy(&after, (*entries)[0].value.data(), sizeof after);
    EXPECT_EQ(mine, after.answer) << "flags " << flags;
  }
  if (kernel == nullptr) GTEST_SKIP() << *why_no_runner(RunnerKind::kKernel);
}

// All that a run leaves: its packets, and the map with times, random numbers and timers.
std::string replay(std::uint64_t seed, std::uint64_t start_ns) {
  Timeline line(seed);
  line.clock.advance_ns(start_ns);
  std::mt19937 traffic(7);  // the capture: the same each time
  std::string out;
  for (int i = 0; i < 2'000; ++i) {
    std::vector<std::uint8_t> packet(64);
    for (std::uint8_t& byte : packet) byte = static_cast<std::uint8_t>(traffic());
    const std::vector<std::uint8_t> after = line.run("start_from_packet", packet);
    out.append(after.begin(), after.end());
    line.clock.advance_ns(traffic() % 64);
  }
  EXPECT_GT(line.calls(), 500u);
  for (std::uint32_t key = 0; key < 16; ++key) {
    const std::vector<std::uint8_t> value = bytes_of(line.timed(key));
    out.append(value.begin(), value.end());
  }
  return out;
}

TEST(TimerClock, TheSameSeedAndClockGiveTheSameBytes) {
  const std::string first = replay(7, 0);
  EXPECT_TRUE(replay(7, 0) == first);
  EXPECT_FALSE(replay(8, 0) == first) << "another seed";
  EXPECT_FALSE(replay(7, 1) == first) << "another time";
}

}  // namespace
}  // namespace lmn
