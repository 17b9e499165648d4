// SPDX-License-Identifier: Apache-2.0
//
// Goal: bpf_user_ringbuf_drain shows the same records in the same order as the kernel's, and gives
// the same result for rings that are whole, discarded in part, unfinished or broken.
// Method: one program in both (TwinProgram), whose function copies what it is shown into a map; the
// same bytes are written into the kernel's ring and ours before each run, at random.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <random>
#include <set>

#include "base/byte_reader.h"
#include "base/shared_memory.h"
#include "differential/twin.h"
#include "insn/assemble.h"

namespace lmn {
namespace {

constexpr std::size_t kPageBytes = 4096;
constexpr std::size_t kRingBytes = 4096;
constexpr std::uint32_t kBusy = 1u << 31;
constexpr std::uint32_t kDiscarded = 1u << 30;
constexpr std::size_t kOutBytes = 64;

// out: 0 the result, 8 records seen, 16 the sum of their sizes, 24 the last one's first 8 bytes,
// 32 the result of reading them. A record that begins with 0xee ends the drain.
constexpr std::string_view kProgram = R"(
  r6 = *(u32 *)(r1 +0)
  r7 = *(u32 *)(r1 +4)
  r2 = r6
  r2 += 16
  if r2 > r7 goto out
  r4 = *(u64 *)(r6 +8)
  r1 = map[idx:0]
  r2 = func seen
  r3 = 0
  call bpf_user_ringbuf_drain
  r1 = map[idx:1]+0
  *(u64 *)(r1 +0) = r0
out:
  r0 = 2
  exit
seen:
  r6 = r1
  r7 = map[idx:1]+0
  r1 = *(u64 *)(r7 +8)
  r1 += 1
  *(u64 *)(r7 +8) = r1
  r1 = r7
  r1 += 24
  r2 = 8
  r3 = r6
  r4 = 0
  r5 = 0
  call bpf_dynptr_read
  *(u64 *)(r7 +32) = r0
  r1 = r6
  r2 = 0
  r3 = 4
  call bpf_dynptr_data
  if r0 == 0 goto small
  r1 = *(u32 *)(r0 +0)
  r2 = *(u64 *)(r7 +16)
  r2 += r1
  *(u64 *)(r7 +16) = r2
  r0 = *(u8 *)(r0 +0)
  if r0 != 0xee goto small
  r0 = 1
  exit
small:
  r0 = 0
  exit
)";

// The writing end of a ring: the producer's page, then the data. As libbpf's: a record behind a
// header in the last bytes begins at the start; one that runs over the end goes on behind it.
class RingWriter {
 public:
  explicit RingWriter(std::uint8_t* producer_page) : memory_(producer_page) {}
  void put(std::uint32_t header, std::span<const std::uint8_t> bytes) {
    std::uint8_t* data = memory_ + kPageBytes;
    store_unaligned<std::uint32_t>(data + position_ % kRingBytes, header);
    std::ranges::copy(bytes, data + (position_ + 8) % kRingBytes);
    position_ += (bytes.size() + 8 + 7) / 8 * 8;
  }
  void move_to(std::uint64_t position) { position_ = position; }
  std::uint64_t position() const { return position_; }
  void publish() {
    __atomic_store_n(reinterpret_cast<std::uint64_t*>(memory_), position_, __ATOMIC_RELEASE);
  }

 private:
  std::uint8_t* memory_;
  std::uint64_t position_ = 0;
};

class UserRingbufDifferential : public testing::Test {
 protected:
  void SetUp() override {
    if (auto reason = why_no_kernel_oracle()) GTEST_SKIP() << *reason;
    MapSpec ring;
    ring.name = "ring";
    ring.type = BPF_MAP_TYPE_USER_RINGBUF;
    ring.max_entries = kRingBytes;
    maps_.add(ring);
    MapSpec out;
    out.name = "out";
    out.type = BPF_MAP_TYPE_ARRAY;
    out.key_size = 4;
    out.value_size = kOutBytes;
    out.max_entries = 1;
    maps_.add(out);
    program_ = prepare(kProgram);
    ASSERT_TRUE(program_->is_runnable()) << program_->refusal();
    const std::size_t bytes = kPageBytes + 2 * kRingBytes;
    void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, maps_.kernel(0).fd(),
                          kPageBytes);
    ASSERT_NE(memory, MAP_FAILED);
    kernel_memory_ = static_cast<std::uint8_t*>(memory);
  }
  void TearDown() override {
    if (kernel_memory_ != nullptr) ::munmap(kernel_memory_, kPageBytes + 2 * kRingBytes);
  }
  // A program with one function besides its first, which a `func` refers to.
  std::unique_ptr<TwinProgram> prepare(std::string_view text) {
    const auto insns = assemble(text);
    EXPECT_TRUE(insns.has_value()) << insns.error().to_string();
    std::uint32_t function = 0;
    for (std::uint32_t slot = 0; slot < insns->size(); ++slot) {
      const Insn& insn = (*insns)[slot];
      if (insn.op == Op::kLddw && insn.src == BPF_PSEUDO_FUNC)
        function = slot + 1 + static_cast<std::uint32_t>(static_cast<std::int32_t>(insn.imm));
    }
    EXPECT_GT(function, 0u);
    return std::make_unique<TwinProgram>(maps_, *insns, std::vector<std::uint32_t>{0, function});
  }
  std::uint8_t* our_memory() { return maps_.ours(0).mapped_memory()->data() + kPageBytes; }
  // Both sides' results, after a run with `flags`.
  struct Outs {
    std::vector<std::uint8_t> kernel;
    std::vector<std::uint8_t> ours;
  };
  Outs run(std::uint64_t flags) {
    std::vector<std::uint8_t> packet(60);
    store_unaligned<std::uint64_t>(&packet[8], flags);
    const TwinRun run = program_->run(packet);
    EXPECT_EQ(run.difference(), "");
    Outs outs{maps_.kernel(1).entries().at(0).value, std::vector<std::uint8_t>(kOutBytes)};
    const std::uint32_t key = 0;
    EXPECT_EQ(maps_.ours(1).copy_value(&key, outs.ours, 0), 0);
    return outs;
  }

  TwinMaps maps_;
  std::unique_ptr<TwinProgram> program_;
  std::uint8_t* kernel_memory_ = nullptr;
  std::mt19937_64 random_{20251120};
};

TEST_F(UserRingbufDifferential, WholeDiscardedAndUnfinishedRecords) {
  RingWriter kernel(kernel_memory_);
  RingWriter ours(our_memory());
  std::set<std::int64_t> results;
  for (int i = 0; i < 3'000; ++i) {
    std::uint64_t room = kRingBytes / 2;
    for (std::uint64_t records = random_() % 6; records > 0; --records) {
      std::vector<std::uint8_t> bytes(random_() % 40);
      for (auto& byte : bytes) byte = static_cast<std::uint8_t>(random_());
      if (!bytes.empty() && random_() % 8 == 0) bytes[0] = 0xee;
      if (bytes.size() + 16 > room) break;
      room -= bytes.size() + 16;
      auto header = static_cast<std::uint32_t>(bytes.size());
      if (random_() % 6 == 0) header |= kDiscarded;
      kernel.put(header, bytes);
      ours.put(header, bytes);
    }
    kernel.publish();
    ours.publish();
    const std::uint64_t flags = random_() % 16 == 0 ? random_() % 8 : 0;
    // Until the ring is empty, so that the writers need not look at the consumer.
    for (int again = 0; again < 7; ++again) {
      const Outs outs = run(again == 0 ? flags : 0);
      ASSERT_EQ(outs.kernel, outs.ours) << "round " << i;
      results.insert(static_cast<std::int64_t>(load_unaligned<std::uint64_t>(outs.kernel.data())));
    }
  }
  EXPECT_TRUE(results.contains(0));
  EXPECT_TRUE(results.contains(3));
  EXPECT_TRUE(results.contains(-EINVAL)) << "bad flags";
}

TEST_F(UserRingbufDifferential, RecordsThatMakeNoSense) {
  RingWriter kernel(kernel_memory_);
  RingWriter ours(our_memory());
  const std::vector<std::uint8_t> bytes(8, 1);
  const struct {
    std::uint32_t header;
    std::uint64_t position;
    std::int64_t result;
  } kCases[] = {
      {8 | kBusy, 16, 0},
      {8, 15, -EINVAL},
      {8, 8, -EINVAL},
      {4096, 4104, -E2BIG},
      {4096, 1 << 20, -E2BIG},
      {kDiscarded - 1, 16, -EINVAL},
      {kDiscarded - 1, 1ull << 40, -E2BIG},
      {8, 0, 0},
      {8, 16, 1},
  };
  for (const auto& test : kCases) {
    for (RingWriter* writer : {&kernel, &ours}) {
      writer->move_to(0);
      writer->put(test.header, bytes);
      writer->move_to(test.position);
      writer->publish();
    }
    const Outs outs = run(0);
    ASSERT_EQ(outs.kernel, outs.ours) << "header " << test.header << ", position " << test.position;
    EXPECT_EQ(load_unaligned<std::uint64_t>(outs.kernel.data()),
              static_cast<std::uint64_t>(test.result))
        << "header " << test.header << ", position " << test.position;
  }
}

// What the kernel's verifier refuses and the interpreter therefore has to stop: uses of what the
// function was lent, after it has returned or as if it were its own.
TEST_F(UserRingbufDifferential, WhatIsLentIsGoneAfterwards) {
  constexpr std::string_view kDrain = R"(
    r1 = map[idx:0]
    r2 = func seen
    r3 = r10
    r3 += -8
    r4 = 0
    call bpf_user_ringbuf_drain
  )";
  const struct {
    const char* what;
    const char* after;
    const char* function;
    TrapReason reason;
  } kCases[] = {
      {"the dynptr",
       "r1 = r10\n r1 += -16\n r2 = 8\n r3 = *(u64 *)(r10 -8)\n r4 = 0\n r5 = 0\n"
       "call bpf_dynptr_read\n r0 = 2\n exit\n",
       "*(u64 *)(r2 +0) = r1\n r0 = 0\n exit\n", TrapReason::kArgument},
      {"a slice of it", "r1 = *(u64 *)(r10 -8)\n r0 = *(u8 *)(r1 +0)\n exit\n",
       "r6 = r2\n r2 = 0\n r3 = 4\n call bpf_dynptr_data\n *(u64 *)(r6 +0) = r0\n r0 = 0\n exit\n",
       TrapReason::kReleasedMemory},
      {"released by the function", "r0 = 2\n exit\n",
       "r2 = 0\n call bpf_ringbuf_submit_dynptr\n r0 = 0\n exit\n", TrapReason::kArgument},
      {"made again by the function", "r0 = 2\n exit\n",
       "r4 = r1\n r1 = map[idx:1]+0\n r2 = 8\n r3 = 0\n call bpf_dynptr_from_mem\n r0 = 0\n exit\n",
       TrapReason::kArgument},
      {"its bytes", "r0 = 2\n exit\n", "r0 = *(u64 *)(r1 +0)\n exit\n", TrapReason::kNotAccessible},
  };
  RingWriter writer(our_memory());
  const std::vector<std::uint8_t> bytes(8, 1);
  for (const auto& test : kCases) {
    const auto program = prepare(std::string(kDrain) + test.after + "seen:\n" + test.function);
    EXPECT_FALSE(program->kernel_accepts()) << test.what;
    ASSERT_TRUE(program->we_accept()) << test.what << ": " << program->refusal();
    writer.put(8, bytes);
    writer.publish();
    const TwinRun run = program->run(std::vector<std::uint8_t>(60));
    ASSERT_EQ(run.traps.size(), 1u) << test.what;
    EXPECT_EQ(run.traps[0].trap.reason, test.reason) << test.what << ": " << run.traps[0].text;
    EXPECT_EQ(run.our_verdict, static_cast<std::uint32_t>(XDP_ABORTED));
  }
  EXPECT_EQ(run(0).ours[0], 0) << "the ring is free for the next drain, and empty";
}

}  // namespace
}  // namespace lmn
