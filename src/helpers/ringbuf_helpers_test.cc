// SPDX-License-Identifier: Apache-2.0
//
// Goal: the ring buffer helpers give a reader the records that were submitted and no others, and
// never lose track of one. Method: bodies are called on a ring of one page, which a reader of this
// process empties.
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "helpers/test_run.h"
#include "maps/ringbuf_map.h"

namespace lmn {
namespace {

class NoHost final : public MapHost {
 public:
  FrameSink* find_sink(std::uint32_t) noexcept override { return nullptr; }
  const ProgramEntry* acquire_program(std::uint32_t) noexcept override { return nullptr; }
  void release_program(const ProgramEntry*) noexcept override {}
};

class RingbufHelpers : public testing::Test {
 protected:
  static constexpr std::uint32_t kRingBytes = 4096;

  RingbufHelpers() : map_(make_map(BPF_MAP_TYPE_RINGBUF, 0, kRingBytes)), run_(kNoPacket) {}

  static std::unique_ptr<Map> make_map(std::uint32_t type, std::uint32_t size,
                                       std::uint32_t max_entries) {
    MapSpec spec;
    spec.type = type;
    spec.key_size = size;
    spec.value_size = size;
    spec.max_entries = max_entries;
    NoHost host;
    auto map = create_map(spec, {}, host);
    EXPECT_TRUE(map.has_value());
    return std::move(*map);
  }
  std::int64_t query(std::uint64_t what) {
    return run_.call(BPF_FUNC_ringbuf_query, map_.get(), what);
  }
  std::uint8_t* reserve(std::uint64_t size) {
    return reinterpret_cast<std::uint8_t*>(
        run_.call(BPF_FUNC_ringbuf_reserve, map_.get(), size, 0));
  }
  std::vector<std::string> read() {
    std::vector<std::string> records;
    static_cast<RingbufMap&>(*map_).consume([&](std::span<const std::uint8_t> record) {
      records.emplace_back(record.begin(), record.end());
    });
    return records;
  }

  static inline const std::vector<std::uint8_t> kNoPacket;
  std::unique_ptr<Map> map_;
  TestRun run_;
};

TEST_F(RingbufHelpers, OutputCopiesAndRefuses) {
  EXPECT_EQ(run_.call(BPF_FUNC_ringbuf_output, map_.get(), "hello", 5, 0), 0);
  EXPECT_EQ(run_.call(BPF_FUNC_ringbuf_output, map_.get(), "", 0, BPF_RB_FORCE_WAKEUP), 0);
  EXPECT_EQ(run_.call(BPF_FUNC_ringbuf_output, map_.get(), "x", 1, 4), -EINVAL);
  EXPECT_EQ(query(BPF_RB_AVAIL_DATA), 16 + 8);
  EXPECT_EQ(read(), (std::vector<std::string>{"hello", ""}));
  const std::vector<std::uint8_t> large(kRingBytes);
  EXPECT_EQ(run_.call(BPF_FUNC_ringbuf_output, map_.get(), large.data(), large.size(), 0), -EAGAIN);
  EXPECT_EQ(query(BPF_RB_AVAIL_DATA), 0);
  EXPECT_EQ(query(BPF_RB_RING_SIZE), kRingBytes);
  EXPECT_EQ(query(BPF_RB_CONS_POS), 24);
  EXPECT_EQ(query(BPF_RB_PROD_POS), 24);
  EXPECT_EQ(query(77), 0);
}

TEST_F(RingbufHelpers, ReservedRecordsAreSeenWhenSubmittedAndInOrder) {
  std::uint8_t* first = reserve(4);
  std::uint8_t* second = reserve(4);
  std::uint8_t* third = reserve(4);
  ASSERT_TRUE(first != nullptr && second != nullptr && third != nullptr);
  EXPECT_EQ(run_.context.held_records.count(), 3u);
  std::memcpy(first, "aaaa", 4);
  std::memcpy(second, "bbbb", 4);
  std::memcpy(third, "cccc", 4);
  EXPECT_EQ(run_.call(BPF_FUNC_ringbuf_submit, third, 0), 0);
  EXPECT_TRUE(read().empty()) << "an earlier one is still being written";
  EXPECT_EQ(run_.call(BPF_FUNC_ringbuf_discard, second, 0), 0);
  EXPECT_EQ(run_.call(BPF_FUNC_ringbuf_submit, first, 0), 0);
  EXPECT_EQ(read(), (std::vector<std::string>{"aaaa", "cccc"}));
  EXPECT_EQ(run_.context.held_records.count(), 0u);
}

TEST_F(RingbufHelpers, ReserveRefuses) {
  EXPECT_EQ(run_.call(BPF_FUNC_ringbuf_reserve, map_.get(), 8, 1), 0) << "flags";
  EXPECT_EQ(reserve(kRingBytes), nullptr);
  EXPECT_EQ(reserve(1ull << 32), nullptr);
  ASSERT_NE(reserve(kRingBytes - 16), nullptr);
  EXPECT_EQ(reserve(1), nullptr) << "full";
}

TEST_F(RingbufHelpers, WhatWasNeverReservedCannotBeSubmitted) {
  std::uint8_t* record = reserve(8);
  run_.call(BPF_FUNC_ringbuf_submit, record, 0);
  run_.call(BPF_FUNC_ringbuf_submit, record, 0);
  run_.call(BPF_FUNC_ringbuf_discard, record, 0);
  std::uint8_t foreign[16] = {};
  run_.call(BPF_FUNC_ringbuf_submit, foreign + 8, 0);
  EXPECT_EQ(read().size(), 1u);
}

TEST_F(RingbufHelpers, AStoppedProgramsRecordsAreGivenBack) {
  ASSERT_NE(reserve(8), nullptr);
  ASSERT_NE(reserve(8), nullptr);
  run_.context.held_records.discard_all();
  EXPECT_EQ(run_.context.held_records.count(), 0u);
  EXPECT_EQ(run_.call(BPF_FUNC_ringbuf_output, map_.get(), "next", 4, 0), 0);
  EXPECT_EQ(read(), (std::vector<std::string>{"next"})) << "the ring goes on";
}

TEST_F(RingbufHelpers, OneRunHoldsABoundedNumber) {
  for (std::size_t i = 0; i < HeldRecords::kMax; ++i) ASSERT_NE(reserve(8), nullptr);
  EXPECT_EQ(reserve(8), nullptr);
  run_.context.held_records.discard_all();
}

// Linux CVE-2021-34866: a helper of ring buffers took any map for one.
TEST_F(RingbufHelpers, AnotherMapTypeIsRefused) {
  const auto array = make_map(BPF_MAP_TYPE_ARRAY, 4, 4);
  EXPECT_EQ(run_.call(BPF_FUNC_ringbuf_output, array.get(), "x", 1, 0), -EINVAL);
  EXPECT_EQ(run_.call(BPF_FUNC_ringbuf_reserve, array.get(), 8, 0), 0);
  EXPECT_EQ(run_.call(BPF_FUNC_ringbuf_query, array.get(), BPF_RB_RING_SIZE), 0);
}

TEST_F(RingbufHelpers, ThroughDynptrs) {
  std::uint64_t dynptr[2] = {1, 1};
  const auto make = [&](std::uint64_t size, std::uint64_t flags) {
    return run_.call(BPF_FUNC_ringbuf_reserve_dynptr, map_.get(), size, flags, dynptr);
  };
  EXPECT_EQ(make(8, 1), -EINVAL);
  EXPECT_EQ(make(1u << 24, 0), -E2BIG);
  EXPECT_EQ(make(kRingBytes, 0), -EINVAL);
  EXPECT_EQ(dynptr[0], 0u) << "null";
  EXPECT_EQ(run_.call(BPF_FUNC_ringbuf_submit_dynptr, dynptr, 0), 0) << "null is fine";
  ASSERT_EQ(make(8, 0), 0);
  EXPECT_EQ(run_.call(BPF_FUNC_dynptr_write, dynptr, 2, "text", 4, 0), 0);
  EXPECT_EQ(run_.call(BPF_FUNC_dynptr_write, dynptr, 6, "text", 4, 0), -E2BIG);
  EXPECT_EQ(run_.call(BPF_FUNC_ringbuf_submit_dynptr, dynptr, 0), 0);
  EXPECT_EQ(dynptr[0], 0u) << "null again";
  ASSERT_EQ(make(8, 0), 0);
  EXPECT_EQ(run_.call(BPF_FUNC_ringbuf_discard_dynptr, dynptr, 0), 0);
  const auto records = read();
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(records[0].substr(2, 4), "text");
}

}  // namespace
}  // namespace lmn
