// SPDX-License-Identifier: Apache-2.0
//
// Goal: look-ups in specs answer for the borders too: before the first record, on it, between two,
// behind the last. Method: small specs by hand.
#include <gtest/gtest.h>

#include "spec/object_spec.h"
#include "spec/program_spec.h"

namespace lmn {
namespace {

TEST(SpecTest, ARecordCoversUpToTheNext) {
  ProgramSpec program;
  program.functions = {{{0}, "entry", 1, true}, {{10}, "sub", 2, false}};
  program.lines = {{{2}, 20, 1, "a.c", "two"}, {{5}, 50, 1, "a.c", "five"}};
  EXPECT_EQ(program.line_of({0}), nullptr);
  EXPECT_EQ(program.line_of({1}), nullptr);
  EXPECT_EQ(program.line_of({2})->line, 20u);
  EXPECT_EQ(program.line_of({4})->line, 20u);
  EXPECT_EQ(program.line_of({5})->line, 50u);
  EXPECT_EQ(program.line_of({500})->line, 50u);
  EXPECT_EQ(program.function_of({9})->name, "entry");
  EXPECT_EQ(program.function_of({10})->name, "sub");
  EXPECT_EQ(ProgramSpec().function_of({0}), nullptr);
}

TEST(SpecTest, LicencesThatTheKernelCallsCompatible) {
  for (const char* license : {"GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL",
                              "Dual MIT/GPL", "Dual MPL/GPL"}) {
    ProgramSpec program;
    program.license = license;
    EXPECT_TRUE(program.is_gpl_compatible()) << license;
  }
  for (const char* license : {"", "gpl", "GPLv2", "GPL-2.0", "BSD", "Proprietary", "GPL "}) {
    ProgramSpec program;
    program.license = license;
    EXPECT_FALSE(program.is_gpl_compatible()) << license;
  }
}

TEST(SpecTest, ObjectsAreSearchedByName) {
  ObjectSpec object;
  object.programs.resize(2);
  object.programs[0].name = "a";
  object.programs[1].name = "b";
  object.maps.resize(1);
  object.maps[0].name = "m";
  EXPECT_EQ(object.find_program("b"), &object.programs[1]);
  EXPECT_EQ(object.find_program("m"), nullptr);
  EXPECT_EQ(object.find_map("m"), &object.maps[0]);
  EXPECT_EQ(object.find_map(""), nullptr);
}

}  // namespace
}  // namespace lmn
