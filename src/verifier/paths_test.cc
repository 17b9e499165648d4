// SPDX-License-Identifier: Apache-2.0
//
// Goal: the rules of values, pointers, memory and the stack accept what keeps them and refuse what
// breaks them, with the rule's id and the kernel's words. Method: a table of small programs in
// text.
#include "verifier/paths_for_tests.h"

namespace lmn::paths_tests {
namespace {

std::vector<Case> value_and_pointer_cases() {
  return {
      reject(Rule::kUninitialised, "UninitialisedRead", "r0 = r3\nexit", "R3 !read_ok"),
      accept(Rule::kUninitialised, "InitialisedRead", "r3 = 1\nr0 = r3\nexit"),
      reject(Rule::kUninitialised, "ClobberedByCall",
             "r3 = 1\ncall bpf_ktime_get_ns\nr0 = r3\nexit", "R3 !read_ok"),
      accept(Rule::kUninitialised, "SavedOverCall", "r6 = 1\ncall bpf_ktime_get_ns\nr0 = r6\nexit"),
      reject(Rule::kPointerArithmetic, "UnboundedAdd",
             join({"r6 = r1\ncall bpf_get_prandom_u32\nr0 <<= 33\nr6 += r0\n", kReturn}),
             "math between ctx pointer and register with unbounded min value"),
      accept(Rule::kPointerArithmetic, "BoundedAdd",
             join({"r6 = r10\ncall bpf_get_prandom_u32\nr0 &= 7\nr6 += r0\n", kReturn})),
      reject(Rule::kPointerArithmetic, "PointerTimesNumber", "r1 *= 2\nr0 = 0\nexit",
             "R1 pointer arithmetic with *= operator prohibited"),
      accept(Rule::kPointerArithmetic, "PointerPlusConstant",
             join({"r2 = r10\nr2 += -8\n*(u64 *)(r2 +0) = 1\n", kReturn})),
      reject(Rule::kPacketBounds, "MovedBackFromPastTheEnd",
             join({kPacket, R"(
                 r4 += 43
                 if r4 > r3 goto past
                 goto out
               past:
                 r4 -= 3
                 if r4 > r3 goto out
                 r0 = *(u8 *)(r2 +40)
               out:
             )",
                   kReturn}),
             "invalid access to packet"),
      reject(Rule::kPointerArithmetic, "MapPlusOne", join({"r1 = map[idx:0]\nr1 += 1\n", kReturn}),
             "pointer arithmetic on map_ptr prohibited"),
      reject(Rule::kNotAPointer, "NumberAsPointer", "r2 = 5\nr0 = *(u32 *)(r2 +0)\nexit",
             "R2 invalid mem access 'scalar'"),
      accept(Rule::kNotAPointer, "PointerAsPointer",
             join({"r2 = r10\n*(u64 *)(r2 -8) = 1\n", kReturn})),
      accept(Rule::kPointerLeak, "ReturnsPointerTrusted", "r0 = r10\nexit"),
      reject(Rule::kPointerLeak, "ReturnsPointerUntrusted", "r0 = r10\nexit", "R0 leaks addr",
             Strictness::kUntrusted),
      accept(Rule::kPointerLeak, "ReturnsNumberUntrusted", "r0 = 1\nexit", Strictness::kUntrusted),
  };
}

// What a loader without CAP_PERFMON may not do, and one with it may.
std::vector<Case> leak_cases() {
  const std::string into_map =
      join({kLookup, "if r0 == 0 goto out\n*(u64 *)(r0 +0) = r10\nout:\n", kReturn});
  const std::string into_packet =
      join({kPacket, "r4 += 14\nif r4 > r3 goto out\n*(u64 *)(r2 +0) = r10\nout:\n", kReturn});
  const std::string into_helper =
      join({"r2 = map[idx:4]\nr3 = r10\ncall bpf_tail_call\n", kReturn});
  const std::string compared = join({"r2 = r10\nif r2 > 5 goto out\nout:\n", kReturn});
  const std::string part = join({"*(u64 *)(r10 -8) = r1\nr2 = *(u32 *)(r10 -8)\n", kReturn});
  const std::string unwritten = join({"r2 = *(u64 *)(r10 -8)\n", kReturn});
  // The kernel refuses this one to them because of Spectre; here nobody runs beside the program.
  const std::string variable = join({kPacket, R"(
      r4 += 14
      if r4 > r3 goto out
      r5 = *(u8 *)(r2 +0)
      r5 &= 7
      r2 += r5
      r4 = r2
      r4 += 2
      if r4 > r3 goto out
      r0 = *(u8 *)(r2 +1)
    out:
  )",
                                     kReturn});
  constexpr auto kNo = Strictness::kUntrusted;
  return {
      accept(Rule::kPointerLeak, "IntoMap", into_map),
      reject(Rule::kPointerLeak, "IntoMapUntrusted", into_map, "R10 leaks addr into map", kNo),
      accept(Rule::kPointerLeak, "IntoPacket", into_packet),
      reject(Rule::kPointerLeak, "IntoPacketUntrusted", into_packet, "R10 leaks addr into packet",
             kNo),
      reject(Rule::kPointerLeak, "IntoHelperUntrusted", into_helper,
             "R3 leaks addr into helper function", kNo),
      accept(Rule::kPointerLeak, "Compared", compared),
      reject(Rule::kPointerLeak, "ComparedUntrusted", compared, "R2 pointer comparison prohibited",
             kNo),
      reject(Rule::kStackAccess, "PartOfAPointer", part, "invalid size of register fill"),
      reject(Rule::kStackAccess, "PartOfAPointerUntrusted", part, "invalid size of register fill",
             kNo),
      accept(Rule::kStackAccess, "UnwrittenStack", unwritten),
      reject(Rule::kStackAccess, "UnwrittenStackUntrusted", unwritten, "invalid read from stack",
             kNo),
      accept(Rule::kPacketBounds, "VariablePacketOffsetUntrusted", variable, kNo),
  };
}

constexpr std::string_view kCheckedRead = R"(
    r4 += 14
    if r4 > r3 goto out
    r0 = *(u8 *)(r2 +13)
  out:
)";

std::vector<Case> memory_cases() {
  return {
      reject(Rule::kPacketBounds, "PacketUnchecked", join({kPacket, "r0 = *(u8 *)(r2 +0)\nexit"}),
             "invalid access to packet, off=0 size=1, R2(id=0,off=0,r=0)"),
      accept(Rule::kPacketBounds, "PacketChecked", join({kPacket, kCheckedRead, kReturn})),
      reject(
          Rule::kPacketBounds, "PacketOneTooFar",
          join({kPacket, "r4 += 14\nif r4 > r3 goto out\nr0 = *(u8 *)(r2 +14)\nout:\n", kReturn}),
          "off=14 size=1"),
      reject(Rule::kPacketBounds, "PacketWrongBranch",
             join({kPacket,
                   "r4 += 14\nif r4 > r3 goto bad\nr0 = 2\nexit\nbad:\nr0 = *(u8 *)(r2 +0)\n"
                   "exit"}),
             "outside of the packet"),
      reject(Rule::kNotAPointer, "PacketAfterMove",
             join({"r6 = r1\n", kPacket,
                   "r4 += 14\nif r4 > r3 goto out\nr7 = r2\nr1 = r6\nr2 = 0\n"
                   "call bpf_xdp_adjust_head\nr0 = *(u8 *)(r7 +0)\nout:\n",
                   kReturn}),
             "invalid mem access 'scalar'"),
      accept(Rule::kContextAccess, "ContextField", "r0 = *(u32 *)(r1 +12)\nexit"),
      reject(Rule::kContextAccess, "ContextHalfField", "r0 = *(u16 *)(r1 +12)\nexit",
             "invalid bpf_context access off=12 size=2"),
      reject(Rule::kContextAccess, "ContextWrite", join({"*(u32 *)(r1 +12) = 1\n", kReturn}),
             "invalid bpf_context access"),
      reject(Rule::kNullCheck, "MapValueUnchecked", join({kLookup, "r0 = *(u32 *)(r0 +0)\nexit"}),
             "R0 invalid mem access 'map_value_or_null'"),
      accept(Rule::kNullCheck, "MapValueChecked",
             join({kLookup, "if r0 == 0 goto out\nr1 = *(u32 *)(r0 +12)\nout:\n", kReturn})),
      reject(Rule::kMapAccess, "MapValueTooFar",
             join({kLookup, "if r0 == 0 goto out\nr1 = *(u32 *)(r0 +13)\nout:\n", kReturn}),
             "invalid access to map value, value_size=16 off=13 size=4"),
      accept(Rule::kMapAccess, "MapValueBoundedIndex",
             join({kLookup,
                   "if r0 == 0 goto out\nr1 = *(u32 *)(r0 +0)\nif r1 > 12 goto out\n"
                   "r0 += r1\nr1 = *(u32 *)(r0 +0)\nout:\n",
                   kReturn})),
      reject(Rule::kMapAccess, "MapValueUnboundedIndex",
             join({kLookup,
                   "if r0 == 0 goto out\nr1 = *(u32 *)(r0 +0)\nr0 += r1\nr1 = *(u8 *)(r0 +0)\n"
                   "out:\n",
                   kReturn}),
             "R0 unbounded memory access"),
      reject(Rule::kMapAccess, "ReadOnlyMapWrite",
             join({"r1 = map[idx:2]+0\n*(u32 *)(r1 +0) = 1\n", kReturn}),
             "write into map forbidden"),
      accept(Rule::kMapAccess, "FrozenMapDecides",
             "r1 = map[idx:2]+0\nr1 = *(u32 *)(r1 +0)\nif r1 == 1 goto good\nr0 = r9\nexit\ngood:\n"
             "r0 = 2\nexit"),
      accept(
          Rule::kHelperUnknown, "FrozenMapKeepsAway",
          "r1 = map[idx:2]+0\nr1 = *(u32 *)(r1 +0)\nif r1 == 1 goto good\ncall 999\ngood:\nr0 = 2\n"
          "exit"),
      reject(
          Rule::kHelperUnknown, "FrozenMapLeadsTo",
          "r1 = map[idx:2]+0\nr1 = *(u32 *)(r1 +0)\nif r1 != 1 goto good\ncall 999\ngood:\nr0 = 2\n"
          "exit",
          "unknown func"),
  };
}

std::vector<Case> stack_cases() {
  return {
      reject(Rule::kStackAccess, "StackBelow", join({"*(u64 *)(r10 -520) = 1\n", kReturn}),
             "invalid write to stack R10 off=-520 size=8"),
      accept(Rule::kStackAccess, "StackAtTheEnd", join({"*(u64 *)(r10 -512) = 1\n", kReturn})),
      reject(Rule::kStackAccess, "StackAbove", join({"*(u64 *)(r10 +0) = 1\n", kReturn}),
             "invalid write to"),
      accept(Rule::kStackAccess, "StackUninitialisedTrusted", "r0 = *(u64 *)(r10 -8)\nexit"),
      reject(Rule::kStackAccess, "StackUninitialisedUntrusted", "r0 = *(u64 *)(r10 -8)\nexit",
             "invalid read from stack", Strictness::kUntrusted),
      accept(
          Rule::kStackAccess, "StackSpillIsPointer",
          join({"*(u64 *)(r10 -8) = r1\nr2 = *(u64 *)(r10 -8)\nr3 = *(u32 *)(r2 +12)\n", kReturn})),
      reject(Rule::kNotAPointer, "StackHalfOverwrittenPointer",
             join({"*(u64 *)(r10 -8) = r1\n*(u32 *)(r10 -8) = 0\nr2 = *(u64 *)(r10 -8)\n"
                   "r3 = *(u32 *)(r2 +12)\n",
                   kReturn}),
             "invalid mem access 'scalar'"),
      reject(Rule::kMemoryAccess, "RingbufMemoryTooFar",
             "r1 = map[idx:3]\nr2 = 8\nr3 = 0\ncall bpf_ringbuf_reserve\nif r0 == 0 goto out\n"
             "*(u64 *)(r0 +8) = 1\nout:\nr0 = 0\nexit",
             "invalid access to memory, mem_size=8 off=8 size=8"),
      accept(Rule::kMemoryAccess, "RingbufMemory",
             "r1 = map[idx:3]\nr2 = 8\nr3 = 0\ncall bpf_ringbuf_reserve\nif r0 == 0 goto out\n"
             "*(u64 *)(r0 +0) = 1\nr1 = r0\nr2 = 0\ncall bpf_ringbuf_discard\nout:\nr0 = 0\nexit"),
  };
}

class PathRules : public testing::TestWithParam<Case> {};
TEST_P(PathRules, JudgeSmallPrograms) { expect_verdict(GetParam()); }
INSTANTIATE_TEST_SUITE_P(Leaks, PathRules, testing::ValuesIn(leak_cases()), case_name);
INSTANTIATE_TEST_SUITE_P(Pointers, PathRules, testing::ValuesIn(value_and_pointer_cases()),
                         case_name);
INSTANTIATE_TEST_SUITE_P(Memory, PathRules, testing::ValuesIn(memory_cases()), case_name);
INSTANTIATE_TEST_SUITE_P(Stack, PathRules, testing::ValuesIn(stack_cases()), case_name);

}  // namespace
}  // namespace lmn::paths_tests
