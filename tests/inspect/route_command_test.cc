// SPDX-License-Identifier: Apache-2.0
//
// Goal: `lmn test --routes FILE` gives a program the routes of the file, and says which line of it
// is wrong.
// Method: the command itself on route_program.c, a forwarder; one packet per kind of route.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <string>

#include "commands_for_tests.h"

namespace lmn {
namespace {

using ::testing::HasSubstr;

constexpr const char* kRoutes =
    "device 2 mac 02:00:00:00:00:02 mtu 1500 forward inet\n"
    "device 3 mac 02:00:00:00:00:03 mtu 1500\n"
    "route 10.2.0.0/16 dev 3 via 10.1.0.9\n"
    "route blackhole 10.3.0.0/16\n"
    "neighbour 10.1.0.9 dev 3 mac 02:00:00:00:00:99\n";

class RouteCommand : public testing::Test {
 protected:
  void TearDown() override { ::unlink(file_.c_str()); }
  CommandOutput test(const std::string& routes, const std::string& packet,
                     const std::string& options) {
    std::ofstream(file_) << routes;
    return run_command(LMN_BINARY_DIR "/tools/lmn test " LMN_BINARY_DIR
                                      "/bpf/inspect_route_program.bpf.o --routes " +
                       file_ + " --in " + packet + " " + options);
  }
  // 20 bytes of IPv4 behind Ethernet, to this address.
  static std::string packet_to(const std::string& address_hex,
                               const std::string& macs = "ffffffffffff000000000001") {
    return macs + "0800" + "45000014" + "00000000" + "40110000" + "0a090001" + address_hex;
  }

  const std::string file_ = testing::TempDir() + "lmn_routes_" + std::to_string(::getpid());
};

TEST_F(RouteCommand, TheProgramForwardsByTheFile) {
  const CommandOutput forwarded =
      test(kRoutes, packet_to("0a020001"),
           "--expect XDP_TX --expect-out " + packet_to("0a020001", "020000000099020000000003"));
  EXPECT_EQ(forwarded.status, 0) << forwarded.out << forwarded.error;
  const CommandOutput dropped = test(kRoutes, packet_to("0a030001"), "--expect XDP_DROP");
  EXPECT_EQ(dropped.status, 0) << dropped.out << dropped.error;
  const CommandOutput passed = test(kRoutes, packet_to("0a040001"), "--expect XDP_PASS");
  EXPECT_EQ(passed.status, 0) << passed.out << passed.error;
}

TEST_F(RouteCommand, ABadFileIsRefusedWithItsLine) {
  const CommandOutput bad = test("# routes\nroute 10.0.0.0/40 dev 1\n", packet_to("0a020001"), "");
  EXPECT_EQ(bad.status, 1);
  EXPECT_THAT(bad.error, HasSubstr("line 2: a prefix of 40 bits, there are 32"));
  EXPECT_THAT(bad.error, HasSubstr(file_));
}

}  // namespace
}  // namespace lmn
