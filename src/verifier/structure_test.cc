// SPDX-License-Identifier: Apache-2.0
//
// Goal: every rule of the structure group refuses what it is for, accepts what is next to it, and
// agrees with Linux.
// Method: a table of programs in assembler text, at least one that a rule accepts and one that it
// rejects, with the message. The same table is given to the kernel of this machine: what we refuse
// it refuses, with our errno; what we accept it accepts, where the row does not say why not. What
// no text can say, facts and source locations: structure_facts_test.cc.
#include "verifier/structure.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "insn/codec.h"
#include "insn/kernel_oracle_for_tests.h"
#include "verifier/rules.h"
#include "verifier/structure_for_tests.h"

namespace lmn {
namespace {

using namespace structure_tests;

// What the kernel is expected to say of a case.
enum class Kernel : std::uint8_t {
  kSame,         // accepts what we accept; refuses with our errno
  kAcceptsDead,  // accepts: it judges the instruction only where its analysis gets to
  kCannotAsk,    // the case cannot be put to it
  kJudgesMore,   // refuses what we accept: another stage's matter
};

struct Case {
  Rule rule;
  std::string name;
  std::string text;
  std::string message;  // without `prog "p": ` and rule id; empty: accepted
  std::vector<MapSpec> maps = {};
  std::string license = "GPL";
  Kernel expected_of_kernel = Kernel::kSame;
  std::size_t padding = 0;      // so many "r0 = 0" before the text
  std::size_t kfunc_count = 0;  // so many names of kernel functions, instead of the usual ones
  std::uint32_t prog_flags = 0;

  bool is_accepted() const { return message.empty(); }
  Case with(std::vector<MapSpec> of) && { return maps = std::move(of), std::move(*this); }
  Case licensed(std::string as) && { return license = std::move(as), std::move(*this); }
  Case kernel(Kernel says) && { return expected_of_kernel = says, std::move(*this); }
  Case with_kfuncs(std::size_t count) && { return kfunc_count = count, std::move(*this); }
  Case flagged(std::uint32_t flags) && { return prog_flags = flags, std::move(*this); }
  Case padded(std::size_t slots) && { return padding = slots, std::move(*this); }
};

Case accept(Rule rule, std::string name, std::string text) {
  return {rule, std::move(name), std::move(text), ""};
}
Case reject(Rule rule, std::string name, std::string text, std::string message) {
  return {rule, std::move(name), std::move(text), std::move(message)};
}

// f1 calls f2 calls ... : `frames` frames.
std::string call_chain(std::size_t frames) {
  std::string text;
  for (std::size_t i = 1; i < frames; ++i) text += fmt::format("f{}: call f{}\n exit\n", i, i + 1);
  return text + fmt::format("f{}: r0 = 0\n exit\n", frames);
}

// An entry that calls all other functions.
std::string many_functions(std::size_t count) {
  std::string text;
  for (std::size_t i = 1; i < count; ++i) text += fmt::format("call f{}\n", i);
  text += "r0 = 0\n exit\n";
  for (std::size_t i = 1; i < count; ++i) text += fmt::format("f{}: r0 = {}\n exit\n", i, i);
  return text;
}

std::string uses_maps(std::size_t count) {
  std::string text;
  for (std::size_t i = 0; i < count; ++i) text += fmt::format("r1 = map[idx:{}]\n", i);
  return text + "r0 = 0\n exit\n";
}

std::vector<Case> size_and_field_cases() {
  return {
      accept(Rule::kProgramSize, "one slot is enough to be judged", "exit")
          .kernel(Kernel::kJudgesMore),
      reject(Rule::kProgramSize, "nothing", "", "0 slots, 1 to 1000000 are allowed"),
      accept(Rule::kProgramSize, "a million slots", "exit")
          .kernel(Kernel::kCannotAsk)
          .padded(999'999),
      reject(Rule::kProgramSize, "one more", "exit", "1000001 slots, 1 to 1000000 are allowed")
          .padded(1'000'000),
      accept(Rule::kFields, "lddw with both slots", "r0 = 0x5\n exit"),
  };
}

std::vector<Case> jump_cases() {
  return {
      accept(Rule::kJumpRange, "forward and backward", "r0 = 0\n if r0 > 5 goto out\n out: exit"),
      accept(Rule::kJumpRange, "a loop that ends",
             "r0 = 0\n again: r0 += 1\n if r0 < 5 goto again\n exit"),
      accept(Rule::kJumpRange, "gotol", "r0 = 0\n gotol out\n out: exit"),
      accept(Rule::kJumpRange, "may_goto", "r0 = 0\n may_goto out\n r0 = 1\n out: exit"),
      reject(Rule::kJumpRange, "past the end", "r0 = 0\n if r0 == 0 goto pc+5\n exit",
             "insn 1: jump out of range to insn 7, its function has 0 to 2"),
      reject(Rule::kJumpRange, "right behind the end", "r0 = 0\n if r0 == 0 goto pc+1\n exit",
             "insn 1: jump out of range to insn 3, its function has 0 to 2"),
      reject(Rule::kJumpRange, "before the beginning", "r0 = 0\n if r0 == 0 goto pc-3\n exit",
             "insn 1: jump out of range to insn -1, its function has 0 to 2"),
      reject(Rule::kJumpRange, "gotol to 2^31", "r0 = 0\n gotol pc+2147483647\n exit",
             "insn 1: jump out of range to insn 2147483649, its function has 0 to 2"),
      reject(Rule::kJumpRange, "gotol to -2^31", "r0 = 0\n gotol pc-2147483648\n exit",
             "insn 1: jump out of range to insn -2147483646, its function has 0 to 2"),
      reject(Rule::kJumpRange, "may_goto", "r0 = 0\n may_goto pc+100\n exit",
             "insn 1: jump out of range to insn 102, its function has 0 to 2"),
      reject(Rule::kJumpRange, "into another function",
             "if r1 == 0 goto pc+2\n call f\n exit\n f: r0 = 0\n exit",
             "insn 0: jump out of range to insn 3, its function has 0 to 2"),
      reject(Rule::kJumpRange, "from a function back into the entry",
             "call f\n exit\n f: r0 = 0\n if r0 == 0 goto pc-3\n exit",
             "insn 3: jump out of range to insn 1, its function has 2 to 4"),
      accept(Rule::kJumpIntoLddw, "to the first slot",
             "r0 = 0\n if r0 == 1 goto wide\n wide: r1 = 0x5\n exit"),
      reject(Rule::kJumpIntoLddw, "to the second",
             "r0 = 0\n if r0 == 1 goto pc+1\n r1 = 0x5\n exit",
             "insn 1: jump into the second slot of the lddw at insn 2"),
      accept(Rule::kLastInsn, "exit, goto and gotol end a function",
             "start: r0 = 0\n if r0 == 0 goto pc+1\n goto start\n call f\n call g\n exit\n"
             "f: r0 = 1\n if r0 == 1 goto pc+1\n gotol f\n exit\n"
             "g: r0 = 2\n if r0 == 3 goto pc+1\n exit\n goto pc-2"),
      reject(Rule::kLastInsn, "a plain instruction", "r0 = 0",
             "insn 0: the function at 'p' runs past its end: last insn is not an exit or jmp"),
      reject(Rule::kLastInsn, "a conditional jump", "r0 = 0\n if r0 == 0 goto pc-1",
             "insn 1: the function at 'p' runs past its end: last insn is not an exit or jmp"),
      reject(Rule::kLastInsn, "may_goto", "r0 = 0\n may_goto pc-1",
             "insn 1: the function at 'p' runs past its end: last insn is not an exit or jmp"),
      reject(Rule::kLastInsn, "a helper call", "r0 = 0\n call bpf_ktime_get_ns",
             "insn 1: the function at 'p' runs past its end: last insn is not an exit or jmp"),
      reject(Rule::kLastInsn, "lddw", "r0 = 0x0",
             "insn 1: the function at 'p' runs past its end: last insn is not an exit or jmp"),
      reject(Rule::kLastInsn, "a function that runs into the next",
             "call f\n exit\n f: r0 = 0\n g: r0 = 1\n call g\n exit",
             "insn 2: the function at insn 2 runs past its end: last insn is not an exit or jmp"),
      accept(Rule::kUnreachable, "every instruction has a way to it",
             "r0 = 0\n goto over\n back: exit\n over: goto back"),
      reject(Rule::kUnreachable, "behind a goto", "r0 = 0\n goto out\n r0 = 1\n out: exit",
             "insn 2: unreachable insn"),
      reject(Rule::kUnreachable, "behind an exit", "r0 = 0\n exit\n r0 = 1\n exit",
             "insn 2: unreachable insn"),
      reject(Rule::kUnreachable, "in a function",
             "call f\n exit\n f: r0 = 0\n goto out\n r0 = 1\n out: exit",
             "insn 4: unreachable insn"),
      reject(
          Rule::kUnreachable, "functions that only call each other",
          "r0 = 0\n exit\n f: r0 = 0\n call g\n exit\n g: r0 = 1\n if r0 == 0 goto pc+1\n call f\n "
          "exit",
          "insn 2: unreachable insn"),
  };
}

std::vector<Case> call_cases() {
  return {
      accept(Rule::kCallTarget, "a function", "call f\n exit\n f: r0 = 0\n exit"),
      reject(Rule::kCallTarget, "past the end", "call pc+5\n r0 = 0\n exit",
             "insn 0: call leads to no instruction of the program"),
      reject(Rule::kCallTarget, "before the beginning", "r0 = 0\n call pc-5\n exit",
             "insn 1: call leads to no instruction of the program"),
      reject(Rule::kCallTarget, "the second slot of lddw", "call pc+2\n exit\n r0 = 0x5\n exit",
             "insn 0: call leads into the lddw at insn 2"),
      reject(Rule::kCallTarget, "a callback past the end", "r2 = subprog[+20]\n r0 = 0\n exit",
             "insn 0: address of a function leads to no instruction of the program"),
      reject(Rule::kLastInsn, "a callback in the middle of a function",
             "r2 = subprog[+2]\n r0 = 0\n r0 = 1\n exit",
             "insn 2: the function at 'p' runs past its end: last insn is not an exit or jmp"),
      accept(Rule::kCallTarget, "a callback", "r2 = func f\n r0 = 0\n exit\n f: r0 = 0\n exit")
          .kernel(Kernel::kJudgesMore),
      accept(Rule::kSubprogramCount, "256", many_functions(256)),
      reject(Rule::kSubprogramCount, "257", many_functions(257),
             "257 functions, at most 256 are allowed"),
      accept(Rule::kCallDepth, "8 frames", call_chain(8)),
      reject(Rule::kCallDepth, "9 frames", call_chain(9),
             "insn 14: the call stack of 9 frames is too deep, at most 8 are allowed"),
      reject(Rule::kCallDepth, "10 frames, and a shorter way to the same function",
             "call f\n call g\n exit\n f: call g\n exit\n g: " + call_chain(8).substr(3),
             "insn 15: the call stack of 10 frames is too deep, at most 8 are allowed"),
      accept(Rule::kRecursion, "a function called twice",
             "call f\n call f\n exit\n f: r0 = 0\n exit"),
      reject(Rule::kRecursion, "the entry calls itself", "r0 = 0\n call pc-2\n exit",
             "insn 1: recursive call of the function at 'p'"),
      reject(Rule::kRecursion, "through another function",
             "call f\n exit\n f: call g\n exit\n g: call f\n exit",
             "insn 4: recursive call of the function at insn 2"),
      reject(Rule::kRecursion, "where constants would keep it from happening",
             "r0 = 0\n if r0 != 0 goto pc+1\n exit\n call pc-4\n exit",
             "insn 3: recursive call of the function at 'p'"),
      accept(Rule::kTailCallBtf, "from the entry",
             "r2 = map[idx:0]\n r3 = 0\n call bpf_tail_call\n r0 = 0\n exit")
          .with({kJumpTable}),
      reject(Rule::kTailCallBtf, "from another function",
             "call f\n exit\n f: r2 = map[idx:0]\n r3 = 0\n call bpf_tail_call\n r0 = 0\n exit",
             "insn 5: tail_call is not allowed in subprogs without BTF")
          .with({kJumpTable}),
  };
}

std::vector<Case> operation_cases() {
  return {
      accept(Rule::kFramePointer, "read", "r1 = r10\n *(u64 *)(r10 -8) = r1\n r0 = 0\n exit"),
      reject(Rule::kFramePointer, "mov", "r10 = 0\n r0 = 0\n exit",
             "insn 0: r10 = 0: frame pointer is read only"),
      reject(Rule::kFramePointer, "load", "r10 = *(u64 *)(r10 -8)\n r0 = 0\n exit",
             "insn 0: r10 = *(u64 *)(r10 -8): frame pointer is read only"),
      reject(Rule::kFramePointer, "lddw", "r10 = 0x5\n r0 = 0\n exit",
             "insn 0: r10 = 0x5: frame pointer is read only"),
      reject(Rule::kFramePointer, "byte swap", "r10 = be16 r10\n r0 = 0\n exit",
             "insn 0: r10 = be16 r10: frame pointer is read only"),
      reject(
          Rule::kFramePointer, "value fetched by an atomic",
          "*(u64 *)(r10 -8) = 1\n r10 = atomic64_fetch_add((u64 *)(r10 -8), r10)\n r0 = 0\n exit",
          "insn 1: r10 = atomic64_fetch_add((u64 *)(r10 -8), r10): frame pointer is read only"),
      reject(Rule::kFramePointer, "load-acquire",
             "*(u64 *)(r10 -8) = 1\n r10 = load_acquire((u64 *)(r10 -8))\n r0 = 0\n exit",
             "insn 1: r10 = load_acquire((u64 *)(r10 -8)): frame pointer is read only"),
      accept(Rule::kFramePointer, "in code that constants make dead",
             "r0 = 0\n if r0 != 0 goto pc+1\n exit\n r10 = 1\n exit"),
      reject(Rule::kFramePointer, "in code that is dead for who follows the stack",
             "r0 = 0\n *(u64 *)(r10 -8) = 0\n r1 = *(u64 *)(r10 -8)\n if r1 != 0 goto pc+1\n"
             "exit\n r10 = 1\n exit",
             "insn 5: r10 = 1: frame pointer is read only")
          .kernel(Kernel::kAcceptsDead),
      accept(Rule::kHelperUnknown, "a helper that is there", "call bpf_ktime_get_ns\n exit"),
      reject(Rule::kHelperUnknown, "no helper has the number", "call 500\n r0 = 0\n exit",
             "insn 0: unknown func unknown#500"),
      reject(Rule::kHelperUnknown, "a negative number", "call unknown#-5\n r0 = 0\n exit",
             "insn 0: unknown func unknown#-5"),
      reject(Rule::kHelperUnknown, "not for XDP", "call bpf_clone_redirect\n r0 = 0\n exit",
             "insn 0: unknown func bpf_clone_redirect#13"),
      accept(Rule::kHelperUnknown, "of CO-RE, behind a check",
             "r0 = 0\n r1 = 0\n if r1 == 0 goto out\n call unknown#195896080\n out: exit"),
      reject(Rule::kHelperUnknown, "of CO-RE, reached", "call unknown#195896080\n r0 = 0\n exit",
             "insn 0: the instruction that was here needs a field, type or enumerator that the "
             "target does not have (CO-RE), and no check before it keeps the program away"),
  };
}

constexpr const char* kLocks = "call kfunc#1\n r0 = 0\n exit";
constexpr const char* kPrints =
    "r1 = r10\n r1 += -8\n *(u64 *)(r10 -8) = 0\n r2 = 4\n call bpf_trace_printk\n r0 = 0\n exit";

std::string license_words(const char* license) {
  return fmt::format(
      "cannot call GPL-restricted function bpf_trace_printk#6 from non-GPL compatible program (its "
      "license is \"{}\")",
      license);
}

const std::string kNotForXdp =
    "packet access of classic BPF (LD_ABS, LD_IND) is not allowed for XDP programs";

std::vector<Case> outside_cases() {
  return {
      accept(Rule::kHelperLicense, "GPL", kPrints).licensed("Dual BSD/GPL"),
      reject(Rule::kHelperLicense, "another licence", kPrints,
             "insn 4: " + license_words("Apache-2.0"))
          .licensed("Apache-2.0"),
      reject(Rule::kHelperLicense, "no licence", "call bpf_trace_printk\n r0 = 0\n exit",
             "insn 0: " + license_words(""))
          .licensed(""),
      accept(Rule::kHelperLicense, "a free helper under any licence",
             "call bpf_ktime_get_ns\n exit")
          .licensed("Apache-2.0"),
      accept(Rule::kKfunc, "one that is offered", kLocks).kernel(Kernel::kCannotAsk),
      reject(Rule::kKfunc, "a slip", "call kfunc#2\n r0 = 0\n exit",
             "insn 0: unknown kernel function 'bpf_rcu_read_lok'; did you mean "
             "'bpf_rcu_read_lock'?"),
      reject(Rule::kKfunc, "known, not offered", "call kfunc#3\n r0 = 0\n exit",
             "insn 0: kernel function 'bpf_ct_release': no connections here"),
      reject(Rule::kKfunc, "no name", "call kfunc#7\n r0 = 0\n exit",
             "insn 0: call of kernel function number 7, of 4"),
      accept(Rule::kKfuncCount, "256", "r0 = 0\n exit").with_kfuncs(256),
      reject(Rule::kKfuncCount, "257", "r0 = 0\n exit",
             "too many different kernel function calls: 257, at most 256 are allowed")
          .with_kfuncs(257)
          .kernel(Kernel::kCannotAsk),
      accept(Rule::kKfuncDevice, "bound", "call kfunc#0\n r0 = 0\n exit")
          .flagged(BPF_F_XDP_DEV_BOUND_ONLY)
          .kernel(Kernel::kCannotAsk),
      reject(Rule::kKfuncDevice, "not bound", "call kfunc#0\n r0 = 0\n exit",
             "insn 0: 'bpf_xdp_metadata_rx_hash': metadata kfuncs require device-bound program"),
      accept(Rule::kKfuncLicense, "GPL", kLocks)
          .licensed("Dual MIT/GPL")
          .kernel(Kernel::kCannotAsk),
      reject(Rule::kKfuncLicense, "another licence", kLocks,
             "insn 0: cannot call kernel function 'bpf_rcu_read_lock' from non-GPL compatible "
             "program (its license is \"MIT\")")
          .licensed("MIT"),
      accept(Rule::kExtern, "a program without any", "r0 = 0x0\n exit"),
      reject(Rule::kExtern, "by name", "r1 = btf_id[0]\n r0 = 0\n exit",
             "insn 0: reference to kernel variable 'bpf_prog_active'"),
      accept(Rule::kLegacyAccess, "a load from memory",
             "r1 = *(u32 *)(r1 +0)\n r0 = *(u8 *)(r10 -1)\n exit"),
      reject(Rule::kLegacyAccess, "absolute", "r6 = r1\n r0 = *(u8 *)skb[12]\n exit",
             "insn 1: r0 = *(u8 *)skb[12]: " + kNotForXdp),
      reject(
          Rule::kLegacyAccess, "indirect", "r6 = r1\n r7 = 0\n r0 = *(u16 *)skb[r7 + 12]\n exit",
          "insn 2: r0 = *(u16 *)skb[r7 + 12]: packet access of classic BPF (LD_ABS, LD_IND) is not "
          "allowed for XDP programs"),
      accept(Rule::kArena, "a plain move", "r0 = 0\n r1 = r0\n exit"),
      reject(Rule::kArena, "a cast", "r0 = 0\n r1 = addr_space_cast(r0, 0, 1)\n exit",
             "insn 1: addr_space_cast in a program without an arena"),
  };
}

std::vector<Case> map_cases() {
  return {
      accept(Rule::kMapCount, "64", uses_maps(64)).with(std::vector<MapSpec>(64, kArray)),
      reject(Rule::kMapCount, "65", uses_maps(65), "65 maps, at most 64 are allowed")
          .with(std::vector<MapSpec>(65, kArray)),
      accept(Rule::kMapReference, "the last map", "r1 = map[idx:1]\n r0 = 0\n exit")
          .with({kArray, kHash}),
      reject(Rule::kMapReference, "one more", "r1 = map[idx:2]\n r0 = 0\n exit",
             "insn 0: reference to map 2 of 2")
          .with({kArray, kHash}),
      reject(Rule::kMapReference, "of a value, no maps", "r1 = map[idx:0]+0\n r0 = 0\n exit",
             "insn 0: reference to map 0 of 0"),
      reject(Rule::kMapReference, "a descriptor", "r1 = map[fd:1000]\n r0 = 0\n exit",
             "insn 0: map by descriptor 1000, which nobody resolved"),
      accept(Rule::kMapType, "one the environment has", "r1 = map[idx:0]\n r0 = 0\n exit")
          .with({kHash}),
      reject(Rule::kMapType, "one it has not", "r1 = map[idx:0]\n r0 = 0\n exit",
             "map 'odd' is of type 9999, which is not known")
          .with({kStrange})
          .kernel(Kernel::kCannotAsk),
      accept(Rule::kMapValueType, "an array", "r1 = map[idx:0]+0\n r0 = 0\n exit").with({kGlobals}),
      reject(Rule::kMapValueType, "a hash", "r1 = map[idx:0]+0\n r0 = 0\n exit",
             "insn 0: address of a value of map 'flows' of type hash, no direct value access "
             "support for "
             "this map type")
          .with({kHash}),
      accept(Rule::kMapValueEntries, "one", "r1 = map[idx:0]+4\n r0 = 0\n exit").with({kGlobals}),
      reject(Rule::kMapValueEntries, "four", "r1 = map[idx:0]+0\n r0 = 0\n exit",
             "insn 0: address of a value of map 'counts', which has 4 entries, not 1")
          .with({kArray}),
      accept(Rule::kMapValueOffset, "the last byte", "r1 = map[idx:0]+15\n r0 = 0\n exit")
          .with({kGlobals}),
      reject(Rule::kMapValueOffset, "the byte behind it", "r1 = map[idx:0]+16\n r0 = 0\n exit",
             "insn 0: address at offset 16 in a value of map '.data', which has 16 bytes")
          .with({kGlobals}),
      reject(Rule::kMapValueOffset, "2^32 - 1", "r1 = map[idx:0]+4294967295\n r0 = 0\n exit",
             "insn 0: address at offset 4294967295 in a value of map '.data', which has 16 bytes")
          .with({kGlobals}),
  };
}

ProgramSpec make_program(const Case& one) {
  ProgramSpec program = program_of(one.text, one.maps.size());
  program.license = one.license;
  program.prog_flags = one.prog_flags;
  if (one.kfunc_count != 0) program.kfuncs.resize(one.kfunc_count);
  program.insns.insert(program.insns.begin(), one.padding, Insn{.op = Op::kMov64Imm});
  return program;
}

std::string trace_of(const Case& one) {
  return fmt::format("{} {}: {}", one.is_accepted() ? "accept" : "reject", rule_info(one.rule).id,
                     one.name);
}

std::vector<Case> all_cases() {
  std::vector<Case> all;
  for (auto part :
       {size_and_field_cases, jump_cases, call_cases, operation_cases, outside_cases, map_cases}) {
    for (Case& one : part()) all.push_back(std::move(one));
  }
  return all;
}

TEST(Structure, EveryRuleAcceptsAndRejects) {
  for (const Case& one : all_cases()) {
    SCOPED_TRACE(trace_of(one));
    const auto result = check_structure(kEnvironment, make_program(one), one.maps);
    if (one.message.empty()) {
      EXPECT_TRUE(result) << result.error().message;
      continue;
    }
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().message,
              fmt::format("prog \"p\": {} [{}]", one.message, rule_info(one.rule).id));
    EXPECT_NE(result.error().errno_value, 0);
  }
}

TEST(Structure, TheTableHasBothCasesOfEveryRule) {
  std::set<std::pair<bool, Rule>> seen;
  for (const Case& one : all_cases()) seen.emplace(one.is_accepted(), one.rule);
  seen.emplace(false, Rule::kFields);  // in no text; structure_facts_test.cc
  for (std::size_t i = 0; i <= static_cast<std::size_t>(Rule::kUnreachable); ++i) {
    const Rule rule = static_cast<Rule>(i);
    EXPECT_TRUE(seen.contains({true, rule})) << rule_info(rule).id;
    EXPECT_TRUE(seen.contains({false, rule})) << rule_info(rule).id;
  }
}

// --- the kernel's opinion of the same table

kernel_oracle::Verdict ask_kernel(const Case& one) {
  std::vector<UniqueFd> maps;
  std::vector<int> fds;
  for (const MapSpec& map : one.maps) {
    maps.push_back(
        kernel_oracle::create_map(map.type, map.key_size, map.value_size, map.max_entries));
    fds.push_back(maps.back().get());
  }
  fds.insert(fds.end(), 4, -1);  // what an index past the end finds
  const auto raw = encode_program(make_program(one).insns);
  return kernel_oracle::load(raw, {.license = one.license, .fd_array = fds});
}

TEST(Structure, TheKernelSaysTheSame) {
  if (const std::string reason = kernel_oracle::why_unusable(); !reason.empty()) {
    GTEST_SKIP() << reason;
  }
  std::size_t compared = 0;
  for (const Case& one : all_cases()) {
    if (one.expected_of_kernel == Kernel::kCannotAsk) continue;
    SCOPED_TRACE(trace_of(one));
    const auto ours = check_structure(kEnvironment, make_program(one), one.maps);
    const auto theirs = ask_kernel(one);
    ++compared;
    switch (one.expected_of_kernel) {
      case Kernel::kSame:
        EXPECT_EQ(ours ? 0 : ours.error().errno_value, theirs.error) << theirs.log.substr(0, 2000);
        break;
      case Kernel::kAcceptsDead:
        EXPECT_FALSE(ours);
        EXPECT_TRUE(theirs.is_accepted()) << theirs.log;
        break;
      case Kernel::kJudgesMore:
        EXPECT_TRUE(ours);
        EXPECT_FALSE(theirs.is_accepted());
        break;
      case Kernel::kCannotAsk:
        break;
    }
  }
  std::printf("%zu programs compared\n", compared);
}

}  // namespace
}  // namespace lmn
