// SPDX-License-Identifier: Apache-2.0
//
// Goal: no mistake that a BPF verifier is known to have made comes back.
//
// Method: one program per mistake, written for this test: refused, or accepted and harmless in the
// checked interpreter under the watch of soundness_test.cc. The kernel's verdict stands beside
// ours: where it may be asked it must be the same, but where a row says why not. The number is that
// of the project's list of patterns (reliability notes, section 3). Without a test here: 19 (maps
// that are frozen late) and 22, 34 (read-only maps): src/verifier; 27 (program extensions), 35 to
// 37 (kernel interfaces), 49 (leaks: the sanitizers' business).
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <chrono>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "harness/kernel_oracle.h"
#include "insn/assemble.h"
#include "insn/codec.h"
#include "soundness/campaign.h"

namespace lmn {
namespace {

enum class Verdict : std::uint8_t { kRefused, kHarmless };

struct Case {
  int pattern;
  std::string_view name;
  Verdict verdict;
  std::string_view text;
};

// r7 is a map value of 256 bytes, r1 to r5 numbers nobody knows where a case says so.
constexpr Case kCases[] = {
    {1, "a negative 32-bit constant is not extended with its sign", Verdict::kRefused, R"(
  r7 = map[idx:0]+0
  r0 = 0
  w8 = -1
  if r8 == 0xffffffff goto out
  r1 = *(u64 *)(r7 +0)
  r7 += r1
  r0 = *(u8 *)(r7 +0)
out:
  exit
)"},
    {2, "a number is cut to the size it is stored in", Verdict::kRefused, R"(
  r7 = map[idx:0]+0
  r1 = 0xffffffff00000100
  *(u32 *)(r10 -8) = r1
  r2 = *(u32 *)(r10 -8)
  r7 += r2
  r0 = *(u8 *)(r7 +0)
  exit
)"},
    {3, "32-bit additions wrap at 32 bits", Verdict::kRefused, R"(
  r7 = map[idx:0]+0
  w1 = -1
  w1 += 257
  r7 += r1
  r0 = *(u8 *)(r7 +0)
  exit
)"},
    {4, "a logical shift makes negative numbers large", Verdict::kRefused, R"(
  r7 = map[idx:0]+0
  r0 = 0
  r1 = *(s8 *)(r7 +0)
  r1 >>= 1
  if r1 s> 0x7f goto bad
  exit
bad:
  r7 += r1
  r0 = *(u8 *)(r7 +0)
  exit
)"},
    {5, "offsets do not add up to a small one", Verdict::kRefused, R"(
  r7 = map[idx:0]+0
  r7 += 536870911
  r7 += 536870911
  r7 += 536870911
  r7 += 536870911
  r7 += 536870911
  r0 = *(u8 *)(r7 +0)
  exit
)"},
    {6, "a 32-bit shift works on the low half", Verdict::kRefused, R"(
  r7 = map[idx:0]+0
  r1 = 0x180000000
  w1 >>= 31
  r1 *= 256
  r7 += r1
  r0 = *(u8 *)(r7 +0)
  exit
)"},
    {7, "a 32-bit comparison says nothing of the high half", Verdict::kRefused, R"(
  r7 = map[idx:0]+0
  r0 = 0
  r1 = *(u64 *)(r7 +0)
  if w1 != 0x1 goto out
  r7 += r1
  r0 = *(u8 *)(r7 +0)
out:
  exit
)"},
    {8, "a 32-bit or has bounds of its own", Verdict::kRefused, R"(
  r7 = map[idx:0]+0
  r0 = 0
  r1 = *(u64 *)(r7 +0)
  r2 = 0x600000002
  if r1 >= r2 goto out
  if r1 s<= 0x0 goto out
  w1 |= 0
  r7 += r1
  r0 = *(u8 *)(r7 +0)
out:
  exit
)"},
    {9, "a 32-bit and with a constant keeps consistent bounds", Verdict::kRefused, R"(
  r7 = map[idx:0]+0
  r1 = *(u64 *)(r7 +0)
  w2 = 1
  w1 &= w2
  r7 += r1
  r0 = *(u8 *)(r7 +255)
  exit
)"},
    {10, "bounds of 64 bits are none of 32 when the high half varies", Verdict::kRefused, R"(
  r7 = map[idx:0]+0
  r0 = 0
  r1 = *(u64 *)(r7 +0)
  r2 = 0x100000001
  if r1 > r2 goto out
  w3 = w1
  r7 += r3
  r0 = *(u8 *)(r7 +0)
out:
  exit
)"},
    {11, "a 32-bit signed sum may wrap", Verdict::kRefused, R"(
  r7 = map[idx:0]+0
  r0 = 0
  r1 = *(u8 *)(r7 +0)
  w1 += 2147483647
  if w1 s< 0x0 goto bad
  exit
bad:
  r7 += r1
  r0 = *(u8 *)(r7 +0)
  exit
)"},
    {12, "a 32-bit move has no signed bounds of 64", Verdict::kRefused, R"(
  r7 = map[idx:0]+0
  r0 = 0
  r1 = *(s8 *)(r7 +0)
  w2 = w1
  if r2 s> 0xff goto bad
  exit
bad:
  r7 += r2
  r0 = *(u8 *)(r7 +0)
  exit
)"},
    {13, "a 32-bit remainder by zero leaves the low half", Verdict::kRefused, R"(
  r7 = map[idx:0]+0
  r1 = 0x100000100
  r2 = *(u64 *)(r7 +0)
  r2 &= 0
  w1 %= w2
  r7 += r1
  r0 = *(u8 *)(r7 +0)
  exit
)"},
    {14, "what one branch learns the other does not", Verdict::kRefused, R"(
  r7 = map[idx:0]+0
  r0 = 0
  r1 = *(u64 *)(r7 +0)
  if r1 > 0x7 goto big
  exit
big:
  r7 += r1
  r0 = *(u8 *)(r7 +0)
  exit
)"},
    {15, "or with 0 or -1 is not and", Verdict::kRefused, R"(
  r7 = map[idx:0]+0
  r0 = 0
  r1 = *(s32 *)(r7 +0)
  r1 s>>= 63
  r1 |= 300
  if r1 s< 0x0 goto out
  r7 += r1
  r0 = *(u8 *)(r7 +0)
out:
  exit
)"},
    {16, "a swapped number is no longer the one it was copied from", Verdict::kRefused, R"(
  r7 = map[idx:0]+0
  r0 = 0
  r1 = *(u16 *)(r7 +0)
  r2 = r1
  r2 = be16 r2
  if r2 > 0xa goto out
  r7 += r1
  r0 = *(u8 *)(r7 +0)
out:
  exit
)"},
    {17, "a constant index behind the last program", Verdict::kHarmless, R"(
  r2 = map[idx:3]
  r3 = 111
  call bpf_tail_call
  r0 = 0
  exit
)"},
    {20, "arithmetic on a pointer that may be null", Verdict::kRefused, R"(
  r1 = map[idx:4]
  r2 = 16
  r3 = 0
  call bpf_ringbuf_reserve
  r1 = r0
  r1 += 8
  if r0 != 0x0 goto out
  *(u64 *)(r1 +0) = r1
out:
  r0 = 0
  exit
)"},
    {21, "a record is given back at its beginning", Verdict::kRefused, R"(
  r1 = map[idx:4]
  r2 = 16
  r3 = 0
  call bpf_ringbuf_reserve
  if r0 == 0x0 goto out
  r1 = r0
  r1 += 8
  r2 = 0
  call bpf_ringbuf_submit
out:
  r0 = 0
  exit
)"},
    {23, "a variable offset counts in full", Verdict::kRefused, R"(
  r7 = map[idx:0]+0
  r2 = *(u8 *)(r7 +0)
  r2 &= 4
  r1 += r2
  r0 = *(u32 *)(r1 +0)
  exit
)"},
    {24, "a packet pointer is not loaded with its sign", Verdict::kRefused, R"(
  r2 = *(s32 *)(r1 +0)
  r0 = 0
  exit
)"},
    {25, "a function moves the packet", Verdict::kRefused, R"(
  r6 = r1
  r8 = *(u32 *)(r6 +0)
  r2 = *(u32 *)(r6 +4)
  r0 = 0
  r3 = r8
  r3 += 8
  if r3 > r2 goto out
  r1 = r6
  call moves
  r0 = *(u8 *)(r8 +0)
out:
  exit
moves:
  r2 = 4
  call bpf_xdp_adjust_head
  r0 = 0
  exit
)"},
    {26, "a program that a function tail-calls moves the packet", Verdict::kRefused, R"(
  r6 = r1
  r8 = *(u32 *)(r6 +0)
  r2 = *(u32 *)(r6 +4)
  r0 = 0
  r3 = r8
  r3 += 8
  if r3 > r2 goto out
  r1 = r6
  call goes
  r0 = *(u8 *)(r8 +0)
out:
  exit
goes:
  r2 = map[idx:3]
  r3 = 0
  call bpf_tail_call
  r0 = 0
  exit
)"},
    {28, "a helper gets the context as it is", Verdict::kRefused, R"(
  r1 += 4
  r2 = 0
  call bpf_xdp_adjust_head
  r0 = 0
  exit
)"},
    {29, "after the release all copies are gone", Verdict::kRefused, R"(
  r1 = map[idx:4]
  r2 = 16
  r3 = 0
  call bpf_ringbuf_reserve
  r8 = r0
  if r0 == 0x0 goto out
  r1 = r0
  r2 = 0
  call bpf_ringbuf_submit
  r0 = *(u64 *)(r8 +0)
  exit
out:
  r0 = 0
  exit
)"},
    {30, "half a pointer on the stack is none", Verdict::kRefused, R"(
  r7 = map[idx:0]+0
  *(u64 *)(r10 -8) = r7
  *(u8 *)(r10 -8) = 0
  r1 = *(u64 *)(r10 -8)
  r0 = *(u8 *)(r1 +0)
  exit
)"},
    {31, "what was never written is read at a variable offset", Verdict::kHarmless, R"(
  r7 = map[idx:0]+0
  r1 = *(u8 *)(r7 +0)
  r1 &= 56
  r2 = r10
  r2 += -64
  r2 += r1
  r0 = *(u64 *)(r2 +0)
  exit
)"},
    {32, "stack slots are used whole", Verdict::kRefused, R"(
  r1 = 0
  *(u64 *)(r10 -12) = r1
  r0 = 0
  exit
)"},
    {33, "a dynptr lies at the start of a slot", Verdict::kRefused, R"(
  r1 = map[idx:4]
  r2 = 8
  r3 = 0
  r4 = r10
  r4 += -20
  call bpf_ringbuf_reserve_dynptr
  r0 = 0
  exit
)"},
    {38, "code behind a decided branch never runs", Verdict::kHarmless, R"(
  r7 = map[idx:0]+0
  r0 = 0
  r1 = 1
  if r1 == 0x1 goto out
  r2 = *(u64 *)(r7 +0)
  r7 += r2
  r0 = *(u8 *)(r7 +0)
out:
  exit
)"},
    {39, "a number is not a pointer where paths meet", Verdict::kRefused, R"(
  r7 = map[idx:0]+0
  r1 = *(u64 *)(r7 +0)
  r2 = 0
  *(u64 *)(r10 -8) = r2
  r8 = 64
  if r1 > 0x5 goto meet
  r8 = r10
meet:
  r2 = 1
  if r1 == 0x9 goto next
  r2 = 2
next:
  r0 = *(u64 *)(r8 -8)
  exit
)"},
    {40, "both numbers count where paths meet", Verdict::kRefused, R"(
  r7 = map[idx:0]+0
  r1 = *(u64 *)(r7 +0)
  r2 = *(u64 *)(r7 +8)
  r8 = 1000
  if r1 > 0x5 goto meet
  r8 = 0
meet:
  r3 = 1
  if r2 == 0x9 goto next
  r3 = 2
next:
  r9 = r8
  if r2 == 0x5 goto more
  r3 = 4
more:
  r7 += r9
  r0 = *(u8 *)(r7 +0)
  exit
)"},
    {41, "they count through the stack and a copy of the frame pointer", Verdict::kRefused, R"(
  r7 = map[idx:0]+0
  r6 = r10
  r6 += -16
  r1 = *(u64 *)(r7 +0)
  r2 = *(u64 *)(r7 +8)
  r8 = 1000
  if r1 > 0x5 goto meet
  r8 = 0
meet:
  *(u64 *)(r6 +8) = r8
  r8 = 0
  if r2 == 0x9 goto next
  r3 = 2
next:
  if r2 == 0x5 goto more
  r3 = 4
more:
  r9 = *(u64 *)(r6 +8)
  r7 += r9
  r0 = *(u8 *)(r7 +0)
  exit
)"},
    {42, "a dynptr counts where paths meet", Verdict::kRefused, R"(
  r7 = map[idx:0]+0
  r8 = *(u64 *)(r7 +0)
  r1 = 0
  *(u64 *)(r10 -8) = r1
  *(u64 *)(r10 -16) = r1
  if r8 > 0x5 goto meet
  r1 = map[idx:4]
  r2 = 8
  r3 = 0
  r4 = r10
  r4 += -16
  call bpf_ringbuf_reserve_dynptr
meet:
  r1 = r10
  r1 += -16
  r2 = 0
  call bpf_ringbuf_discard_dynptr
  r0 = 0
  exit
)"},
    {43, "they count through a function", Verdict::kRefused, R"(
  r7 = map[idx:0]+0
  r1 = *(u64 *)(r7 +0)
  r2 = *(u64 *)(r7 +8)
  call choose
  r7 += r0
  r0 = *(u8 *)(r7 +0)
  exit
choose:
  r0 = 1000
  if r1 > 0x5 goto meet
  r0 = 0
meet:
  r3 = 1
  if r2 == 0x9 goto next
  r3 = 2
next:
  exit
)"},
    {44, "paths with stacks of different depth meet", Verdict::kHarmless, R"(
  r7 = map[idx:0]+0
  r1 = *(u64 *)(r7 +0)
  r2 = 0
  *(u64 *)(r10 -8) = r2
  if r1 > 0x5 goto meet
  *(u64 *)(r10 -256) = r2
meet:
  r3 = 1
  if r1 == 0x9 goto next
  r3 = 2
next:
  r0 = *(u64 *)(r10 -8)
  exit
)"},
    {45, "a bit test is a jump", Verdict::kRefused, R"(
  r7 = map[idx:0]+0
  r1 = *(u64 *)(r7 +0)
  if r1 & 0x1 goto odd
  r8 = 0
odd:
  r0 = r8
  exit
)"},
    {46, "a loop that does not end", Verdict::kRefused, R"(
  r7 = map[idx:0]+0
  r1 = *(u64 *)(r7 +0)
  r0 = 0
again:
  if r1 != 0x0 goto again
  exit
)"},
    {47, "a long jump back is a loop too", Verdict::kRefused, R"(
  r0 = 0
  r7 = map[idx:0]+0
  r1 = *(u64 *)(r7 +0)
again:
  if r1 == 0x0 goto out
  gotol again
out:
  exit
)"},
    {48, "may_goto backward ends", Verdict::kHarmless, R"(
  r0 = 0
again:
  may_goto out
  r0 += 1
  goto again
out:
  exit
)"},
};

class History : public ::testing::Test {
 protected:
  History() : campaign_(1) {
    if (why_no_kernel_oracle()) return;
    for (const MapSpec& spec : campaign_.world().specs()) {
      maps_.push_back(KernelMap::create({.type = spec.type,
                                         .key_size = spec.key_size,
                                         .value_size = spec.value_size,
                                         .max_entries = spec.max_entries}));
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
  for (const Case& one : kCases) {
    SCOPED_TRACE(fmt::format("pattern {}: {}", one.pattern, one.name));
    auto insns = assemble(one.text);
    ASSERT_TRUE(insns.has_value()) << insns.error().to_string();
    judge(one, program_of(std::move(*insns)));
  }
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
