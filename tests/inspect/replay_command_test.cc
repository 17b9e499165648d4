// SPDX-License-Identifier: Apache-2.0
//
// Goal: `lmn test --seed N --clock NS` gives a program the same times, random numbers and CPU each
// time it is run, and other ones for another seed or time.
// Method: replay_program.c leaves them in the packet; the tool prints it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "inspect/commands_for_tests.h"

namespace lmn {
namespace {

using ::testing::HasSubstr;

std::string packet_after(const std::string& options) {
  const CommandOutput output = run_command(
      LMN_BINARY_DIR "/tools/lmn test " LMN_BINARY_DIR "/bpf/inspect_replay_program.bpf.o --in " +
      std::string(128, '0') + " --json " + options);
  EXPECT_EQ(output.status, 0) << output.out << output.error;
  const std::size_t at = output.out.find("\"data_out\"");
  EXPECT_NE(at, std::string::npos) << output.out;
  return at == std::string::npos ? output.out
                                 : output.out.substr(at, output.out.find('}', at) - at);
}

TEST(ReplayCommand, TheSameSeedAndTimeGiveTheSameRun) {
  const std::string first = packet_after("--seed 7 --clock 123456789");
  EXPECT_EQ(packet_after("--seed 7 --clock 123456789"), first);
  EXPECT_NE(packet_after("--seed 8 --clock 123456789"), first);
  EXPECT_NE(packet_after("--seed 7 --clock 123456790"), first);
  // The three clocks of a standing time agree: 0x75bcd15, little-endian.
  EXPECT_THAT(first, HasSubstr("15cd5b070000000015cd5b0700000000"));
}

}  // namespace
}  // namespace lmn
