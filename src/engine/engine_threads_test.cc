// SPDX-License-Identifier: Apache-2.0
//
// Goal: what control threads change or take away while packets go through is never missed by a
// batch that is under way, and is freed when none can see it any more.
// Method: a worker thread on a port without end, or one that stops in the middle of a batch where
// the test wants it (GatePort), and control calls beside it. Cases named after a fault of other
// packet engines are that fault's regression test. Run under TSan and ASan too.
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <semaphore>
#include <thread>

#include "engine/callback_sink.h"
#include "engine/engine.h"
#include "insn/assemble.h"
#include "ports/memory/memory_port.h"

namespace lmn {
namespace {

ProgramSpec program_from(std::string_view text, std::string name = "prog") {
  ProgramSpec program;
  program.name = std::move(name);
  program.section = "xdp";
  program.type = BPF_PROG_TYPE_XDP;
  program.expected_attach_type = BPF_XDP;
  program.license = "GPL";
  auto insns = assemble(text);
  EXPECT_TRUE(insns.has_value()) << insns.error().to_string();
  program.insns = *insns;
  return program;
}

MapSpec map_spec(std::string name, std::uint32_t type, std::uint32_t value_size,
                 std::uint32_t max_entries) {
  MapSpec map;
  map.name = std::move(name);
  map.type = type;
  map.key_size = 4;
  map.value_size = value_size;
  map.max_entries = max_entries;
  return map;
}

int write_slot(Map& map, std::uint32_t key, std::uint32_t value) {
  std::array<std::uint8_t, 4> bytes;
  std::memcpy(bytes.data(), &value, sizeof value);
  return map.user_update(&key, bytes, BPF_ANY);
}

// Long enough for another thread to do what it must not do.
template <typename IsEnough>
void give_others_time(IsEnough is_enough) {
  for (int i = 0; i < 20'000 && !is_enough(); ++i) ::sched_yield();
}

bool is_mapped(const void* address) {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto at = reinterpret_cast<std::uintptr_t>(address) / page * page;
  unsigned char resident = 0;
  return ::mincore(reinterpret_cast<void*>(at), page, &resident) == 0;
}

void wait_until_freed(const void* address) {
  for (int i = 0; i < 1'000'000 && is_mapped(address); ++i) ::sched_yield();
  EXPECT_FALSE(is_mapped(address));
}

// A gate in the middle of a batch: the thread that comes through tells and waits.
class Gate {
 public:
  void come_through() {
    if (!is_closed_.exchange(false)) return;
    arrived_.release();
    go_on_.acquire();
  }
  void close() { is_closed_ = true; }
  void wait_for_arrival() { arrived_.acquire(); }
  void open() { go_on_.release(); }

 private:
  std::atomic<bool> is_closed_{false};
  std::binary_semaphore arrived_{0};
  std::binary_semaphore go_on_{0};
};

// A port that sends into nothing; each flush goes through a gate.
class GatePort final : public Port {
 public:
  GatePort(Engine& engine, std::string name, Gate& gate, std::atomic<bool>& is_gone)
      : is_gone_(is_gone), tx_(gate) {
    info_.name = std::move(name);
    info_.ifindex = engine.port_resources().next_own_ifindex++;
  }
  ~GatePort() override {
    EXPECT_FALSE(tx_.is_flushing) << "freed in its own flush";
    is_gone_ = true;
  }
  RxQueue& rx_queue() override { return rx_; }
  TxQueue& tx_queue() override { return tx_; }

 private:
  class Rx final : public RxQueue {
   public:
    std::size_t receive(FrameBatch&) noexcept override { return 0; }
    bool is_exhausted() const noexcept override { return true; }
  };
  class Tx final : public TxQueue {
   public:
    explicit Tx(Gate& gate) : gate_(gate) {}
    int check(std::uint32_t) const noexcept override { return 0; }
    void enqueue(XdpFrame* frame) noexcept override { held_.push_back(frame); }
    void flush() noexcept override {
      is_flushing = true;
      gate_.come_through();
      for (XdpFrame* frame : held_) free_frame(frame);
      counters_.add(Counter::kTxPackets, held_.size());
      held_.clear();
      is_flushing = false;
    }
    std::uint64_t pending() const noexcept override { return held_.size(); }
    bool is_flushing = false;

   private:
    Gate& gate_;
    std::vector<XdpFrame*> held_;
  };
  std::atomic<bool>& is_gone_;
  Rx rx_;
  Tx tx_;
};

class EngineThreads : public ::testing::Test {
 protected:
  EngineThreads() : engine_(make_engine()) {}
  ~EngineThreads() override { stop(); }

  std::unique_ptr<Engine> make_engine() {
    EngineOptions options;
    options.log = &log_;
    options.seed = 1;
    options.frame_count = 512;
    return *Engine::create(options);
  }
  LoadedObject* load(std::initializer_list<ProgramSpec> programs,
                     std::initializer_list<MapSpec> maps = {}) {
    ObjectSpec spec;
    spec.programs = programs;
    spec.maps = maps;
    for (ProgramSpec& program : spec.programs) {
      for (std::uint32_t i = 0; i < spec.maps.size(); ++i) program.maps.push_back(i);
    }
    auto object = engine_->load(spec, {});
    EXPECT_TRUE(object.has_value()) << object.error().to_string();
    return object ? *object : nullptr;
  }
  Port& open(const std::string& text) {
    auto ports = engine_->open_port(text);
    EXPECT_TRUE(ports.has_value()) << ports.error().to_string();
    return *(*ports)[0];
  }
  GatePort& open_gate() {
    return static_cast<GatePort&>(
        engine_->adopt_port(std::make_unique<GatePort>(*engine_, "gate", gate_, is_gone_)));
  }
  void start() {
    thread_ = std::thread([this] { engine_->run({}); });
  }
  void stop() {
    if (!thread_.joinable()) return;
    engine_->stop();
    thread_.join();
    EXPECT_EQ(engine_->accounting_error(), "");
  }
  static std::uint64_t count(Port& port, Counter counter) {
    return port.rx_queue().counters().get(counter);
  }
  // Until the worker has gone on by that many of them.
  static void wait_for_more(Port& port, Counter counter, std::uint64_t more = 1) {
    const std::uint64_t wanted = count(port, counter) + more;
    while (count(port, counter) < wanted) ::sched_yield();
  }

  MemoryLog log_;
  Gate gate_;
  std::atomic<bool> is_gone_{false};
  std::unique_ptr<Engine> engine_;
  std::thread thread_;
};

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

// Looks the inner map up by slot 0 and adds to its value.
constexpr std::string_view kCountInInnerMap = R"(
  *(u32 *)(r10 -4) = 0
  r2 = r10
  r2 += -4
  r1 = map[idx:0]
  call bpf_map_lookup_elem
  if r0 == 0 goto out
  r1 = r0
  r2 = r10
  r2 += -4
  call bpf_map_lookup_elem
  if r0 == 0 goto out
  r1 = 1
  lock *(u64 *)(r0 +0) += r1
out:
  r0 = 2
  exit
)";

MapSpec outer_spec(std::uint32_t type) {
  MapSpec outer = map_spec("outer", type, 4, 1);
  outer.inner = std::make_shared<const MapSpec>(map_spec("inner", BPF_MAP_TYPE_ARRAY, 8, 1));
  return outer;
}

// Linux CVE-2023-52447: an inner map that was replaced was freed while a program still had it from
// its lookup.
TEST_F(EngineThreads, Cve2023_52447_AnInnerMapOutlivesTheRunsThatFoundIt) {
  for (const std::uint32_t type : {BPF_MAP_TYPE_ARRAY_OF_MAPS, BPF_MAP_TYPE_HASH_OF_MAPS}) {
    LoadedObject* object = load({program_from(kCountInInnerMap)}, {outer_spec(type)});
    Port& port = open("null:name" + std::to_string(type) + ",size=64");
    ASSERT_TRUE(engine_->attach(*object->programs[0], port).has_value());
    Map& outer = *object->maps[0];
    Map* inner = *engine_->create_inner_map(outer);
    ASSERT_EQ(write_slot(outer, 0, inner->id()), 0);
    const std::uint32_t key = 0;
    const void* value = inner->lookup(&key, 0);
    CallbackSink sink([&](ByteSpan, std::uint32_t) { gate_.come_through(); });
    engine_->set_pass_sink(port, &sink);
    gate_.close();
    start();
    gate_.wait_for_arrival();
    // In the middle of a batch whose programs have looked it up.
    ASSERT_TRUE(engine_->close_map(*inner).has_value());
    EXPECT_TRUE(is_mapped(value)) << "a slot holds it";
    ASSERT_EQ(outer.user_erase(&key), 0);
    give_others_time([&] { return !is_mapped(value); });
    EXPECT_TRUE(is_mapped(value)) << "a run may use it";
    gate_.open();
    wait_until_freed(value);
    engine_->set_pass_sink(port, nullptr);
    stop();
    ASSERT_TRUE(engine_->remove_port(port).has_value());
  }
}

TEST_F(EngineThreads, InnerMapsComeAndGoWhileProgramsUseThem) {
  LoadedObject* object =
      load({program_from(kCountInInnerMap)}, {outer_spec(BPF_MAP_TYPE_ARRAY_OF_MAPS)});
  Port& port = open("null:size=64");
  ASSERT_TRUE(engine_->attach(*object->programs[0], port).has_value());
  Map& outer = *object->maps[0];
  start();
  std::uint64_t counted = 0;
  for (int i = 0; i < 100; ++i) {
    Map* inner = *engine_->create_inner_map(outer);
    ASSERT_EQ(write_slot(outer, 0, inner->id()), 0);
    wait_for_more(port, Counter::kXdpPass, 70);
    const std::uint32_t key = 0;
    std::array<std::uint8_t, 8> bytes;
    ASSERT_EQ(inner->user_lookup(&key, bytes, 0), 0);
    std::uint64_t here = 0;
    std::memcpy(&here, bytes.data(), sizeof here);
    EXPECT_GT(here, 0u);
    counted += here;
    ASSERT_EQ(outer.user_lookup(&key, std::span(bytes).first(4), 0), 0);
    ASSERT_TRUE(engine_->close_map(*inner).has_value());
  }
  stop();  // what programs count is ahead of what the worker counts
  EXPECT_EQ(engine_->traps().count(), 0u);
  EXPECT_LE(counted, count(port, Counter::kXdpPass));
}

// Rings come and go with the bells that wake their readers.
TEST_F(EngineThreads, InnerRingsAreClosedWithTheirBells) {
  MapSpec outer = map_spec("outer", BPF_MAP_TYPE_ARRAY_OF_MAPS, 4, 1);
  MapSpec ring = map_spec("ring", BPF_MAP_TYPE_RINGBUF, 0, 4096);
  ring.key_size = 0;
  outer.inner = std::make_shared<const MapSpec>(ring);
  LoadedObject* object = load({program_from(R"(
  *(u64 *)(r10 -8) = 0
  r2 = r10
  r2 += -8
  r1 = map[idx:0]
  call bpf_map_lookup_elem
  if r0 == 0 goto out
  r1 = r0
  r2 = r10
  r2 += -8
  r3 = 8
  r4 = 0
  call bpf_ringbuf_output
out:
  r0 = 1
  exit
)")},
                              {outer});
  Port& port = open("null:size=64");
  ASSERT_TRUE(engine_->attach(*object->programs[0], port).has_value());
  start();
  for (int i = 0; i < 20; ++i) {
    Map* inner = *engine_->create_inner_map(*object->maps[0]);
    const auto bell = engine_->reader_bell(*inner);
    ASSERT_TRUE(bell.has_value());
    ASSERT_EQ(write_slot(*object->maps[0], 0, inner->id()), 0);
    pollfd wait{*bell, POLLIN, 0};
    EXPECT_EQ(::poll(&wait, 1, 10'000), 1) << "the first record wakes its reader";
    ASSERT_TRUE(engine_->close_map(*inner).has_value());
  }
  EXPECT_EQ(engine_->traps().count(), 0u);
}

TEST_F(EngineThreads, ClosedMapsAreNobodysAndClosedOnce) {
  LoadedObject* object =
      load({program_from(kCountInInnerMap)}, {outer_spec(BPF_MAP_TYPE_ARRAY_OF_MAPS)});
  Map& outer = *object->maps[0];
  Map* inner = *engine_->create_inner_map(outer);
  const std::uint32_t id = inner->id();
  ASSERT_EQ(write_slot(outer, 0, id), 0);
  ASSERT_TRUE(engine_->close_map(*inner).has_value());
  EXPECT_EQ(engine_->close_map(*inner).error().errno_value, ENOENT);
  EXPECT_EQ(engine_->close_map(outer).error().errno_value, ENOENT);
  // The slot holds it, but nobody gets it by its number.
  EXPECT_EQ(write_slot(outer, 0, id), -EBADF);
  const std::uint32_t key = 0;
  EXPECT_EQ(outer.lookup(&key, 0), inner);
  const void* value = inner->lookup(&key, 0);
  ASSERT_EQ(outer.user_erase(&key), 0);
  EXPECT_FALSE(is_mapped(value)) << "nothing runs: it is freed at once";
}

// An application that stops calling holds nobody up, nor does a worker that sleeps.
TEST_F(EngineThreads, NobodyWaitsForAWorkerThatStandsStill) {
  LoadedObject* object =
      load({program_from(kCountInInnerMap)}, {outer_spec(BPF_MAP_TYPE_ARRAY_OF_MAPS)});
  auto& port = static_cast<MemoryPort&>(open("memory:m0"));
  ASSERT_TRUE(engine_->attach(*object->programs[0], port).has_value());
  std::binary_semaphore go(0);
  std::binary_semaphore done(0);
  std::thread application([&] {
    engine_->run({.duration_ns_max = 1});
    done.release();
    go.acquire();
  });
  done.acquire();
  engine_->wait_for_runs();
  Map* inner = *engine_->create_inner_map(*object->maps[0]);
  const std::uint32_t key = 0;
  const void* value = inner->lookup(&key, 0);
  ASSERT_TRUE(engine_->close_map(*inner).has_value());
  EXPECT_FALSE(is_mapped(value));
  go.release();
  application.join();
  start();  // nothing comes in: it sleeps
  engine_->wait_for_runs();
  ASSERT_TRUE(engine_->remove_port(port).has_value());
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
