// SPDX-License-Identifier: Apache-2.0
//
// Goal: what control threads change or take away while packets go through is never missed by a
// batch that is under way, and is freed when none can see it any more.
// Method: a worker thread on a port without end, or one that stops in the middle of a batch where
// the test wants it (GatePort), and control calls beside it. Cases named after a fault of other
// packet engines are that fault's regression test. Run under TSan and ASan too.
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <sched.h>

#include <array>
#include <cerrno>
#include <thread>

#include "engine/callback_sink.h"
#include "engine/threads_for_tests.h"
#include "ports/memory/memory_port.h"

namespace lmn {
namespace {

TEST_F(EngineThreads, ProgramsAreAttachedReplacedAndDetachedWhilePacketsCome) {
  LoadedObject* object =
      load({program_from("r0 = 1\nexit", "drop"), program_from("r0 = 3\nexit", "send")});
  Port& port = open("null:size=64");
  start();
  wait_for_more(port, Counter::kPassNoStack);
  ASSERT_TRUE(engine_->attach(*object->programs[0], port).has_value());
  EXPECT_EQ(engine_->attach(*object->programs[1], port).error().errno_value, EBUSY);
  wait_for_more(port, Counter::kXdpDrop, 1000);
  // From here on no packet is without a program.
  const std::uint64_t passed = count(port, Counter::kXdpPass);
  for (int i = 0; i < 200; ++i) {
    const bool sends = i % 2 == 0;
    ASSERT_TRUE(engine_->replace(*object->programs[sends ? 1 : 0], port).has_value());
    wait_for_more(port, sends ? Counter::kXdpTx : Counter::kXdpDrop, 65);
  }
  EXPECT_EQ(count(port, Counter::kXdpPass), passed);
  ASSERT_TRUE(engine_->detach(port).has_value());
  EXPECT_EQ(engine_->detach(port).error().errno_value, ENOENT);
  wait_for_more(port, Counter::kPassNoStack, 1000);
}

// A sink of the application is its own again after wait_for_runs().
TEST_F(EngineThreads, PassSinksAreReplacedWhilePacketsCome) {
  Port& port = open("null:size=64");
  start();
  for (int i = 0; i < 50; ++i) {
    std::uint64_t passed = 0;
    auto sink = std::make_unique<CallbackSink>([&](ByteSpan, std::uint32_t) { ++passed; });
    engine_->set_pass_sink(port, sink.get());
    wait_for_more(port, Counter::kPassDelivered, 10);
    engine_->set_pass_sink(port, nullptr);
    engine_->wait_for_runs();
    EXPECT_GE(passed, 10u);
    sink.reset();
    wait_for_more(port, Counter::kPassNoStack, 10);
  }
}

// redirect_map by slot 0, else the packet is dropped.
constexpr std::string_view kRedirectByMap =
    "r1 = map[idx:0]\nr2 = 0\nr3 = 1\ncall bpf_redirect_map\nexit";

TEST_F(EngineThreads, APortIsRemovedWhilePacketsGoThere) {
  LoadedObject* object =
      load({program_from(kRedirectByMap)}, {map_spec("ports", BPF_MAP_TYPE_DEVMAP, 4, 8)});
  Port& from = open("null:size=64");
  ASSERT_TRUE(engine_->attach(*object->programs[0], from).has_value());
  start();
  std::uint64_t delivered = 0;
  for (int i = 0; i < 20; ++i) {
    Port& to = open_gate();
    const std::uint32_t ifindex = to.info().ifindex;
    const std::uint64_t before = count(from, Counter::kRedirectDelivered);
    ASSERT_EQ(write_slot(*object->maps[0], 0, ifindex), 0);
    ASSERT_EQ(write_slot(*object->maps[0], 7, ifindex), 0);
    wait_for_more(from, Counter::kRedirectDelivered, 200);
    auto removed = engine_->remove_port(to);
    ASSERT_TRUE(removed.has_value());
    EXPECT_TRUE(is_gone_.exchange(false));
    EXPECT_EQ(removed->name, "gate");
    EXPECT_EQ(removed->dropped_frames, 0u);
    const std::uint64_t sent = removed->tx[static_cast<std::size_t>(Counter::kTxPackets)];
    EXPECT_EQ(count(from, Counter::kRedirectDelivered) - before, sent);
    delivered += sent;
    for (const std::uint32_t key : {0u, 7u}) {
      std::array<std::uint8_t, 4> bytes;
      EXPECT_EQ(object->maps[0]->user_lookup(&key, bytes, 0), -ENOENT) << key;
    }
    EXPECT_EQ(write_slot(*object->maps[0], 0, ifindex), -EINVAL);
    EXPECT_EQ(engine_->find_sink(ifindex), nullptr);
    wait_for_more(from, Counter::kXdpDrop, 100);
  }
  stop();
  EXPECT_EQ(count(from, Counter::kRedirectDelivered), delivered);
}

// Linux, "devmap: missing RCU read lock on flush": a bulk was sent on behind the read lock, when
// its port could be gone. Here the port waits for the flush of the batch that found it.
TEST_F(EngineThreads, DevmapFlushHoldsThePort) {
  LoadedObject* object =
      load({program_from(kRedirectByMap)}, {map_spec("ports", BPF_MAP_TYPE_DEVMAP_HASH, 4, 8)});
  Port& from = open("null:size=64");
  Port& to = open_gate();
  const std::uint32_t ifindex = to.info().ifindex;
  ASSERT_TRUE(engine_->attach(*object->programs[0], from).has_value());
  ASSERT_EQ(write_slot(*object->maps[0], 0, ifindex), 0);
  gate_.close();
  start();
  gate_.wait_for_arrival();
  std::thread control([&] {
    const auto removed = engine_->remove_port(to);
    ASSERT_TRUE(removed.has_value());
    EXPECT_GE(removed->tx[static_cast<std::size_t>(Counter::kTxPackets)], 64u);
  });
  while (engine_->find_sink(ifindex) != nullptr) ::sched_yield();
  give_others_time([&] { return is_gone_.load(); });
  EXPECT_FALSE(is_gone_) << "its frames are being sent";
  gate_.open();
  control.join();
  EXPECT_TRUE(is_gone_);
}

TEST_F(EngineThreads, APortThatGoesTakesItsFramesAndItsProgramAlong) {
  LoadedObject* object = load({program_from("r0 = 2\nexit")});
  Port& rest = open("null:size=64,count=10");
  auto& memory = static_cast<MemoryPort&>(open("memory:m0"));
  Port& other = open("memory:m1");
  ASSERT_TRUE(engine_->attach(*object->programs[0], memory).has_value());
  engine_->set_pass_sink(other, &memory.tx_queue());
  const std::vector<std::uint8_t> packet(60);
  for (int i = 0; i < 5; ++i) ASSERT_EQ(memory.push({packet}), 0);
  // Nobody runs: it goes at once, and so do its frames.
  auto removed = engine_->remove_port(memory);
  ASSERT_TRUE(removed.has_value());
  EXPECT_EQ(removed->dropped_frames, 5u);
  EXPECT_TRUE(removed->output.has_value());
  EXPECT_EQ(engine_->accounting_error(), "");
  EXPECT_EQ(engine_->find_port("m0"), nullptr);
  EXPECT_EQ(engine_->remove_port(memory).error().errno_value, ENODEV);
  // Its name is free, its number is not used again, and what led there is counted.
  Port& again = open("memory:m0");
  EXPECT_GT(again.info().ifindex, other.info().ifindex);
  static_cast<MemoryPort&>(other).push({packet});
  static_cast<MemoryPort&>(other).end_input();
  static_cast<MemoryPort&>(again).end_input();
  EXPECT_EQ(engine_->run({}), RunEnd::kInputEnded);
  EXPECT_EQ(count(other, Counter::kPassNoStack), 1u);
  EXPECT_EQ(count(rest, Counter::kRxPackets), 10u);
}

TEST_F(EngineThreads, TheOtherEndOfAPairStaysAndIsDown) {
  auto pair = engine_->open_port("veth:a,b");
  ASSERT_TRUE(pair.has_value());
  Port& left = *(*pair)[1];
  EXPECT_EQ(left.tx_queue().check(60), 0);
  ASSERT_TRUE(engine_->remove_port(*(*pair)[0]).has_value());
  EXPECT_EQ(left.tx_queue().check(60), ENETDOWN);
  EXPECT_EQ(engine_->run({}), RunEnd::kInputEnded);
}

TEST_F(EngineThreads, APortIsNotRemovedFromWithinARun) {
  Port& port = open("null:size=64,count=1");
  int error = 0;
  CallbackSink sink(
      [&](ByteSpan, std::uint32_t) { error = engine_->remove_port(port).error().errno_value; });
  engine_->set_pass_sink(port, &sink);
  engine_->run({});
  EXPECT_EQ(error, EDEADLK);
}

// Counters, traps, prints and pool are read beside the worker.
TEST_F(EngineThreads, WhatTheWorkerCountsIsReadByOthers) {
  LoadedObject* object =
      load({program_from("r1 = 0x0a6968\n*(u64 *)(r10 -8) = r1\nr1 = r10\nr1 += -8\nr2 = 8\ncall "
                         "bpf_trace_printk\nr0 = 1\nexit")});
  Port& port = open("null:size=64");
  ASSERT_TRUE(engine_->attach(*object->programs[0], port).has_value());
  start();
  std::uint64_t lines = 0;
  for (int i = 0; i < 200; ++i) {
    const CounterSnapshot now = port.rx_queue().counters().snapshot();
    EXPECT_LE(now[static_cast<std::size_t>(Counter::kXdpAborted)], 0u);
    engine_->trace().drain([&](std::string_view) { ++lines; });
    EXPECT_EQ(engine_->traps().count(), 0u);
    wait_for_more(port, Counter::kXdpDrop, 10);
  }
  stop();
  engine_->trace().drain([&](std::string_view) { ++lines; });
  EXPECT_EQ(lines + engine_->trace().lost_count(), count(port, Counter::kXdpDrop));
}

TEST_F(EngineThreads, TwoEnginesInOneProcess) {
  auto other = make_engine();
  LoadedObject* object =
      load({program_from(kCountInInnerMap)}, {outer_spec(BPF_MAP_TYPE_ARRAY_OF_MAPS)});
  Port& port = open("null:size=64");
  ASSERT_TRUE(engine_->attach(*object->programs[0], port).has_value());
  auto theirs = other->open_port("null:size=64,count=100000");
  ASSERT_TRUE(theirs.has_value());
  start();
  std::thread second([&] { EXPECT_EQ(other->run({}), RunEnd::kInputEnded); });
  for (int i = 0; i < 50; ++i) {
    Map* inner = *engine_->create_inner_map(*object->maps[0]);
    ASSERT_EQ(write_slot(*object->maps[0], 0, inner->id()), 0);
    ASSERT_TRUE(engine_->close_map(*inner).has_value());
  }
  // The same numbers and names in both mean nothing to each other.
  EXPECT_NE(other->find_port("null"), nullptr);
  EXPECT_EQ(other->acquire_map(1), nullptr);
  second.join();
  other.reset();
  wait_for_more(port, Counter::kXdpPass, 100);
}

// Inside a batch of one engine another one runs: each frees what is its own when it may.
TEST_F(EngineThreads, ARunInsideARun) {
  LoadedObject* object =
      load({program_from(kCountInInnerMap)}, {outer_spec(BPF_MAP_TYPE_ARRAY_OF_MAPS)});
  Map& outer = *object->maps[0];
  Port& port = open("null:size=64,count=64");
  ASSERT_TRUE(engine_->attach(*object->programs[0], port).has_value());
  Map* inner = *engine_->create_inner_map(outer);
  ASSERT_EQ(write_slot(outer, 0, inner->id()), 0);
  const std::uint32_t key = 0;
  const void* value = inner->lookup(&key, 0);
  auto other = make_engine();
  ObjectSpec spec;
  spec.programs.push_back(program_from("r0 = 2\nexit"));
  Program& program = *(*other->load(spec, {}))->programs[0];
  int seen = 0;
  CallbackSink sink([&](ByteSpan packet, std::uint32_t) {
    if (seen++ != 0) return;
    EXPECT_TRUE(engine_->close_map(*inner).has_value());
    EXPECT_EQ(outer.user_erase(&key), 0);
    TestRunOptions options;
    options.repeat = 1000;
    EXPECT_TRUE(other->test_run(program, packet, options).has_value());
    give_others_time([&] { return !is_mapped(value); });
    EXPECT_TRUE(is_mapped(value));
  });
  engine_->set_pass_sink(port, &sink);
  EXPECT_EQ(engine_->run({}), RunEnd::kInputEnded);
  EXPECT_EQ(seen, 64);
  wait_until_freed(value);
}

// Whatever is on its way to be freed when the engine goes is freed, in an order that holds.
TEST_F(EngineThreads, AnEngineGoesWithAllThatIsRetired) {
  for (int i = 0; i < 10; ++i) {
    engine_ = make_engine();
    LoadedObject* object =
        load({program_from(kRedirectByMap)}, {map_spec("ports", BPF_MAP_TYPE_DEVMAP, 4, 8)});
    LoadedObject* holder =
        load({program_from(kCountInInnerMap)}, {outer_spec(BPF_MAP_TYPE_HASH_OF_MAPS)});
    Port& port = open("null:size=64");
    Port& to = open_gate();
    ASSERT_TRUE(engine_->attach(*object->programs[0], port).has_value());
    ASSERT_EQ(write_slot(*object->maps[0], 0, to.info().ifindex), 0);
    Map* inner = *engine_->create_inner_map(*holder->maps[0]);
    Map* kept = *engine_->create_inner_map(*holder->maps[0]);
    ASSERT_EQ(write_slot(*holder->maps[0], 0, inner->id()), 0);
    const std::uint32_t key = 0;
    const void* value = inner->lookup(&key, 0);
    const void* kept_value = kept->lookup(&key, 0);
    start();
    wait_for_more(port, Counter::kXdpRedirect, 70);
    ASSERT_TRUE(engine_->close_map(*inner).has_value());
    const bool is_in_slot = i % 2 == 0;
    EXPECT_TRUE(is_in_slot || holder->maps[0]->user_erase(&key) == 0);
    ASSERT_TRUE(engine_->detach(port).has_value());
    stop();
    is_gone_ = false;
    engine_.reset();
    EXPECT_TRUE(is_gone_);
    EXPECT_FALSE(is_mapped(value));
    EXPECT_FALSE(is_mapped(kept_value));
  }
}

}  // namespace
}  // namespace lmn
