// SPDX-License-Identifier: Apache-2.0
//
// Goal: the bridges of a host are read as they are: ports, VLANs, learned, static and local
// entries. Method: a bridge with two veth ports in a network namespace of its own, made and filled
// by iproute2, with and without VLAN filtering; what read_host() makes of it is compared with what
// was configured.
#include <gtest/gtest.h>
#include <net/if.h>
#include <sched.h>

#include <cerrno>
#include <cstdlib>
#include <string>
#include <thread>

#include "packet/fdb_table.h"

namespace lmn {
namespace {

constexpr std::uint64_t kNow = 1'000'000'000'000;
constexpr std::uint64_t kMinute = 60'000'000'000;
constexpr MacAddress kStatic{2, 0, 0, 0, 0, 1};
constexpr MacAddress kLearned{2, 0, 0, 0, 0, 2};
constexpr MacAddress kSticky{2, 0, 0, 0, 0, 3};
constexpr MacAddress kNew{2, 0, 0, 0, 0, 9};

bool run(const std::string& command) {
  return std::system((command + " >/dev/null 2>&1").c_str()) == 0;
}

class HostFdb : public testing::Test {
 protected:
  // Runs `act` in a namespace with the bridge; `why_not_` says why it did not.
  template <typename Act>
  void with_bridge(const std::string& options, Act act) {
    std::thread([&] {
      if (::unshare(CLONE_NEWNET) != 0) {
        why_not_ = "needs a network namespace of its own: CAP_SYS_ADMIN";
        return;
      }
      if (!run("ip link add name lmnbr type bridge ageing_time 6000 " + options)) {
        why_not_ = "cannot make a bridge (" + options + "): iproute2, or the kernel lacks it";
        return;
      }
      ASSERT_TRUE(run("ip link add name portx type veth peer name farx"));
      ASSERT_TRUE(run("ip link add name porty type veth peer name fary"));
      ASSERT_TRUE(run("for i in portx porty; do ip link set $i master lmnbr; done"));
      ASSERT_TRUE(run("for i in lmnbr portx farx porty fary; do ip link set $i up; done"));
      act();
    }).join();
  }
  void read() {
    table_ = *FdbTable::create({256, 1});
    const auto done = table_->read_host(kNow);
    ASSERT_TRUE(done.has_value()) << done.error().to_string();
    x_ = ::if_nametoindex("portx");
    y_ = ::if_nametoindex("porty");
  }

  std::string why_not_;
  std::unique_ptr<FdbTable> table_;
  std::uint32_t x_ = 0;
  std::uint32_t y_ = 0;
};

TEST_F(HostFdb, BridgesOfTheHostAreRead) {
  with_bridge("", [this] {
    ASSERT_TRUE(run("bridge fdb add 02:00:00:00:00:01 dev portx master static"));
    ASSERT_TRUE(run("bridge fdb add 02:00:00:00:00:02 dev portx master dynamic"));
    ASSERT_TRUE(run("bridge fdb add 02:00:00:00:00:03 dev porty master static sticky"));
    ASSERT_TRUE(run("bridge link set dev porty learning off"));
    read();
    EXPECT_EQ(table_->find(y_, kStatic, 0, kNow).port, x_);
    EXPECT_EQ(table_->find(y_, kStatic, 0, kNow).flags, kFdbStatic);
    EXPECT_EQ(table_->find(y_, kStatic, 9, kNow).error, 0) << "this bridge does not look at VLANs";
    EXPECT_EQ(table_->find(y_, kLearned, 0, kNow).port, x_);
    EXPECT_EQ(table_->find(y_, kLearned, 0, kNow).flags, 0u);
    EXPECT_EQ(table_->find(y_, kLearned, 0, kNow + kMinute + 1).error, ENOENT) << "it ages";
    EXPECT_EQ(table_->find(x_, kSticky, 0, kNow).flags, kFdbStatic | kFdbSticky);
    EXPECT_EQ(table_->learn(y_, kNew, 0, kNow), EPERM) << "learning is off there";
    EXPECT_EQ(table_->learn(x_, kNew, 0, kNow), 0);
    EXPECT_NE(table_->to_text(kNow).find(" local"), std::string::npos)
        << "the ports' own addresses:\n"
        << table_->to_text(kNow);
  });
  if (!why_not_.empty()) GTEST_SKIP() << why_not_;
}

TEST_F(HostFdb, VlansOfTheHostsBridgesAreRead) {
  with_bridge("vlan_filtering 1", [this] {
    ASSERT_TRUE(run("bridge vlan add dev portx vid 7 pvid untagged"));
    ASSERT_TRUE(run("bridge fdb add 02:00:00:00:00:01 dev portx master static vlan 7"));
    read();
    EXPECT_EQ(table_->find(y_, kStatic, 7, kNow).port, x_);
    EXPECT_EQ(table_->find(y_, kStatic, 0, kNow).error, ENOENT) << "untagged there is VLAN 1";
    EXPECT_EQ(table_->find(x_, kStatic, 0, kNow).error, 0) << "and VLAN 7 here";
  });
  if (!why_not_.empty()) GTEST_SKIP() << why_not_;
}

}  // namespace
}  // namespace lmn
