// SPDX-License-Identifier: Apache-2.0
//
// Goal: `lmn test --seed N --clock NS` gives a program the same times, random numbers and CPU each
// time it is run, and other ones for another seed or time.
// Method: replay_program.c leaves them in the packet; the tool prints it. A capture of random
// packets goes through timers_in_c.c, whose timers fire between the packets.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <fstream>
#include <random>
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

// A pcap file of random packets, the same ones each time.
void write_capture(const std::string& path) {
  constexpr std::uint32_t kPacketBytes = 64;
  std::mt19937 random(3);
  std::ofstream file(path, std::ios::binary);
  const auto write = [&file](const auto& value) {
    char bytes[sizeof value];
    std::memcpy(bytes, &value, sizeof value);
    file.write(bytes, sizeof value);
  };
  for (const std::uint32_t word : {0xa1b2c3d4u, 0x00040002u, 0u, 0u, 65'535u, 1u}) write(word);
  for (std::uint32_t i = 0; i < 500; ++i) {
    for (const std::uint32_t word : {i, 0u, kPacketBytes, kPacketBytes}) write(word);
    for (std::uint32_t k = 0; k < kPacketBytes / 4; ++k) {
      write(static_cast<std::uint32_t>(random()));
    }
  }
}

TEST(ReplayCommand, ACaptureWithTimersIsTheSameEachTime) {
  const std::string capture = testing::TempDir() + "lmn_replay_command_test.pcap";
  write_capture(capture);
  const auto after = [&capture](const std::string& options) {
    const CommandOutput output =
        run_command(LMN_BINARY_DIR "/tools/lmn test " LMN_BINARY_DIR
                                   "/bpf/inspect_timers.bpf.o --prog start_from_packet --in " +
                    capture + " --json " + options);
    EXPECT_EQ(output.status, 0) << output.error;
    EXPECT_GT(output.out.size(), 500u * 128);
    return output.out;
  };
  const std::string first = after("--seed 7 --clock 123456789");
  EXPECT_TRUE(after("--seed 7 --clock 123456789") == first);
  EXPECT_FALSE(after("--seed 8 --clock 123456789") == first);
}

}  // namespace
}  // namespace lmn
