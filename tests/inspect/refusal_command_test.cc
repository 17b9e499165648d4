// SPDX-License-Identifier: Apache-2.0
//
// Goal: `lmn run` and `lmn test` run nothing that the verifier refuses, and say why as `lmn check`
// does. Method: the commands themselves on refused_program.c.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "commands_for_tests.h"

namespace lmn {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr const char* kLmn = LMN_BINARY_DIR "/tools/lmn ";
// As the commands are given it: messages repeat it.
constexpr const char* kObject = LMN_BINARY_DIR "/bpf/inspect_refused_program.bpf.o";

CommandOutput lmn(const std::string& command, const std::string& options) {
  return run_command(kLmn + command + " " + kObject + " " + options);
}

TEST(RefusalCommand, RunAndTestPrintWhatCheckPrints) {
  const CommandOutput checked = lmn("check", "--prog reads_unchecked");
  EXPECT_EQ(checked.status, 1);
  ASSERT_THAT(checked.out, HasSubstr("refused_program.c:10:10: error: "));
  ASSERT_THAT(checked.out, HasSubstr("[packet-bounds]"));
  ASSERT_THAT(checked.out, HasSubstr("remedy:"));
  const std::string packet(120, '0');
  for (const CommandOutput& refused : {lmn("run", "--prog reads_unchecked --port memory:m0"),
                                       lmn("test", "--prog reads_unchecked --in " + packet)}) {
    EXPECT_EQ(refused.status, 1);
    EXPECT_EQ(refused.out, "");
    EXPECT_THAT(refused.error, StartsWith(checked.out));
    EXPECT_THAT(refused.error, HasSubstr("not loaded: the verifier refuses"));
  }
}

TEST(RefusalCommand, OtherProgramsOfTheObjectRun) {
  const CommandOutput passed =
      lmn("test", "--prog passes --expect XDP_PASS --in " + std::string(120, '0'));
  EXPECT_EQ(passed.status, 0) << passed.error;
}

}  // namespace
}  // namespace lmn
