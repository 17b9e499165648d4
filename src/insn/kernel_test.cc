// SPDX-License-Identifier: Apache-2.0
//
// Goal: we decode what the kernel decodes, and print what the kernel and bpftool print.
// Method: the kernel of this machine is asked. (1) Its verifier's log prints every instruction it
// reaches, also one that it then refuses: one program per row of opcodes.def, texts compared. (2)
// All opcode bytes with selected and random fields: what we refuse it must refuse, and what we
// accept it must not refuse for its encoding. (3) A program it accepts, dumped by bpftool if there
// is one. Skips without the right to load programs. Source of the kernel's words: Linux 6.18,
// kernel/bpf/verifier.c.
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <random>

#include "insn/assemble.h"
#include "insn/codec.h"
#include "insn/disasm.h"
#include "insn/insn_table.h"
#include "insn/kernel_oracle_for_tests.h"

namespace lmn {
namespace {

using Bytes = std::vector<std::uint8_t>;

class KernelTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = kernel_oracle::why_unusable(); !reason.empty())
      GTEST_SKIP() << reason;
  }
};

// All registers hold something, so that the kernel gets to the instruction and judges its encoding
// before its operands.
std::vector<Insn> prologue() {
  std::vector<Insn> insns;
  insns.push_back({.op = Op::kMov64Reg, .dst = 6, .src = 1});
  for (std::uint8_t reg = 0; reg < 10; ++reg) {
    if (reg != 6) insns.push_back({.op = Op::kMov64Imm, .dst = reg, .imm = 1});
  }
  insns.push_back({.op = Op::kStMemImm64, .dst = 10, .off = -8, .imm = 1});
  return insns;
}

constexpr std::size_t kSubjectAt = 11;

std::vector<Insn> epilogue() {
  return {{.op = Op::kMov64Imm, .dst = 0, .imm = 0},
          {.op = Op::kMov64Imm, .dst = 0, .imm = 1},
          {.op = Op::kExit}};
}

Bytes around(const Bytes& subject, const std::vector<Insn>& before = prologue()) {
  Bytes raw = encode_program(before);
  raw.insert(raw.end(), subject.begin(), subject.end());
  const Bytes tail = encode_program(epilogue());
  raw.insert(raw.end(), tail.begin(), tail.end());
  return raw;
}

// The text the log has for the subject: "11: (b7) r1 = 5          ; R1=5".
std::string logged_text(const std::string& log) {
  const std::string prefix = std::to_string(kSubjectAt) + ": (";
  std::size_t at = log.starts_with(prefix) ? 0 : log.find("\n" + prefix);
  if (at == std::string::npos) return {};
  at = log.find(prefix, at) + prefix.size() + 4;
  const std::string line = log.substr(at, log.find('\n', at) - at);
  const std::string text = line.substr(0, line.find(';'));
  return text.substr(0, text.find_last_not_of(' ') + 1);
}

// A harmless instance of a row.
Insn sample(const OpInfo& info) {
  Insn insn{.op = info.op};
  const auto is_register = [](const FieldRule& rule) {
    return rule.use == FieldUse::kRead || rule.use == FieldUse::kWrite ||
           rule.use == FieldUse::kReadWrite;
  };
  if (is_register(info.dst))
    insn.dst = info.off.use == FieldUse::kMemory && !writes_dst(info.op) ? 10 : 3;
  if (is_register(info.src))
    insn.src = info.off.use == FieldUse::kMemory && writes_dst(info.op) ? 10 : 2;
  if (info.off.use == FieldUse::kMemory) insn.off = -8;
  if (info.off.use == FieldUse::kJump) insn.off = 1;
  if (info.off.use == FieldUse::kFixed) insn.off = static_cast<std::int16_t>(info.off.value);
  if (info.imm.use == FieldUse::kJump) insn.imm = 1;
  if (info.imm.use == FieldUse::kValue) insn.imm = 1;
  if (info.imm.use == FieldUse::kFixed) insn.imm = info.imm.value;
  if (info.op == Op::kLddw) insn.imm = 0x123456789;
  return insn;
}

TEST_F(KernelTest, TheVerifiersLogHasOurTextForEveryRow) {
  for (std::size_t row = 0; row < kOpCount; ++row) {
    const OpInfo& info = op_info(static_cast<Op>(row));
    if (info.op == Op::kLddwHigh) continue;
    std::vector<Insn> subject = {sample(info)};
    if (info.op == Op::kLddw) subject.push_back({.op = Op::kLddwHigh});
    std::vector<Insn> before = prologue();
    // What does not fall through needs another way to the code after it, for the kernel refuses
    // unreachable code.
    if (!falls_through(info.op))
      before.back() = {.op = Op::kJne64Reg, .dst = 7, .src = 8, .off = 1};
    // Socket filters may use every instruction, the legacy ones included.
    const auto verdict = kernel_oracle::load(around(encode_program(subject), before),
                                             {.type = BPF_PROG_TYPE_SOCKET_FILTER, .log_level = 2});
    if (verdict.says("unknown opcode")) {
      std::printf("this kernel does not know %s\n", std::string(info.name).c_str());
      continue;
    }
    EXPECT_EQ(logged_text(verdict.log), disassemble(subject[0])) << info.name << "\n"
                                                                 << verdict.log;
  }
}

TEST_F(KernelTest, TheVerifiersLogHasOurTextForNegativeAndLargeNumbers) {
  const Insn subjects[] = {
      {.op = Op::kAdd64Imm, .dst = 3, .imm = -2147483647 - 1},
      {.op = Op::kMov32Imm, .dst = 3, .imm = -1},
      {.op = Op::kJeq64Imm, .dst = 3, .off = 1, .imm = -1},
      {.op = Op::kStMemImm16, .dst = 10, .off = -2, .imm = -3},
      {.op = Op::kLdAbs32, .imm = -4096},
      {.op = Op::kLdInd8, .src = 2, .imm = -1},
      {.op = Op::kCall, .imm = 100000},
      {.op = Op::kCall, .imm = -1},
      {.op = Op::kCall, .imm = 1},
      {.op = Op::kLdxMem8, .dst = 3, .src = 10, .off = -32768},
      {.op = Op::kAddrSpaceCast, .dst = 3, .src = 2, .off = 1, .imm = 1 << 16},
  };
  for (const Insn& subject : subjects) {
    const auto verdict = kernel_oracle::load(around(encode_program({&subject, 1})),
                                             {.type = BPF_PROG_TYPE_SOCKET_FILTER, .log_level = 2});
    EXPECT_EQ(logged_text(verdict.log), disassemble(subject)) << verdict.log;
  }
}

bool is_encoding_refusal(const kernel_oracle::Verdict& verdict) {
  for (const char* words :
       {"unknown opcode", "reserved fields", "R11 is invalid", "BPF_ATOMIC uses invalid atomic",
        "invalid atomic operand size", "invalid may_goto", "unrecognized bpf_ld_imm64",
        "invalid bpf_ld_imm64", "can only convert between address space"}) {
    if (verdict.says(words)) return true;
  }
  return false;
}

Bytes raw_slot(unsigned opcode, unsigned dst, unsigned src, std::int16_t off, std::int32_t imm) {
  Bytes bytes = {static_cast<std::uint8_t>(opcode),
                 static_cast<std::uint8_t>(src << 4 | dst),
                 0,
                 0,
                 0,
                 0,
                 0,
                 0};
  store_unaligned(bytes.data() + 2, static_cast<std::uint16_t>(off), std::endian::little);
  store_unaligned(bytes.data() + 4, static_cast<std::uint32_t>(imm), std::endian::little);
  if (opcode == 0x18) bytes.resize(16);
  return bytes;
}

void expect_agreement(const Bytes& subject, std::array<std::size_t, 2>& counts) {
  const bool is_ours = decode_program(subject).has_value();
  const auto verdict = kernel_oracle::load(around(subject), {.type = BPF_PROG_TYPE_SOCKET_FILTER});
  ++counts[is_ours ? 1 : 0];
  std::string hex;
  for (const std::uint8_t byte : subject) hex += " " + std::to_string(byte);
  if (is_ours) {
    EXPECT_FALSE(is_encoding_refusal(verdict)) << "we accept" << hex << "\n" << verdict.log;
  } else {
    EXPECT_FALSE(verdict.is_accepted()) << "we refuse" << hex;
  }
}

// Opcodes that later kernels know: nothing to compare on an older one. (Load-acquire and
// store-release are imm values: older kernels refuse them as "invalid atomic".)
bool kernel_has_newest_opcodes() {
  const Insn insn{.op = Op::kLoadAcquire64, .dst = 3, .src = 10, .off = -8, .imm = BPF_LOAD_ACQ};
  return kernel_oracle::load(around(encode_program({&insn, 1}))).is_accepted();
}

TEST_F(KernelTest, AgreesOnTheEncodingOfAllOpcodesWithSelectedFields) {
  if (!kernel_has_newest_opcodes())
    GTEST_SKIP() << "this kernel is older than our instruction set (Linux 6.15)";
  std::array<std::size_t, 2> counts{};
  const std::int16_t offs[] = {1, 2, 8, 16, 32, -1};
  for (unsigned opcode = 0; opcode < 256; ++opcode) {
    for (unsigned dst : {0u, 3u, 11u}) expect_agreement(raw_slot(opcode, dst, 0, 0, 0), counts);
    for (unsigned src : {1u, 2u, 3u, 7u, 11u})
      expect_agreement(raw_slot(opcode, 3, src, 0, 0), counts);
    for (const std::int16_t off : offs) {
      expect_agreement(raw_slot(opcode, 3, 2, off, 0), counts);
      expect_agreement(raw_slot(opcode, 0, 0, off, 0), counts);
    }
    for (std::int32_t imm : {1, 16, 32, 64, 0x41, 0xe1, 0xf1, 0x100, 0x110, 0x10000, -1}) {
      expect_agreement(raw_slot(opcode, 3, 0, 0, imm), counts);
      expect_agreement(raw_slot(opcode, 10, 2, -8, imm), counts);
      expect_agreement(raw_slot(opcode, 3, 2, 1, imm), counts);
    }
  }
  std::printf("accepted %zu, refused %zu\n", counts[1], counts[0]);
  EXPECT_GT(counts[1], 1000u);
  EXPECT_GT(counts[0], 1000u);
}

TEST_F(KernelTest, AgreesOnRandomFieldsOfKnownOpcodes) {
  if (!kernel_has_newest_opcodes())
    GTEST_SKIP() << "this kernel is older than our instruction set (Linux 6.15)";
  std::mt19937 random(7);
  std::array<std::size_t, 2> counts{};
  const auto pick = [&](auto... values) {
    const int options[] = {values...};
    return options[random() % std::size(options)];
  };
  for (int round = 0; round < 6000; ++round) {
    const OpInfo& info = op_info(static_cast<Op>(random() % kOpCount));
    Insn insn = sample(info);
    if (info.op == Op::kLddwHigh) continue;
    // Half of the rounds disturb one field, the others several.
    if (random() % 2 == 0) insn.dst = static_cast<std::uint8_t>(random() % 12);
    if (random() % 4 == 0) insn.src = static_cast<std::uint8_t>(random() % 12);
    if (random() % 4 == 0) insn.off = static_cast<std::int16_t>(pick(0, 1, 8, 16, 32, -8, -1, 2));
    if (random() % 4 == 0) insn.imm = pick(0, 1, 16, 32, 64, 0x50, 0x51, 0xf1, 0x110, 0x10000, -1);
    const auto imm = static_cast<std::int32_t>(insn.imm);
    expect_agreement(raw_slot(info.opcode, insn.dst, insn.src, insn.off, imm), counts);
  }
  std::printf("accepted %zu, refused %zu\n", counts[1], counts[0]);
}

// Text that the kernel runs as it is: no context loads, no helpers (it puts their addresses in), no
// dead code.
constexpr std::string_view kUntouchedProgram = R"(
  r6 = 7
  w7 = -3
  r8 = 0x1122334455667788
  *(u64 *)(r10 -8) = 5
  *(u32 *)(r10 -16) = r6
  *(u16 *)(r10 -14) = 9
  *(u8 *)(r10 -12) = r7
  r1 = *(u64 *)(r10 -8)
  r2 = *(u8 *)(r10 -8)
  r1 += r2
  w1 *= 3
  r1 <<= 4
  r1 s>>= 2
  r1 = be16 r1
  r1 = le32 r1
  r3 = -1
  r3 = -r3
  lock *(u64 *)(r10 -8) += r1
  lock *(u64 *)(r10 -8) |= r1
  r1 = atomic64_fetch_add((u64 *)(r10 -8), r1)
  r1 = atomic64_xchg((u64 *)(r10 -8), r1)
  r0 = 1
  r0 = atomic64_cmpxchg((u64 *)(r10 -8), r0, r1)
  if r0 s> 0x5 goto pc+3
  if w0 & 0xff goto pc+2
  if r0 < r6 goto pc+1
  goto pc+1
  r1 = r0
  w2 = w1
  call pc+3
  call pc+2
  r0 = 2
  exit
  r0 = 2
  r0 += 1
  exit
)";

std::string run_and_read(const std::string& command) {
  std::string text;
  FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) return text;
  std::array<char, 4096> buffer{};
  for (std::size_t n = 0; (n = std::fread(buffer.data(), 1, buffer.size(), pipe)) > 0;)
    text.append(buffer.data(), n);
  ::pclose(pipe);
  return text;
}

// Only the lines of instructions; without the source lines and the names of callees that bpftool
// adds.
std::string instruction_lines(const std::string& dump) {
  std::string kept;
  std::size_t at = 0;
  while (at < dump.size()) {
    const std::size_t end = std::min(dump.find('\n', at), dump.size());
    std::string line = dump.substr(at, end - at);
    at = end + 1;
    if (line.find(": (") == std::string::npos) continue;
    if (line.find("call pc") != std::string::npos) line = line.substr(0, line.find('#'));
    kept += line + "\n";
  }
  return kept;
}

TEST_F(KernelTest, BpftoolDumpsOurText) {
  if (std::system("command -v bpftool >/dev/null 2>&1") != 0) GTEST_SKIP() << "no bpftool here";
  const auto insns = assemble(kUntouchedProgram);
  ASSERT_TRUE(insns) << insns.error().message;
  const auto verdict = kernel_oracle::load(encode_program(*insns), {.name = "lmn_disasm"});
  ASSERT_TRUE(verdict.is_accepted()) << verdict.log;
  bpf_prog_info info{};
  bpf_attr attr{};
  attr.info.bpf_fd = static_cast<std::uint32_t>(verdict.fd.get());
  attr.info.info_len = sizeof info;
  attr.info.info = reinterpret_cast<std::uintptr_t>(&info);
  ASSERT_EQ(kernel_oracle::bpf(BPF_OBJ_GET_INFO_BY_FD, attr), 0);
  const std::string dump = run_and_read("bpftool prog dump xlated id " + std::to_string(info.id));
  EXPECT_EQ(instruction_lines(dump), disassemble_program(*insns)) << dump;
}

}  // namespace
}  // namespace lmn
