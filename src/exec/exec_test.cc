// SPDX-License-Identifier: Apache-2.0
//
// Goal: programs run as the kernel would run them: context, packet, stack, maps, calls, tail calls,
// callbacks, loops. Method: small programs in assembler text with a known answer. What must not run
// is in trap_programs_test.cc; what instructions compute is in alu_test.cc and, against the kernel,
// in tests/differential.
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <memory>
#include <string>
#include <thread>

#include "exec/interp/trace.h"
#include "exec/lab_for_tests.h"

namespace lmn {
namespace {

using lab::Lab;
using lab::Outcome;

const MapSpec kValues = {.name = "values",
                         .type = BPF_MAP_TYPE_ARRAY,
                         .key_size = 4,
                         .value_size = 16,
                         .max_entries = 1};
const MapSpec kJumps = {.name = "jumps",
                        .type = BPF_MAP_TYPE_PROG_ARRAY,
                        .key_size = 4,
                        .value_size = 4,
                        .max_entries = 4};

TEST(Interpreter, ReadsEveryContextField) {
  Lab lab;
  lab.expected_attach_type = BPF_XDP_DEVMAP;
  EXPECT_EQ(lab.run("r0 = *(u32 *)(r1 +12)\n exit").verdict, 7u);
  EXPECT_EQ(lab.run("r0 = *(u32 *)(r1 +16)\n exit").verdict, 3u);
  EXPECT_EQ(lab.run("r0 = *(u32 *)(r1 +20)\n exit").verdict, 9u);
  EXPECT_EQ(lab.run(R"(
    r2 = *(u32 *)(r1 +0)
    r3 = *(u32 *)(r1 +4)
    r0 = r3
    r0 -= r2
    exit)")
                .verdict,
            64u);
  lab.metadata_bytes = 8;
  EXPECT_EQ(lab.run(R"(
    r2 = *(u32 *)(r1 +8)
    r3 = *(u32 *)(r1 +0)
    r4 = r2
    r4 += 8
    if r4 > r3 goto bad
    r0 = *(u8 *)(r2 +7)
    exit
  bad:
    r0 = 0
    exit)")
                .verdict,
            0x22u);
}

TEST(Interpreter, ReadsAndWritesThePacket) {
  Lab lab;
  const Outcome outcome = lab.run(R"(
    r2 = *(u32 *)(r1 +0)
    *(u8 *)(r2 +0) = 1
    *(u16 *)(r2 +2) = 770
    r3 = 0x0807060504030201
    *(u64 *)(r2 +8) = r3
    *(u32 *)(r2 +60) = r3
    r0 = *(u16 *)(r2 +2)
    r4 = *(s8 *)(r2 +1)
    r0 += r4
    exit)");
  EXPECT_EQ(outcome.verdict, 770u + 0x11u);
  std::vector<std::uint8_t> expected(64, 0x11);
  expected[0] = 1;
  expected[2] = expected[3] = 3;
  expected[2] = 2;
  for (std::uint8_t i = 0; i < 8; ++i) expected[8u + i] = static_cast<std::uint8_t>(i + 1);
  for (std::uint8_t i = 0; i < 4; ++i) expected[60u + i] = static_cast<std::uint8_t>(i + 1);
  EXPECT_EQ(outcome.packet, expected);
}

TEST(Interpreter, APacketPointerMayWanderWhileItIsNotUsed) {
  Lab lab;
  EXPECT_EQ(lab.run(R"(
    r2 = *(u32 *)(r1 +0)
    r2 += 1000000
    r2 -= 999999
    r0 = *(u8 *)(r2 +0)
    exit)")
                .verdict,
            0x11u);
}

TEST(Interpreter, PacketIsReadAgainAfterItMoved) {
  Lab lab;
  for (std::size_t i = 0; i < lab.packet.size(); ++i) lab.packet[i] = static_cast<std::uint8_t>(i);
  EXPECT_EQ(lab.run(R"(
    r6 = r1
    r2 = 14
    call bpf_xdp_adjust_head
    r2 = *(u32 *)(r6 +0)
    r0 = *(u8 *)(r2 +0)
    exit)")
                .verdict,
            14u);
}

TEST(Interpreter, SpillsKeepPointers) {
  Lab lab;
  lab.strictness = Strictness::kUntrusted;
  EXPECT_EQ(lab.run(R"(
    *(u64 *)(r10 -8) = r1
    r2 = *(u64 *)(r10 -8)
    r0 = *(u32 *)(r2 +12)
    exit)")
                .verdict,
            7u);
  // The same through a copy of the frame pointer, and through the atomic forms.
  EXPECT_EQ(lab.run(R"(
    r3 = r10
    r3 += -16
    store_release((u64 *)(r3 +0), r1)
    r4 = load_acquire((u64 *)(r10 -16))
    r0 = *(u32 *)(r4 +12)
    exit)")
                .verdict,
            7u);
}

TEST(Interpreter, TrustedProgramsReadZerosWhereNothingWasWritten) {
  Lab lab;
  // The first run leaves its bytes on the host's stack; the second may not see them.
  EXPECT_EQ(lab.run("r1 = -1\n *(u64 *)(r10 -8) = r1\n r0 = 1\n exit").verdict, 1u);
  EXPECT_EQ(lab.run("r0 = *(u64 *)(r10 -8)\n exit").verdict, 0u);
  // Bytes written before keep their values.
  EXPECT_EQ(lab.run("*(u8 *)(r10 -8) = 5\n r0 = *(u64 *)(r10 -8)\n exit").verdict, 5u);
  EXPECT_EQ(lab.run("*(u8 *)(r10 -5) = 5\n r0 = *(u32 *)(r10 -6)\n exit").verdict, 5u << 8);
}

TEST(Interpreter, MapValuesAreReachedByLookupAndByAddress) {
  Lab lab;
  Map& map = lab.add_map(kValues);
  EXPECT_EQ(lab.run(R"(
    r1 = map[idx:0]+8
    r2 = 40
    *(u64 *)(r1 +0) = r2
    lock *(u64 *)(r1 +0) += r2
    *(u32 *)(r10 -4) = 0
    r1 = map[idx:0]
    r2 = r10
    r2 += -4
    call bpf_map_lookup_elem
    if r0 == 0 goto out
    r0 = *(u64 *)(r0 +8)
  out:
    exit)")
                .verdict,
            80u);
  std::array<std::uint8_t, 16> value{};
  const std::uint32_t key = 0;
  ASSERT_EQ(map.copy_value(&key, value, 0), 0);
  EXPECT_EQ(value[8], 80);
}

TEST(Interpreter, AMissingElementIsANumber) {
  Lab lab;
  lab.add_map(kValues);
  EXPECT_EQ(lab.run(R"(
    *(u32 *)(r10 -4) = 5
    r1 = map[idx:0]
    r2 = r10
    r2 += -4
    call bpf_map_lookup_elem
    r0 += 2
    exit)")
                .verdict,
            2u);
}

TEST(Interpreter, LookupInAMapOfMapsGivesAMap) {
  Lab lab;
  Map& inner = lab.add_map(kValues);
  MapSpec spec = {.name = "outer",
                  .type = BPF_MAP_TYPE_ARRAY_OF_MAPS,
                  .key_size = 4,
                  .value_size = 4,
                  .max_entries = 2};
  spec.inner = std::make_shared<const MapSpec>(kValues);
  lab.set_inner_map(lab.add_map(spec), 1, inner);
  const std::string lookup = R"(
    *(u32 *)(r10 -4) = 1
    *(u32 *)(r10 -8) = 0
    r1 = map[idx:1]
    r2 = r10
    r2 += -4
    call bpf_map_lookup_elem
    if r0 == 0 goto pc+7
  )";
  const std::string second = R"(
    r1 = r0
    r2 = r10
    r2 += -8
    call bpf_map_lookup_elem
    if r0 == 0 goto pc+2
    *(u8 *)(r0 +0) = 5
    r0 = *(u8 *)(r0 +0)
    exit)";
  EXPECT_EQ(lab.run(lookup + second).summary(), "verdict 5");
  // The map itself is no memory.
  EXPECT_EQ(
      lab.run(lookup +
              "r0 = *(u64 *)(r0 +0)\n r1 = 0\n r1 = 0\n r1 = 0\n r1 = 0\n r1 = 0\n r1 = 0\n exit")
          .summary(),
      "kNotAccessible@8");
}

TEST(Interpreter, HelpersMayTakeKeysFromThePacket) {
  Lab lab;
  lab.packet.assign(64, 0);
  lab.add_map(kValues);
  EXPECT_EQ(lab.run(R"(
    r2 = *(u32 *)(r1 +0)
    r1 = map[idx:0]
    call bpf_map_lookup_elem
    if r0 != 0 goto found
    r0 = 1
    exit
  found:
    r0 = 2
    exit)")
                .verdict,
            2u);
}

TEST(Interpreter, OutputsOfHelpersCountAsWritten) {
  Lab lab;
  lab.strictness = Strictness::kUntrusted;
  // The lab's load_bytes fills one byte of eight; the others are zeros and not what lay there.
  EXPECT_EQ(lab.run(R"(
    r2 = 0
    r3 = r10
    r3 += -8
    r4 = 8
    call bpf_xdp_load_bytes
    r0 = *(u64 *)(r10 -8)
    exit)")
                .verdict,
            0x11u);
}

TEST(Interpreter, FunctionsHaveTheirOwnStackAndKeepTheCallersRegisters) {
  Lab lab;
  EXPECT_EQ(lab.run(R"(
    r6 = 100
    r9 = 1000
    *(u64 *)(r10 -8) = 5
    r1 = 20
    r2 = r10
    r2 += -8
    call callee
    r0 += r6
    r0 += r9
    r1 = *(u64 *)(r10 -8)
    r0 += r1
    exit
  callee:
    r6 = 7
    r9 = 7
    *(u64 *)(r10 -8) = 3
    r3 = *(u64 *)(r2 +0)
    r3 += 1
    *(u64 *)(r2 +0) = r3
    r0 = r1
    exit)")
                .verdict,
            20u + 100u + 1000u + 6u);
}

TEST(Interpreter, EightFramesAreAllowed) {
  Lab lab;
  std::string text = "call f1\n exit\n";
  for (int i = 1; i < 7; ++i)
    text += "f" + std::to_string(i) + ":\n call f" + std::to_string(i + 1) + "\n r0 += 1\n exit\n";
  EXPECT_EQ(lab.run(text + "f7:\n r0 = 10\n exit").verdict, 16u);
}

TEST(Interpreter, TailCallsReplaceTheProgram) {
  Lab lab;
  Map& jumps = lab.add_map(kJumps);
  CompiledProgram* target = lab.prepare("r2 = *(u32 *)(r1 +12)\n r0 = r2\n r0 += 100\n exit");
  lab.set_tail_call(jumps, 2, *target);
  constexpr const char* kCaller = R"(
    r2 = map[idx:0]
    r3 = 2
    call bpf_tail_call
    r0 = 1
    exit)";
  EXPECT_EQ(lab.run(kCaller).verdict, 107u);
  // An empty slot and an index past the end go on behind the call. Only 32 bits of the index count.
  EXPECT_EQ(lab.run("r2 = map[idx:0]\n r3 = 1\n call bpf_tail_call\n r0 = 1\n exit").verdict, 1u);
  EXPECT_EQ(lab.run("r2 = map[idx:0]\n r3 = 4\n call bpf_tail_call\n r0 = 1\n exit").verdict, 1u);
  EXPECT_EQ(
      lab.run("r2 = map[idx:0]\n r3 = 0x100000002\n call bpf_tail_call\n r0 = 1\n exit").verdict,
      107u);
}

TEST(Interpreter, ATailCallInAFunctionReturnsToItsCaller) {
  Lab lab;
  Map& jumps = lab.add_map(kJumps);
  CompiledProgram* target = lab.prepare("r6 = 1\n r0 = 40\n exit");
  lab.set_tail_call(jumps, 0, *target);
  EXPECT_EQ(lab.run(R"(
    r6 = 2
    call jump
    r0 += r6
    exit
  jump:
    r2 = map[idx:0]
    r3 = 0
    call bpf_tail_call
    r0 = 1
    exit)")
                .verdict,
            42u);
}

TEST(Interpreter, ThirtyThreeTailCallsAndNoMore) {
  Lab lab;
  Map& jumps = lab.add_map(kJumps);
  lab.add_map(kValues);
  // The program counts its runs in the map and calls itself for ever.
  CompiledProgram* target = lab.prepare(R"(
    r2 = map[idx:1]+0
    r3 = 1
    lock *(u64 *)(r2 +0) += r3
    r2 = map[idx:0]
    r3 = 0
    call bpf_tail_call
    r2 = map[idx:1]+0
    r0 = *(u64 *)(r2 +0)
    exit)");
  lab.set_tail_call(jumps, 0, *target);
  EXPECT_EQ(lab.run(*target).verdict, 34u);
}

TEST(Interpreter, CallbacksGetWhatTheHelperHandsThem) {
  Lab lab;
  lab.add_map(kValues);
  // bpf_loop: the callback adds its index to a variable on the caller's stack and stops at 5.
  EXPECT_EQ(lab.run(R"(
    *(u64 *)(r10 -8) = 0
    r1 = 100
    r2 = func body
    r3 = r10
    r3 += -8
    r4 = 0
    call bpf_loop
    r1 = *(u64 *)(r10 -8)
    r0 *= 1000
    r0 += r1
    exit
  body:
    r3 = *(u64 *)(r2 +0)
    r3 += r1
    *(u64 *)(r2 +0) = r3
    r0 = 0
    if r1 < 5 goto out
    r0 = 1
  out:
    exit)")
                .verdict,
            6u * 1000u + 15u);
  // bpf_for_each_map_elem: key and value are memory of their sizes.
  EXPECT_EQ(lab.run(R"(
    r1 = map[idx:0]
    r2 = func body
    r3 = 0
    r4 = 0
    call bpf_for_each_map_elem
    r1 = map[idx:0]
    r1 = map[idx:0]+8
    r0 = *(u64 *)(r1 +0)
    exit
  body:
    r5 = *(u32 *)(r2 +0)
    r5 += 77
    *(u64 *)(r3 +8) = r5
    r0 = 0
    exit)")
                .verdict,
            77u);
}

TEST(Interpreter, HelpersReadAddressesThatTheProgramMayRead) {
  // What is readable from r3 on, of 16 bytes asked for.
  auto count_from = [](const char* address) {
    Lab lab;
    lab.add_map(kValues);
    return lab
        .run(std::string("r6 = map[idx:0]+4\n *(u64 *)(r10 -64) = r6\n r6 = r1\n") + address +
             "\n r1 = r10\n r1 += -16\n r2 = 16\n call bpf_probe_read_kernel\n exit")
        .verdict;
  };
  EXPECT_EQ(count_from("r3 = *(u32 *)(r1 +0)\n r3 += 60"), 4u) << "the packet ends";
  EXPECT_EQ(count_from("r3 = *(u32 *)(r1 +0)\n r3 += 64"), 0u) << "behind the packet";
  EXPECT_EQ(count_from("r3 = r10\n r3 += -64"), 16u) << "the stack";
  EXPECT_EQ(count_from("r3 = r10\n r3 += -8"), 8u) << "the stack ends";
  EXPECT_EQ(count_from("r3 = *(u64 *)(r10 -64)"), 12u) << "a map value";
  EXPECT_EQ(count_from("r4 = *(u64 *)(r10 -64)\n r3 = 0\n r3 |= r4"), 12u)
      << "its bits as a number";
  EXPECT_EQ(count_from("r3 = 4096"), 0u) << "no memory of the program";
  EXPECT_EQ(count_from("r3 = r6"), 0u) << "the context is no memory";
}

TEST(Interpreter, RecordsAreOwnedUntilTheyAreSubmitted) {
  Lab lab;
  lab.add_map(kValues);
  EXPECT_EQ(lab.run(R"(
    r1 = map[idx:0]
    r2 = 16
    r3 = 0
    call bpf_ringbuf_reserve
    if r0 == 0 goto out
    r6 = 9
    *(u64 *)(r0 +8) = r6
    r6 = *(u64 *)(r0 +8)
    r1 = r0
    r2 = 0
    call bpf_ringbuf_submit
    r0 = r6
  out:
    exit)")
                .verdict,
            9u);
}

TEST(Interpreter, MayGotoEndsLoops) {
  Lab lab;
  lab.options.may_goto_max = 10;
  EXPECT_EQ(lab.run(R"(
    r0 = 0
  again:
    may_goto out
    r0 += 1
    goto again
  out:
    exit)")
                .verdict,
            10u);
}

TEST(Interpreter, AtomicsReturnWhatWasThere) {
  Lab lab;
  // A fetched 32-bit value is zero-extended; the high word of the memory stays.
  EXPECT_EQ(lab.run(R"(
    r1 = 0x11223344ffffffff
    *(u64 *)(r10 -8) = r1
    r2 = 1
    r2 = atomic_fetch_add((u32 *)(r10 -8), r2)
    r2 >>= 32
    if r2 != 0 goto bad
    r0 = *(u64 *)(r10 -8)
    r1 = 0x1122334400000000
    if r0 != r1 goto bad
    r0 = 1
    exit
  bad:
    r0 = 2
    exit)")
                .verdict,
            1u);
  // cmpxchg: r0 is what the memory held, stored only when it was equal.
  EXPECT_EQ(lab.run(R"(
    *(u64 *)(r10 -8) = 5
    r0 = 6
    r1 = 7
    r0 = atomic64_cmpxchg((u64 *)(r10 -8), r0, r1)
    if r0 != 5 goto bad
    r0 = atomic64_cmpxchg((u64 *)(r10 -8), r0, r1)
    r0 = *(u64 *)(r10 -8)
    exit
  bad:
    r0 = 99
    exit)")
                .verdict,
            7u);
}

TEST(Interpreter, PointersAreNumbersToEverythingElse) {
  Lab lab;
  // Compared, subtracted, masked and returned like any 64-bit value.
  EXPECT_EQ(lab.run(R"(
    r2 = r10
    r3 = r10
    r3 += -16
    r2 -= r3
    r0 = r2
    if r1 == r10 goto bad
    exit
  bad:
    r0 = 99
    exit)")
                .verdict,
            16u);
  // A number plus a pointer is the pointer.
  EXPECT_EQ(lab.run("r2 = 12\n r2 += r1\n r0 = *(u32 *)(r2 +0)\n exit").verdict, 7u);
}

TEST(Interpreter, ABatchGetsVerdictsInOrder) {
  Lab lab;
  CompiledProgram* program = lab.prepare("r2 = *(u32 *)(r1 +0)\n r0 = *(u8 *)(r2 +0)\n exit");
  auto pool = FramePool::create(3);
  const RxQueueInfo rxq{1, 0};
  FrameBatch batch;
  for (std::uint8_t i = 0; i < 3; ++i) {
    batch.buffs[i] = make_xdp_buff(*pool, pool->allocate(), rxq);
    if (i != 1) batch.buffs[i].data_end += 14;  // the middle one is empty: its read traps
    batch.buffs[i].data[0] = static_cast<std::uint8_t>(i + 1);
  }
  batch.count = 3;
  program->run_batch(batch, lab.context);
  EXPECT_EQ(batch.verdicts[0], 1u);
  EXPECT_EQ(batch.verdicts[1], 0u);
  EXPECT_EQ(batch.verdicts[2], 3u);
  EXPECT_EQ(lab.context.trapped_count, 1u);
  for (std::size_t i = 0; i < 3; ++i) pool->free(batch.buffs[i].hard_start);
}

TEST(Interpreter, WorkersShareAnImage) {
  constexpr int kRuns = 2000;
  Lab lab;
  Map& map = lab.add_map(kValues);
  CompiledProgram* program = lab.prepare(R"(
    r1 = map[idx:0]+0
    r2 = 1
    lock *(u64 *)(r1 +0) += r2
    call f
    exit
  f:
    r0 = 1
    exit)");
  auto work = [program] {
    alignas(64) std::array<std::uint8_t, limits::kFrameBytes> frame{};
    XdpBuff buff;
    buff.hard_start = frame.data();
    buff.data = buff.data_meta = frame.data() + limits::kHeadroomBytes;
    buff.data_end = buff.data + 14;
    RunContext context;
    for (int i = 0; i < kRuns; ++i) ASSERT_EQ(program->run(buff, context), 1u);
  };
  {
    std::jthread first(work);
    std::jthread second(work);
  }
  std::array<std::uint8_t, 16> value{};
  const std::uint32_t key = 0;
  ASSERT_EQ(map.copy_value(&key, value, 0), 0);
  std::uint64_t count = 0;
  std::memcpy(&count, value.data(), sizeof count);
  EXPECT_EQ(count, 2u * kRuns);
}

TEST(Interpreter, RefusesByNameWhatItHasNot) {
  Lab lab;
  EXPECT_NE(lab.refusal("call 69\n exit").find("69"), std::string::npos);
  EXPECT_NE(lab.refusal("call kfunc#0\n exit"), "");
}

TEST(Interpreter, TracesInstructionsAndMemory) {
  Lab lab;
  TextTrace trace(3);
  lab.options.trace = &trace;
  EXPECT_EQ(lab.run("r2 = *(u32 *)(r1 +12)\n *(u64 *)(r10 -8) = r2\n r0 = r2\n exit").verdict, 7u);
  const std::vector<std::string> expected = {
      "   0: r2 = *(u32 *)(r1 +12) ; r1=context pointer+0",
      "      read 4 bytes at context pointer+12",
      "   1: *(u64 *)(r10 -8) = r2 ; r10=stack+0 r2=0x7",
  };
  EXPECT_EQ(trace.lines(), expected);
  EXPECT_EQ(trace.lines_lost(), 3u);
}

}  // namespace
}  // namespace lmn
