// SPDX-License-Identifier: Apache-2.0
//
// Goal: each rule of the path-sensitive stage accepts what keeps it and refuses what breaks it,
// with the rule's id and the kernel's words. Method: a table of small programs in text; loops,
// callbacks and pruning by programs whose cost shows whether they converge.
#include <gtest/gtest.h>

#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "verifier/structure_for_tests.h"
#include "verifier/verifier.h"

namespace lmn {
namespace {

using structure_tests::map_spec;
using structure_tests::program_of;

constexpr HelperArg kMap{ArgKind::kConstMapPtr};
constexpr HelperArg kKey{ArgKind::kPtrToMapKey};
constexpr HelperArg kAny{ArgKind::kAnything};
constexpr HelperArg kCtx{ArgKind::kPtrToCtx};
constexpr HelperArg kLock{ArgKind::kPtrToSpinLock};
constexpr HelperArg kFunc{ArgKind::kPtrToFunc};
constexpr HelperArg kMem{ArgKind::kPtrToMem, kArgRdonly};
constexpr HelperArg kMemUninit{ArgKind::kPtrToMem, kArgUninit | kArgWrite};
constexpr HelperArg kSize{ArgKind::kConstSize};
constexpr HelperArg kStackOrNull{ArgKind::kPtrToStack, kArgMaybeNull};

// The rows of these helpers as Linux has them.
constexpr HelperProto kHelpers[] = {
    {.id = 1,
     .name = "bpf_map_lookup_elem",
     .flags = kHelperPktAccess,
     .ret = RetKind::kPtrToMapValue,
     .ret_flags = kArgMaybeNull,
     .args = {kMap, kKey}},
    {.id = 5, .name = "bpf_ktime_get_ns"},
    {.id = 6, .name = "bpf_trace_printk", .args = {kMem, kSize}},
    {.id = 7, .name = "bpf_get_prandom_u32"},
    {.id = 12, .name = "bpf_tail_call", .ret = RetKind::kVoid, .args = {kCtx, kMap, kAny}},
    {.id = 16, .name = "bpf_get_current_comm", .args = {kMemUninit, kSize}},
    {.id = 44, .name = "bpf_xdp_adjust_head", .flags = kHelperChangesPacket, .args = {kCtx, kAny}},
    {.id = 93, .name = "bpf_spin_lock", .ret = RetKind::kVoid, .args = {kLock}},
    {.id = 94, .name = "bpf_spin_unlock", .ret = RetKind::kVoid, .args = {kLock}},
    {.id = 131,
     .name = "bpf_ringbuf_reserve",
     .ret = RetKind::kPtrToMem,
     .ret_flags = kArgMaybeNull | kArgAcquire,
     .args = {kMap, HelperArg{ArgKind::kConstAllocSizeOrZero}, kAny}},
    {.id = 133,
     .name = "bpf_ringbuf_discard",
     .ret = RetKind::kVoid,
     .args = {HelperArg{ArgKind::kPtrToRingbufMem, kArgRelease}, kAny}},
    {.id = 181,
     .name = "bpf_loop",
     .flags = kHelperCallsBack,
     .args = {kAny, kFunc, kStackOrNull, kAny}},
};
constexpr MapTypeInfo kMapTypes[] = {
    {.type = BPF_MAP_TYPE_HASH, .name = "hash"},
    {.type = BPF_MAP_TYPE_ARRAY, .name = "array", .flags = kMapDirectValue},
    {.type = BPF_MAP_TYPE_PROG_ARRAY, .name = "prog_array", .flags = kMapHoldsPrograms},
    {.type = BPF_MAP_TYPE_RINGBUF, .name = "ringbuf"},
};

// map[0] hash of 16-byte values, map[1] global data of 16 bytes, map[2] the same, read-only and
// frozen, holding 1, 0, 0 ..., map[3] ring buffer, map[4] program array.
std::vector<MapSpec> test_maps() {
  std::vector<MapSpec> maps{map_spec("flows", BPF_MAP_TYPE_HASH, 16, 4),
                            map_spec(".data", BPF_MAP_TYPE_ARRAY, 16, 1),
                            map_spec(".rodata", BPF_MAP_TYPE_ARRAY, 16, 1),
                            map_spec("events", BPF_MAP_TYPE_RINGBUF, 0, 4096),
                            map_spec("jumps", BPF_MAP_TYPE_PROG_ARRAY, 4, 4)};
  maps[2].map_flags = BPF_F_RDONLY_PROG;
  maps[2].is_frozen_at_load = true;
  maps[2].contents = {1};
  return maps;
}

struct Verdict {
  bool is_accepted = false;
  VerifierReport report;
  std::uint64_t processed = 0;
  std::string structure_error;
};

Verdict judge(std::string_view text, Strictness strictness = Strictness::kTrusted,
              const VerifyOptions& wanted = {}) {
  const Environment environment{.helpers = kHelpers,
                                .map_types = kMapTypes,
                                .context = kXdpMdFields,
                                .strictness = strictness};
  const std::vector<MapSpec> maps = test_maps();
  Verdict out;
  auto structure = check_structure(environment, program_of(text, maps.size()), maps,
                                   {.defers_operations = true});
  if (!structure) {
    out.structure_error = structure.error().to_string();
    return out;
  }
  VerifyOptions options = wanted;
  options.report = &out.report;
  auto verified = verify(environment, *std::move(structure), options);
  out.is_accepted = verified.has_value();
  if (verified) out.processed = verified->facts().processed;
  return out;
}

constexpr std::string_view kLookup = R"(
    *(u32 *)(r10 -4) = 1
    r2 = r10
    r2 += -4
    r1 = map[idx:0]
    call bpf_map_lookup_elem
)";
constexpr std::string_view kPacket = R"(
    r2 = *(u32 *)(r1 +0)
    r3 = *(u32 *)(r1 +4)
    r4 = r2
)";
constexpr std::string_view kReturn = R"(
    r0 = 2
    exit
)";

struct Case {
  std::string name;
  std::string text;
  std::string rule;     // empty: accepted
  std::string message;  // part of the kernel's wording
  Strictness strictness = Strictness::kTrusted;
};

void PrintTo(const Case& wanted, std::ostream* out) { *out << wanted.name; }

std::string join(std::initializer_list<std::string_view> parts) {
  std::string out;
  for (const std::string_view part : parts) out += part;
  return out;
}

std::vector<Case> value_and_pointer_cases() {
  return {
      {"UninitialisedRead", "r0 = r3\nexit", "uninitialised", "R3 !read_ok"},
      {"InitialisedRead", "r3 = 1\nr0 = r3\nexit", "", ""},
      {"ClobberedByCall", "r3 = 1\ncall bpf_ktime_get_ns\nr0 = r3\nexit", "uninitialised",
       "R3 !read_ok"},
      {"SavedOverCall", "r6 = 1\ncall bpf_ktime_get_ns\nr0 = r6\nexit", "", ""},
      {"UnboundedAdd", join({"r6 = r1\ncall bpf_get_prandom_u32\nr0 <<= 33\nr6 += r0\n", kReturn}),
       "pointer-arithmetic", "math between ctx pointer and register with unbounded min value"},
      {"BoundedAdd", join({"r6 = r10\ncall bpf_get_prandom_u32\nr0 &= 7\nr6 += r0\n", kReturn}), "",
       ""},
      {"PointerTimesNumber", "r1 *= 2\nr0 = 0\nexit", "pointer-arithmetic",
       "R1 pointer arithmetic with *= operator prohibited"},
      {"PointerPlusConstant", join({"r2 = r10\nr2 += -8\n*(u64 *)(r2 +0) = 1\n", kReturn}), "", ""},
      {"MapPlusOne", join({"r1 = map[idx:0]\nr1 += 1\n", kReturn}), "pointer-arithmetic",
       "pointer arithmetic on map_ptr prohibited"},
      {"NumberAsPointer", "r2 = 5\nr0 = *(u32 *)(r2 +0)\nexit", "not-a-pointer",
       "R2 invalid mem access 'scalar'"},
      {"PointerAsPointer", join({"r2 = r10\n*(u64 *)(r2 -8) = 1\n", kReturn}), "", ""},
      {"ReturnsPointerTrusted", "r0 = r10\nexit", "", ""},
      {"ReturnsPointerUntrusted", "r0 = r10\nexit", "pointer-leak", "R0 leaks addr",
       Strictness::kUntrusted},
      {"ReturnsNumberUntrusted", "r0 = 1\nexit", "", "", Strictness::kUntrusted},
  };
}

std::vector<Case> memory_cases() {
  return {
      {"PacketUnchecked", join({kPacket, "r0 = *(u8 *)(r2 +0)\nexit"}), "packet-bounds",
       "invalid access to packet, off=0 size=1, R2(id=0,off=0,r=0)"},
      {"PacketChecked",
       join({kPacket, "r4 += 14\nif r4 > r3 goto out\nr0 = *(u8 *)(r2 +13)\nout:\n", kReturn}), "",
       ""},
      {"PacketOneTooFar",
       join({kPacket, "r4 += 14\nif r4 > r3 goto out\nr0 = *(u8 *)(r2 +14)\nout:\n", kReturn}),
       "packet-bounds", "off=14 size=1"},
      {"PacketWrongBranch",
       join({kPacket,
             "r4 += 14\nif r4 > r3 goto bad\nr0 = 2\nexit\nbad:\nr0 = *(u8 *)(r2 +0)\n"
             "exit"}),
       "packet-bounds", "outside of the packet"},
      {"PacketAfterMove",
       join({"r6 = r1\n", kPacket,
             "r4 += 14\nif r4 > r3 goto out\nr7 = r2\nr1 = r6\nr2 = 0\n"
             "call bpf_xdp_adjust_head\nr0 = *(u8 *)(r7 +0)\nout:\n",
             kReturn}),
       "not-a-pointer", "invalid mem access 'scalar'"},
      {"ContextField", "r0 = *(u32 *)(r1 +12)\nexit", "", ""},
      {"ContextHalfField", "r0 = *(u16 *)(r1 +12)\nexit", "context-access",
       "invalid bpf_context access off=12 size=2"},
      {"ContextWrite", join({"*(u32 *)(r1 +12) = 1\n", kReturn}), "context-access",
       "invalid bpf_context access"},
      {"MapValueUnchecked", join({kLookup, "r0 = *(u32 *)(r0 +0)\nexit"}), "null-check",
       "R0 invalid mem access 'map_value_or_null'"},
      {"MapValueChecked",
       join({kLookup, "if r0 == 0 goto out\nr1 = *(u32 *)(r0 +12)\nout:\n", kReturn}), "", ""},
      {"MapValueTooFar",
       join({kLookup, "if r0 == 0 goto out\nr1 = *(u32 *)(r0 +13)\nout:\n", kReturn}), "map-access",
       "invalid access to map value, value_size=16 off=13 size=4"},
      {"MapValueBoundedIndex",
       join({kLookup,
             "if r0 == 0 goto out\nr1 = *(u32 *)(r0 +0)\nif r1 > 12 goto out\n"
             "r0 += r1\nr1 = *(u32 *)(r0 +0)\nout:\n",
             kReturn}),
       "", ""},
      {"MapValueUnboundedIndex",
       join({kLookup,
             "if r0 == 0 goto out\nr1 = *(u32 *)(r0 +0)\nr0 += r1\nr1 = *(u8 *)(r0 +0)\n"
             "out:\n",
             kReturn}),
       "map-access", "R0 unbounded memory access"},
      {"ReadOnlyMapWrite", join({"r1 = map[idx:2]+0\n*(u32 *)(r1 +0) = 1\n", kReturn}),
       "map-access", "write into map forbidden"},
      {"FrozenMapDecides",
       "r1 = map[idx:2]+0\nr1 = *(u32 *)(r1 +0)\nif r1 == 1 goto good\nr0 = r9\nexit\ngood:\n"
       "r0 = 2\nexit",
       "", ""},
      {"FrozenMapKeepsAway",
       "r1 = map[idx:2]+0\nr1 = *(u32 *)(r1 +0)\nif r1 == 1 goto good\ncall 999\ngood:\nr0 = 2\n"
       "exit",
       "", ""},
      {"FrozenMapLeadsTo",
       "r1 = map[idx:2]+0\nr1 = *(u32 *)(r1 +0)\nif r1 != 1 goto good\ncall 999\ngood:\nr0 = 2\n"
       "exit",
       "helper-unknown", "unknown func"},
      {"StackBelow", join({"*(u64 *)(r10 -520) = 1\n", kReturn}), "stack-access",
       "invalid write to stack R10 off=-520 size=8"},
      {"StackAtTheEnd", join({"*(u64 *)(r10 -512) = 1\n", kReturn}), "", ""},
      {"StackAbove", join({"*(u64 *)(r10 +0) = 1\n", kReturn}), "stack-access", "invalid write to"},
      {"StackUninitialisedTrusted", "r0 = *(u64 *)(r10 -8)\nexit", "", ""},
      {"StackUninitialisedUntrusted", "r0 = *(u64 *)(r10 -8)\nexit", "stack-access",
       "invalid read from stack", Strictness::kUntrusted},
      {"StackSpillIsPointer",
       join({"*(u64 *)(r10 -8) = r1\nr2 = *(u64 *)(r10 -8)\nr3 = *(u32 *)(r2 +12)\n", kReturn}), "",
       ""},
      {"StackHalfOverwrittenPointer",
       join({"*(u64 *)(r10 -8) = r1\n*(u32 *)(r10 -8) = 0\nr2 = *(u64 *)(r10 -8)\n"
             "r3 = *(u32 *)(r2 +12)\n",
             kReturn}),
       "not-a-pointer", "invalid mem access 'scalar'"},
      {"RingbufMemoryTooFar",
       "r1 = map[idx:3]\nr2 = 8\nr3 = 0\ncall bpf_ringbuf_reserve\nif r0 == 0 goto out\n"
       "*(u64 *)(r0 +8) = 1\nout:\nr0 = 0\nexit",
       "memory-access", "invalid access to memory, mem_size=8 off=8 size=8"},
      {"RingbufMemory",
       "r1 = map[idx:3]\nr2 = 8\nr3 = 0\ncall bpf_ringbuf_reserve\nif r0 == 0 goto out\n"
       "*(u64 *)(r0 +0) = 1\nr1 = r0\nr2 = 0\ncall bpf_ringbuf_discard\nout:\nr0 = 0\nexit",
       "", ""},
  };
}

std::vector<Case> call_and_end_cases() {
  return {
      {"HelperWantsMap", join({"r1 = 0\nr2 = r10\ncall bpf_map_lookup_elem\n", kReturn}),
       "call-argument", "R1 type=scalar expected=map_ptr"},
      {"HelperGetsMap", join({kLookup, kReturn}), "", ""},
      {"SizeNegative",
       join(
           {"*(u64 *)(r10 -8) = 0\nr1 = r10\nr1 += -8\nr2 = -1\ncall bpf_trace_printk\n", kReturn}),
       "call-argument", "R2 min value is negative"},
      {"SizeZero",
       join({"*(u64 *)(r10 -8) = 0\nr1 = r10\nr1 += -8\nr2 = 0\ncall bpf_trace_printk\n", kReturn}),
       "call-argument", "R2 invalid zero-sized read"},
      {"SizeRight",
       join({"*(u64 *)(r10 -8) = 0\nr1 = r10\nr1 += -8\nr2 = 8\ncall bpf_trace_printk\n", kReturn}),
       "", ""},
      {"SizeTooFar",
       join({"*(u64 *)(r10 -8) = 0\nr1 = r10\nr1 += -8\nr2 = 9\ncall bpf_trace_printk\n", kReturn}),
       "stack-access", "invalid"},
      {"UninitialisedOut",
       join({"r1 = r10\nr1 += -16\nr2 = 16\ncall bpf_get_current_comm\nr1 = *(u64 *)(r10 -16)\n",
             kReturn}),
       "", "", Strictness::kUntrusted},
      {"ReferenceLeaked", "r1 = map[idx:3]\nr2 = 8\nr3 = 0\ncall bpf_ringbuf_reserve\nr0 = 0\nexit",
       "reference", "Unreleased reference id="},
      {"ReferenceReleasedTwice",
       "r1 = map[idx:3]\nr2 = 8\nr3 = 0\ncall bpf_ringbuf_reserve\nif r0 == 0 goto out\nr6 = r0\n"
       "r1 = r0\nr2 = 0\ncall bpf_ringbuf_discard\nr1 = r6\nr2 = 0\ncall "
       "bpf_ringbuf_discard\nout:\n"
       "r0 = 0\nexit",
       "call-argument", "R1 type=scalar expected=ringbuf_mem"},
      {"TailCallHoldingReference",
       "r6 = r1\nr1 = map[idx:3]\nr2 = 8\nr3 = 0\ncall bpf_ringbuf_reserve\nr1 = r6\n"
       "r2 = map[idx:4]\nr3 = 0\ncall bpf_tail_call\nr0 = 0\nexit",
       "reference", "tail_call would lead to reference leak"},
      {"LockWithoutType",
       join({kLookup, "if r0 == 0 goto out\nr1 = r0\ncall bpf_spin_lock\nout:\n", kReturn}), "lock",
       "has no valid bpf_spin_lock"},
      {"CallbackReturnsTwo",
       "r1 = 10\nr2 = func body\nr3 = 0\nr4 = 0\ncall bpf_loop\nr0 = 0\nexit\nbody:\nr0 = 2\nexit",
       "return-value", "At callback return the register R0"},
      {"CallbackReturnsOne",
       "r1 = 10\nr2 = func body\nr3 = 0\nr4 = 0\ncall bpf_loop\nr0 = 0\nexit\nbody:\nr0 = 1\nexit",
       "", ""},
      {"InfiniteLoop", "r0 = 0\nagain:\nif r0 == 0 goto again\nexit", "infinite-loop",
       "infinite loop detected"},
      {"BoundedLoop", "r0 = 0\nagain:\nr0 += 1\nif r0 < 100 goto again\nexit", "", ""},
      {"TooLongLoop", "r0 = 0\nagain:\nr0 += 1\nif r0 < 1000000 goto again\nexit", "complexity",
       "BPF program is too large"},
      {"StackTooDeep",
       "*(u64 *)(r10 -300) = 0\ncall deeper\nexit\ndeeper:\n*(u64 *)(r10 -304) = 0\nr0 = 0\nexit",
       "stack-access", "misaligned stack access"},
      {"CombinedStackTooDeep",
       "*(u64 *)(r10 -304) = 0\ncall deeper\nexit\ndeeper:\n*(u64 *)(r10 -304) = 0\nr0 = 0\nexit",
       "stack-depth", "combined stack size of 2 calls is 608. Too large"},
      {"CombinedStack",
       "*(u64 *)(r10 -256) = 0\ncall deeper\nexit\ndeeper:\n*(u64 *)(r10 -256) = 0\nr0 = 0\nexit",
       "", ""},
      {"ReturnsStackOfCallee", "call callee\nr0 = 0\nexit\ncallee:\nr0 = r10\nexit", "return-value",
       "cannot return stack pointer to the caller"},
  };
}

class VerifierRules : public testing::TestWithParam<Case> {};

TEST_P(VerifierRules, JudgeSmallPrograms) {
  const Case& wanted = GetParam();
  const Verdict verdict = judge(wanted.text, wanted.strictness);
  ASSERT_EQ(verdict.structure_error, "");
  if (wanted.rule.empty()) {
    EXPECT_TRUE(verdict.is_accepted) << verdict.report.kernel_message;
    return;
  }
  ASSERT_FALSE(verdict.is_accepted);
  EXPECT_EQ(rule_info(verdict.report.rule).id, wanted.rule) << verdict.report.kernel_message;
  EXPECT_NE(verdict.report.kernel_message.find(wanted.message), std::string::npos)
      << verdict.report.kernel_message;
}

std::string case_name(const testing::TestParamInfo<Case>& info) { return info.param.name; }
INSTANTIATE_TEST_SUITE_P(Pointers, VerifierRules, testing::ValuesIn(value_and_pointer_cases()),
                         case_name);
INSTANTIATE_TEST_SUITE_P(Memory, VerifierRules, testing::ValuesIn(memory_cases()), case_name);
INSTANTIATE_TEST_SUITE_P(Ends, VerifierRules, testing::ValuesIn(call_and_end_cases()), case_name);

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

TEST(VerifierLimits, MemoryIsBounded) {
  VerifyOptions options;
  options.memory_max = 1;
  const Verdict verdict =
      judge("r0 = 0\nagain:\nr0 += 1\nif r0 < 100 goto again\nexit", Strictness::kTrusted, options);
  EXPECT_FALSE(verdict.is_accepted);
  EXPECT_EQ(rule_info(verdict.report.rule).id, "memory-limit");
}

}  // namespace
}  // namespace lmn
