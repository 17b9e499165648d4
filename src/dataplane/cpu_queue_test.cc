// SPDX-License-Identifier: Apache-2.0
//
// Goal: no frame that is sent to another CPU is lost, doubled, reordered or leaked, whoever runs
// the program there; and what its verdicts point to is not freed before it is used. Method: a
// worker with a scripted port whose program sends frames to a CPU queue, whose scripted program
// decides by the first byte; served by the worker, then by a thread. Accounting and pool are looked
// at after each test. Tests named after a fault are of faults that Linux had in its cpumap.
#include "dataplane/cpu_queue.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <sched.h>

#include <cerrno>
#include <thread>

#include "dataplane/cpu_thread.h"
#include "dataplane/fakes_for_tests.h"
#include "dataplane/worker.h"

namespace lmn {
namespace {

constexpr std::uint32_t kQueueSize = 64;
constexpr std::uint32_t kCpu = 1;

class CpuQueueTest : public ::testing::Test, public CpuQueueSource, public PortDirectory {
 protected:
  CpuQueueTest() : pool_(*FramePool::create(512)), port_(pool_) {
    context_.clock = &clock_;
    context_.ports = this;
    worker_ = *Worker::create(context_, &epoch_);
    cpu_context_ = context_;
    cpu_context_.cpu = kCpu;
    entry_.program = &cpu_program_;
    dispatcher_.program = &to_queue_;
    to_queue_.on_redirect = [this](RedirectSlot& slot) {
      slot.kind = RedirectSlot::Kind::kSink;
      slot.sink = queue_.get();
    };
    worker_->add_port(port_, &dispatcher_, &pass_);
    worker_->set_cpu_queues(this);
    epoch_.start();
  }
  void TearDown() override {
    thread_.reset();
    if (queue_ != nullptr) {
      EXPECT_EQ(accounting_error(queue_->counters().snapshot()), "");
      EXPECT_EQ(queue_counter(Counter::kCpumapEnqueued), queue_counter(Counter::kRxPackets));
      EXPECT_EQ(queue_->pending(), 0u);
    }
    EXPECT_EQ(accounting_error(port_.rx.counters().snapshot()), "");
    queue_.reset();
    EXPECT_EQ(pool_.in_use(), 0u) << "a frame was lost";
  }

  void make_queue(std::uint32_t size, SleepBell* bell = nullptr) {
    queue_ = std::make_unique<CpuQueue>(kCpu, size, &entry_, bell);
    served_ = {queue_.get(), bell == nullptr ? &cpu_context_ : nullptr};
  }
  void start_thread(std::uint32_t size) {
    auto thread = CpuThread::start(cpu_context_, epoch_, tables_, worker_.get());
    ASSERT_TRUE(thread.has_value());
    thread_ = std::move(*thread);
    make_queue(size, &thread_->bell());
    thread_->set_queues({queue_.get()});
  }
  // The first program redirects all; the first byte but one is what the second one returns.
  void push(std::uint8_t verdict, int count = 1) {
    for (int i = 0; i < count; ++i) {
      std::vector<std::uint8_t> packet(60, static_cast<std::uint8_t>(i));
      packet[0] = XDP_REDIRECT;
      packet[1] = verdict;
      packet[2] = static_cast<std::uint8_t>(pushed_count_ >> 8);
      packet[3] = static_cast<std::uint8_t>(pushed_count_++);
      port_.rx.packets.push_back(packet);
    }
  }
  XdpFrame* make_frame(FramePool& pool) {
    XdpBuff buff = make_xdp_buff(pool, pool.allocate(), port_.rx.info());
    buff.data_end = buff.data + 60;
    std::fill(buff.data, buff.data_end, std::uint8_t{XDP_DROP});
    return to_frame(buff);
  }
  std::uint64_t queue_counter(Counter counter) { return queue_->counters().get(counter); }

  // CpuQueueSource, PortDirectory
  std::span<const Served> queues() noexcept override {
    return std::span(&served_, queue_ != nullptr ? 1 : 0);
  }
  void publish_tables(const RunContext& worker) noexcept override { tables_.store(worker); }
  void on_idle() noexcept override {}
  FrameSink* find_sink(std::uint32_t ifindex) noexcept override {
    return ifindex == 9 ? &target_ : nullptr;
  }

  // Verdict = second byte.
  class CpuProgram final : public CompiledProgram {
   public:
    void run_batch(FrameBatch& batch, RunContext& context) noexcept override {
      for (std::size_t i = 0; i < batch.count; ++i) {
        context.redirect = {};
        batch.verdicts[i] = run(batch.buffs[i], context);
        batch.redirects[i] = context.redirect;
      }
    }
    std::uint32_t run(XdpBuff& buff, RunContext& context) noexcept override {
      if (on_run) on_run(buff, context);
      if (buff.data[1] == XDP_REDIRECT) {
        context.redirect.kind = RedirectSlot::Kind::kIfindex;
        context.redirect.ifindex = 9;
      }
      return buff.data[1];
    }
    void run_deferred(const DeferredCall&, RunContext&) noexcept override {}
    const void* interpreter_image() const noexcept override { return nullptr; }
    std::function<void(XdpBuff&, RunContext&)> on_run;
  };

  SystemClock clock_;
  Epoch epoch_;
  CpuTables tables_;
  FramePool pool_;
  ScriptedPort port_;
  RecordingSink pass_;
  RecordingSink target_;
  ScriptedProgram to_queue_;
  CpuProgram cpu_program_;
  ProgramEntry entry_;
  Dispatcher dispatcher_;
  RunContext context_;
  RunContext cpu_context_;
  std::unique_ptr<Worker> worker_;
  Served served_{};
  std::unique_ptr<CpuQueue> queue_;
  std::unique_ptr<CpuThread> thread_;
  int pushed_count_ = 0;
};

TEST_F(CpuQueueTest, EachVerdictHasItsOutcome) {
  make_queue(kQueueSize);
  for (const int verdict : {0, 1, 2, 3, 4, 200}) push(static_cast<std::uint8_t>(verdict), 3);
  EXPECT_EQ(worker_->run({}), RunEnd::kInputEnded);
  EXPECT_EQ(port_.rx.counters().get(Counter::kRedirectDelivered), 18u);
  EXPECT_EQ(queue_counter(Counter::kRxPackets), 18u);
  EXPECT_EQ(queue_counter(Counter::kRxBytes), 18u * 60);
  EXPECT_EQ(queue_counter(Counter::kXdpAborted), 3u);
  EXPECT_EQ(queue_counter(Counter::kXdpDrop), 3u);
  EXPECT_EQ(queue_counter(Counter::kPassDelivered), 3u);
  EXPECT_EQ(queue_counter(Counter::kXdpTx), 0u) << "there is no port to send back to";
  EXPECT_EQ(queue_counter(Counter::kXdpUnknown), 6u) << "XDP_TX and 200";
  EXPECT_EQ(queue_counter(Counter::kRedirectDelivered), 3u);
  EXPECT_EQ(pass_.sent.size(), 3u) << "the pass sink of the port of arrival";
  EXPECT_EQ(target_.sent.size(), 3u);
  EXPECT_TRUE(port_.tx.sent.empty());
}

TEST_F(CpuQueueTest, WithoutProgramEverythingPasses) {
  entry_.program = nullptr;
  queue_ = std::make_unique<CpuQueue>(kCpu, kQueueSize, nullptr, nullptr);
  served_ = {queue_.get(), &cpu_context_};
  push(XDP_DROP, 5);
  worker_->run({});
  EXPECT_EQ(queue_counter(Counter::kPassDelivered), 5u);
}

TEST_F(CpuQueueTest, TheProgramSeesWhereTheFrameCameFrom) {
  make_queue(kQueueSize);
  port_.rx.queue_index(5);
  std::uint32_t count = 0;
  cpu_program_.on_run = [&](XdpBuff& buff, RunContext& context) {
    ++count;
    EXPECT_EQ(buff.rxq->ifindex, 7u);
    EXPECT_EQ(buff.rxq->queue_index, 0u) << "Linux does not tell it either";
    EXPECT_EQ(buff.egress_ifindex, 0u);
    EXPECT_EQ(context.cpu, kCpu);
    EXPECT_EQ(buff.meta.known, kMetaHash | kMetaVlan);
    EXPECT_EQ(buff.meta.hash, 0xabcdu);
    EXPECT_EQ(buff.meta.vlan_tci, 100);
    EXPECT_EQ(buff.rx_time_ns, 1234u);
    EXPECT_EQ(buff.metadata_length(), 4u);
  };
  to_queue_.on_buff = [](XdpBuff& buff) {
    buff.meta.known = kMetaHash | kMetaVlan;
    buff.meta.hash = 0xabcd;
    buff.meta.vlan_tci = 100;
    buff.rx_time_ns = 1234;
    buff.data_meta = buff.data - 4;
  };
  push(XDP_PASS, 3);
  worker_->run({});
  EXPECT_EQ(count, 3u);
}

// Linux's ENOSPC: the ring holds exactly what the map says, the rest is dropped and counted.
TEST_F(CpuQueueTest, WhatDoesNotFitIsDroppedAndCounted) {
  for (const std::uint32_t size : {1u, 5u, 8u, 12u}) {
    make_queue(size);
    push(XDP_PASS, 20);
    worker_->run({});
    EXPECT_EQ(queue_counter(Counter::kCpumapEnqueued), size);
    EXPECT_EQ(queue_counter(Counter::kCpumapDropped), 20 - size);
    EXPECT_EQ(queue_counter(Counter::kPassDelivered), size);
    EXPECT_EQ(queue_->pending(), 0u);
  }
}

TEST_F(CpuQueueTest, ABulkOfEightGoesAtOnceTheRestWithTheFlush) {
  make_queue(kQueueSize);
  for (std::size_t i = 0; i < CpuQueue::kBulkFrames - 1; ++i) queue_->enqueue(make_frame(pool_));
  EXPECT_EQ(queue_->waiting(), 0u);
  queue_->enqueue(make_frame(pool_));
  EXPECT_EQ(queue_->waiting(), CpuQueue::kBulkFrames);
  queue_->enqueue(make_frame(pool_));
  EXPECT_EQ(queue_->waiting(), CpuQueue::kBulkFrames);
  queue_->flush();
  EXPECT_EQ(queue_->waiting(), CpuQueue::kBulkFrames + 1);
  EXPECT_EQ(queue_->pending(), CpuQueue::kBulkFrames + 1);
  worker_->run({});
}

// Linux's runner of a bulk returned where it should have gone on when a program dropped a packet
// (generic mode): the rest of the bulk was lost.
TEST_F(CpuQueueTest, Pattern91_ADropAtTheStartOfABulkLosesNoOther) {
  make_queue(kQueueSize);
  push(XDP_DROP, 1);
  push(XDP_PASS, 7);
  push(XDP_REDIRECT, 1);
  push(XDP_PASS, 7);
  worker_->run({});
  EXPECT_EQ(queue_counter(Counter::kXdpDrop), 1u);
  EXPECT_EQ(queue_counter(Counter::kPassDelivered), 14u);
  EXPECT_EQ(queue_counter(Counter::kRedirectDelivered), 1u);
  EXPECT_EQ(pass_.sent.size(), 14u);
}

// Linux CVE-2023-53660: a queue that held two kinds of objects freed both as if they were one.
// Here the kinds are pools: a frame goes back to its own, from the bulk, the ring and the results.
TEST_F(CpuQueueTest, Pattern89_FramesOfTwoPoolsGoBackToTheirOwn) {
  FramePool other = *FramePool::create(64);
  make_queue(kQueueSize);
  FrameBatch batch;
  for (int i = 0; i < 10; ++i) {
    queue_->enqueue(make_frame(i % 2 == 0 ? pool_ : other));
    if (i == 7) {
      EXPECT_EQ(queue_->run_bulk(batch, cpu_context_), 8u);
    }
  }
  queue_->flush();
  for (int i = 0; i < 3; ++i) queue_->enqueue(make_frame(i % 2 == 0 ? pool_ : other));
  EXPECT_EQ(queue_->waiting(), 2u);
  EXPECT_TRUE(queue_->has_results());
  EXPECT_EQ(queue_->pending(), 13u);
  EXPECT_EQ(pool_.in_use(), 7u);
  EXPECT_EQ(other.in_use(), 6u);
  queue_.reset();
  EXPECT_EQ(pool_.in_use(), 0u);
  EXPECT_EQ(other.in_use(), 0u);
}

// A program that sends every frame into its own queue again would keep a run from ending.
TEST_F(CpuQueueTest, FramesThatGoRoundInCirclesEndWithTheRun) {
  make_queue(kQueueSize);
  class Circle final : public CompiledProgram {
   public:
    explicit Circle(std::unique_ptr<CpuQueue>& queue) : queue_(queue) {}
    void run_batch(FrameBatch& batch, RunContext&) noexcept override {
      for (std::size_t i = 0; i < batch.count; ++i) {
        batch.verdicts[i] = XDP_REDIRECT;
        batch.redirects[i] = {.kind = RedirectSlot::Kind::kSink, .sink = queue_.get()};
      }
    }
    std::uint32_t run(XdpBuff&, RunContext&) noexcept override { return XDP_REDIRECT; }
    void run_deferred(const DeferredCall&, RunContext&) noexcept override {}
    const void* interpreter_image() const noexcept override { return nullptr; }

   private:
    std::unique_ptr<CpuQueue>& queue_;
  } circle(queue_);
  entry_.program = &circle;
  push(XDP_PASS, 40);
  EXPECT_EQ(worker_->run({}), RunEnd::kInputEnded);
  EXPECT_EQ(queue_counter(Counter::kRedirectDown), 40u) << "cut, and told";
  EXPECT_EQ(queue_->check(60), 0) << "open again for the next run";
}

TEST_F(CpuQueueTest, AThreadKeepsTheOrderAndLosesNothing) {
  start_thread(16384);
  constexpr int kRounds = 150;
  constexpr int kFrames = 200;
  std::size_t expected = 0;
  for (int round = 0; round < kRounds; ++round) {
    push(XDP_PASS, kFrames);
    EXPECT_EQ(worker_->run({}), RunEnd::kInputEnded);
    ASSERT_EQ(pass_.sent.size(), static_cast<std::size_t>(kFrames)) << "a run ends with it empty";
    for (const auto& packet : pass_.sent) {
      ASSERT_EQ(packet[2] << 8 | packet[3], static_cast<int>(expected++ & 0xffff));
    }
    pass_.sent.clear();
  }
  EXPECT_EQ(queue_counter(Counter::kPassDelivered), std::uint64_t{kRounds} * kFrames);
}

// More results than there is room for: the CPU waits for the worker, who waits for nobody.
TEST_F(CpuQueueTest, ACpuWaitsForAWorkerThatDeliversNothing) {
  start_thread(1000);
  for (int i = 0; i < 400; ++i) queue_->enqueue(make_frame(pool_));
  queue_->flush();
  while (!queue_->has_results() || queue_->waiting() > 400 - CpuQueue::kResultsMax) sched_yield();
  EXPECT_EQ(queue_->waiting(), 400 - CpuQueue::kResultsMax);
  worker_->run({});
  EXPECT_EQ(queue_counter(Counter::kXdpDrop), 400u);
}

TEST_F(CpuQueueTest, AThreadIsNamedAndOnItsCpu) {
  start_thread(kQueueSize);
  std::string name(16, '\0');
  cpu_set_t allowed;
  cpu_program_.on_run = [&](XdpBuff&, RunContext&) {
    ::pthread_getname_np(::pthread_self(), name.data(), name.size());
    ::pthread_getaffinity_np(::pthread_self(), sizeof allowed, &allowed);
  };
  push(XDP_DROP);
  worker_->run({});
  EXPECT_STREQ(name.c_str(), "cpumap/1");
  cpu_set_t here;
  ::pthread_getaffinity_np(::pthread_self(), sizeof here, &here);
  if (!CPU_ISSET(kCpu, &here)) GTEST_SKIP() << "CPU 1 is not ours: the thread runs anywhere";
  EXPECT_EQ(CPU_COUNT(&allowed), 1);
  EXPECT_TRUE(CPU_ISSET(kCpu, &allowed));
}

// Linux CVE-2023-53577: an update returned before the thread of the queue ran; one that was taken
// back at once was ended without looking at its queue. Here a queue is served when set_queues
// returns, and its frames go their way when it is taken off a list.
TEST_F(CpuQueueTest, Pattern88_AQueueIsServedFromTheMomentItIsThere) {
  for (int i = 0; i < 200; ++i) {
    start_thread(kQueueSize);
    push(XDP_PASS, 3);
    worker_->run({});
    ASSERT_EQ(queue_counter(Counter::kPassDelivered), 3u);
    thread_.reset();  // at once
  }
  EXPECT_EQ(pass_.sent.size(), 600u);
}

// What a redirect found may be freed a grace period after it was taken out of its map. The thread
// that ran the program is through with it only when the worker has delivered.
TEST_F(CpuQueueTest, AGracePeriodWaitsForResultsThatAreNotDelivered) {
  start_thread(kQueueSize);
  queue_->enqueue(make_frame(pool_));
  queue_->flush();
  while (!queue_->has_results()) sched_yield();
  const Epoch::Stamp stamp = epoch_.stamp();
  std::atomic<bool> is_over{false};
  std::thread waiter([&] {
    epoch_.synchronize();
    is_over = true;
  });
  for (int i = 0; i < 1000; ++i) {
    sched_yield();
    ASSERT_FALSE(epoch_.has_passed(stamp));
    ASSERT_FALSE(is_over);
  }
  worker_->run({});
  waiter.join();
  EXPECT_TRUE(epoch_.has_passed(stamp));
}

TEST_F(CpuQueueTest, AStoppedThreadLeavesWhatItHeldToTheQueue) {
  start_thread(kQueueSize);
  for (int i = 0; i < 20; ++i) queue_->enqueue(make_frame(pool_));
  queue_->flush();
  thread_.reset();
  EXPECT_EQ(queue_->pending(), 20u);
  EXPECT_EQ(pool_.in_use(), 20u);
  queue_.reset();
  EXPECT_EQ(pool_.in_use(), 0u);
}

}  // namespace
}  // namespace lmn
