// SPDX-License-Identifier: Apache-2.0
//
// Goal: the oracle itself is right about what it passes on: verdicts, logs, packets, maps and
// errno. Method: programs and maps small enough that the answer is known without a second opinion.
#include "harness/kernel_oracle.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace lmn {
namespace {

struct bpf_insn insn(std::uint8_t code, std::uint8_t dst, std::uint8_t src, std::int16_t off,
                     std::int32_t imm) {
  struct bpf_insn out = {};
  out.code = code;
  out.dst_reg = dst & 0xf;
  out.src_reg = src & 0xf;
  out.off = off;
  out.imm = imm;
  return out;
}

std::vector<std::uint8_t> bytes_of(std::uint32_t value) {
  const auto* from = reinterpret_cast<const std::uint8_t*>(&value);
  return {from, from + sizeof value};
}

class KernelOracle : public ::testing::Test {
 protected:
  void SetUp() override {
    if (auto reason = why_no_kernel_oracle()) GTEST_SKIP() << *reason;
  }
};

// Stores 0x5a into byte 0 of the packet and returns XDP_TX.
std::vector<struct bpf_insn> packet_writer() {
  return {insn(BPF_LDX | BPF_W | BPF_MEM, 2, 1, 0, 0),
          insn(BPF_LDX | BPF_W | BPF_MEM, 3, 1, 4, 0),
          insn(BPF_ALU64 | BPF_MOV | BPF_X, 4, 2, 0, 0),
          insn(BPF_ALU64 | BPF_ADD | BPF_K, 4, 0, 0, 14),
          insn(BPF_JMP | BPF_JGT | BPF_X, 4, 3, 1, 0),
          insn(BPF_ST | BPF_B | BPF_MEM, 2, 0, 0, 0x5a),
          insn(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, XDP_TX),
          insn(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)};
}

TEST_F(KernelOracle, GivesReturnCodeAndPacket) {
  const KernelProgram program = KernelProgram::load(packet_writer());
  ASSERT_TRUE(program.is_loaded()) << program.log();
  std::vector<std::uint8_t> packet(60, 7);
  const KernelRun run = program.run(packet);
  ASSERT_EQ(run.error, 0);
  EXPECT_EQ(run.retval, static_cast<std::uint32_t>(XDP_TX));
  packet[0] = 0x5a;
  EXPECT_EQ(run.data_out, packet);
}

TEST_F(KernelOracle, GivesContext) {
  const KernelProgram program = KernelProgram::load(packet_writer());
  struct xdp_md context = {};
  context.data = 8;
  context.data_end = 68;
  const KernelRun run = program.run(std::vector<std::uint8_t>(68, 1), {.context_in = context});
  ASSERT_EQ(run.error, 0);
  EXPECT_EQ(run.context_out.data, 8u);
  EXPECT_EQ(run.context_out.data_end, 68u);
  EXPECT_EQ(program.run(std::vector<std::uint8_t>(8, 1)).error, -EINVAL)
      << "shorter than an Ethernet header";
}

TEST_F(KernelOracle, GivesRefusalWithItsLog) {
  const std::vector<struct bpf_insn> no_return_value = {insn(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)};
  const KernelProgram program = KernelProgram::load(no_return_value);
  EXPECT_FALSE(program.is_loaded());
  EXPECT_EQ(program.error(), -EACCES);
  EXPECT_NE(program.log().find("R0 !read_ok"), std::string::npos) << program.log();
}

TEST_F(KernelOracle, MapsAnswerWithErrno) {
  KernelMap map = KernelMap::create(
      {.type = BPF_MAP_TYPE_HASH, .key_size = 4, .value_size = 4, .max_entries = 2});
  ASSERT_TRUE(map.is_created());
  std::vector<std::uint8_t> out(4);
  EXPECT_EQ(map.lookup(bytes_of(1), out), -ENOENT);
  EXPECT_EQ(map.update(bytes_of(1), bytes_of(10), BPF_EXIST), -ENOENT);
  EXPECT_EQ(map.update(bytes_of(2), bytes_of(20)), 0);
  EXPECT_EQ(map.update(bytes_of(1), bytes_of(10)), 0);
  EXPECT_EQ(map.update(bytes_of(3), bytes_of(30)), -E2BIG);
  const std::vector<KernelMap::Entry> expected = {{bytes_of(1), bytes_of(10)},
                                                  {bytes_of(2), bytes_of(20)}};
  EXPECT_EQ(map.entries(), expected);
  EXPECT_EQ(map.erase(bytes_of(1)), 0);
  EXPECT_EQ(map.erase(bytes_of(1)), -ENOENT);
  EXPECT_EQ(map.freeze(), 0);
  EXPECT_EQ(map.update(bytes_of(2), bytes_of(1)), -EPERM);
  EXPECT_EQ(KernelMap::create({.type = BPF_MAP_TYPE_HASH, .key_size = 0}).error(), -EINVAL);
}

TEST_F(KernelOracle, PerCpuValuesComeForAllCpus) {
  KernelMap map =
      KernelMap::create({.type = BPF_MAP_TYPE_PERCPU_ARRAY, .value_size = 4, .max_entries = 1});
  ASSERT_TRUE(map.is_created());
  EXPECT_EQ(map.user_value_bytes(), 8u * kernel_possible_cpus());
  std::vector<std::uint8_t> values(map.user_value_bytes(), 3);
  ASSERT_EQ(map.update(bytes_of(0), values), 0);
  std::vector<std::uint8_t> out(map.user_value_bytes());
  ASSERT_EQ(map.lookup(bytes_of(0), out), 0);
  EXPECT_EQ(out[8 * (kernel_possible_cpus() - 1)], 3);
}

TEST_F(KernelOracle, ProgramsReachMaps) {
  KernelMap map =
      KernelMap::create({.type = BPF_MAP_TYPE_ARRAY, .value_size = 8, .max_entries = 1});
  std::vector<struct bpf_insn> insns;
  append_map_reference(insns, 1, map.fd(), BPF_PSEUDO_MAP_VALUE, 4);
  insns.push_back(insn(BPF_ST | BPF_W | BPF_MEM, 1, 0, 0, 77));
  insns.push_back(insn(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, XDP_DROP));
  insns.push_back(insn(BPF_JMP | BPF_EXIT, 0, 0, 0, 0));
  const KernelProgram program = KernelProgram::load(insns);
  ASSERT_TRUE(program.is_loaded()) << program.log();
  EXPECT_EQ(program.run(std::vector<std::uint8_t>(14)).retval,
            static_cast<std::uint32_t>(XDP_DROP));
  std::vector<std::uint8_t> out(8);
  ASSERT_EQ(map.lookup(bytes_of(0), out), 0);
  EXPECT_EQ(out[4], 77);
}

TEST_F(KernelOracle, FunctionsMayHaveBtf) {
  KernelMap map = KernelMap::create(
      {.type = BPF_MAP_TYPE_PROG_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1});
  std::vector<struct bpf_insn> insns = {
      insn(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_CALL, 0, 1),
      insn(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
  };
  append_map_reference(insns, 2, map.fd());
  insns.push_back(insn(BPF_ALU64 | BPF_MOV | BPF_K, 3, 0, 0, 0));
  insns.push_back(insn(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_tail_call));
  insns.push_back(insn(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, XDP_TX));
  insns.push_back(insn(BPF_JMP | BPF_EXIT, 0, 0, 0, 0));
  EXPECT_FALSE(KernelProgram::load(insns).is_loaded()) << "a tail call in a function needs BTF";
  KernelLoadOptions options;
  options.function_starts = {0, 2};
  const KernelProgram program = KernelProgram::load(insns, options);
  ASSERT_TRUE(program.is_loaded()) << program.log();
  EXPECT_EQ(program.run(std::vector<std::uint8_t>(14)).retval, static_cast<std::uint32_t>(XDP_TX));
}

}  // namespace
}  // namespace lmn
