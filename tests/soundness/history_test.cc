// SPDX-License-Identifier: Apache-2.0
//
// Goal: no mistake that a BPF verifier is known to have made comes back.
//
// Method: one program per mistake, written for this test: refused, or accepted and harmless in the
// checked interpreter under the watch of soundness_test.cc. The kernel's verdict stands beside
// ours: where it may be asked it must be the same, but where a row says why not. The number is that
// of the project's list of patterns (reliability notes, section 3). Without a test here: 27
// (program extensions) and 35 to 37 (interfaces of the kernel): nothing here replaces a program,
// and what shows or counts objects is above the verifier.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <malloc.h>

#include <chrono>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "harness/kernel_oracle.h"
#include "insn/assemble.h"
#include "insn/codec.h"
#include "soundness/campaign.h"
#include "soundness/history_cases.h"
#include "soundness/history_paths.h"

namespace lmn {
namespace {

class History : public ::testing::Test {
 protected:
  History() : campaign_(1) {
    if (why_no_kernel_oracle()) return;
    for (const MapSpec& spec : campaign_.world().specs()) {
      maps_.push_back(KernelMap::create({.type = spec.type,
                                         .key_size = spec.key_size,
                                         .value_size = spec.value_size,
                                         .max_entries = spec.max_entries,
                                         .flags = spec.map_flags}));
      fds_.push_back(maps_.back().fd());
    }
  }

  static GeneratedProgram program_of(std::vector<Insn> insns) {
    GeneratedProgram program;
    program.function_starts.push_back(0);
    for (std::uint32_t at = 0; at < insns.size(); ++at) {
      const Insn& insn = insns[at];
      if (insn.op != Op::kCall || insn.src != BPF_PSEUDO_CALL) continue;
      program.function_starts.push_back(static_cast<std::uint32_t>(at + 1 + insn.imm));
    }
    program.insns = std::move(insns);
    return program;
  }

  // Nothing: this machine's kernel cannot be asked.
  std::optional<bool> kernel_accepts(const GeneratedProgram& program) const {
    if (fds_.empty()) return std::nullopt;
    const std::vector<std::uint8_t> bytes = encode_program(program.insns);
    std::vector<struct bpf_insn> raw(bytes.size() / sizeof(struct bpf_insn));
    std::memcpy(raw.data(), bytes.data(), bytes.size());
    KernelLoadOptions options;
    options.fd_array = fds_;
    if (program.function_starts.size() > 1) options.function_starts = program.function_starts;
    return KernelProgram::load(raw, options).is_loaded();
  }

  void judge(const Case& one, const GeneratedProgram& program) {
    const Judgement ours = campaign_.world().judge(program);
    const auto kernel = kernel_accepts(program);
    fmt::print("{:3} {:<62} ours: {:<40} kernel: {}\n", one.pattern, one.name,
               ours.is_accepted() ? "accepted" : "refused, " + ours.rule,
               !kernel   ? "not asked"
               : *kernel ? "accepted"
                         : "refused");
    EXPECT_EQ(ours.is_accepted(), one.verdict == Verdict::kHarmless) << ours.message;
    if (kernel) {
      EXPECT_EQ(*kernel, one.verdict == Verdict::kHarmless);
    }
    EXPECT_TRUE(campaign_.check(program, Knob::kEdge)) << campaign_.failure();
  }

  SoundnessCampaign campaign_;
  std::vector<KernelMap> maps_;
  std::vector<int> fds_;
};

TEST_F(History, EveryPatternIsRefusedOrHarmless) {
  const auto judge_all = [&](std::span<const Case> cases) {
    for (const Case& one : cases) {
      SCOPED_TRACE(fmt::format("pattern {}: {}", one.pattern, one.name));
      auto insns = assemble(one.text);
      ASSERT_TRUE(insns.has_value()) << insns.error().to_string();
      judge(one, program_of(std::move(*insns)));
    }
  };
  judge_all(kValueCases);
  judge_all(kPathCases);
}

// 18: fields that an operation does not use.
TEST_F(History, ReservedFieldsAreRefused) {
  const std::vector<Insn> insns = {
      {Op::kMov64Imm, 0}, {.op = Op::kNeg64, .dst = 0, .off = -1}, {Op::kExit}};
  judge({18, "fields that are not used are 0", Verdict::kRefused, ""}, program_of(insns));
}

// docs/kernel-differences.md, verifier-4.
TEST_F(History, ACallbackThatNeverRuns) {
  auto insns = assemble(R"(
  r2 = func never
  call other
  exit
other:
  r0 = 0
  exit
never:
  r0 = 0
  exit
)");
  ASSERT_TRUE(insns.has_value()) << insns.error().to_string();
  GeneratedProgram program = program_of(std::move(*insns));
  program.function_starts.push_back(static_cast<std::uint32_t>(program.insns.size() - 2));
  EXPECT_TRUE(campaign_.world().judge(program).is_accepted());
  EXPECT_TRUE(campaign_.check(program, Knob::kEdge)) << campaign_.failure();
  const auto kernel = kernel_accepts(program);
  if (kernel) {
    EXPECT_FALSE(*kernel) << "the row verifier-4 is no longer true";
  }
}

// docs/kernel-differences.md, isa-2: numbers count through an atomic that fetches them (41).
TEST_F(History, FetchedNumbersCount) {
  auto insns = assemble(R"(
  r7 = map[idx:0]+0
  r1 = *(u64 *)(r7 +0)
  r2 = *(u64 *)(r7 +8)
  r8 = 1000
  if r1 > 0x5 goto meet
  r8 = 0
meet:
  *(u64 *)(r10 -8) = r8
  r8 = 0
  if r2 == 0x9 goto next
  r3 = 2
next:
  if r2 == 0x5 goto more
  r3 = 4
more:
  r9 = 0
  r9 = atomic64_xchg((u64 *)(r10 -8), r9)
  r7 += r9
  r0 = *(u8 *)(r7 +0)
  exit
)");
  ASSERT_TRUE(insns.has_value()) << insns.error().to_string();
  const GeneratedProgram program = program_of(std::move(*insns));
  EXPECT_FALSE(campaign_.world().judge(program).is_accepted());
  const auto kernel = kernel_accepts(program);
  if (kernel) {
    EXPECT_TRUE(*kernel) << "the row isa-2 is no longer true";
  }
}

// 49: a refusal far down many paths gives everything back. (A sanitizer's allocator counts nothing
// here; it looks for leaks itself.)
TEST_F(History, RefusalsKeepNoMemory) {
  std::string text = "r7 = map[idx:0]+0\n";
  for (int i = 0; i < 12; ++i) {
    text +=
        fmt::format("r1 = *(u64 *)(r7 +{})\nif r1 > 0x7 goto l{}\n*(u64 *)(r10 -{}) = r1\nl{}:\n",
                    8 * i, i, 8 * i + 8, i);
  }
  auto insns = assemble(text + "r7 += r1\nr0 = *(u8 *)(r7 +0)\nexit\n");
  ASSERT_TRUE(insns.has_value()) << insns.error().to_string();
  const GeneratedProgram program = program_of(std::move(*insns));
  const auto refuse = [&](int times) {
    for (int i = 0; i < times; ++i) EXPECT_FALSE(campaign_.world().judge(program).is_accepted());
    return mallinfo2().uordblks;
  };
  const std::size_t before = refuse(10);
  EXPECT_LE(refuse(1000), before + 4096);
}

// 50: 2^n paths, each with a number of its own that counts.
TEST_F(History, ExponentialPathsStopAtALimit) {
  std::string text = "r7 = map[idx:0]+0\nr8 = 0\n";
  for (int i = 0; i < 40; ++i) {
    text += fmt::format("r1 = *(u64 *)(r7 +{})\nif r1 s> 0x7 goto l{}\nr8 += {}\nl{}:\n",
                        8 * (i % 32), i, i < 30 ? 1 << i : 1, i);
  }
  text += "if r8 == 0x12345678 goto out\nr8 &= 127\nr7 += r8\nr0 = *(u8 *)(r7 +0)\nexit\n";
  text += "out:\nr0 = 0\nexit\n";
  auto insns = assemble(text);
  ASSERT_TRUE(insns.has_value()) << insns.error().to_string();
  const auto begin = std::chrono::steady_clock::now();
  const Judgement ours = campaign_.world().judge(program_of(std::move(*insns)));
  const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - begin;
  fmt::print(" 50 2^40 paths: ours: {}, {:.2f} s\n", ours.is_accepted() ? "accepted" : ours.rule,
             spent.count());
  EXPECT_FALSE(ours.is_accepted());
  EXPECT_LT(spent.count(), 20) << "the limit bounds the time";
}

}  // namespace
}  // namespace lmn
