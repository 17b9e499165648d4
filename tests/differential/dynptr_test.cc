// SPDX-License-Identifier: Apache-2.0
//
// Goal: a dynptr of a map's memory, made, written, read and resolved with any sizes, offsets and
// flags, answers as the kernel's. Method: one program makes the four calls with arguments from a
// shared map and leaves four results there; the same calls are made on our bodies on equal memory.
// The program never ends early, so that a dynptr that was not made is used too.
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <random>
#include <set>

#include "differential/raw_insn.h"
#include "harness/compared_calls.h"
#include "harness/kernel_oracle.h"
#include "helpers/test_run.h"

namespace lmn {
namespace {

using namespace raw;  // NOLINT(google-build-using-namespace): the program is written in it

// The map's value.
struct Shared {
  std::uint64_t size, make_flags;
  std::uint64_t write_at, write_length, write_flags;
  std::uint64_t read_at, read_length, read_flags;
  std::uint64_t data_at;
  std::int64_t results[4];
  std::uint8_t slice[4096];
  std::uint8_t from[512];
  std::uint8_t to[512];
  bool operator==(const Shared&) const = default;
};
constexpr int kSizeMax = 4096;
constexpr int kCopyMax = 512;
constexpr int kDataBytes = 16;
constexpr int kDynptr = -16;  // on the stack

class Program {
 public:
  explicit Program(int shared_fd) {
    append_map_reference(insns_, 7, shared_fd, BPF_PSEUDO_MAP_VALUE);
    // from_mem(slice, size, make_flags, dynptr)
    address(1, offsetof(Shared, slice));
    bounded(2, offsetof(Shared, size), kSizeMax);
    add(load_word(3, 7, offsetof(Shared, make_flags)));
    dynptr(4);
    call_and_keep(BPF_FUNC_dynptr_from_mem, 0);
    // write(dynptr, write_at, from, write_length, write_flags)
    dynptr(1);
    add(load_word(2, 7, offsetof(Shared, write_at)));
    address(3, offsetof(Shared, from));
    bounded(4, offsetof(Shared, write_length), kCopyMax);
    add(load_word(5, 7, offsetof(Shared, write_flags)));
    call_and_keep(BPF_FUNC_dynptr_write, 1);
    // read(to, read_length, dynptr, read_at, read_flags)
    address(1, offsetof(Shared, to));
    bounded(2, offsetof(Shared, read_length), kCopyMax);
    dynptr(3);
    add(load_word(4, 7, offsetof(Shared, read_at)));
    add(load_word(5, 7, offsetof(Shared, read_flags)));
    call_and_keep(BPF_FUNC_dynptr_read, 2);
    // data(dynptr, data_at, 16): the first byte there, plus 1, or 0 for null
    dynptr(1);
    add(load_word(2, 7, offsetof(Shared, data_at)));
    add(move_imm(3, kDataBytes));
    add(call(BPF_FUNC_dynptr_data));
    add(jump_imm(BPF_JEQ, 0, 0, 2));
    add(insn(BPF_LDX | BPF_MEM | BPF_B, 0, 0, 0, 0));
    add(alu_imm(BPF_ADD, 0, 1));
    add(store_word(7, offsetof(Shared, results) + 24, 0));
    add(move_imm(0, XDP_PASS));
    add(exit());
  }
  std::span<const struct bpf_insn> insns() const { return insns_; }

 private:
  void add(struct bpf_insn one) { insns_.push_back(one); }
  void address(int reg, std::size_t offset) {
    add(move(reg, 7));
    add(alu_imm(BPF_ADD, reg, static_cast<std::int32_t>(offset)));
  }
  void dynptr(int reg) {
    add(move(reg, 10));
    add(alu_imm(BPF_ADD, reg, kDynptr));
  }
  void bounded(int reg, std::size_t offset, int maximum) {
    add(load_word(reg, 7, offset));
    add(jump_imm(BPF_JLE, reg, maximum, 1));
    add(move_imm(reg, maximum));
  }
  void call_and_keep(std::uint32_t id, std::size_t result) {
    add(call(id));
    add(store_word(7, offsetof(Shared, results) + result * 8, 0));
  }
  std::vector<struct bpf_insn> insns_;
};

void run_ours(Shared& s) {
  TestRun run({});
  std::uint64_t dynptr[2] = {};
  s.results[0] = run.call(BPF_FUNC_dynptr_from_mem, s.slice, s.size, s.make_flags, dynptr);
  s.results[1] =
      run.call(BPF_FUNC_dynptr_write, dynptr, s.write_at, s.from, s.write_length, s.write_flags);
  s.results[2] =
      run.call(BPF_FUNC_dynptr_read, s.to, s.read_length, dynptr, s.read_at, s.read_flags);
  const std::int64_t data = run.call(BPF_FUNC_dynptr_data, dynptr, s.data_at, kDataBytes);
  s.results[3] = data == 0 ? 0 : *reinterpret_cast<const std::uint8_t*>(data) + 1;
}

TEST(DynptrDifferential, MakeWriteReadResolve) {
  if (auto reason = why_no_kernel_oracle()) GTEST_SKIP() << *reason;
  KernelMap map = KernelMap::create({.type = BPF_MAP_TYPE_ARRAY, .value_size = sizeof(Shared)});
  ASSERT_TRUE(map.is_created());
  const Program source(map.fd());
  const KernelProgram program = KernelProgram::load(source.insns());
  ASSERT_TRUE(program.is_loaded()) << program.log();

  std::mt19937_64 random(20251120);
  // Around `edge`, which may have wrapped below 0.
  const auto number = [&](std::uint64_t edge) -> std::uint64_t {
    if (edge > kSizeMax) return random() % 2 == 0 ? edge : random() % 32;
    switch (random() % 6) {
      case 0:
        return random() % 4;
      case 1:
        return edge - random() % 3;
      case 2:
        return edge + random() % 3;
      case 3:
        return random() % 8 == 0 ? random() : random() % (edge + 1);
      default:
        return random() % (edge + 1);
    }
  };
  const auto flags = [&] { return random() % 8 == 0 ? 1ull << random() % 64 : 0; };
  const std::array<std::uint8_t, 4> key{};
  const std::vector<std::uint8_t> packet(60);
  std::array<std::set<std::int64_t>, 4> seen;
  auto shared = std::make_unique<Shared>();
  for (int i = 0; i < 20'000; ++i) {
    Shared& s = *shared;
    s.size = std::min<std::uint64_t>(number(random() % 2 == 0 ? 64 : kSizeMax), kSizeMax);
    s.make_flags = flags();
    s.write_length = std::min<std::uint64_t>(number(kCopyMax), kCopyMax);
    s.write_at = number(s.size - s.write_length);
    s.write_flags = flags();
    s.read_length = std::min<std::uint64_t>(number(kCopyMax), kCopyMax);
    s.read_at = number(s.size - s.read_length);
    s.read_flags = flags();
    s.data_at = number(s.size - kDataBytes);
    for (auto& byte : s.from) byte = static_cast<std::uint8_t>(random());
    auto kernel = std::make_unique<Shared>(s);
    const std::span bytes(reinterpret_cast<std::uint8_t*>(kernel.get()), sizeof(Shared));
    ASSERT_EQ(map.update(key, bytes), 0);
    ASSERT_EQ(program.run(packet).retval, static_cast<std::uint32_t>(XDP_PASS));
    ASSERT_EQ(map.lookup(key, bytes), 0);
    run_ours(s);
    for (std::size_t r = 0; r < 4; ++r) {
      ASSERT_EQ(s.results[r], kernel->results[r])
          << "call " << r << ": size " << s.size << " flags " << s.make_flags << ", write "
          << s.write_length << " at " << s.write_at << " flags " << s.write_flags << ", read "
          << s.read_length << " at " << s.read_at << " flags " << s.read_flags << ", data at "
          << s.data_at;
      if (r < 3) seen[r].insert(s.results[r]);
    }
    ASSERT_TRUE(s == *kernel) << "the memory differs";
    for (const char* name :
         {"bpf_dynptr_from_mem", "bpf_dynptr_write", "bpf_dynptr_read", "bpf_dynptr_data"}) {
      ComparedCalls::instance().add(name);
    }
  }
  EXPECT_EQ(seen[0], (std::set<std::int64_t>{0, -EINVAL}));
  EXPECT_EQ(seen[1], (std::set<std::int64_t>{0, -EINVAL, -E2BIG}));
  EXPECT_EQ(seen[2], (std::set<std::int64_t>{0, -EINVAL, -E2BIG}));
}

}  // namespace
}  // namespace lmn
