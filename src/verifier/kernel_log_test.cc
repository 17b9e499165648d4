// SPDX-License-Identifier: Apache-2.0
//
// Goal: the log reads like Linux 6.18's. Method: programs whose log that kernel gave is written
// here, line by line; and what levels leave out.

#include "verifier/kernel_log.h"

#include <gtest/gtest.h>

#include "verifier/paths_for_tests.h"

namespace lmn::paths_tests {
namespace {

// The log, from the first instruction's state to before "processed".
std::string log_of(std::string_view text, std::uint32_t level) {
  const Environment environment{
      .helpers = kHelpers, .map_types = kMapTypes, .context = kXdpMdFields, .kfuncs = kKfuncs};
  const std::vector<MapSpec> maps = test_maps();
  auto structure = check_structure(environment, program_of(text, maps.size()), maps, {});
  if (!structure) return structure.error().to_string();
  KernelLog log(*structure, level);
  VerifierReport report;
  VerifyOptions options;
  options.report = &report;
  options.listener = &log;
  const bool is_accepted = verify(environment, *structure, options).has_value();
  EXPECT_EQ(is_accepted, !report.is_refused);
  log.finish(report, std::chrono::microseconds(7));
  return log.text();
}

constexpr std::string_view kStraight = R"(
    r2 = 5
    r3 = *(u32 *)(r1 +0)
    r4 = *(u32 *)(r1 +4)
    r5 = r3
    r5 += 8
    if r5 > r4 goto out
    r6 = *(u8 *)(r3 +0)
    *(u64 *)(r10 -8) = r6
    r2 = *(u64 *)(r10 -8)
  out:
    *(u8 *)(r10 -16) = r2
    call bpf_get_prandom_u32
    r0 <<= 3
    r0 = 0
    exit
)";

// Numbers that recur get short names, so that lines fit.
std::string shortened(std::string text) {
  const auto replace = [&text](std::string_view from, std::string_view to) {
    for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at)) {
      text.replace(at, from.size(), to);
    }
  };
  replace("smin=smin32=0,smax=umax=smax32=umax32=255,var_off=(0x0; 0xff)", "BYTE");
  replace(
      "scalar(smax=0x7ffffffffffffff8,umax=0xfffffffffffffff8,smax32=0x7ffffff8,"
      "umax32=0xfffffff8,var_off=(0x0; 0xfffffffffffffff8))",
      "SHIFTED");
  return text;
}

TEST(KernelLog, WritesEveryPathAtLevelTwo) {
  EXPECT_EQ(shortened(log_of(kStraight, kernel_log_level::kAllPaths)),
            R"(func#0 @0
0: R1=ctx() R10=fp0
0: (b7) r2 = 5                        ; R2=5
1: (61) r3 = *(u32 *)(r1 +0)          ; R1=ctx() R3=pkt(r=0)
2: (61) r4 = *(u32 *)(r1 +4)          ; R1=ctx() R4=pkt_end()
3: (bf) r5 = r3                       ; R3=pkt(r=0) R5=pkt(r=0)
4: (07) r5 += 8                       ; R5=pkt(off=8,r=0)
5: (2d) if r5 > r4 goto pc+3          ; R4=pkt_end() R5=pkt(off=8,r=8)
6: (71) r6 = *(u8 *)(r3 +0)           ; R3=pkt(r=8) R6=scalar(BYTE)
7: (7b) *(u64 *)(r10 -8) = r6         ; R6=scalar(id=1,BYTE) R10=fp0 fp-8=scalar(id=1,BYTE)
8: (79) r2 = *(u64 *)(r10 -8)         ; R2=scalar(id=1,BYTE) R10=fp0 fp-8=scalar(id=1,BYTE)
9: (73) *(u8 *)(r10 -16) = r2         ; R2=scalar(id=1,BYTE) R10=fp0 fp-16=???????scalar(id=1,BYTE)
10: (85) call bpf_get_prandom_u32#7   ; R0=scalar()
11: (67) r0 <<= 3                     ; R0=SHIFTED
12: (b7) r0 = 0                       ; R0=0
13: (95) exit

from 5 to 9: R1=ctx() R2=5 R3=pkt(r=0) R4=pkt_end() R5=pkt(off=8,r=0xfffffffffffffffe) R10=fp0
9: R1=ctx() R2=5 R3=pkt(r=0) R4=pkt_end() R5=pkt(off=8,r=0xfffffffffffffffe) R10=fp0
9: (73) *(u8 *)(r10 -16) = r2         ; R2=5 R10=fp0 fp-16=???????5
10: (85) call bpf_get_prandom_u32#7   ; R0=scalar()
11: (67) r0 <<= 3                     ; R0=SHIFTED
12: (b7) r0 = 0                       ; R0=0
13: (95) exit
processed 19 insns (limit 1000000) max_states_per_insn 1 total_states 1 peak_states 1 mark_read 0
)");
}

TEST(KernelLog, KeepsTheRefusedPathAtLevelOne) {
  const std::string log = log_of(R"(
      r2 = *(u32 *)(r1 +0)
      r3 = *(u32 *)(r1 +4)
      r0 = 0
      r4 = r2
      r4 += 8
      if r4 > r3 goto bad
      r5 = *(u8 *)(r2 +0)
      exit
    bad:
      r0 = *(u8 *)(r2 +9)
      exit
  )",
                                 kernel_log_level::kPath);
  EXPECT_EQ(log, R"(0: R1=ctx() R10=fp0
0: (61) r2 = *(u32 *)(r1 +0)          ; R1=ctx() R2=pkt(r=0)
1: (61) r3 = *(u32 *)(r1 +4)          ; R1=ctx() R3=pkt_end()
2: (b7) r0 = 0                        ; R0=0
3: (bf) r4 = r2                       ; R2=pkt(r=0) R4=pkt(r=0)
4: (07) r4 += 8                       ; R4=pkt(off=8,r=0)
5: (2d) if r4 > r3 goto pc+2
8: R0=0 R1=ctx() R2=pkt(r=0) R3=pkt_end() R4=pkt(off=8,r=0xfffffffffffffffe) R10=fp0
8: (71) r0 = *(u8 *)(r2 +9)
invalid access to packet, off=9 size=1, R2(id=0,off=9,r=0)
R2 offset is outside of the packet
processed 9 insns (limit 1000000) max_states_per_insn 1 total_states 1 peak_states 1 mark_read 0
)");
}

TEST(KernelLog, HasOnlyFiguresForAcceptedProgramsBelowLevelTwo) {
  const std::string figures =
      "processed 19 insns (limit 1000000) max_states_per_insn 1 total_states 1 peak_states 1 "
      "mark_read 0\n";
  EXPECT_EQ(log_of(kStraight, 0), figures);
  EXPECT_EQ(log_of(kStraight, kernel_log_level::kPath), figures);
  EXPECT_EQ(log_of(kStraight, kernel_log_level::kFigures),
            "verification time 7 usec\nstack depth 16\n" + figures);
}

TEST(KernelLog, TellsCallsAndReturns) {
  EXPECT_EQ(log_of(R"(
      r6 = r1
      r1 = 5
      call pc+2
      r0 = *(u8 *)(r0 +0)
      exit
      *(u64 *)(r10 -16) = r1
      r0 = r1
      exit
  )",
                   kernel_log_level::kPath | kernel_log_level::kFigures),
            R"(0: R1=ctx() R10=fp0
0: (bf) r6 = r1                       ; R1=ctx() R6=ctx()
1: (b7) r1 = 5                        ; R1=5
2: (85) call pc+2
caller:
 R6=ctx() R10=fp0
callee:
 frame1: R1=5 R10=fp0
5: frame1: R1=5 R10=fp0
5: (7b) *(u64 *)(r10 -16) = r1        ; frame1: R1=5 R10=fp0 fp-16=5
6: (bf) r0 = r1                       ; frame1: R0=5 R1=5
7: (95) exit
returning from callee:
 frame1: R0=5 R1=5 R10=fp0 fp-16=5
to caller at 3:
 R0=5 R6=ctx() R10=fp0
3: (71) r0 = *(u8 *)(r0 +0)
R0 invalid mem access 'scalar'
verification time 7 usec
stack depth 0+16
processed 7 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
)");
}

TEST(KernelLog, TellsWalksForPrecision) {
  EXPECT_EQ(log_of(R"(
      r2 = r10
      r7 = -8
      r2 += r7
      *(u8 *)(r2 +0) = 1
      r0 = 0
      exit
  )",
                   kernel_log_level::kAllPaths),
            R"(func#0 @0
0: R1=ctx() R10=fp0
0: (bf) r2 = r10                      ; R2=fp0 R10=fp0
1: (b7) r7 = -8                       ; R7=-8
2: (0f) r2 += r7
mark_precise: frame0: last_idx 2 first_idx 0 subseq_idx -1 
mark_precise: frame0: regs=r7 stack= before 1: (b7) r7 = -8
3: R2=fp-8 R7=-8
3: (72) *(u8 *)(r2 +0) = 1            ; R2=fp-8 fp-8=???????1
4: (b7) r0 = 0                        ; R0=0
5: (95) exit
processed 6 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
)");
}

TEST(KernelLog, NamesSourceLinesOnce) {
  const Environment environment{
      .helpers = kHelpers, .map_types = kMapTypes, .context = kXdpMdFields};
  ProgramSpec program = program_of("r0 = 1\nr0 += 1\nexit");
  program.lines = {{InsnIndex{0}, 3, 1, "/src/a.c", "\treturn 1 + 1;"},
                   {InsnIndex{2}, 4, 1, "/src/a.c", "}"}};
  auto structure = check_structure(environment, program, {}, {});
  ASSERT_TRUE(structure);
  KernelLog log(*structure, kernel_log_level::kAllPaths);
  VerifyOptions options;
  options.listener = &log;
  ASSERT_TRUE(verify(environment, *structure, options));
  EXPECT_EQ(log.text(), R"(func#0 @0
0: R1=ctx() R10=fp0
; return 1 + 1; @ a.c:3
0: (b7) r0 = 1                        ; R0=1
1: (07) r0 += 1                       ; R0=2
; } @ a.c:4
2: (95) exit
)");
}

TEST(RegisterText, IsTheKernels) {
  RegState number = RegState::unknown();
  number.var.whole = Interval<64>::of_signed(-655, -146);
  number.var.sync();
  EXPECT_EQ(register_text(number, 0),
            "scalar(smin=smin32=-655,smax=smax32=-146,umin=0xfffffffffffffd71,"
            "umax=0xffffffffffffff6e,umin32=0xfffffd71,umax32=0xffffff6e,"
            "var_off=(0xfffffffffffffc00; 0x3ff))");
  EXPECT_EQ(register_text(RegState::constant(70000), 0), "0x11170");
  EXPECT_EQ(register_text(RegState::constant(~0ull), 0), "-1");
  const MapSpec map = map_spec("flows", BPF_MAP_TYPE_HASH, 16, 4);
  RegState value = RegState::pointer(RegKind::kMapValue, kMayBeNull);
  value.map = &map;
  value.id = 2;
  EXPECT_EQ(register_text(value, 0), "map_value_or_null(id=2,map=flows,ks=4,vs=16)");
  RegState stack = RegState::pointer(RegKind::kStack);
  stack.offset = -16;
  EXPECT_EQ(register_text(stack, 0), "fp-16");
  EXPECT_EQ(register_text(stack, 1), "fp[0]-16");
}

}  // namespace
}  // namespace lmn::paths_tests
