// SPDX-License-Identifier: Apache-2.0
//
// Goal: maps in maps are filled from the command line: MAP[KEYHEX] in --redirect-map and --set-map
// names the map at that key, and what is wrong with it is said.
// Method: examples/multicast_bridge.c, whose groups are such maps: what a group's packet goes out
// by is in the counters of the ports.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "harness/packet_builder.h"
#include "inspect/commands_for_tests.h"

namespace lmn {
namespace {

using ::testing::HasSubstr;

const std::string kObject = LMN_BINARY_DIR "/bpf/multicast_bridge.bpf.o";

class InnerMapCommand : public ::testing::Test {
 protected:
  void SetUp() override {
    const PacketBytes packet =
        PacketBuilder().ethernet({.dst = mac_address("01:00:5e:01:02:03")}).ipv4().udp().build();
    std::ofstream out(capture_, std::ios::binary);
    const auto length = static_cast<std::uint32_t>(packet.size());
    for (const std::uint32_t word :
         {0xa1b2c3d4u, 0x00040002u, 0u, 0u, 65535u, 1u, 1u, 0u, length, length})
      out.write(reinterpret_cast<const char*>(&word), sizeof word);
    out.write(reinterpret_cast<const char*>(packet.data()), length);
  }
  void TearDown() override { std::filesystem::remove(capture_); }
  CommandOutput run(const std::string& words) const {
    return run_command(LMN_BINARY_DIR "/tools/lmn run " + kObject + " --port pcap:in=" + capture_ +
                       " --plain memory:a --plain memory:b --plain memory:c --count 1 " + words);
  }

  // Of a, b and c, by the counters of the report.
  static std::string ports_that_sent(const std::string& report) {
    std::string sent;
    for (const char name : {'a', 'b', 'c'}) {
      const std::size_t at = report.find(std::string("port ") + name + " (memory");
      if (at == std::string::npos) return "no report of the ports: " + report;
      const std::string part = report.substr(at, report.find("\nport", at) - at);
      if (part.find("tx_packets           1") != std::string::npos) sent += name;
    }
    return sent;
  }

  const std::string capture_ = std::filesystem::temp_directory_path() /
                               ("lmn_group_" + std::to_string(::getpid()) + ".pcap");
};

TEST_F(InnerMapCommand, AGroupIsFilledByItsKey) {
  const CommandOutput output =
      run("--redirect-map 'groups[01005e0102030000]:1=a' "
          "--redirect-map 'groups[01005e0102030000]:2=c' --redirect-map ports:1=b");
  EXPECT_EQ(output.status, 0) << output.error;
  EXPECT_EQ(ports_that_sent(output.out), "ac");
}

TEST_F(InnerMapCommand, APortsNameStandsForItsIfindex) {
  const CommandOutput output = run("--set-map ports:01000000=@a --set-map ports:@b=@b");
  EXPECT_EQ(output.status, 0) << output.error;
  EXPECT_EQ(ports_that_sent(output.out), "ab");
}

TEST_F(InnerMapCommand, WhatIsWrongWithItIsSaid) {
  const std::pair<const char*, const char*> cases[] = {
      {"--redirect-map 'ports[01005e0102030000]:1=a'", "map 'ports' holds no maps"},
      {"--redirect-map 'groups[01005e]:1=a'", "keys of 8 and values of 4 bytes, not 3 and 4"},
      {"--redirect-map 'groups[xy]:1=a'", "'xy' in groups[xy] is not hex bytes"},
      {"--redirect-map 'groups[01005e0102030000:1=a'", "must be MAP or MAP[KEYHEX]"},
      {"--set-map ports:01000000=@nobody", "or @PORT for the ifindex of a port; there is: "},
      {"--set-map 'group[00]:00=00'", "the program uses no map 'group'; it uses: "},
  };
  for (const auto& [words, message] : cases) {
    const CommandOutput output = run(words);
    EXPECT_EQ(output.status, 1) << words;
    EXPECT_THAT(output.error, HasSubstr(message)) << words;
  }
}

}  // namespace
}  // namespace lmn
