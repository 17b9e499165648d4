// SPDX-License-Identifier: Apache-2.0
//
// Goal: inner maps, and rings with the bells of their readers, come and go while programs have them
// in their hands, and nobody waits for a worker that stands still.
// Method: as engine_threads_test.cc. Whether a map is freed is seen by its memory, which is then
// mapped no more.
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <poll.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <semaphore>
#include <thread>

#include "engine/callback_sink.h"
#include "engine/threads_for_tests.h"
#include "ports/memory/memory_port.h"

namespace lmn {
namespace {

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

}  // namespace
}  // namespace lmn
