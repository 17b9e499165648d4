// SPDX-License-Identifier: Apache-2.0
//
// Goal: a stamp passes when every reader that was there has passed, and not before. Method: readers
// in threads that wait for each other, so that every order is chosen and not met by luck.
#include "base/epoch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <memory>
#include <semaphore>
#include <thread>
#include <utility>
#include <vector>

namespace lmn {
namespace {

// A thread that is a reader and does one step when told.
class ReaderThread {
 public:
  enum class Step { kPass, kGoOffline, kGoOnline, kEnd };

  explicit ReaderThread(Epoch& epoch) : thread_([this, &epoch] { run(epoch); }) { done_.acquire(); }
  ~ReaderThread() {
    if (thread_.joinable()) end();
  }
  void step(Step step) {
    step_ = step;
    go_.release();
    done_.acquire();
  }
  void end() {
    step_ = Step::kEnd;
    go_.release();
    thread_.join();
  }

 private:
  void run(Epoch& epoch) {
    EpochReader reader(epoch);
    for (;;) {
      done_.release();
      go_.acquire();
      switch (step_) {
        case Step::kPass:
          reader.pass();
          break;
        case Step::kGoOffline:
          reader.go_offline();
          break;
        case Step::kGoOnline:
          reader.go_online();
          break;
        case Step::kEnd:
          return;
      }
    }
  }

  Step step_ = Step::kPass;
  std::binary_semaphore go_{0};
  std::binary_semaphore done_{0};
  std::thread thread_;
};

void wait_until_passed(const Epoch& epoch, Epoch::Stamp stamp) {
  while (!epoch.has_passed(stamp)) std::this_thread::yield();
}

TEST(Epoch, WithoutReadersEverythingHasPassed) {
  Epoch epoch;
  EXPECT_TRUE(epoch.has_passed(epoch.stamp()));
  {
    ReaderThread reader(epoch);
  }
  EXPECT_TRUE(epoch.has_passed(epoch.stamp()));
}

TEST(Epoch, AReaderThatWasThereIsWaitedFor) {
  Epoch epoch;
  epoch.start();
  ReaderThread first(epoch);
  ReaderThread second(epoch);
  const Epoch::Stamp stamp = epoch.stamp();
  for (int i = 0; i < 1000; ++i) ASSERT_FALSE(epoch.has_passed(stamp));
  first.step(ReaderThread::Step::kPass);
  for (int i = 0; i < 1000; ++i) ASSERT_FALSE(epoch.has_passed(stamp));
  // A grace period may need each reader twice: it changes the parity of liburcu's counter.
  while (!epoch.has_passed(stamp)) {
    first.step(ReaderThread::Step::kPass);
    second.step(ReaderThread::Step::kPass);
  }
  EXPECT_TRUE(epoch.has_passed(stamp));
}

TEST(Epoch, OfflineReadersHoldNobodyUp) {
  Epoch epoch;
  epoch.start();
  ReaderThread awake(epoch);
  ReaderThread asleep(epoch);
  asleep.step(ReaderThread::Step::kGoOffline);
  const Epoch::Stamp stamp = epoch.stamp();
  awake.step(ReaderThread::Step::kGoOffline);
  wait_until_passed(epoch, stamp);
  awake.step(ReaderThread::Step::kGoOnline);
  EXPECT_FALSE(epoch.has_passed(epoch.stamp()));
  awake.end();
}

TEST(Epoch, OneThreadMayHaveSeveralReaders) {
  Epoch first;
  Epoch second;
  EpochReader reader(first);
  {
    EpochReader other(second);
    other.pass();
    reader.go_offline();
    EXPECT_FALSE(second.has_passed(second.stamp()));
    EXPECT_TRUE(first.has_passed(first.stamp()));
  }
  EXPECT_TRUE(second.has_passed(second.stamp()));
  reader.go_online();
  EXPECT_FALSE(first.has_passed(first.stamp()));
  reader.go_offline();
  first.synchronize();
}

TEST(Epoch, AReaderThatIsAloneNeedsNobody) {
  Epoch epoch;  // no thread
  ReaderThread reader(epoch);
  const Epoch::Stamp first = epoch.stamp();
  EXPECT_FALSE(epoch.has_passed(first));
  reader.step(ReaderThread::Step::kPass);
  EXPECT_TRUE(epoch.has_passed(first));
  // What is taken out after a grace period waits for the next one.
  const Epoch::Stamp second = epoch.stamp();
  EXPECT_TRUE(epoch.has_passed(first));
  EXPECT_FALSE(epoch.has_passed(second));
  {
    ReaderThread other(epoch);
    reader.step(ReaderThread::Step::kPass);
    EXPECT_FALSE(epoch.has_passed(second)) << "the other one may see it";
  }
  reader.step(ReaderThread::Step::kPass);
  EXPECT_TRUE(epoch.has_passed(second));
}

// A batch of one engine may run the program of another (a sink of the application does a test run):
// what the inner one says is not said for the outer.
TEST(Epoch, APassSaysNothingForAnotherReaderOfTheThread) {
  Epoch outer;
  Epoch inner;
  outer.start();
  std::binary_semaphore go(0);
  std::binary_semaphore done(0);
  std::thread thread([&] {
    EpochReader reader(outer);
    done.release();
    go.acquire();
    {
      EpochReader nested(inner);
      // For long enough that the thread of `outer` would believe it.
      for (int i = 0; i < 20'000; ++i) {
        nested.pass();
        std::this_thread::yield();
      }
    }
    for (int i = 0; i < 1000; ++i) {
      EpochScope again(&outer);
    }
    done.release();
    go.acquire();
  });
  done.acquire();
  std::atomic<bool> is_released{false};
  outer.retire([&] { is_released = true; });
  const Epoch::Stamp stamp = outer.stamp();
  go.release();
  done.acquire();
  EXPECT_FALSE(outer.has_passed(stamp));
  EXPECT_FALSE(is_released);
  go.release();
  thread.join();
  outer.wait_for_retired();
  EXPECT_TRUE(is_released);
}

TEST(Epoch, WhatIsRetiredIsCalledInOrderAfterAGracePeriod) {
  Epoch epoch;
  ReaderThread reader(epoch);
  std::vector<int> called;
  std::thread::id by;
  for (int i = 0; i < 100; ++i) {
    epoch.retire([&, i] {
      called.push_back(i);
      by = std::this_thread::get_id();
    });
  }
  const Epoch::Stamp stamp = epoch.stamp();
  EXPECT_FALSE(epoch.has_passed(stamp));
  reader.step(ReaderThread::Step::kPass);
  reader.step(ReaderThread::Step::kGoOffline);
  epoch.wait_for_retired();
  ASSERT_EQ(called.size(), 100u);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(called[static_cast<std::size_t>(i)], i);
  EXPECT_NE(by, std::this_thread::get_id());
}

TEST(Epoch, StopCallsAllThatIsRetiredAndWhatThatRetires) {
  std::vector<int> called;
  {
    Epoch epoch;
    ReaderThread reader(epoch);
    epoch.retire([&] {
      called.push_back(1);
      epoch.retire([&] { called.push_back(3); });
    });
    epoch.retire([&] { called.push_back(2); });
  }
  ASSERT_EQ(called.size(), 3u);
  EXPECT_LT(std::ranges::find(called, 1), std::ranges::find(called, 3));
}

TEST(Epoch, WithoutReadersWhatIsRetiredIsCalledAtOnce) {
  Epoch epoch;
  std::thread::id by;
  epoch.retire([&] { by = std::this_thread::get_id(); });
  EXPECT_EQ(by, std::this_thread::get_id());
}

// Its thread may be on the way to sleep.
TEST(Epoch, AStopIsNotMissed) {
  for (int i = 0; i < 2000; ++i) {
    Epoch epoch;
    epoch.start();
    for (int j = 0; j < i % 50; ++j) std::this_thread::yield();
  }
}

TEST(Epoch, StartsAgainAfterAStop) {
  Epoch epoch;
  epoch.start();
  epoch.start();
  epoch.stop();
  bool is_released = false;
  {
    ReaderThread reader(epoch);
    epoch.retire([&] { is_released = true; });
    epoch.start();
    reader.step(ReaderThread::Step::kPass);
  }
  epoch.wait_for_retired();
  EXPECT_TRUE(is_released);
}

// What a stamp is for: cells are poisoned after a grace period, and no reader may see the poison.
TEST(Epoch, NoReaderSeesWhatWasReused) {
  Epoch epoch;
  epoch.start();
  std::array<std::atomic<int>, 64> cells{};
  std::atomic<std::size_t> current{0};
  std::atomic<bool> is_done{false};
  std::atomic<int> poisoned{0};
  cells[0] = 1;
  const auto read = [&] {
    EpochReader reader(epoch);
    while (!is_done.load(std::memory_order_relaxed)) {
      const std::size_t at = current.load(std::memory_order_acquire);
      for (int i = 0; i < 50; ++i) poisoned += cells[at].load(std::memory_order_relaxed) != 1;
      reader.pass();
    }
  };
  std::thread first(read);
  std::thread second(read);
  for (std::size_t step = 1; step < 100; ++step) {
    const std::size_t old = current.load();
    cells[step % cells.size()] = 1;
    current.store(step % cells.size(), std::memory_order_release);
    wait_until_passed(epoch, epoch.stamp());
    cells[old] = 99;
  }
  is_done = true;
  first.join();
  second.join();
  EXPECT_EQ(poisoned.load(), 0);
}

// The same with memory that is freed, which sanitizers watch. Two readers, so that the Epoch's
// thread has to ask liburcu.
TEST(Epoch, WhatIsRetiredIsFreedBehindItsReaders) {
  struct Node {
    int value = 1;
  };
  Epoch epoch;
  auto owned = std::make_unique<Node>();
  std::atomic<const Node*> current{owned.get()};
  std::atomic<bool> is_done{false};
  std::atomic<int> poisoned{0};
  const auto read = [&] {
    EpochReader reader(epoch);
    while (!is_done.load(std::memory_order_relaxed)) {
      const Node* node = current.load(std::memory_order_acquire);
      for (int i = 0; i < 50; ++i) poisoned += node->value != 1;
      reader.pass();
    }
  };
  std::thread first(read);
  std::thread second(read);
  for (int step = 0; step < 200; ++step) {
    auto fresh = std::make_unique<Node>();
    current.store(fresh.get(), std::memory_order_release);
    epoch.retire([old = std::exchange(owned, std::move(fresh))] { old->value = 99; });
    if (step % 20 == 0) epoch.wait_for_retired();
  }
  is_done = true;
  first.join();
  second.join();
  epoch.stop();
  EXPECT_EQ(poisoned.load(), 0);
}

}  // namespace
}  // namespace lmn
