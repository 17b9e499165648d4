// SPDX-License-Identifier: Apache-2.0
//
// Goal: bpf_fib_lookup writes what it promises and no more, wherever the struct lies, and says what
// is missing when there are no routes.
// Method: the body on a small RouteTable. Every flag and answer against the kernel's is in
// tests/differential/fib_lookup_test.cc.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <set>

#include "helpers/test_run.h"
#include "packet/route_table.h"

namespace lmn {
namespace {

constexpr std::string_view kText = R"(
device 2 mac 02:00:00:00:00:02 mtu 1500 forward inet forward inet6
device 3 mac 02:00:00:00:00:03 mtu 1400 forward inet
address 10.0.1.1/24 dev 3
route 10.0.0.0/8 dev 3 via 10.0.1.9 metric 4
route 10.1.0.0/16 dev 3 via fd00::9
route fd00::/16 dev 3
neighbour 10.0.1.9 dev 3 mac 02:00:00:00:00:99
neighbour fd00::9 dev 3 mac 02:00:00:00:00:66
)";

class FibLookupHelper : public testing::Test {
 protected:
  void SetUp() override {
    auto parsed = RouteTable::parse(kText);
    ASSERT_TRUE(parsed.has_value()) << parsed.error().to_string();
    table_ = std::move(*parsed);
    run_.context.routes = &table_;
  }
  static struct bpf_fib_lookup ask_for(const char* destination) {
    struct bpf_fib_lookup params = {};
    const bool is_ipv6 = std::strchr(destination, ':') != nullptr;
    params.family = is_ipv6 ? AF_INET6 : AF_INET;
    params.ifindex = 2;
    params.tot_len = 100;
    ::inet_pton(params.family, destination, params.ipv6_dst);
    return params;
  }
  std::int64_t call(struct bpf_fib_lookup& params, std::uint64_t flags = 0) {
    return run_.call(BPF_FUNC_fib_lookup, 0, &params, sizeof params, flags);
  }

  RouteTable table_;
  const std::vector<std::uint8_t> packet_ = std::vector<std::uint8_t>(60);
  TestRun run_{packet_};
};

TEST_F(FibLookupHelper, FillsInTheNextHop) {
  struct bpf_fib_lookup params = ask_for("10.2.3.4");
  ASSERT_EQ(call(params), BPF_FIB_LKUP_RET_SUCCESS);
  EXPECT_EQ(params.ifindex, 3u);
  EXPECT_EQ(params.rt_metric, 4u);
  EXPECT_EQ(params.mtu_result, 1400);
  EXPECT_EQ(params.ipv4_dst, ::inet_addr("10.0.1.9"));
  EXPECT_EQ(std::memcmp(params.smac, "\x02\0\0\0\0\x03", 6), 0);
  EXPECT_EQ(std::memcmp(params.dmac, "\x02\0\0\0\0\x99", 6), 0);
}

TEST_F(FibLookupHelper, AnIpv4RouteMayHaveAnIpv6NextHop) {
  struct bpf_fib_lookup params = ask_for("10.1.0.1");
  ASSERT_EQ(call(params), BPF_FIB_LKUP_RET_SUCCESS);
  EXPECT_EQ(params.family, AF_INET6);
  EXPECT_EQ(std::memcmp(params.ipv6_dst, "\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x09", 16), 0);
  EXPECT_EQ(std::memcmp(params.dmac, "\x02\0\0\0\0\x66", 6), 0);
}

TEST_F(FibLookupHelper, WithoutAnAddressThereIsNoSource) {
  struct bpf_fib_lookup params = ask_for("fd00::5");
  EXPECT_EQ(call(params, BPF_FIB_LOOKUP_SRC), BPF_FIB_LKUP_RET_NO_SRC_ADDR);
  params = ask_for("10.2.3.4");
  EXPECT_EQ(call(params, BPF_FIB_LOOKUP_SRC), BPF_FIB_LKUP_RET_SUCCESS);
  EXPECT_EQ(params.ipv4_src, ::inet_addr("10.0.1.1"));
}

TEST_F(FibLookupHelper, ForwardingIsPerDeviceAndFamily) {
  struct bpf_fib_lookup params = ask_for("fd00::5");
  params.ifindex = 3;
  EXPECT_EQ(call(params), BPF_FIB_LKUP_RET_FWD_DISABLED);
  params = ask_for("10.2.3.4");
  params.ifindex = 3;
  EXPECT_EQ(call(params), BPF_FIB_LKUP_RET_SUCCESS);
}

TEST_F(FibLookupHelper, TheStructMayLieAnywhere) {
  std::array<std::uint8_t, sizeof(struct bpf_fib_lookup) + 8> memory;
  memory.fill(0xee);
  const struct bpf_fib_lookup params = ask_for("10.2.3.4");
  std::memcpy(&memory[3], &params, sizeof params);
  EXPECT_EQ(run_.call(BPF_FUNC_fib_lookup, 0, &memory[3], sizeof params + 5, 0),
            BPF_FIB_LKUP_RET_SUCCESS);
  EXPECT_EQ(memory[2], 0xee);
  EXPECT_EQ(memory[3 + sizeof params], 0xee);
}

struct Row {
  const char* destination;
  int expected;
  std::uint64_t flags = 0;
  std::uint32_t ifindex = 2;
  std::uint16_t tot_len = 100;
  std::uint32_t mark = 0;  // or the table, which is in the same place
};

constexpr std::string_view kEveryAnswer = R"(
device 2 mac 02:00:00:00:00:02 mtu 1500 forward inet forward inet6
device 3 mac 02:00:00:00:00:03 mtu 1400 forward inet
device 4 mac 02:00:00:00:00:04 mtu 1500
device 5 mac 02:00:00:00:00:05 mtu 1500 forward inet vrf 5 table 200
device 6 mac 02:00:00:00:00:06 mtu 1500 forward inet vrf 5 table 200
address 10.0.1.1/24 dev 3
route 10.0.0.0/8 dev 3 via 10.0.1.9
route blackhole 10.11.0.0/16
route unreachable 10.12.0.0/16
route prohibit 10.13.0.0/16
route local 10.14.0.1/32
route throw 10.15.0.0/16
route 10.16.0.0/16 dev 3 via 10.0.1.9 encap
route 10.17.0.0/16 dev 3 via 10.0.1.8
route 10.18.0.0/16 dev 3 via 10.0.1.9 mtu 1300
route 10.19.0.0/16 dev 3 via 10.0.1.9 weight 3 hop dev 2 via 10.0.1.9
route 12.0.0.0/8 dev 3 via 10.0.1.9 table 100
route 13.0.0.0/8 dev 6 via 10.0.6.9 table 200
route fd00::/16 dev 3
neighbour 10.0.1.9 dev 3 mac 02:00:00:00:00:99
neighbour 10.0.1.9 dev 2 mac 02:00:00:00:00:98
neighbour 10.0.6.9 dev 6 mac 02:00:00:00:00:97
rule inet 50 l3mdev
rule inet 100 table 100 mark 5/0xff
)";

// Each answer there is, from text alone: the kernel may lack VRFs and tunnels, and namespaces need
// rights.
TEST_F(FibLookupHelper, EveryAnswerFromText) {
  auto parsed = RouteTable::parse(kEveryAnswer);
  ASSERT_TRUE(parsed.has_value()) << parsed.error().to_string();
  table_ = std::move(*parsed);
  constexpr std::uint64_t kDirectTable = BPF_FIB_LOOKUP_DIRECT | BPF_FIB_LOOKUP_TBID;
  const Row rows[] = {
      {"10.2.3.4", BPF_FIB_LKUP_RET_SUCCESS},
      {"10.11.0.1", BPF_FIB_LKUP_RET_BLACKHOLE},
      {"10.12.0.1", BPF_FIB_LKUP_RET_UNREACHABLE},
      {"10.13.0.1", BPF_FIB_LKUP_RET_PROHIBIT},
      {"10.14.0.1", BPF_FIB_LKUP_RET_NOT_FWDED},
      {"10.15.0.1", BPF_FIB_LKUP_RET_NOT_FWDED},
      {"11.0.0.1", BPF_FIB_LKUP_RET_NOT_FWDED},
      {"10.2.3.4", BPF_FIB_LKUP_RET_FWD_DISABLED, 0, 4},
      {"10.16.0.1", BPF_FIB_LKUP_RET_UNSUPP_LWT},
      {"10.17.0.1", BPF_FIB_LKUP_RET_NO_NEIGH},
      {"10.17.0.1", BPF_FIB_LKUP_RET_SUCCESS, BPF_FIB_LOOKUP_SKIP_NEIGH},
      {"10.18.0.1", BPF_FIB_LKUP_RET_SUCCESS, 0, 2, 1300},
      {"10.18.0.1", BPF_FIB_LKUP_RET_FRAG_NEEDED, 0, 2, 1301},
      {"10.2.3.4", BPF_FIB_LKUP_RET_FRAG_NEEDED, 0, 2, 1401},
      {"10.19.0.1", BPF_FIB_LKUP_RET_SUCCESS},
      {"fd00::5", BPF_FIB_LKUP_RET_NO_SRC_ADDR, BPF_FIB_LOOKUP_SRC},
      {"12.0.0.1", BPF_FIB_LKUP_RET_NOT_FWDED, 0, 2, 100, 5},
      {"12.0.0.1", BPF_FIB_LKUP_RET_SUCCESS, BPF_FIB_LOOKUP_MARK, 2, 100, 5},
      {"12.0.0.1", BPF_FIB_LKUP_RET_NOT_FWDED, BPF_FIB_LOOKUP_DIRECT},
      {"12.0.0.1", BPF_FIB_LKUP_RET_SUCCESS, kDirectTable, 2, 100, 100},
      {"13.0.0.1", BPF_FIB_LKUP_RET_NOT_FWDED},
      {"13.0.0.1", BPF_FIB_LKUP_RET_SUCCESS, 0, 6},
      {"13.0.0.1", BPF_FIB_LKUP_RET_SUCCESS, BPF_FIB_LOOKUP_DIRECT, 6},
      {"10.2.3.4", BPF_FIB_LKUP_RET_SUCCESS, BPF_FIB_LOOKUP_OUTPUT, 3},
      {"10.2.3.4", -ENODEV, 0, 77},
      {"10.2.3.4", -EINVAL, 1u << 6},
  };
  std::set<int> answers;
  for (const Row& row : rows) {
    struct bpf_fib_lookup params = ask_for(row.destination);
    params.ifindex = row.ifindex;
    params.tot_len = row.tot_len;
    params.mark = row.mark;
    if ((row.flags & BPF_FIB_LOOKUP_TBID) != 0) params.tbid = row.mark;
    EXPECT_EQ(call(params, row.flags), row.expected)
        << row.destination << " flags " << row.flags << " from " << row.ifindex;
    answers.insert(row.expected);
    if (row.expected != BPF_FIB_LKUP_RET_FRAG_NEEDED) continue;
    EXPECT_EQ(params.mtu_result, row.tot_len - 1) << row.destination;
  }
  for (int code = BPF_FIB_LKUP_RET_SUCCESS; code <= BPF_FIB_LKUP_RET_NO_SRC_ADDR; ++code) {
    EXPECT_TRUE(answers.contains(code)) << "not asked for: " << code;
  }
}

TEST_F(FibLookupHelper, WithoutRoutesNoDeviceIsKnown) {
  run_.context.routes = nullptr;
  struct bpf_fib_lookup params = ask_for("10.2.3.4");
  const struct bpf_fib_lookup before = params;
  EXPECT_EQ(call(params), -ENODEV);
  // NOLINTNEXTLINE(bugprone-suspicious-memory-comparison): not one byte is written.
  EXPECT_EQ(std::memcmp(&params, &before, sizeof params), 0);
  params.family = 77;
  EXPECT_EQ(call(params), -EAFNOSUPPORT);
}

}  // namespace
}  // namespace lmn
