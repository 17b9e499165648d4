// SPDX-License-Identifier: Apache-2.0
//
// Goal: each rule of the checked interpreter stops a program that breaks it, with the right reason
// at the right instruction, and the packet is ABORTED. Method: a table of programs; the neighbour
// that keeps the rule is beside those where it is not obvious. Many rows are patterns of kernel
// bugs (named), which the interpreter must catch even if a verifier of ours does not.
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "exec/lab_for_tests.h"

namespace lmn {
namespace {

using lab::Lab;
using lab::Outcome;

struct TrapCase {
  const char* name;
  const char* expected;  // Outcome::summary
  const char* text;
  Strictness strictness = Strictness::kTrusted;
};

// Maps of every case: 0 array of 16 bytes; 1 the same, read-only for programs; 2 write-only; 3
// program array; 4 hash.
const TrapCase kCases[] = {
    {"uninitialised source", "kUninitRegister@0", "r0 = r3\n exit"},
    {"uninitialised operand", "kUninitRegister@0", "r3 += 1\n r0 = 1\n exit"},
    {"uninitialised in a comparison", "kUninitRegister@0", "if r5 == 0 goto pc+0\n r0 = 1\n exit"},
    {"uninitialised base", "kUninitRegister@0", "r0 = *(u8 *)(r7 +0)\n exit"},
    {"uninitialised value stored", "kUninitRegister@0", "*(u64 *)(r10 -8) = r4\n r0 = 1\n exit"},
    {"r1 after a call", "kUninitRegister@1", "call bpf_xdp_get_buff_len\n r0 = r1\n exit"},
    {"r6 in a function", "kUninitRegister@3", "r6 = 1\n call f\n exit\n f:\n r0 = r6\n exit"},
    {"argument of a helper", "kUninitRegister@1",
     "r6 = r1\n r3 = r2\n call bpf_xdp_get_buff_len\n exit"},
    {"helper argument uninitialised", "kUninitRegister@0", "call bpf_loop\n exit"},
    {"no return value", "kUninitReturn@0", "exit"},
    {"void function's result read", "kUninitRegister@1", "call f\n r0 += 1\n exit\n f:\n exit"},
    {"failed tail call leaves nothing", "kUninitReturn@4",
     "r2 = map[idx:3]\n r3 = 0\n call bpf_tail_call\n exit"},
    {"uninitialised stack", "kUninitStack@0", "r0 = *(u8 *)(r10 -1)\n exit",
     Strictness::kUntrusted},
    {"stack written in part", "kUninitStack@1",
     "*(u8 *)(r10 -8) = 1\n r0 = *(u16 *)(r10 -8)\n exit", Strictness::kUntrusted},
    {"callee's stack is fresh", "kUninitStack@3",
     "*(u64 *)(r10 -8) = 1\n call f\n exit\n f:\n r0 = *(u64 *)(r10 -8)\n exit",
     Strictness::kUntrusted},
    {"atomic on unwritten stack", "kUninitStack@1",
     "r1 = 1\n lock *(u64 *)(r10 -8) += r1\n r0 = 0\n exit", Strictness::kUntrusted},
    {"key on unwritten stack", "kUninitStack@4",
     "r1 = map[idx:0]\n r2 = r10\n r2 += -4\n call bpf_map_lookup_elem\n r0 = 0\n exit",
     Strictness::kUntrusted},

    {"number as address", "kNotAPointer@1", "r2 = 4096\n r0 = *(u8 *)(r2 +0)\n exit"},
    {"null", "kNotAPointer@1", "r2 = 0\n *(u8 *)(r2 +0) = 1\n r0 = 1\n exit"},
    {"low half of a pointer", "kNotAPointer@1", "w2 = w10\n r0 = *(u8 *)(r2 -8)\n exit"},
    {"masked pointer", "kNotAPointer@2",
     "r2 = r10\n r2 &= -8\n *(u8 *)(r2 -8) = 1\n r0 = 1\n exit"},
    {"difference of pointers", "kNotAPointer@2",
     "r2 = r10\n r2 -= r10\n *(u8 *)(r2 +0) = 1\n r0 = 1\n exit"},
    {"number minus pointer", "kNotAPointer@2",
     "r2 = 0\n r2 -= r10\n *(u8 *)(r2 +0) = 1\n r0 = 1\n exit"},
    {"negated pointer", "kNotAPointer@2",
     "r2 = r10\n r2 = -r2\n *(u8 *)(r2 +0) = 1\n r0 = 1\n exit"},
    {"swapped pointer", "kNotAPointer@2",
     "r2 = r10\n r2 = bswap64 r2\n *(u8 *)(r2 +0) = 1\n r0 = 1\n exit"},
    {"sign-extended pointer", "kNotAPointer@1",
     "r2 = (s32)r10\n *(u8 *)(r2 -8) = 1\n r0 = 1\n exit"},
    {"missing element followed (CVE-2022-23222)", "kNotAPointer@7",
     "*(u32 *)(r10 -4) = 9\n r1 = map[idx:0]\n r2 = r10\n r2 += -4\n call bpf_map_lookup_elem\n r0 "
     "+= 8\n"
     "r0 = *(u8 *)(r0 +0)\n exit"},
    {"spill overwritten in part (CVE-2023-52462)", "kNotAPointer@3",
     "*(u64 *)(r10 -8) = r1\n *(u8 *)(r10 -8) = 0\n r2 = *(u64 *)(r10 -8)\n r0 = *(u32 *)(r2 "
     "+12)\n exit"},
    {"spill overwritten by a neighbour's tail", "kNotAPointer@3",
     "*(u64 *)(r10 -8) = r1\n *(u16 *)(r10 -9) = 0\n r2 = *(u64 *)(r10 -8)\n r0 = *(u32 *)(r2 "
     "+12)\n exit"},
    {"spill overwritten by an atomic", "kNotAPointer@4",
     "*(u64 *)(r10 -8) = r1\n r2 = 0\n lock *(u64 *)(r10 -8) += r2\n r2 = *(u64 *)(r10 -8)\n r0 = "
     "*(u32 *)(r2 +12)\n exit"},
    {"half of a fetched address", "kNotAPointer@3",
     "*(u64 *)(r10 -8) = r1\n r2 = 0\n r2 = atomic_fetch_or((u32 *)(r10 -8), r2)\n r0 = *(u32 "
     "*)(r2 +12)\n exit"},
    {"spill overwritten by a helper", "kNotAPointer@8",
     "*(u64 *)(r10 -8) = r1\n r2 = 0\n r3 = r10\n r3 += -8\n r4 = 8\n call bpf_xdp_load_bytes\n r2 "
     "= *(u64 *)(r10 -8)\n"
     "r1 = r2\n r0 = *(u32 *)(r1 +12)\n exit"},
    {"half of a spill", "kNotAPointer@2",
     "*(u64 *)(r10 -8) = r1\n r2 = *(u32 *)(r10 -8)\n r0 = *(u32 *)(r2 +12)\n exit"},
    {"pointer kept in a map is a number", "kNotAPointer@4",
     "r2 = map[idx:0]+0\n *(u64 *)(r2 +0) = r10\n r3 = *(u64 *)(r2 +0)\n *(u8 *)(r3 -1) = 0\n r0 = "
     "1\n exit"},

    {"packet end followed", "kNotAccessible@1",
     "r2 = *(u32 *)(r1 +4)\n r0 = *(u8 *)(r2 -1)\n exit"},
    {"map followed", "kNotAccessible@2", "r2 = map[idx:0]\n r0 = *(u64 *)(r2 +0)\n exit"},
    {"function followed", "kNotAccessible@2",
     "r2 = func f\n r0 = *(u64 *)(r2 +0)\n exit\n f:\n r0 = 0\n exit"},

    {"stack above the frame", "kOutOfBounds@0", "*(u8 *)(r10 +0) = 1\n r0 = 1\n exit"},
    {"stack across the top", "kOutOfBounds@0", "*(u64 *)(r10 -4) = 1\n r0 = 1\n exit"},
    {"stack below the frame", "kOutOfBounds@0", "*(u8 *)(r10 -513) = 1\n r0 = 1\n exit"},
    {"stack's last byte is fine", "verdict 1",
     "*(u8 *)(r10 -512) = 1\n *(u8 *)(r10 -1) = 1\n r0 = 1\n exit"},
    {"packet past the end", "kOutOfBounds@1",
     "r2 = *(u32 *)(r1 +0)\n r0 = *(u32 *)(r2 +61)\n exit"},
    {"packet's last bytes are fine", "verdict 286331153",
     "r2 = *(u32 *)(r1 +0)\n r0 = *(u32 *)(r2 +60)\n exit"},
    {"packet before the start", "kOutOfBounds@1",
     "r2 = *(u32 *)(r1 +0)\n r0 = *(u8 *)(r2 -1)\n exit"},
    {"no metadata to read", "kOutOfBounds@1", "r2 = *(u32 *)(r1 +8)\n r0 = *(u8 *)(r2 +0)\n exit"},
    {"packet far away", "kOutOfBounds@4",
     "r2 = *(u32 *)(r1 +0)\n r3 = 0x7fffffffffffffff\n r2 += r3\n r0 = *(u8 *)(r2 +0)\n exit"},
    {"map value past the end", "kOutOfBounds@2", "r2 = map[idx:0]+8\n r0 = *(u64 *)(r2 +4)\n exit"},
    {"map value before the start", "kOutOfBounds@2",
     "r2 = map[idx:0]+0\n r0 = *(u8 *)(r2 -1)\n exit"},
    {"helper memory past the frame", "kOutOfBounds@4",
     "r2 = 0\n r3 = r10\n r3 += -4\n r4 = 8\n call bpf_xdp_load_bytes\n r0 = 1\n exit"},
    {"key past the packet", "kOutOfBounds@4",
     "r2 = *(u32 *)(r1 +0)\n r2 += 61\n r1 = map[idx:0]\n call bpf_map_lookup_elem\n r0 = 1\n "
     "exit"},

    {"write to read-only map", "kReadOnly@2",
     "r2 = map[idx:1]+0\n *(u8 *)(r2 +0) = 1\n r0 = 1\n exit"},
    {"atomic on read-only map", "kReadOnly@3",
     "r2 = map[idx:1]+0\n r3 = 1\n lock *(u32 *)(r2 +0) += r3\n r0 = 1\n exit"},
    {"helper writes read-only map (CVE-2024-50164)", "kReadOnly@4",
     "r2 = 0\n r3 = map[idx:1]+0\n r4 = 8\n call bpf_xdp_load_bytes\n r0 = 1\n exit"},
    {"update of a read-only map", "kReadOnly@7",
     "*(u32 *)(r10 -4) = 0\n r1 = map[idx:1]\n r2 = r10\n r2 += -4\n r3 = r10\n r4 = 0\n call "
     "bpf_map_update_elem\n exit"},
    {"read of write-only map", "kWriteOnly@2", "r2 = map[idx:2]+0\n r0 = *(u8 *)(r2 +0)\n exit"},
    {"write of write-only map is fine", "verdict 1",
     "r2 = map[idx:2]+0\n *(u8 *)(r2 +0) = 1\n r0 = 1\n exit"},

    {"packet pointer after a move", "kStalePacket@5",
     "r7 = *(u32 *)(r1 +0)\n r6 = r1\n r2 = 2\n call bpf_xdp_adjust_head\n r7 += 2\n r0 = *(u8 "
     "*)(r7 +0)\n exit"},
    {"spilled packet pointer after a move", "kStalePacket@5",
     "r7 = *(u32 *)(r1 +0)\n *(u64 *)(r10 -8) = r7\n r2 = 2\n call bpf_xdp_adjust_head\n r7 = "
     "*(u64 *)(r10 -8)\n"
     "r0 = *(u8 *)(r7 +0)\n exit"},
    {"packet moved by a function (CVE-2024-58098)", "kStalePacket@2",
     "r7 = *(u32 *)(r1 +0)\n call f\n r0 = *(u8 *)(r7 +0)\n exit\n f:\n r2 = 2\n call "
     "bpf_xdp_adjust_head\n r0 = 0\n exit"},
    {"stack of a function that returned", "kDeadFrame@1",
     "call f\n *(u8 *)(r0 +0) = 1\n exit\n f:\n r0 = r10\n r0 += -8\n exit"},
    {"and of one called again", "kDeadFrame@4",
     "call f\n r6 = r0\n call f\n r0 = 0\n *(u8 *)(r6 +0) = 1\n exit\n f:\n r0 = r10\n r0 += -8\n "
     "exit"},
    {"record used after submit", "kReleasedMemory@11",
     "r1 = map[idx:0]\n r2 = 16\n r3 = 0\n call bpf_ringbuf_reserve\n if r0 == 0 goto pc+6\n r6 = "
     "r0\n r1 = r0\n r2 = 0\n"
     "call bpf_ringbuf_submit\n r0 = 0\n *(u8 *)(r6 +0) = 1\n exit"},
    {"record submitted twice", "kReleasedMemory@12",
     "r1 = map[idx:0]\n r2 = 16\n r3 = 0\n call bpf_ringbuf_reserve\n if r0 == 0 goto pc+8\n r6 = "
     "r0\n r1 = r0\n r2 = 0\n"
     "call bpf_ringbuf_submit\n r1 = r6\n r2 = 0\n call bpf_ringbuf_submit\n r0 = 0\n exit"},
    {"part of a record submitted (CVE-2021-4204)", "kArgumentModified@9",
     "r1 = map[idx:0]\n r2 = 16\n r3 = 0\n call bpf_ringbuf_reserve\n if r0 == 0 goto pc+4\n r1 = "
     "r0\n r1 += 8\n r2 = 0\n"
     "call bpf_ringbuf_submit\n r0 = 0\n exit"},
    {"record past its end", "kOutOfBounds@6",
     "r1 = map[idx:0]\n r2 = 8\n r3 = 0\n call bpf_ringbuf_reserve\n if r0 == 0 goto pc+2\n *(u8 "
     "*)(r0 +8) = 1\n r0 = 0\n exit"},
    {"record never submitted", "kUnreleased@7",
     "r1 = map[idx:0]\n r2 = 16\n r3 = 0\n call bpf_ringbuf_reserve\n r0 = 0\n r1 = 0\n exit"},

    {"context field at another offset", "kContextAccess@0", "r0 = *(u32 *)(r1 +2)\n exit"},
    {"context field in another size", "kContextAccess@0", "r0 = *(u16 *)(r1 +12)\n exit"},
    {"context past the end", "kContextAccess@0", "r0 = *(u32 *)(r1 +24)\n exit"},
    {"sign-extended context load (CVE-2024-47702)", "kContextAccess@0",
     "r0 = *(s32 *)(r1 +0)\n exit"},
    {"egress_ifindex outside devmap programs", "kContextAccess@0", "r0 = *(u32 *)(r1 +20)\n exit"},
    {"context written", "kContextWrite@0", "*(u32 *)(r1 +12) = 1\n r0 = 1\n exit"},
    {"atomic on the context", "kAtomicMemory@1",
     "r2 = 1\n lock *(u32 *)(r1 +12) += r2\n r0 = 1\n exit"},
    {"atomic on the packet", "kAtomicMemory@2",
     "r2 = *(u32 *)(r1 +0)\n r3 = 1\n lock *(u32 *)(r2 +0) += r3\n r0 = 1\n exit"},
    {"load-acquire of the packet", "kAtomicMemory@1",
     "r2 = *(u32 *)(r1 +0)\n r0 = load_acquire((u32 *)(r2 +0))\n exit"},
    {"misaligned atomic", "kMisaligned@2",
     "*(u64 *)(r10 -8) = 1\n r3 = 1\n lock *(u32 *)(r10 -7) += r3\n r0 = 1\n exit"},

    {"no map", "kArgument@3",
     "r1 = 0\n r2 = r10\n r2 += -4\n call bpf_map_lookup_elem\n r0 = 0\n exit"},
    {"modified map", "kArgumentModified@5",
     "r1 = map[idx:0]\n r1 += 8\n r2 = r10\n r2 += -4\n call bpf_map_lookup_elem\n r0 = 0\n exit"},
    {"no context", "kArgument@1", "r1 = 0\n call bpf_xdp_get_buff_len\n exit"},
    {"modified context (CVE-2020-0430)", "kArgumentModified@1",
     "r1 += 4\n call bpf_xdp_get_buff_len\n exit"},
    {"number as key", "kNotAPointer@3",
     "r1 = map[idx:0]\n r2 = 77\n call bpf_map_lookup_elem\n r0 = 0\n exit"},
    {"no callback", "kArgument@4", "r1 = 1\n r2 = 1\n r3 = 0\n r4 = 0\n call bpf_loop\n exit"},
    {"packet where the helper takes none", "kArgument@3",
     "r1 = *(u32 *)(r1 +0)\n r2 = 4\n r3 = 0\n call bpf_trace_printk\n exit"},
    {"size 0", "kArgumentSize@3", "r1 = r10\n r1 += -8\n r2 = 0\n call bpf_trace_printk\n exit"},
    {"size too large", "kArgumentSize@3",
     "r1 = r10\n r1 += -8\n r2 = -1\n call bpf_trace_printk\n exit"},
    {"null of some size", "kArgumentSize@5",
     "r1 = 0\n r2 = 4\n r3 = 0\n r4 = 0\n r5 = 0\n call bpf_csum_diff\n exit"},
    {"null of size 0 is fine", "verdict 0",
     "r1 = 0\n r2 = 0\n r3 = 0\n r4 = 0\n r5 = 0\n call bpf_csum_diff\n exit"},
    {"string a program can change", "kArgument@6",
     "*(u64 *)(r10 -8) = 0\n r1 = r10\n r1 += -8\n r2 = 8\n r3 = map[idx:0]+0\n call bpf_strncmp\n "
     "exit"},
    {"constant string is fine", "verdict 0",
     "*(u64 *)(r10 -8) = 0\n r1 = r10\n r1 += -8\n r2 = 8\n r3 = map[idx:1]+0\n call bpf_strncmp\n "
     "exit"},
    {"tail call through a hash", "kMapForHelper@3",
     "r2 = map[idx:4]\n r3 = 0\n call bpf_tail_call\n r0 = 0\n exit"},
    {"lookup in a program array", "kMapForHelper@5",
     "*(u32 *)(r10 -4) = 0\n r1 = map[idx:3]\n r2 = r10\n r2 += -4\n call bpf_map_lookup_elem\n r0 "
     "= 0\n exit"},

    {"lock taken and opened", "verdict 2",
     "r6 = map[idx:0]+0\n r1 = r6\n call bpf_spin_lock\n r1 = r6\n call bpf_spin_unlock\n r0 = "
     "2\n exit"},
    {"lock not opened before the exit", "kSpinLock@4",
     "r1 = map[idx:0]+0\n call bpf_spin_lock\n r0 = 2\n exit"},
    {"second lock", "kSpinLock@5",
     "r1 = map[idx:0]+0\n call bpf_spin_lock\n r1 = map[idx:0]+8\n call bpf_spin_lock\n r0 = 2\n "
     "exit"},
    {"helper called while a lock is held", "kSpinLock@5",
     "r6 = r1\n r1 = map[idx:0]+0\n call bpf_spin_lock\n r1 = r6\n call bpf_xdp_get_buff_len\n r0 "
     "= 2\n exit"},
    {"lock opened that is not held", "kSpinLock@2",
     "r1 = map[idx:0]+0\n call bpf_spin_unlock\n r0 = 2\n exit"},
    {"another lock opened", "kSpinLock@5",
     "r1 = map[idx:0]+0\n call bpf_spin_lock\n r1 = map[idx:0]+4\n call bpf_spin_unlock\n r0 = "
     "2\n exit"},
    {"lock at an address that is no multiple of its size", "kArgument@2",
     "r1 = map[idx:0]+2\n call bpf_spin_lock\n r0 = 2\n exit"},
    {"lock past the end", "kOutOfBounds@3",
     "r1 = map[idx:0]+12\n r1 += 4\n call bpf_spin_lock\n r0 = 2\n exit"},
    {"lock on the stack", "kArgument@2", "r1 = r10\n r1 += -8\n call bpf_spin_lock\n exit"},
    {"lock that never opens", "kStopped@3",
     "r1 = map[idx:0]+0\n *(u32 *)(r1 +0) = 7\n call bpf_spin_lock\n r0 = 2\n exit"},

    {"trap in a callback", "kNotAPointer@7",
     "r1 = 5\n r2 = func f\n r3 = 0\n r4 = 0\n call bpf_loop\n exit\n f:\n r0 = *(u8 *)(r2 +0)\n "
     "exit"},
    {"callback without a result", "kUninitReturn@7",
     "r1 = 5\n r2 = func f\n r3 = 0\n r4 = 0\n call bpf_loop\n exit\n f:\n exit"},
    {"key of a callback is read-only", "kReadOnly@8",
     "r1 = map[idx:0]\n r2 = func f\n r3 = 0\n r4 = 0\n call bpf_for_each_map_elem\n exit\n f:\n "
     "*(u8 *)(r2 +0) = 1\n r0 = 0\n exit"},
};

void add_maps(Lab& lab) {
  MapSpec spec = {.name = "values",
                  .type = BPF_MAP_TYPE_ARRAY,
                  .key_size = 4,
                  .value_size = 16,
                  .max_entries = 1};
  lab.add_map(spec);
  spec.map_flags = BPF_F_RDONLY_PROG;
  lab.add_map(spec);
  spec.map_flags = BPF_F_WRONLY_PROG;
  lab.add_map(spec);
  lab.add_map({.name = "jumps",
               .type = BPF_MAP_TYPE_PROG_ARRAY,
               .key_size = 4,
               .value_size = 4,
               .max_entries = 1});
  lab.add_map({.name = "hash",
               .type = BPF_MAP_TYPE_HASH,
               .key_size = 4,
               .value_size = 4,
               .max_entries = 1});
}

TEST(Traps, EachRuleStopsTheProgramThatBreaksIt) {
  for (const TrapCase& test : kCases) {
    Lab lab;
    add_maps(lab);
    lab.strictness = test.strictness;
    const Outcome outcome = lab.run(test.text);
    EXPECT_EQ(outcome.summary(), test.expected)
        << test.name << "\n"
        << (outcome.trapped() ? outcome.traps[0].text : "") << "\n"
        << test.text;
    if (outcome.trapped()) {
      EXPECT_EQ(outcome.verdict, 0u) << test.name;
    }
  }
}

TEST(Traps, AStoppedProgramLeavesNoLockBehind) {
  Lab lab;
  add_maps(lab);
  const std::string take = "r6 = map[idx:0]+0\n r1 = r6\n call bpf_spin_lock\n ";
  EXPECT_EQ(lab.run(take + "r0 = *(u8 *)(r0 +0)\n exit").summary(), "kUninitRegister@4");
  EXPECT_EQ(lab.run(take + "r1 = r6\n call bpf_spin_unlock\n r0 = 2\n exit").summary(),
            "verdict 2");
}

TEST(Traps, DepthIsLimited) {
  Lab lab;
  // Calls that nest too deep are refused before a run; callbacks that nest are seen only in it.
  EXPECT_EQ(lab.run(R"(
    call again
    exit
  again:
    r1 = 1
    r2 = func again
    r3 = 0
    r4 = 0
    call bpf_loop
    exit)")
                .summary(),
            "kCallDepth@7");
}

TEST(Traps, InstructionsAreLimited) {
  Lab lab;
  lab.options.insns_max = 4;
  EXPECT_EQ(lab.run("r0 = 1\n r0 = 2\n r0 = 3\n exit").summary(), "verdict 3");
  EXPECT_EQ(lab.run("r0 = 1\n r0 = 2\n r0 = 3\n r0 = 4\n exit").summary(), "kInsnLimit@4");
  // A loop without end, through a tail of callbacks as well as alone.
  EXPECT_EQ(lab.run("r0 = 0\n again:\n r0 += 1\n goto again").summary().substr(0, 10),
            "kInsnLimit");
}

TEST(Traps, ReferencesAreLimited) {
  Lab lab;
  add_maps(lab);
  EXPECT_EQ(lab.run(R"(
    r6 = 0
  again:
    r1 = map[idx:0]
    r2 = 8
    r3 = 0
    call bpf_ringbuf_reserve
    r6 += 1
    if r6 < 100 goto again
    r0 = 0
    exit)")
                .summary(),
            "kTooManyReferences@5");
}

TEST(Traps, TellTheSourceAndLeaveNoRedirect) {
  Lab lab;
  lab.context.redirect.kind = RedirectSlot::Kind::kIfindex;
  const Outcome outcome = lab.run("r2 = *(u32 *)(r1 +0)\n r0 = *(u32 *)(r2 +61)\n exit");
  ASSERT_TRUE(outcome.trapped());
  EXPECT_EQ(outcome.traps[0].text,
            "insn 1: memory access out of bounds: read of 4 bytes at offset 61 of 64 bytes, "
            "through packet pointer r2");
  EXPECT_EQ(outcome.traps[0].program, "lab");
  EXPECT_EQ(outcome.redirect.kind, RedirectSlot::Kind::kNone);
}

TEST(Traps, TheNextPacketStartsFresh) {
  Lab lab;
  CompiledProgram* program = lab.prepare("r2 = *(u32 *)(r1 +0)\n r0 = *(u8 *)(r2 +40)\n exit");
  lab.packet.resize(20);
  EXPECT_TRUE(lab.run(*program).trapped());
  lab.packet.assign(64, 5);
  EXPECT_EQ(lab.run(*program).summary(), "verdict 5");
}

TEST(Traps, EveryReasonIsProvokedSomewhere) {
  std::set<std::string> provoked = {"kCallDepth", "kInsnLimit", "kTooManyReferences"};
  for (const TrapCase& test : kCases)
    provoked.insert(std::string(test.expected).substr(0, std::string(test.expected).find('@')));
  // Structure checking refuses programs that could get there; the loop's guard has no program that
  // reaches it.
  provoked.insert("kNotExecutable");
  // kfunc_call_test.cc
  provoked.insert({"kStackObject", "kSection", "kUnreachable"});
#define LMN_TRAP_REASON(name, words) EXPECT_TRUE(provoked.contains(#name)) << #name;
#include "exec/interp/trap_reasons.def"
#undef LMN_TRAP_REASON
}

}  // namespace
}  // namespace lmn
