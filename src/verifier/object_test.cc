// SPDX-License-Identifier: Apache-2.0
//
// Goal: who owns what: allocated objects, lists, trees, kptrs, locks and objects of a kernel.
// Method: small programs in the world of object_for_tests.h, accepted or refused with the kernel's
// words.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "verifier/object_for_tests.h"

namespace lmn::object_tests {
namespace {

using paths_tests::join;

struct Case {
  std::string name;
  std::string text;
  std::string message;  // empty: accepted
  World world = World::kNoKernel;
  std::uint32_t callee_at = 0;  // of a global function
  std::uint32_t callee = kCallee;
};

void PrintTo(const Case& wanted, std::ostream* out) { *out << wanted.name; }

constexpr std::string_view kReturn = "r0 = 2\nexit\n";
// r6 is a new node.
constexpr std::string_view kNewNode =
    "r1 = 9\nr2 = 0\ncall kfunc#4\nif r0 == 0 goto out\nr6 = r0\n";
constexpr std::string_view kDropR6 = "r1 = r6\nr2 = 0\ncall kfunc#3\n";
constexpr std::string_view kOut = "out:\nr0 = 2\nexit\n";
constexpr std::string_view kLock = "r1 = map[idx:0]+0\ncall bpf_spin_lock\n";
constexpr std::string_view kUnlock = "r1 = map[idx:0]+0\ncall bpf_spin_unlock\n";
constexpr std::string_view kAddR6 =
    "r1 = map[idx:0]+8\nr2 = r6\nr2 += 8\nr3 = func less\nr4 = 0\nr5 = 0\ncall kfunc#5\n";
constexpr std::string_view kPushR6 =
    "r1 = map[idx:0]+24\nr2 = r6\nr2 += 40\nr3 = 0\nr4 = 0\ncall kfunc#2\n";
constexpr std::string_view kLess =
    "less:\nr1 = *(u64 *)(r1 -8)\nr2 = *(u64 *)(r2 -8)\nr0 = 0\nif r1 >= r2 goto done\nr0 = 1\n"
    "done:\nexit\n";
constexpr std::string_view kCurrent = "call bpf_get_current_task_btf\nr6 = r0\n";

std::vector<Case> allocation_cases() {
  return {
      {"NewAndDrop", join({kNewNode, "*(u64 *)(r6 +0) = r6\n", kDropR6, kOut}), ""},
      {"NeverDropped", join({kNewNode, kOut}), "Unreleased reference"},
      {"NotChecked", join({"r1 = 9\nr2 = 0\ncall kfunc#4\nr1 = *(u64 *)(r0 +0)\n", kReturn}),
       "R0 invalid mem access 'ptr_or_null_'"},
      {"UsedAfterDrop", join({kNewNode, kDropR6, "r1 = *(u64 *)(r6 +0)\n", kOut}),
       "R6 invalid mem access 'scalar'"},
      {"DroppedTwice", join({kNewNode, kDropR6, kDropR6, kOut}),
       "R1 must be referenced or trusted"},
      {"DroppedInside", join({kNewNode, "r1 = r6\nr1 += 8\nr2 = 0\ncall kfunc#3\n", kOut}),
       "R1 must have zero offset when passed to release func"},
      {"NodeFieldAsBytes", join({kNewNode, "r1 = *(u64 *)(r6 +8)\n", kDropR6, kOut}),
       "direct access to bpf_rb_node is disallowed"},
      {"PastTheEnd", join({kNewNode, "r1 = *(u64 *)(r6 +72)\n", kDropR6, kOut}),
       "access beyond struct node at off 72 size 8"},
      {"TypeIsNoStruct", join({"r1 = 1\nr2 = 0\ncall kfunc#4\n", kReturn}),
       "type ID argument must be of a struct"},
      {"TooLarge", join({"r1 = 22\nr2 = 0\ncall kfunc#4\n", kReturn}),
       "struct huge has more than 4096 bytes"},
      {"TypeUnknown", join({"r1 = *(u32 *)(r1 +12)\nr2 = 0\ncall kfunc#4\n", kReturn}),
       "R1 must be a known constant"},
      {"SecondReferenceOfTheOwner",
       join({kNewNode, "r1 = r6\nr2 = 0\ncall kfunc#10\nr1 = r0\nr2 = 0\ncall kfunc#3\n", kDropR6,
             kOut}),
       ""},
      {"SecondReferenceLeaks", join({kNewNode, "r1 = r6\nr2 = 0\ncall kfunc#10\n", kDropR6, kOut}),
       "Unreleased reference"},
      {"SecondReferenceOfWhatIsNotCounted",
       join({"r1 = 10\nr2 = 0\ncall kfunc#4\nif r0 == 0 goto out\nr6 = r0\nr1 = r6\nr2 = 0\n"
             "call kfunc#10\n",
             kOut}),
       "arg#0 doesn't point to a type with bpf_refcount field"},
  };
}

std::vector<Case> graph_cases() {
  return {
      {"Add", join({kNewNode, kLock, kAddR6, kUnlock, kOut, kLess}), ""},
      {"AddWithoutLock", join({kNewNode, kAddR6, kOut, kLess}),
       "bpf_spin_lock at off=0 must be held for bpf_rb_root"},
      {"AddUnderAnotherLock",
       join({kNewNode, "r1 = map[idx:3]+0\ncall bpf_spin_lock\n", kAddR6,
             "r1 = map[idx:3]+0\ncall bpf_spin_unlock\n", kOut, kLess}),
       "held lock and object are not in the same allocation"},
      {"AddTwice", join({kNewNode, kLock, kAddR6, kAddR6, kUnlock, kOut, kLess}),
       "arg#1 expected pointer to allocated object"},
      {"ReadWhileLocked",
       join({kNewNode, kLock, kAddR6, "r1 = *(u64 *)(r6 +0)\n", kUnlock, kOut, kLess}), ""},
      {"ReadAfterUnlock",
       join({kNewNode, kLock, kAddR6, kUnlock, "r1 = *(u64 *)(r6 +0)\n", kOut, kLess}),
       "R6 invalid mem access 'scalar'"},
      {"DropAfterAdd", join({kNewNode, kLock, kAddR6, kUnlock, kDropR6, kOut, kLess}),
       "R1 must be referenced or trusted"},
      {"WrongNodeOffset",
       join({kNewNode, kLock,
             "r1 = map[idx:0]+8\nr2 = r6\nr3 = func less\nr4 = 0\nr5 = 0\ncall kfunc#5\n", kUnlock,
             kOut, kLess}),
       "bpf_rb_node not found at offset=0"},
      {"WrongStruct",
       join({kNewNode, kLock,
             "r1 = map[idx:0]+40\nr2 = r6\nr2 += 8\nr3 = func less\nr4 = 0\nr5 = 0\ncall kfunc#5\n",
             kUnlock, kOut, kLess}),
       "operation on bpf_rb_root expects arg#1 bpf_rb_node at offset=8 in struct leaf"},
      {"NoRootThere",
       join({kNewNode, kLock,
             "r1 = map[idx:0]+16\nr2 = r6\nr2 += 8\nr3 = func less\nr4 = 0\nr5 = 0\ncall kfunc#5\n",
             kUnlock, kOut, kLess}),
       "bpf_rb_root not found at offset=16"},
      {"HelperInsideLock", join({kLock, "call bpf_get_current_task_btf\n", kUnlock, kReturn}),
       "function calls are not allowed while holding a lock"},
      {"AllocationInsideLock", join({kLock, "r1 = 9\nr2 = 0\ncall kfunc#4\n", kUnlock, kReturn}),
       "function calls are not allowed while holding a lock"},
  };
}

std::vector<Case> removal_cases() {
  return {
      {"RemoveFirst",
       join({kLock,
             "r1 = map[idx:0]+8\ncall kfunc#6\nif r0 == 0 goto none\nr1 = map[idx:0]+8\nr2 = r0\n"
             "call kfunc#7\nr6 = r0\n",
             kUnlock, "if r6 == 0 goto out\nr6 += -8\n", kDropR6, "goto out\nnone:\n", kUnlock,
             kOut}),
       ""},
      {"RemovedIsOwned",
       join({kLock,
             "r1 = map[idx:0]+8\ncall kfunc#6\nif r0 == 0 goto none\nr1 = map[idx:0]+8\nr2 = r0\n"
             "call kfunc#7\n",
             "none:\n", kUnlock, kOut}),
       "Unreleased reference"},
      {"RemoveNothing",
       join({kLock, "r1 = map[idx:0]+8\nr2 = 0\ncall kfunc#7\n", kUnlock, kReturn}),
       "can only take non-owning or refcounted bpf_rb_node pointer"},
      {"FirstEscapes",
       join({kLock, "r1 = map[idx:0]+8\ncall kfunc#6\nr6 = r0\n", kUnlock,
             "if r6 == 0 goto out\nr1 = *(u64 *)(r6 -8)\n", kOut}),
       "R6 invalid mem access 'scalar'"},
      {"LockInOrder",
       join({kNewNode, kLock, kAddR6, kUnlock, kOut,
             "less:\nr1 = map[idx:0]+0\ncall bpf_spin_unlock\nr0 = 0\nexit\n"}),
       "can't spin_{lock,unlock} in rbtree cb"},
      {"OrderSaysTwo", join({kNewNode, kLock, kAddR6, kUnlock, kOut, "less:\nr0 = 2\nexit\n"}),
       "At callback return the register R0"},
      {"PushAndPop",
       join({kNewNode, kLock, kPushR6, "r1 = map[idx:0]+24\ncall kfunc#1\nr6 = r0\n", kUnlock,
             "if r6 == 0 goto out\nr6 += -40\n", kDropR6, kOut}),
       ""},
      {"PopLeaks", join({kLock, "r1 = map[idx:0]+24\ncall kfunc#1\n", kUnlock, kReturn}),
       "Unreleased reference"},
      {"HeadAsBytes", join({"r1 = map[idx:0]+24\nr2 = *(u64 *)(r1 +0)\n", kReturn}),
       "bpf_list_head cannot be accessed directly by load/store"},
  };
}

std::vector<Case> kptr_cases() {
  return {
      {"Exchange",
       join({kNewNode,
             "r1 = map[idx:1]+0\nr2 = r6\ncall bpf_kptr_xchg\nif r0 == 0 goto out\nr1 = r0\nr2 = "
             "0\ncall kfunc#3\n",
             kOut}),
       ""},
      {"WhatComesOutIsOwned",
       join({kNewNode, "r1 = map[idx:1]+0\nr2 = r6\ncall bpf_kptr_xchg\n", kOut}),
       "Unreleased reference"},
      {"WhatWentInIsGone",
       join({kNewNode,
             "r1 = map[idx:1]+0\nr2 = r6\ncall bpf_kptr_xchg\nif r0 == 0 goto out\nr1 = r0\nr2 = "
             "0\ncall kfunc#3\n",
             kDropR6, kOut}),
       "R1 must be referenced or trusted"},
      {"WrongStruct",
       join({"r1 = 10\nr2 = 0\ncall kfunc#4\nif r0 == 0 goto out\nr1 = map[idx:1]+0\nr2 = r0\n"
             "call bpf_kptr_xchg\n",
             kOut}),
       "invalid kptr access, R2 type=ptr_leaf expected=ptr_node"},
      {"NotAKptr", join({"r1 = map[idx:1]+8\nr2 = 0\ncall bpf_kptr_xchg\n", kReturn}),
       "off=8 doesn't point to kptr"},
      {"NotAReferencedKptr", join({"r1 = map[idx:2]+0\nr2 = 0\ncall bpf_kptr_xchg\n", kReturn}),
       "off=0 kptr isn't referenced kptr"},
      {"StoreToReferenced",
       join({kNewNode, "r1 = map[idx:1]+0\n*(u64 *)(r1 +0) = r6\n", kDropR6, kOut}),
       "store to referenced kptr disallowed"},
      {"StoreOfANumber", join({"r1 = map[idx:2]+0\n*(u64 *)(r1 +0) = 5\n", kReturn}),
       "BPF_ST imm must be 0"},
      {"StoreOfNull", join({"r1 = map[idx:2]+0\n*(u64 *)(r1 +0) = 0\n", kReturn}), ""},
      {"HalfOfIt", join({"r1 = map[idx:1]+0\nr2 = *(u32 *)(r1 +0)\n", kReturn}),
       "kptr access size must be BPF_DW"},
      {"LoadedWithoutCheck",
       join({"r1 = map[idx:1]+0\nr1 = *(u64 *)(r1 +0)\nr2 = *(u64 *)(r1 +0)\n", kReturn}),
       "R1 invalid mem access 'rcu_ptr_or_null_'"},
      {"LoadedInSection",
       join({"r1 = map[idx:1]+0\nr1 = *(u64 *)(r1 +0)\nif r1 == 0 goto out\nr2 = *(u64 *)(r1 "
             "+0)\n",
             kOut}),
       ""},
      {"LoadedIsNotOwned",
       join({"r1 = map[idx:1]+0\nr1 = *(u64 *)(r1 +0)\nif r1 == 0 goto out\nr2 = 0\ncall "
             "kfunc#3\n",
             kOut}),
       "R1 must be referenced or trusted"},
      {"LoadedIsSharedByCounting",
       join({"r1 = map[idx:1]+0\nr1 = *(u64 *)(r1 +0)\nif r1 == 0 goto out\nr2 = 0\ncall "
             "kfunc#10\nif r0 == 0 goto out\nr6 = r0\n",
             kDropR6, kOut}),
       ""},
  };
}

std::vector<Case> lock_cases() {
  constexpr std::string_view kTake = "r1 = map[idx:1]+16\ncall kfunc#11\nif r0 != 0 goto out\n";
  constexpr std::string_view kGive = "r1 = map[idx:1]+16\ncall kfunc#12\n";
  return {
      {"TakenAndGivenBack", join({kTake, kGive, kOut}), ""},
      {"NeverGivenBack", join({kTake, kOut}), "cannot be used inside bpf_spin_lock-ed region"},
      {"FailureForgotten", join({"r1 = map[idx:1]+16\ncall kfunc#11\n", kGive, "out:\n", kReturn}),
       "bpf_res_spin_unlock without taking a lock"},
      {"TakenTwice", join({kTake, kTake, kGive, kGive, kOut}), "AA deadlock detected"},
      {"OfAValueThatMayBeNull",
       join({"*(u32 *)(r10 -4) = 9\nr2 = r10\nr2 += -4\nr1 = map[idx:4]\ncall "
             "bpf_map_lookup_elem\nr1 = r0\ncall kfunc#11\n",
             kReturn}),
       "arg#0 doesn't point to map value or allocated object"},
      {"NotALock", join({"r1 = map[idx:0]+0\ncall kfunc#11\n", kReturn}),
       "map '.data.A' has no valid bpf_res_spin_lock"},
      {"NotThere", join({"r1 = map[idx:1]+8\ncall kfunc#11\n", kReturn}),
       "off 8 doesn't point to 'struct bpf_res_spin_lock' that is at 16"},
      {"OneAtATime", join({kLock, "r1 = map[idx:3]+0\ncall bpf_spin_lock\n", kReturn}),
       "function calls are not allowed while holding a lock"},
      {"AnotherOne", join({kLock, "r1 = map[idx:3]+0\ncall bpf_spin_unlock\n", kReturn}),
       "bpf_spin_unlock of different lock"},
  };
}

std::vector<Case> kernel_cases() {
  constexpr std::string_view kAcquire = "call kfunc#13\n";
  constexpr std::string_view kReleaseR0 = "if r0 == 0 goto out\nr1 = r0\ncall kfunc#14\n";
  return {
      {"Read", join({kCurrent, "r1 = *(u8 *)(r6 +1)\n", kReturn}), "", World::kKernel},
      {"Write", join({kCurrent, "*(u8 *)(r6 +1) = 1\n", kReturn}), "only read is supported",
       World::kKernel},
      {"VariableOffset",
       join({kCurrent, "r1 = *(u8 *)(r6 +1)\nr1 &= 7\nr6 += r1\nr1 = *(u8 *)(r6 +0)\n", kReturn}),
       "invalid variable offset", World::kKernel},
      {"ParentMayBeNull", join({kCurrent, "r1 = *(u64 *)(r6 +16)\nr1 = *(u8 *)(r1 +0)\n", kReturn}),
       "R1 invalid mem access 'rcu_ptr_or_null_'", World::kKernel},
      {"LeaderIsNeverNull", join({kCurrent, "r1 = *(u64 *)(r6 +24)\n", kAcquire, kReleaseR0, kOut}),
       "", World::kKernel},
      {"OtherIsNotTrusted", join({kCurrent, "r1 = *(u64 *)(r6 +32)\n", kAcquire, kReleaseR0, kOut}),
       "R1 must be a rcu pointer", World::kKernel},
      {"OtherCanBeRead", join({kCurrent, "r1 = *(u64 *)(r6 +32)\nr1 = *(u8 *)(r1 +0)\n", kReturn}),
       "", World::kKernel},
      {"SectionEnds",
       join({"call kfunc#8\n", kCurrent, "r7 = *(u64 *)(r6 +24)\ncall kfunc#9\nr1 = r7\n", kAcquire,
             kReleaseR0, kOut}),
       "R1 must be a rcu pointer", World::kKernel},
      {"Acquire", join({kCurrent, "r1 = r6\n", kAcquire, kReleaseR0, kOut}), "", World::kKernel},
      {"AcquiredLeaks", join({kCurrent, "r1 = r6\n", kAcquire, kReturn}), "Unreleased reference",
       World::kKernel},
      {"ReleaseOfWhatIsNotHeld", join({kCurrent, "r1 = r6\ncall kfunc#14\n", kReturn}),
       "release kernel function bpf_task_release expects refcounted PTR_TO_BTF_ID", World::kKernel},
      {"Null", join({"r1 = 0\n", kAcquire, kReturn}),
       "Possibly NULL pointer passed to trusted arg0", World::kKernel},
      {"StackAsTask", join({"r1 = r10\n", kAcquire, kReturn}),
       "arg#0 pointer type STRUCT task_struct must point to", World::kKernel},
      {"FieldOfAMap", join({"r1 = map[idx:0]\nr1 = *(u8 *)(r1 +0)\n", kReturn}), "",
       World::kKernel},
      {"FieldOfAMapWritten", join({"r1 = map[idx:0]\n*(u8 *)(r1 +0) = 1\n", kReturn}),
       "only read from bpf_array is supported", World::kKernel},
      {"FieldOfAMapInFront", join({"r1 = map[idx:0]\nr1 = *(u8 *)(r1 -8)\n", kReturn}),
       "R1 is bpf_array invalid negative access: off=-8", World::kKernel},
      {"ContextOfTheKernel", join({"call kfunc#0\nr0 = *(u8 *)(r0 +0)\n", kReturn}), "",
       World::kKernel},
      {"HandlesNeedNoTypes", join({kCurrent, "r1 = r6\n", kAcquire, kReleaseR0, kOut}), ""},
      {"HandlesAreNotLookedInto", join({kCurrent, "r1 = *(u8 *)(r6 +1)\n", kReturn}),
       "is an object of the kernel, and there is none here"},
      {"MapsAreHandles", join({"r1 = map[idx:0]\nr1 = *(u8 *)(r1 +0)\n", kReturn}),
       "R1 invalid mem access 'map_ptr'"},
      {"ContextOfNoKernel", join({"call kfunc#0\n", kReturn}), "there is none here"},
  };
}

// Mistakes that verifiers are known to have made, and would make with objects: what a function
// does to its caller's pointers, and what counts where paths meet.
std::vector<Case> history_cases() {
  constexpr std::string_view kCallGlobal =
      "r6 = r1\nr8 = *(u32 *)(r6 +0)\nr2 = *(u32 *)(r6 +4)\nr0 = 0\nr3 = r8\nr3 += 8\nif r3 > r2 "
      "goto out\nr1 = r6\ncall callee\nr0 = *(u8 *)(r8 +0)\nout:\nexit\n";
  constexpr std::string_view kEither = "r7 = *(u32 *)(r1 +12)\n";
  return {
      {"GlobalFunctionMovesThePacket",
       join({kCallGlobal, "callee:\nr2 = 4\ncall bpf_xdp_adjust_head\nr0 = 0\nexit\n"}),
       "R8 invalid mem access 'scalar'", World::kNoKernel, 11},
      {"GlobalFunctionLeavesThePacket", join({kCallGlobal, "callee:\nr0 = 0\nexit\n"}), "",
       World::kNoKernel, 11},
      {"DroppedOnOneOfTwoPaths",
       join({kEither, kNewNode, "if r7 == 5 goto meet\n", kDropR6, "meet:\n", kOut}),
       "Unreleased reference"},
      {"DroppedOnBothPaths",
       join({kEither, kNewNode, "if r7 == 5 goto other\n", kDropR6, "goto out\nother:\n", kDropR6,
             kOut}),
       ""},
      {"LocksOfTwoValuesMeet",
       join({kEither,
             "r1 = map[idx:0]+0\nif r7 == 5 goto meet\nr1 = map[idx:3]+0\nmeet:\n"
             "call bpf_spin_lock\nr0 = 0\nr7 = 0\n",
             kUnlock, kReturn}),
       "bpf_spin_unlock of different lock"},
      {"OwnedAndGivenAwayMeet",
       join({kEither, kNewNode, kLock, "if r7 == 5 goto meet\n", kAddR6, "meet:\n", kUnlock,
             kDropR6, kOut, kLess}),
       "R1 must be referenced or trusted"},
      {"ReferenceOfANodeMayFail",
       join({kNewNode, kLock, kPushR6, "r1 = r6\nr2 = 0\ncall kfunc#10\nr6 = r0\n", kUnlock,
             kDropR6, kOut}),
       "Possibly NULL pointer passed to trusted arg0"},
      {"ReferenceOfWhatTheSectionProtected",
       join({"call kfunc#8\nr1 = map[idx:1]+0\nr6 = *(u64 *)(r1 +0)\ncall kfunc#9\nif r6 == 0 goto "
             "out\nr1 = r6\nr2 = 0\ncall kfunc#10\n",
             kOut}),
       "is neither owning or non-owning ref"},
      {"FunctionOfNoNumber", join({"call kfunc#99\n", kReturn}), "kernel function number 99"},
      {"ContextOfAnotherProgramType", "call callee\nexit\ncallee:\nr0 = 0\nexit\n",
       "arg#0 should be `struct xdp_md *`", World::kNoKernel, 2, kTaggedCallee},
      {"ExchangeUnderALock",
       join({kLock, "r1 = map[idx:1]+0\nr2 = 0\ncall bpf_kptr_xchg\n", kUnlock, kReturn}),
       "function calls are not allowed while holding a lock"},
  };
}

class Objects : public testing::TestWithParam<Case> {};

TEST_P(Objects, AreJudged) {
  const Case& wanted = GetParam();
  const paths_tests::Verdict verdict =
      judge(wanted.text, wanted.world, wanted.callee_at, wanted.callee);
  ASSERT_EQ(verdict.structure_error, "");
  if (wanted.message.empty()) {
    EXPECT_TRUE(verdict.is_accepted) << verdict.report.kernel_message;
    return;
  }
  ASSERT_FALSE(verdict.is_accepted);
  EXPECT_NE(verdict.report.kernel_message.find(wanted.message), std::string::npos)
      << verdict.report.kernel_message;
}

std::string name_of(const testing::TestParamInfo<Case>& info) { return info.param.name; }

INSTANTIATE_TEST_SUITE_P(Allocated, Objects, testing::ValuesIn(allocation_cases()), name_of);
INSTANTIATE_TEST_SUITE_P(Graph, Objects, testing::ValuesIn(graph_cases()), name_of);
INSTANTIATE_TEST_SUITE_P(Removal, Objects, testing::ValuesIn(removal_cases()), name_of);
INSTANTIATE_TEST_SUITE_P(Kptr, Objects, testing::ValuesIn(kptr_cases()), name_of);
INSTANTIATE_TEST_SUITE_P(Lock, Objects, testing::ValuesIn(lock_cases()), name_of);
INSTANTIATE_TEST_SUITE_P(History, Objects, testing::ValuesIn(history_cases()), name_of);
INSTANTIATE_TEST_SUITE_P(Kernel, Objects, testing::ValuesIn(kernel_cases()), name_of);

}  // namespace
}  // namespace lmn::object_tests
