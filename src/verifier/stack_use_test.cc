// SPDX-License-Identifier: Apache-2.0
//
// Goal: a slot that a walked path may read is live, and one that is surely overwritten first is
// not. Method: notes made by hand on a program with a branch, a loop and a function; whole programs
// whose number of walked instructions tells whether paths were cut.
#include "verifier/stack_use.h"

#include <gtest/gtest.h>

#include "verifier/structure_for_tests.h"

namespace lmn {
namespace {

using namespace structure_tests;

class StackUseTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ProgramSpec program = program_of(R"(
  r0 = 0
  if r1 == 0x0 goto pc+1
  r0 = 1
  call f
  r0 = 2
  if r1 != 0x0 goto pc-4
  exit
f:
  r0 = 3
  exit
)");
    auto structured = check_structure(kEnvironment, program, {});
    ASSERT_TRUE(structured.has_value()) << structured.error().to_string();
    program_.emplace(*std::move(structured));
    use_.emplace(*program_);
    caller_.frames.resize(1);
    callee_ = caller_;
    callee_.frames.emplace_back();
    callee_.frames[1].subprogram = 1;
    callee_.frames[1].callsite = kCall;
  }

  static constexpr std::uint32_t kCall = 3;
  static constexpr std::uint32_t kCallee = 7;
  std::optional<StructuredProgram> program_;
  std::optional<StackUse> use_;
  PathState caller_;
  PathState callee_;
};

TEST_F(StackUseTest, ReadsAreLiveBeforeThemAlsoAroundALoop) {
  use_->note_read(caller_, 4, 0, 1);
  EXPECT_EQ(use_->live_before(caller_, 4, 0), 1u);
  EXPECT_EQ(use_->live_before(caller_, 0, 0), 1u);
  EXPECT_EQ(use_->live_before(caller_, 5, 0), 1u) << "by the jump back";
  EXPECT_EQ(use_->live_before(caller_, 6, 0), 0u);
}

TEST_F(StackUseTest, SureWritesEndIt) {
  use_->note_read(caller_, 4, 0, 3);
  use_->note_write(caller_, 2, 0, 1);
  EXPECT_EQ(use_->live_before(caller_, 3, 0), 3u);
  EXPECT_EQ(use_->live_before(caller_, 2, 0), 2u);
  EXPECT_EQ(use_->live_before(caller_, 1, 0), 3u) << "the branch that jumps over the write";
}

TEST_F(StackUseTest, AWriteThatAnotherVisitDoesNotMakeIsNotSure) {
  use_->note_read(caller_, 4, 0, 1);
  use_->note_write(caller_, 2, 0, 1);
  EXPECT_EQ(use_->live_before(caller_, 2, 0), 0u);
  use_->note_write(caller_, 2, 0, 0);
  EXPECT_EQ(use_->live_before(caller_, 2, 0), 1u);
  use_->note_write(caller_, 2, 0, 1);
  EXPECT_EQ(use_->live_before(caller_, 2, 0), 1u) << "once unsure, always unsure";
}

TEST_F(StackUseTest, AWriteAfterAVisitThatMadeNoneIsNotSure) {
  use_->note_write(caller_, 2, 0, 0);
  use_->note_read(caller_, 4, 0, 1);
  use_->note_write(caller_, 2, 0, 1);
  EXPECT_EQ(use_->live_before(caller_, 2, 0), 1u);
}

TEST_F(StackUseTest, FunctionsReadTheirCallersSlots) {
  use_->note_read(callee_, kCallee, 0, 4);
  use_->note_read(callee_, kCallee + 1, 1, 8);
  EXPECT_EQ(use_->live_before(callee_, kCallee, 0), 4u);
  EXPECT_EQ(use_->live_before(callee_, kCallee, 1), 8u);
  EXPECT_EQ(use_->live_before(caller_, kCall, 0), 4u);
  EXPECT_EQ(use_->live_before(caller_, kCall + 1, 0), 4u) << "by the jump back";
  use_->note_read(caller_, 4, 0, 1);
  EXPECT_EQ(use_->live_before(callee_, kCallee + 1, 0), 5u) << "what follows the call counts";
}

TEST_F(StackUseTest, ANewWalkKnowsNothing) {
  use_->note_read(caller_, 4, 0, 1);
  use_->clear();
  caller_.frames[0].stack_context = kNoStackContext;
  EXPECT_EQ(use_->live_before(caller_, 0, 0), 0u);
}

}  // namespace
}  // namespace lmn
