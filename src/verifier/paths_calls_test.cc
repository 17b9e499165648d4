// SPDX-License-Identifier: Apache-2.0
//
// Goal: the rules of calls, balance and ends, as paths_test.cc; loops, callbacks and pruning by
// programs whose cost shows whether they converge.
#include "verifier/paths_for_tests.h"

namespace lmn::paths_tests {
namespace {

std::vector<Case> call_cases() {
  return {
      reject(Rule::kCallArgument, "HelperWantsMap",
             join({"r1 = 0\nr2 = r10\ncall bpf_map_lookup_elem\n", kReturn}),
             "R1 type=scalar expected=map_ptr"),
      accept(Rule::kCallArgument, "HelperGetsMap", join({kLookup, kReturn})),
      reject(Rule::kCallArgument, "SizeNegative",
             join({"*(u64 *)(r10 -8) = 0\nr1 = r10\nr1 += -8\nr2 = -1\ncall bpf_trace_printk\n",
                   kReturn}),
             "R2 min value is negative"),
      reject(Rule::kCallArgument, "SizeZero",
             join({"*(u64 *)(r10 -8) = 0\nr1 = r10\nr1 += -8\nr2 = 0\ncall bpf_trace_printk\n",
                   kReturn}),
             "R2 invalid zero-sized read"),
      accept(Rule::kCallArgument, "SizeRight",
             join({"*(u64 *)(r10 -8) = 0\nr1 = r10\nr1 += -8\nr2 = 8\ncall bpf_trace_printk\n",
                   kReturn})),
      reject(Rule::kStackAccess, "SizeTooFar",
             join({"*(u64 *)(r10 -8) = 0\nr1 = r10\nr1 += -8\nr2 = 9\ncall bpf_trace_printk\n",
                   kReturn}),
             "invalid"),
      accept(
          Rule::kStackAccess, "UninitialisedOut",
          join({"r1 = r10\nr1 += -16\nr2 = 16\ncall bpf_get_current_comm\nr1 = *(u64 *)(r10 -16)\n",
                kReturn}),
          Strictness::kUntrusted),
      reject(Rule::kReference, "ReferenceLeaked",
             "r1 = map[idx:3]\nr2 = 8\nr3 = 0\ncall bpf_ringbuf_reserve\nr0 = 0\nexit",
             "Unreleased reference id="),
      reject(Rule::kCallArgument, "ReferenceReleasedTwice",
             "r1 = map[idx:3]\nr2 = 8\nr3 = 0\ncall bpf_ringbuf_reserve\nif r0 == 0 goto out\nr6 = "
             "r0\n"
             "r1 = r0\nr2 = 0\ncall bpf_ringbuf_discard\nr1 = r6\nr2 = 0\ncall "
             "bpf_ringbuf_discard\nout:\n"
             "r0 = 0\nexit",
             "R1 type=scalar expected=ringbuf_mem"),
      reject(Rule::kReference, "TailCallHoldingReference",
             "r6 = r1\nr1 = map[idx:3]\nr2 = 8\nr3 = 0\ncall bpf_ringbuf_reserve\nr1 = r6\n"
             "r2 = map[idx:4]\nr3 = 0\ncall bpf_tail_call\nr0 = 0\nexit",
             "tail_call would lead to reference leak"),
  };
}

std::vector<Case> end_cases() {
  return {
      reject(Rule::kLock, "LockWithoutType",
             join({kLookup, "if r0 == 0 goto out\nr1 = r0\ncall bpf_spin_lock\nout:\n", kReturn}),
             "has no valid bpf_spin_lock"),
      reject(Rule::kReturnValue, "CallbackReturnsTwo",
             "r1 = 10\nr2 = func body\nr3 = 0\nr4 = 0\ncall bpf_loop\nr0 = 0\nexit\nbody:\nr0 = "
             "2\nexit",
             "At callback return the register R0"),
      accept(Rule::kReturnValue, "CallbackReturnsOne",
             "r1 = 10\nr2 = func body\nr3 = 0\nr4 = 0\ncall bpf_loop\nr0 = 0\nexit\nbody:\nr0 = "
             "1\nexit"),
      reject(
          Rule::kCallArgument, "CallbackCountIsPointer",
          "r1 = r10\nr2 = func body\nr3 = 0\nr4 = 0\ncall bpf_loop\nr0 = 0\nexit\nbody:\nr0 = r9\n"
          "exit",
          "R1 is not a scalar"),
      reject(Rule::kInfiniteLoop, "InfiniteLoop", "r0 = 0\nagain:\nif r0 == 0 goto again\nexit",
             "infinite loop detected"),
      accept(Rule::kInfiniteLoop, "BoundedLoop",
             "r0 = 0\nagain:\nr0 += 1\nif r0 < 100 goto again\nexit"),
      reject(Rule::kComplexity, "TooLongLoop",
             "r0 = 0\nagain:\nr0 += 1\nif r0 < 1000000 goto again\nexit",
             "BPF program is too large"),
      reject(Rule::kStackAccess, "StackTooDeep",
             "*(u64 *)(r10 -300) = 0\ncall deeper\nexit\ndeeper:\n*(u64 *)(r10 -304) = 0\nr0 = "
             "0\nexit",
             "misaligned stack access"),
      reject(Rule::kStackDepth, "CombinedStackTooDeep",
             "*(u64 *)(r10 -304) = 0\ncall deeper\nexit\ndeeper:\n*(u64 *)(r10 -304) = 0\nr0 = "
             "0\nexit",
             "combined stack size of 2 calls is 608. Too large"),
      accept(Rule::kStackDepth, "CombinedStack",
             "*(u64 *)(r10 -256) = 0\ncall deeper\nexit\ndeeper:\n*(u64 *)(r10 -256) = 0\nr0 = "
             "0\nexit"),
      reject(Rule::kReturnValue, "ReturnsStackOfCallee",
             "call callee\nr0 = 0\nexit\ncallee:\nr0 = r10\nexit",
             "cannot return stack pointer to the caller"),
  };
}

// A chain of `count` frames, the last of which calls bpf_loop.
std::string frames_and_callback(int count) {
  std::string text = "call f1\nexit\n";
  for (int i = 1; i < count - 1; ++i) {
    text += "f" + std::to_string(i) + ":\ncall f" + std::to_string(i + 1) + "\nexit\n";
  }
  return text + "f" + std::to_string(count - 1) +
         ":\nr1 = 2\nr2 = func body\nr3 = 0\nr4 = 0\ncall bpf_loop\nr0 = 0\nexit\nbody:\nr0 = 0\n"
         "exit\n";
}

// kfunc#0 to 5: bpf_iter_num_new, next, destroy, bpf_rcu_read_lock, unlock, bpf_dynptr_from_xdp.
constexpr std::string_view kNewIterator = R"(
    r1 = r10
    r1 += -8
    r2 = 0
    r3 = 10
    call kfunc#0
)";
constexpr std::string_view kIteratorLoop = R"(
  again:
    r1 = r10
    r1 += -8
    call kfunc#1
    if r0 != 0 goto again
)";
constexpr std::string_view kDestroyIterator = R"(
    r1 = r10
    r1 += -8
    call kfunc#2
)";

std::vector<Case> family_cases() {
  return {
      accept(Rule::kIterator, "IteratorLoop",
             join({kNewIterator, kIteratorLoop, kDestroyIterator, kReturn})),
      reject(Rule::kIterator, "IteratorNotMade",
             join({"r1 = r10\nr1 += -8\ncall kfunc#1\n", kReturn}),
             "expected an initialized iter_num as arg #0"),
      accept(Rule::kReference, "IteratorDestroyed",
             join({kNewIterator, kDestroyIterator, kReturn})),
      reject(Rule::kReference, "IteratorNotDestroyed", join({kNewIterator, kReturn}),
             "Unreleased reference"),
      reject(Rule::kStackAccess, "IteratorIsNoData",
             join({kNewIterator, "r0 = *(u64 *)(r10 -8)\n", kDestroyIterator, kReturn}),
             "invalid read from stack"),
      accept(Rule::kLock, "RcuSection", join({"call kfunc#3\ncall kfunc#4\n", kReturn})),
      reject(Rule::kLock, "RcuSectionLeftOpen", join({"call kfunc#3\n", kReturn}),
             "bpf_rcu_read_lock-ed region"),
      accept(Rule::kDynptr, "DynptrOfPacket",
             join({"r2 = 0\nr3 = r10\nr3 += -16\ncall kfunc#5\nr0 = 1\n", kReturn})),
      reject(Rule::kDynptr, "DynptrAtOddPlace",
             join({"r2 = 0\nr3 = r10\nr3 += -12\ncall kfunc#5\n", kReturn}),
             "cannot pass in dynptr at an offset=-12"),
      reject(Rule::kStackAccess, "DynptrIsNoData",
             join({"r2 = 0\nr3 = r10\nr3 += -16\ncall kfunc#5\nr0 = *(u64 *)(r10 -16)\n", kReturn}),
             "invalid read from stack"),
      accept(Rule::kMapField, "BesideALock",
             join({"r1 = map[idx:5]+0\n*(u32 *)(r1 +4) = 1\n", kReturn})),
      reject(Rule::kMapField, "OverALock",
             join({"r1 = map[idx:5]+0\n*(u32 *)(r1 +0) = 1\n", kReturn}),
             "bpf_spin_lock cannot be accessed directly by load/store"),
      accept(
          Rule::kLock, "LockAndUnlock",
          join({"r1 = map[idx:5]+0\nr6 = r1\ncall bpf_spin_lock\nr1 = r6\ncall bpf_spin_unlock\n",
                kReturn})),
      reject(Rule::kLock, "LockLeftHeld",
             join({"r1 = map[idx:5]+0\ncall bpf_spin_lock\n", kReturn}),
             "BPF_EXIT instruction cannot be used inside bpf_spin_lock-ed region"),
      reject(Rule::kLock, "CallWhileLocked",
             join({"r1 = map[idx:5]+0\ncall bpf_spin_lock\ncall bpf_ktime_get_ns\n", kReturn}),
             "function calls are not allowed while holding a lock"),
      accept(Rule::kNotSupported, "KfuncThatIs", join({"call kfunc#3\ncall kfunc#4\n", kReturn})),
      reject(Rule::kNotSupported, "KfuncThatIsNot", join({"call kfunc#6\n", kReturn}),
             "is not supported"),
      accept(Rule::kCallback, "WalksHash",
             "r1 = map[idx:0]\nr2 = func body\nr3 = 0\nr4 = 0\ncall bpf_for_each_map_elem\nr0 = 0\n"
             "exit\nbody:\nr0 = *(u32 *)(r3 +12)\nr0 = 0\nexit"),
      reject(Rule::kCallback, "WalksTrie",
             "r1 = map[idx:6]\nr2 = func body\nr3 = 0\nr4 = 0\ncall bpf_for_each_map_elem\nr0 = 0\n"
             "exit\nbody:\nr0 = 0\nexit",
             "callback function not allowed for map"),
      accept(Rule::kCallFrames, "SevenFramesAndCallback", frames_and_callback(7)),
      reject(Rule::kCallFrames, "EightFramesAndCallback", frames_and_callback(8),
             "the call stack of 8 frames is too deep"),
      accept(Rule::kComplexity, "LongLoop",
             "r0 = 0\nagain:\nr0 += 1\nif r0 < 300000 goto again\nexit"),
      accept(Rule::kMemoryLimit, "FewStates", "r0 = 0\nexit"),
  };
}

class CallRules : public testing::TestWithParam<Case> {};
TEST_P(CallRules, JudgeSmallPrograms) { expect_verdict(GetParam()); }
INSTANTIATE_TEST_SUITE_P(Calls, CallRules, testing::ValuesIn(call_cases()), case_name);
INSTANTIATE_TEST_SUITE_P(Families, CallRules, testing::ValuesIn(family_cases()), case_name);
INSTANTIATE_TEST_SUITE_P(Ends, CallRules, testing::ValuesIn(end_cases()), case_name);

// 2^20 paths, all alike: only pruning makes it end.
TEST(VerifierPruning, BranchesThatMeetAreWalkedOnce) {
  std::string text = "r6 = r1\nr7 = 0\n";
  for (int i = 0; i < 20; ++i) {
    const std::string label = "l" + std::to_string(i);
    text += "call bpf_get_prandom_u32\nif r0 == 0 goto " + label + "\nr7 = 1\nr8 = 2\nr9 = 3\n";
    text += label + ":\n";
  }
  const Verdict verdict = judge(text + "r0 = 2\nexit");
  ASSERT_TRUE(verdict.is_accepted) << verdict.report.kernel_message;
  EXPECT_LT(verdict.processed, 2000u);
}

// What decides an access must not be pruned away: r7 is 0 or 100 where the paths meet.
TEST(VerifierPruning, NumbersThatDecideAreKeptApart) {
  const std::string text = join({kLookup, R"(
    if r0 == 0 goto out
    r6 = r0
    call bpf_get_prandom_u32
    r7 = 0
    if r0 == 0 goto meet
    r7 = 100
  meet:
    r1 = 1
    r1 = 1
    r1 = 1
    r1 = 1
    r1 = 1
    r1 = 1
    r6 += r7
    r0 = *(u8 *)(r6 +0)
  out:
)",
                                 kReturn});
  const Verdict verdict = judge(text);
  EXPECT_FALSE(verdict.is_accepted);
  EXPECT_EQ(rule_info(verdict.report.rule).id, "map-access");
}

// What a callback of bpf_loop did may have happened any number of times.
TEST(VerifierCallbacks, EffectOfRepetitionIsSeen) {
  const Verdict verdict = judge(R"(
    *(u64 *)(r10 -8) = 0
    r1 = 100
    r2 = func body
    r3 = r10
    r3 += -8
    r4 = 0
    call bpf_loop
    r1 = *(u64 *)(r10 -8)
    if r1 > 3 goto bad
    r0 = 0
    exit
  bad:
    r0 = r9
    exit
  body:
    r1 = *(u64 *)(r2 +0)
    r1 += 1
    *(u64 *)(r2 +0) = r1
    r0 = 0
    exit
)");
  EXPECT_FALSE(verdict.is_accepted);
  EXPECT_EQ(verdict.report.kernel_message, "R9 !read_ok");
}

// What only holds registers around a call that leaves them alone does not count.
constexpr std::string_view kDeepCaller = R"(
    r1 = 42
    *(u64 *)(r10 -512) = r1
    call pc+2
    r0 = 0
    exit
)";

TEST(VerifierStack, SavesAroundAFastCallDoNotCount) {
  const Verdict verdict = judge(join({kDeepCaller, R"(
    *(u64 *)(r10 -8) = r1
    call bpf_get_smp_processor_id
    r1 = *(u64 *)(r10 -8)
    exit
  )"}));
  EXPECT_TRUE(verdict.is_accepted) << verdict.report.kernel_message;
  EXPECT_EQ(verdict.report.stack_bytes, (std::vector<std::uint32_t>{512, 0}));
}

TEST(VerifierStack, SavesCountAroundOtherCallsAndWhereTheSlotIsUsed) {
  for (const std::string_view body : {
           "*(u64 *)(r10 -8) = r1\ncall bpf_get_prandom_u32\nr1 = *(u64 *)(r10 -8)\nexit",
           "*(u64 *)(r10 -8) = r1\ncall bpf_get_smp_processor_id\nr1 = *(u64 *)(r10 -8)\n"
           "r0 = *(u64 *)(r10 -8)\nexit",
           "*(u64 *)(r10 -8) = r6\ncall bpf_get_smp_processor_id\nr6 = *(u64 *)(r10 -8)\nexit",
       }) {
    const Verdict verdict = judge(join({"r6 = 1\n", kDeepCaller, "r6 = 1\n", body}));
    EXPECT_FALSE(verdict.is_accepted) << body;
    EXPECT_EQ(verdict.report.kernel_message, "combined stack size of 2 calls is 528. Too large");
  }
}

TEST(VerifierFlags, StrictAlignmentIsForAllMemory) {
  const std::string text =
      join({kLookup, "if r0 == 0 goto out\nr1 = *(u32 *)(r0 +2)\nout:\n", kReturn});
  EXPECT_TRUE(judge(text).is_accepted);
  const Verdict strict = judge(text, Strictness::kTrusted, {}, BPF_F_STRICT_ALIGNMENT);
  EXPECT_FALSE(strict.is_accepted);
  EXPECT_EQ(strict.report.kernel_message, "misaligned value access off 0+0+2 size 4");
}

TEST(VerifierFlags, StatesAreKeptMoreOftenForTests) {
  constexpr std::string_view kText = R"(
    call bpf_get_prandom_u32
    if r0 == 0 goto next
    r0 = 1
  next:
    r0 = 0
    exit
)";
  EXPECT_EQ(judge(kText).processed, 7u);
  EXPECT_EQ(judge(kText, Strictness::kTrusted, {}, BPF_F_TEST_STATE_FREQ).processed, 6u);
}

TEST(VerifierLimits, MemoryIsBounded) {
  VerifyOptions options;
  options.memory_max = 1;
  const Verdict verdict =
      judge("r0 = 0\nagain:\nr0 += 1\nif r0 < 100 goto again\nexit", Strictness::kTrusted, options);
  EXPECT_FALSE(verdict.is_accepted);
  EXPECT_EQ(verdict.report.rule, Rule::kMemoryLimit) << "did not reject";
}

}  // namespace
}  // namespace lmn::paths_tests
