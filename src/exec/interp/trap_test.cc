// SPDX-License-Identifier: Apache-2.0
//
// Goal: a trap says in one line what happened, with both numbers and the source line; the log of
// traps counts all, keeps the first and survives reports from several threads. Method: traps made
// by hand.
#include "exec/interp/trap.h"

#include <gtest/gtest.h>

#include <thread>

namespace lmn {
namespace {

ProgramSpec program_with_lines() {
  ProgramSpec program;
  program.name = "xdp_fw";
  program.lines.push_back({{3}, 33, 1, "fw.c", "return data[12];"});
  return program;
}

Trap out_of_bounds() {
  Trap trap;
  trap.reason = TrapReason::kOutOfBounds;
  trap.insn = {4};
  trap.reg = 2;
  trap.kind = interp::ValueKind::kPacket;
  trap.offset = 12;
  trap.size_bytes = 4;
  trap.bound_bytes = 14;
  return trap;
}

TEST(Trap, SaysBothNumbersAndThePlace) {
  EXPECT_EQ(describe_trap(out_of_bounds(), program_with_lines()),
            "insn 4: memory access out of bounds: read of 4 bytes at offset 12 of 14 bytes, "
            "through packet pointer r2 (fw.c:33)");
  Trap trap = out_of_bounds();
  trap.is_write = true;
  trap.offset = -8;
  trap.helper_id = 1;
  EXPECT_EQ(describe_trap(trap, ProgramSpec{}),
            "insn 4: memory access out of bounds: write of 4 bytes at offset -8 of 14 bytes, "
            "through packet pointer r2, in call of "
            "helper 1");
}

TEST(Trap, EveryReasonHasWords) {
#define LMN_TRAP_REASON(name, words)                                   \
  EXPECT_EQ(trap_reason_words(TrapReason::name), words);               \
  {                                                                    \
    Trap trap;                                                         \
    trap.reason = TrapReason::name;                                    \
    EXPECT_NE(describe_trap(trap, {}).find(words), std::string::npos); \
  }
#include "exec/interp/trap_reasons.def"
#undef LMN_TRAP_REASON
}

TEST(Trap, LongNamesAreCutNotOverrun) {
  ProgramSpec program = program_with_lines();
  program.name.assign(500, 'n');
  program.lines[0].file.assign(1000, 'f');
  TrapLog log;
  log.report(out_of_bounds(), program);
  const auto records = log.records();
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(records[0].program, std::string(63, 'n'));
  EXPECT_EQ(records[0].text.size(), 319u);
}

TEST(TrapLog, CountsAllKeepsTheFirst) {
  TrapLog log;
  Trap trap = out_of_bounds();
  for (std::uint32_t i = 0; i < TrapLog::kRecordsMax + 1; ++i) {
    trap.insn = {i};
    log.report(trap, program_with_lines());
  }
  EXPECT_EQ(log.count(), TrapLog::kRecordsMax + 1);
  const auto records = log.records();
  ASSERT_EQ(records.size(), TrapLog::kRecordsMax);
  EXPECT_EQ(records.back().trap.insn.value, TrapLog::kRecordsMax - 1);
  EXPECT_EQ(records[0].program, "xdp_fw");
}

TEST(TrapLog, TakesReportsFromSeveralThreads) {
  TrapLog log;
  const ProgramSpec program = program_with_lines();
  {
    std::jthread other([&] {
      for (int i = 0; i < 1000; ++i) log.report(out_of_bounds(), program);
    });
    for (int i = 0; i < 1000; ++i) {
      log.report(out_of_bounds(), program);
      for (const TrapRecord& record : log.records())
        ASSERT_EQ(record.trap.reason, TrapReason::kOutOfBounds);
    }
  }
  EXPECT_EQ(log.count(), 2000u);
}

}  // namespace
}  // namespace lmn
