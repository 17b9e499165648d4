// SPDX-License-Identifier: Apache-2.0
//
// Goal: bpf_fib_lookup gives the kernel's answer, and leaves the same struct, for the same devices,
// routes, rules and neighbours.
// Method: the network namespace of fib_world.h and a RouteTable of the same contents from text;
// then every pair of question and flags goes through both, and the whole struct is compared.
#include <gtest/gtest.h>

#include <cerrno>
#include <string>

#include "differential/fib_world.h"

namespace lmn {
namespace {

constexpr std::string_view kTable = R"(
device 1 mtu 65536 forward inet forward inet6
device 101 mac 02:00:00:00:01:01 mtu 1500 forward inet forward inet6
device 102 mac 02:00:00:00:01:02 mtu 1400 forward inet forward inet6
device 103 mac 02:00:00:00:01:03 mtu 1500
device 111
device 112
device 113
address 127.0.0.1/8 dev 1
address 10.1.0.1/24 dev 101
address 10.2.0.1/24 dev 102
address ::1/128 dev 1
address fd01::1/64 dev 101
address fd02::1/64 dev 102
route local 127.0.0.0/8 dev 1
route local 127.0.0.1 dev 1
route local 127.255.255.255 dev 1
route local 10.1.0.1 dev 101
route local 10.1.0.255 dev 101
route local 10.2.0.1 dev 102
route local 10.2.0.255 dev 102
route 10.1.0.0/24 dev 101 src 10.1.0.1
route 10.2.0.0/24 dev 102 src 10.2.0.1
route 10.3.0.0/16 via 10.2.0.9 dev 102 metric 7
route 10.3.1.0/24 via 10.1.0.9 dev 101
route 10.3.2.0/24 via 10.2.0.9 dev 102 mtu 1300
route 10.3.3.0/24 via 10.2.0.9 dev 102
route 10.3.4.0/24 via 10.2.0.8 dev 102
route 10.3.5.0/24 dev 102 src 10.1.0.1
route 10.3.6.0/24 via fd02::9 dev 102
route 10.3.7.0/24 tos 0x10 via 10.1.0.9 dev 101
route 10.3.8.0/24 via 10.1.0.9 dev 101 metric 5
route 10.3.8.0/24 via 10.2.0.9 dev 102 metric 6
route blackhole 10.4.1.0/24
route unreachable 10.4.2.0/24
route prohibit 10.4.3.0/24
route throw 10.4.4.0/24
route 10.5.0.0/16 via 10.1.0.9 dev 101 table 100
route blackhole 10.5.1.0/24 table 100
route local ::1 dev 1
route local fd01::1 dev 101
route local fd02::1 dev 102
route fd01::/64 dev 101 metric 256
route fd02::/64 dev 102 metric 256
route fd03::/64 via fd02::9 dev 102 metric 7
route fd03:1::/64 via fd01::9 dev 101 metric 1024
route fd03:2::/64 via fd02::9 dev 102 mtu 1300 metric 1024
route fd03:3::/64 via fd02::8 dev 102 metric 1024
route fd03:4::/64 dev 102 src fd01::1 metric 1024
route fd03:5::/64 dev 103 metric 1024
route fd03:6::/64 via fd01::9 dev 101 metric 5
route fd03:6::/64 via fd02::9 dev 102 metric 6
route blackhole fd04:1::/64 metric 1024
route unreachable fd04:2::/64 metric 1024
route prohibit fd04:3::/64 metric 1024
route throw fd04:4::/64 metric 1024
route fd05::/64 via fd01::9 dev 101 table 100 metric 1024
neighbour 10.1.0.9 dev 101 mac 02:00:00:00:09:01
neighbour 10.2.0.9 dev 102 mac 02:00:00:00:09:02
neighbour 10.3.5.1 dev 102 mac 02:00:00:00:09:03
neighbour fd01::9 dev 101 mac 02:00:00:00:09:04
neighbour fd02::9 dev 102 mac 02:00:00:00:09:05
)";

constexpr std::string_view kTableRules = R"(
rule inet 50 mark 5/0xff table 100
rule inet 60 from 10.9.0.0/16 table 100
rule inet 70 to 10.5.2.0/24 iif 101 table 100
rule inet6 50 mark 5 table 100
)";

TEST(FibLookupDifferential, EveryFlagOnEveryKindOfRoute) {
  const std::string why = in_fib_world([](FibLookup& lookup) {
    lookup.set_table(std::string(kTable));
    ask_everything(lookup);
    ask_nonsense(lookup);
    add_fib_rules();
    lookup.set_table(std::string(kTable) + std::string(kTableRules));
    ask_everything(lookup);
    for (const std::int64_t expected :
         {-EINVAL, -ENODEV, -EAFNOSUPPORT, int{BPF_FIB_LKUP_RET_SUCCESS},
          int{BPF_FIB_LKUP_RET_BLACKHOLE}, int{BPF_FIB_LKUP_RET_UNREACHABLE},
          int{BPF_FIB_LKUP_RET_PROHIBIT}, int{BPF_FIB_LKUP_RET_NOT_FWDED},
          int{BPF_FIB_LKUP_RET_FWD_DISABLED}, int{BPF_FIB_LKUP_RET_NO_NEIGH},
          int{BPF_FIB_LKUP_RET_FRAG_NEEDED}}) {
      EXPECT_GT(lookup.answers[expected], 0) << "nothing asked led to " << expected;
    }
  });
  if (!why.empty()) GTEST_SKIP() << why;
}

}  // namespace
}  // namespace lmn
