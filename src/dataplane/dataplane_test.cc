// SPDX-License-Identifier: Apache-2.0
//
// Goal: every frame ends in exactly one outcome, is counted under its name, and is back in the pool
// at the end. Method: a scripted program (verdict = first byte of the packet), a scripted queue and
// sinks that record, walked through every verdict and every cause of failure; after each test the
// accounting must balance and the pool be full.
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <cerrno>

#include "dataplane/fakes_for_tests.h"
#include "dataplane/outcome.h"
#include "dataplane/worker.h"
#include "maps/map.h"

namespace lmn {
namespace {

// A redirect group for broadcasts; no other operation is ever asked of it.
class GroupMap final : public Map {
 public:
  GroupMap() : Map(MapSpec{}, MapOptions{}) {}
  bool next_redirect_target(std::uint64_t& cursor, RedirectTarget& target) noexcept override {
    if (cursor >= members.size()) return false;
    target = members[cursor++];
    return true;
  }
  void* lookup(const void*, std::uint32_t) noexcept override { return nullptr; }
  int update(const void*, const void*, std::uint64_t, std::uint32_t) noexcept override {
    return -EOPNOTSUPP;
  }
  int erase(const void*) noexcept override { return -EOPNOTSUPP; }
  int copy_value(const void*, std::span<std::uint8_t>, std::uint64_t) noexcept override {
    return -ENOENT;
  }
  int next_key(const void*, void*) noexcept override { return -ENOENT; }
  std::vector<RedirectTarget> members;
};

class DataplaneTest : public ::testing::Test, public PortDirectory {
 protected:
  DataplaneTest() : pool_(*FramePool::create(128)), port_(pool_) {
    RunContext context;
    context.clock = &clock_;
    context.ports = this;
    worker_ = *Worker::create(context);
    dispatcher_.program = &program_;
    worker_->add_port(port_, &dispatcher_, &pass_);
  }
  void TearDown() override {
    EXPECT_EQ(accounting_error(counters().snapshot()), "");
    EXPECT_EQ(pool_.in_use(), 0u) << "a frame was lost";
  }
  FrameSink* find_sink(std::uint32_t ifindex) noexcept override {
    return ifindex == 9 ? &target_ : nullptr;
  }
  void push(std::uint8_t verdict, int count = 1) {
    for (int i = 0; i < count; ++i) {
      std::vector<std::uint8_t> packet(60, static_cast<std::uint8_t>(i));
      packet[0] = verdict;
      port_.rx.packets.push_back(packet);
    }
  }
  Counters& counters() { return port_.rx.counters(); }

  SystemClock clock_;
  FramePool pool_;
  ScriptedPort port_;
  RecordingSink pass_;
  RecordingSink target_;
  ScriptedProgram program_;
  Dispatcher dispatcher_;
  std::unique_ptr<Worker> worker_;
};

TEST_F(DataplaneTest, EachVerdictHasItsOutcome) {
  for (const int verdict : {0, 1, 2, 3, 200}) push(static_cast<std::uint8_t>(verdict), 3);
  EXPECT_EQ(worker_->run({}), RunEnd::kInputEnded);
  EXPECT_EQ(counters().get(Counter::kRxPackets), 15u);
  EXPECT_EQ(counters().get(Counter::kRxBytes), 15u * 60);
  for (Counter counter : {Counter::kXdpAborted, Counter::kXdpDrop, Counter::kXdpPass,
                          Counter::kXdpTx, Counter::kXdpUnknown, Counter::kPassDelivered}) {
    EXPECT_EQ(counters().get(counter), 3u) << counter_name(counter);
  }
  EXPECT_EQ(pass_.sent.size(), 3u);
  EXPECT_EQ(port_.tx.sent.size(), 3u);
}

TEST_F(DataplaneTest, FailuresAreDropsWithAName) {
  pass_.error = ENETDOWN;
  port_.tx.error = EMSGSIZE;
  push(XDP_PASS, 2);
  push(XDP_TX, 2);
  push(XDP_REDIRECT, 2);  // no helper was called
  worker_->run({});
  EXPECT_EQ(counters().get(Counter::kPassFailed), 2u);
  EXPECT_EQ(counters().get(Counter::kTxFailed), 2u);
  EXPECT_EQ(counters().get(Counter::kRedirectNoTarget), 2u);
}

TEST_F(DataplaneTest, RedirectCausesAreToldApart) {
  const std::pair<int, Counter> cases[] = {{0, Counter::kRedirectDelivered},
                                           {ENETDOWN, Counter::kRedirectDown},
                                           {EMSGSIZE, Counter::kRedirectTooLong},
                                           {ENXIO, Counter::kRedirectFailed}};
  for (const auto& [error, counter] : cases) {
    target_.error = error;
    program_.on_redirect = [](RedirectSlot& slot) {
      slot.kind = RedirectSlot::Kind::kIfindex;
      slot.ifindex = 9;
    };
    push(XDP_REDIRECT);
    worker_->run({});
    EXPECT_EQ(counters().get(counter), 1u) << counter_name(counter);
  }
  program_.on_redirect = [](RedirectSlot& slot) {
    slot.kind = RedirectSlot::Kind::kIfindex;
    slot.ifindex = 1234;
  };
  push(XDP_REDIRECT);
  worker_->run({});
  EXPECT_EQ(counters().get(Counter::kRedirectNoTarget), 1u);
}

TEST_F(DataplaneTest, BroadcastCopiesAllButTheLast) {
  RecordingSink other;
  RecordingSink down;
  down.error = ENETDOWN;
  GroupMap group;
  group.members = {{&target_, 9}, {&down, 10}, {&port_.tx, 7}, {&other, 11}};
  program_.on_redirect = [&](RedirectSlot& slot) {
    slot.kind = RedirectSlot::Kind::kBroadcast;
    slot.excludes_ingress = true;
    slot.map = &group;
  };
  push(XDP_REDIRECT, 2);
  worker_->run({});
  EXPECT_EQ(target_.sent.size(), 2u);
  EXPECT_EQ(other.sent.size(), 2u);
  EXPECT_TRUE(port_.tx.sent.empty()) << "the ingress port is excluded";
  EXPECT_EQ(target_.sent, other.sent);
  EXPECT_EQ(counters().get(Counter::kGenerated), 2u);
  group.members.clear();
  push(XDP_REDIRECT);
  worker_->run({});
  EXPECT_EQ(counters().get(Counter::kRedirectNoGroup), 1u);
}

TEST_F(DataplaneTest, EntryProgramDecidesAndSeesEgress) {
  ScriptedProgram entry_program;
  ProgramEntry entry;
  entry.program = &entry_program;
  program_.on_redirect = [&](RedirectSlot& slot) {
    slot.kind = RedirectSlot::Kind::kSink;
    slot.sink = &target_;
    slot.ifindex = 9;
    slot.program = &entry;
  };
  push(XDP_REDIRECT);  // the entry program reads 4 as well: not PASS, so a drop
  worker_->run({});
  EXPECT_EQ(counters().get(Counter::kRedirectDropped), 1u);
  EXPECT_EQ(entry_program.seen_egress, 9u);
  EXPECT_TRUE(target_.sent.empty());
}

TEST_F(DataplaneTest, WhatCannotBeSentIsLostBeforeTheEntryProgramSeesIt) {
  ScriptedProgram entry_program;
  ProgramEntry entry;
  entry.program = &entry_program;
  program_.on_redirect = [&](RedirectSlot& slot) {
    slot.kind = RedirectSlot::Kind::kSink;
    slot.sink = &target_;
    slot.ifindex = 9;
    slot.program = &entry;
  };
  target_.error = EMSGSIZE;
  push(XDP_REDIRECT);
  worker_->run({});
  EXPECT_EQ(counters().get(Counter::kRedirectTooLong), 1u);
  EXPECT_EQ(entry_program.seen_egress, 0u);
}

TEST_F(DataplaneTest, OrderOfArrivalIsKeptOverBatches) {
  push(XDP_PASS, 150);
  EXPECT_EQ(worker_->poll_once(), 64u) << "the budget of one poll";
  worker_->run({});
  ASSERT_EQ(pass_.sent.size(), 150u);
  for (std::size_t i = 0; i < 150; ++i) EXPECT_EQ(pass_.sent[i][1], static_cast<std::uint8_t>(i));
  EXPECT_GE(pass_.flush_count, 3);
}

TEST_F(DataplaneTest, RunEndsAtPacketCountDurationAndStop) {
  push(XDP_DROP, 150);
  EXPECT_EQ(worker_->run({.packet_count_max = 100}), RunEnd::kPacketCount);
  EXPECT_EQ(counters().get(Counter::kRxPackets), 100u);
  worker_->stop();
  EXPECT_EQ(worker_->run({}), RunEnd::kStopped);
  EXPECT_EQ(worker_->run({.duration_ns_max = 1}), RunEnd::kDuration);
  worker_->run({});
}

TEST_F(DataplaneTest, WithoutProgramAndSinkEverythingIsPassNoStack) {
  ScriptedPort bare(pool_);
  worker_->add_port(bare, nullptr, nullptr);
  bare.rx.packets.assign(3, std::vector<std::uint8_t>(60));
  worker_->run({});
  EXPECT_EQ(bare.rx.counters().get(Counter::kPassNoStack), 3u);
  EXPECT_EQ(accounting_error(bare.rx.counters().snapshot()), "");
}

TEST(Accounting, NamesTheEquationThatFails) {
  Counters counters;
  counters.add(Counter::kRxPackets);
  EXPECT_NE(accounting_error(counters.snapshot()).find("1 != 0"), std::string::npos);
}

}  // namespace
}  // namespace lmn
