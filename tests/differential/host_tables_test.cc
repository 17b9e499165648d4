// SPDX-License-Identifier: Apache-2.0
//
// Goal: a RouteTable that was read from the host answers bpf_fib_lookup as the host does, also with
// several next hops, tunnels, VRFs and rules of every kind; a host's change is noticed.
// Method: the network namespace of fib_world.h, more added to it, mirrored; every question goes
// through the kernel and the mirror.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <cstring>
#include <set>
#include <string>

#include "differential/fib_world.h"
#include "packet/host_watch.h"

namespace lmn {
namespace {

void run_all(std::initializer_list<const char*> commands) {
  for (const char* command : commands) EXPECT_TRUE(run_ip(command)) << "ip " << command;
}

TEST(HostRoutes, AnswerEveryQuestionAsTheHost) {
  const std::string why = in_fib_world([](FibLookup& lookup) {
    lookup.mirror();
    ask_everything(lookup);
    add_fib_rules();
    lookup.mirror();
    ask_everything(lookup);
  });
  if (!why.empty()) GTEST_SKIP() << why;
}

// Destinations of the tests below, asked with every flag and a few devices, ports and marks.
void ask_around(FibLookup& lookup, std::initializer_list<const char*> destinations) {
  constexpr std::uint16_t kPorts[] = {79, 80, 443, 444};
  constexpr std::uint8_t kProtocols[] = {6, 17};
  for (const char* destination : destinations) {
    for (std::uint64_t flags = 0; flags < 64; ++flags) {
      for (const std::uint32_t ifindex : {101u, 102u, 104u, 105u}) {
        lookup.ask({.destination = destination, .ifindex = ifindex, .table = 100}, flags);
      }
    }
    for (const std::uint16_t port : kPorts) {
      for (const std::uint8_t protocol : kProtocols) {
        for (const std::uint32_t mark : {0u, 5u}) {
          for (const std::uint64_t flags :
               {0, int{BPF_FIB_LOOKUP_MARK}, int{BPF_FIB_LOOKUP_OUTPUT}}) {
            Question question{.destination = destination, .mark = mark};
            question.protocol = protocol;
            question.destination_port = port;
            lookup.ask(question, flags);
            question.source_port = port;
            question.destination_port = 1000;
            lookup.ask(question, flags);
          }
        }
      }
    }
    for (const std::uint32_t tos : {0x10u, 0x14u, 0xfcu}) {
      lookup.ask({.destination = destination, .tos = tos}, 0);
    }
    for (const std::uint32_t tot_len : {1280u, 1401u, 1501u}) {
      lookup.ask({.destination = destination, .tot_len = tot_len}, 0);
    }
  }
}

TEST(HostRoutes, RulesByEverythingThatALookupHas) {
  const std::string why = in_fib_world([](FibLookup& lookup) {
    run_all({"route add 10.20.0.0/16 via 10.1.0.9 table 200",
             "route add default via 10.2.0.9 table 201",
             "route add default via 10.1.0.9",
             "-6 route add fd20::/16 via fd01::9 table 200",
             "-6 route add default via fd02::9 table 201",
             "-6 route add default via fd01::9",
             "rule add priority 100 ipproto tcp dport 80-443 table 201",
             "rule add priority 101 ipproto udp sport 80 table 200",
             "rule add priority 102 uidrange 0-0 to 10.21.0.0/16 table 201",
             "rule add priority 103 uidrange 1-5 to 10.22.0.0/16 table 201",
             "rule add priority 104 tos 0x10 table 200",
             "rule add priority 105 oif fibb table 201",
             "rule add priority 106 not from all fwmark 5 to 10.23.0.0/16 table 201",
             "rule add priority 107 to 10.24.0.0/16 blackhole",
             "rule add priority 108 to 10.25.0.0/16 prohibit",
             "rule add priority 109 to 10.26.0.0/16 unreachable",
             "rule add priority 110 to 10.27.0.0/16 goto 120",
             "rule add priority 111 to 10.27.0.0/16 blackhole",
             "rule add priority 120 to 10.27.0.0/16 table 201",
             "rule add priority 130 to 10.28.0.0/16 table main suppress_prefixlength 0",
             "rule add priority 131 to 10.28.0.0/16 table 201",
             "rule add priority 132 iif nowhere to 10.29.0.0/16 blackhole",
             "-6 rule add priority 100 ipproto tcp dport 80-443 table 201",
             "-6 rule add priority 102 uidrange 0-0 to fd21::/16 table 201",
             "-6 rule add priority 106 not from all fwmark 5 to fd23::/16 table 201",
             "-6 rule add priority 107 to fd24::/16 blackhole",
             "-6 rule add priority 108 to fd25::/16 prohibit",
             "-6 rule add priority 109 to fd26::/16 unreachable",
             "-6 rule add priority 110 from fd09::/16 to fd27::/16 table 201",
             "-6 rule add priority 130 to fd28::/16 table main suppress_prefixlength 0",
             "-6 rule add priority 131 to fd28::/16 table 201"});
    lookup.mirror();
    ask_around(lookup, {"10.20.0.1", "10.21.0.1", "10.22.0.1", "10.23.0.1", "10.24.0.1",
                        "10.25.0.1", "10.26.0.1", "10.27.0.1", "10.28.0.1", "10.29.0.1",
                        "10.3.1.1",  "fd20::1",   "fd21::1",   "fd23::1",   "fd24::1",
                        "fd25::1",   "fd26::1",   "fd27::1",   "fd28::1",   "fd03:1::1"});
  });
  if (!why.empty()) GTEST_SKIP() << why;
}

TEST(HostRoutes, TunnelsAreNamed) {
  const std::string why = in_fib_world([](FibLookup& lookup) {
    if (!run_ip("route add 10.30.0.0/16 encap ip id 5 dst 10.2.0.9 dev fibb") ||
        !run_ip("-6 route add fd30::/32 encap ip6 id 5 dst fd02::9 dev fibb")) {
      std::printf("no tunnels in this kernel\n");
      return;
    }
    lookup.mirror();
    ask_around(lookup, {"10.30.0.1", "fd30::1"});
    EXPECT_GT(lookup.answers[BPF_FIB_LKUP_RET_UNSUPP_LWT], 0);
  });
  if (!why.empty()) GTEST_SKIP() << why;
}

TEST(HostRoutes, VrfsHaveTablesOfTheirOwn) {
  const std::string why = in_fib_world([](FibLookup& lookup) {
    if (!run_ip("link add red index 105 type vrf table 100")) {
      std::printf("no VRFs in this kernel\n");
      return;
    }
    run_all({"link set red up",
             "link add name fibd address 02:00:00:00:01:04 index 104 type veth peer name fibpd "
             "index 114",
             "link set fibd master red", "link set fibd addrgenmode none", "link set fibd up",
             "link set fibpd up", "addr add 10.40.0.1/24 dev fibd",
             "addr add fd40::1/64 dev fibd nodad", "route add 10.41.0.0/16 via 10.40.0.9 vrf red",
             "-6 route add fd41::/64 via fd40::9 vrf red", "route add 10.41.0.0/16 via 10.1.0.9",
             "-6 route add fd41::/64 via fd01::9",
             "neigh add 10.40.0.9 lladdr 02:00:00:00:09:06 nud permanent dev fibd",
             "neigh add fd40::9 lladdr 02:00:00:00:09:07 nud permanent dev fibd",
             "rule add priority 90 iif red to 10.43.0.0/16 blackhole"});
    for (const char* device : {"fibd", "red"}) {
      EXPECT_TRUE(write_setting(std::string("ipv4/conf/") + device + "/forwarding", "1"));
      EXPECT_TRUE(write_setting(std::string("ipv6/conf/") + device + "/forwarding", "1"));
    }
    lookup.mirror();
    ask_around(lookup, {"10.41.0.1", "10.40.0.9", "10.3.1.1", "10.43.0.1", "10.40.0.1", "fd41::1",
                        "fd40::9", "fd03:1::1"});
  });
  if (!why.empty()) GTEST_SKIP() << why;
}

// The kernel's choice is by a hash with a secret: what is compared is which hops are chosen at all,
// and that both sides know the same ones.
TEST(HostRoutes, SeveralNextHopsAreAllUsed) {
  const std::string why = in_fib_world([](FibLookup& lookup) {
    run_all({"route add 10.50.0.0/16 nexthop via 10.1.0.9 weight 3 nexthop via 10.2.0.9",
             "-6 route add fd50::/64 nexthop via fd01::9 weight 3 nexthop via fd02::9",
             "neigh add 10.2.0.10 lladdr 02:00:00:00:09:08 nud permanent dev fibb"});
    lookup.mirror();
    for (const bool is_ipv6 : {false, true}) {
      std::map<std::uint32_t, int> theirs;
      std::map<std::uint32_t, int> mine;
      for (int i = 1; i < 255; ++i) {
        const std::string destination =
            is_ipv6 ? "fd50::" + std::to_string(i) : "10.50.0." + std::to_string(i);
        const Comparison c = lookup.compare({.destination = destination.c_str()}, 0);
        const auto hop_of = [](const CallOutcome& outcome) {
          struct bpf_fib_lookup params;
          std::memcpy(&params, outcome.memory.data(), sizeof params);
          EXPECT_EQ(outcome.result, BPF_FIB_LKUP_RET_SUCCESS);
          EXPECT_EQ(params.dmac[5], params.ifindex == 101 ? (params.family == AF_INET6 ? 4 : 1)
                                                          : (params.family == AF_INET6 ? 5 : 2));
          return params.ifindex;
        };
        ++theirs[hop_of(c.kernel)];
        ++mine[hop_of(c.ours)];
      }
      EXPECT_EQ(theirs.size(), 2u);
      EXPECT_EQ(mine.size(), 2u);
      // Three quarters of 254, with room for chance.
      EXPECT_GT(mine[101], 254 * 6 / 10);
      EXPECT_LT(mine[101], 254 * 9 / 10);
    }
    for (const char* destination : {"10.50.0.1", "fd50::1"}) {
      for (const std::uint32_t ifindex : {101u, 102u}) {
        lookup.ask({.destination = destination, .ifindex = ifindex}, BPF_FIB_LOOKUP_OUTPUT);
      }
    }
    // A hop whose device is down is none.
    run_all({"link set fibb down"});
    lookup.mirror();
    for (int i = 1; i < 100; ++i) {
      lookup.ask({.destination = ("10.50.0." + std::to_string(i)).c_str()}, 0);
      lookup.ask({.destination = ("fd50::" + std::to_string(i)).c_str()}, 0);
    }
  });
  if (!why.empty()) GTEST_SKIP() << why;
}

TEST(HostRoutes, NoAddressToSendFrom) {
  const std::string why = in_fib_world([](FibLookup& lookup) {
    run_all({"-6 route add fd70::/64 dev fibb", "-6 route add fd71::/64 via fd02::9 dev fibb",
             "-6 addr flush dev fiba", "-6 addr flush dev fibb", "-6 addr del ::1/128 dev lo"});
    lookup.mirror();
    for (const char* destination : {"fd70::1", "fd71::1", "10.3.1.1", "10.3.5.1"}) {
      for (std::uint64_t flags = 0; flags < 64; ++flags)
        lookup.ask({.destination = destination}, flags);
    }
    EXPECT_GT(lookup.answers[BPF_FIB_LKUP_RET_NO_SRC_ADDR], 0);
  });
  if (!why.empty()) GTEST_SKIP() << why;
}

TEST(HostRoutes, AChangeIsNoticed) {
  const std::string why = in_fib_world([](FibLookup& lookup) {
    auto watch = HostWatch::create();
    ASSERT_TRUE(watch.has_value()) << watch.error().to_string();
    EXPECT_FALSE(watch->take_changes()) << "nothing has changed yet";
    lookup.mirror();
    const Question question{.destination = "10.60.0.1"};
    lookup.ask(question, 0);
    for (const char* change :
         {"route add 10.60.0.0/16 via 10.1.0.9", "neigh del 10.1.0.9 dev fiba",
          "neigh add 10.1.0.9 lladdr 02:00:00:00:09:0a nud permanent dev fiba",
          "link set fiba mtu 1300", "rule add priority 300 to 10.61.0.0/16 table 77",
          "addr add 10.62.0.1/24 dev fibb", "-6 route add fd60::/64 via fd01::9",
          "-6 rule add priority 300 to fd61::/16 table 77"}) {
      ASSERT_TRUE(run_ip(change));
      EXPECT_TRUE(watch->take_changes()) << change;
      EXPECT_FALSE(watch->take_changes()) << "told twice";
      lookup.mirror();
      lookup.ask(question, 0);
    }
    ASSERT_TRUE(write_setting("ipv4/conf/fiba/forwarding", "0"));
    EXPECT_TRUE(watch->take_changes()) << "forwarding";
    lookup.mirror();
    lookup.ask(question, 0);
    EXPECT_GT(lookup.answers[BPF_FIB_LKUP_RET_FWD_DISABLED], 0);
  });
  if (!why.empty()) GTEST_SKIP() << why;
}

}  // namespace
}  // namespace lmn
