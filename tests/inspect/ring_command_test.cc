// SPDX-License-Identifier: Apache-2.0
//
// Goal: `lmn run --read-ring` and `lmn test --read-ring` print each record that a program wrote,
// and say what was lost; a ring that loses records without a reader is not passed over in silence.
// Method: examples/drop_log.c on a packet that it drops, once and many times; its record has the
// packet's bytes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

#include "harness/packet_builder.h"
#include "inspect/commands_for_tests.h"

namespace lmn {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const std::string kTool = LMN_BINARY_DIR "/tools/lmn ";
const std::string kObject = LMN_BINARY_DIR "/bpf/drop_log.bpf.o ";

PacketBytes expired_packet() {
  return PacketBuilder().ethernet().ipv4({.ttl = 0}).udp().filler(18).build();
}

std::string hex(const PacketBytes& bytes) {
  std::string out;
  for (const std::uint8_t byte : bytes) {
    char digits[3];
    std::snprintf(digits, sizeof digits, "%02x", byte);  // tidy:allow(c-string) two digits
    out += digits;
  }
  return out;
}

std::size_t lines_with(const std::string& text, const std::string& start) {
  std::size_t count = 0;
  for (std::size_t at = 0; at != std::string::npos; at = text.find('\n', at + 1)) {
    count += text.compare(at == 0 ? 0 : at + 1, start.size(), start) == 0;
  }
  return count;
}

// A capture of `count` times the packet.
class RingCommand : public ::testing::Test {
 protected:
  ~RingCommand() override { std::filesystem::remove(capture_); }
  std::string capture_of(const PacketBytes& packet, int count) {
    std::ofstream out(capture_, std::ios::binary);
    const auto put = [&](std::uint32_t number) {
      out.write(reinterpret_cast<const char*>(&number), sizeof number);
    };
    for (const std::uint32_t word : {0xa1b2c3d4u, 0x00040002u, 0u, 0u, 65535u, 1u}) put(word);
    const auto length = static_cast<std::uint32_t>(packet.size());
    for (int i = 0; i < count; ++i) {
      for (const std::uint32_t word : {1u, 0u, length, length}) put(word);
      out.write(reinterpret_cast<const char*>(packet.data()), length);
    }
    return "--port pcap:in=" + capture_;
  }

  const std::string capture_ =
      std::filesystem::temp_directory_path() / ("lmn_ring_" + std::to_string(::getpid()) + ".pcap");
};

TEST_F(RingCommand, ATestPrintsTheRecordOfItsPacket) {
  const PacketBytes packet = expired_packet();
  const std::string command = kTool + "test " + kObject + "--in " + hex(packet);
  const CommandOutput text = run_command(command + " --read-ring drops");
  EXPECT_EQ(text.status, 0) << text.error;
  EXPECT_EQ(lines_with(text.out, "drops: "), 1u) << text.out;
  EXPECT_THAT(text.out, HasSubstr(hex(packet)));
  EXPECT_THAT(text.out, HasSubstr("ring drops: 1 records read, 0 lost\n"));
  const CommandOutput json = run_command(command + " --read-ring drops --json");
  EXPECT_EQ(lines_with(json.out, "{\"map\":\"drops\",\"record\":\""), 1u) << json.out;
  EXPECT_THAT(json.out, HasSubstr("{\"map\":\"drops\",\"read\":1,\"lost\":0}\n"));
  EXPECT_THAT(run_command(command).out, Not(HasSubstr("ring"))) << "nobody asked, nothing is lost";
}

TEST_F(RingCommand, ARunPrintsRecordsWhileItGoes) {
  constexpr int kPackets = 20'000;  // thirty times what the ring holds
  const CommandOutput run =
      run_command(kTool + "run " + kObject + capture_of(expired_packet(), kPackets) +
                  " --read-ring drops --dump-maps=text");
  EXPECT_EQ(run.status, 0) << run.error;
  // The reader may be slower than the worker: what it did not get was lost, and is said.
  const std::size_t read = lines_with(run.out, "drops: ");
  EXPECT_GE(read, 630u);
  const std::size_t lost = kPackets - read;
  EXPECT_THAT(run.out, HasSubstr("ring drops: " + std::to_string(read) + " records read, " +
                                 std::to_string(lost) + " lost\n"));
}

TEST_F(RingCommand, ARingThatNobodyReadsIsNamedWhenItIsFull) {
  const CommandOutput run =
      run_command(kTool + "run " + kObject + capture_of(expired_packet(), 700));
  EXPECT_THAT(run.out, HasSubstr("ring drops: 0 records read, 70 lost: it was full, and nobody "
                                 "reads it (--read-ring)\n"));
}

TEST_F(RingCommand, OtherMapsAreRefusedByName) {
  const std::string command = kTool + "test " + kObject + "--in " + hex(expired_packet());
  CommandOutput refused = run_command(command + " --read-ring drop_cnt");
  EXPECT_EQ(refused.status, 1);
  EXPECT_THAT(refused.error, HasSubstr("map 'drop_cnt' is no ring buffer"));
  refused = run_command(command + " --read-ring drop");
  EXPECT_EQ(refused.status, 1);
  EXPECT_THAT(refused.error, HasSubstr("the program uses no map 'drop'; it uses: "));
}

}  // namespace
}  // namespace lmn
