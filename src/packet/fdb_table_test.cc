// SPDX-License-Identifier: Apache-2.0
//
// Goal: a bridge forwards to where it heard an address last, and forgets what it no longer hears.
// Method: tables; time is a number the test gives; random operations against a plain model. That
// the host's bridges say the same is asked in tests/differential/host_fdb_test.cc.
#include "packet/fdb_table.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <map>
#include <random>
#include <tuple>

namespace lmn {
namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr std::uint64_t kNow = 1'000 * kSecond;

MacAddress mac(std::uint8_t last) { return {2, 0, 0, 0, 0, last}; }

class FdbTableTest : public testing::Test {
 protected:
  void make(std::uint32_t entries_max, std::string_view text) {
    auto table = FdbTable::create({entries_max, 7});
    ASSERT_TRUE(table.has_value()) << table.error().to_string();
    table_ = std::move(*table);
    const auto read = table_->read_text(text, kNow);
    ASSERT_TRUE(read.has_value()) << read.error().to_string();
  }
  std::unique_ptr<FdbTable> table_;
};

constexpr std::string_view kPlain =
    "bridge 10 ageing 300\n"
    "port 1 bridge 10 pvid 1\n"
    "port 2 bridge 10 pvid 1 nolearn\n"
    "port 3 bridge 10 pvid 1\n";

TEST_F(FdbTableTest, SizesThatCannotBeAreRefused) {
  EXPECT_FALSE(FdbTable::create({0, 0}).has_value());
  EXPECT_FALSE(FdbTable::create({(1u << 24) + 1, 0}).has_value());
}

TEST_F(FdbTableTest, AnEmptyTableKnowsNoPort) {
  make(4, "");
  EXPECT_EQ(table_->find(1, mac(1), 0, kNow).error, ENODEV);
  EXPECT_EQ(table_->learn(1, mac(1), 0, kNow), ENODEV);
}

TEST_F(FdbTableTest, AddressesAreWhereTheyWereHeardLast) {
  make(4, kPlain);
  EXPECT_EQ(table_->find(3, mac(1), 0, kNow).error, ENOENT);
  EXPECT_EQ(table_->learn(1, mac(1), 0, kNow), 0);
  EXPECT_EQ(table_->find(3, mac(1), 0, kNow).port, 1u);
  EXPECT_EQ(table_->find(3, mac(1), 99, kNow).port, 1u) << "this bridge does not look at VLANs";
  EXPECT_EQ(table_->learn(3, mac(1), 0, kNow), 0);
  EXPECT_EQ(table_->find(1, mac(1), 0, kNow).port, 3u);
}

TEST_F(FdbTableTest, EntriesAge) {
  make(4, kPlain);
  ASSERT_EQ(table_->learn(1, mac(1), 0, kNow), 0);
  EXPECT_EQ(table_->find(3, mac(1), 0, kNow + 300 * kSecond - 1).error, 0);
  EXPECT_EQ(table_->find(3, mac(1), 0, kNow + 300 * kSecond).error, ENOENT);
  ASSERT_EQ(table_->learn(1, mac(1), 0, kNow + 299 * kSecond), 0);
  EXPECT_EQ(table_->find(3, mac(1), 0, kNow + 300 * kSecond).error, 0);
  EXPECT_EQ(table_->expire(kNow + 1000 * kSecond), 0u);
}

TEST_F(FdbTableTest, WhatIsNotLearned) {
  struct Case {
    std::uint32_t port;
    MacAddress mac;
    int error;
  };
  make(8, std::string(kPlain) +
              "entry 02:00:00:00:00:05 port 1 static\n"
              "entry 02:00:00:00:00:06 port 10 local\n"
              "entry 02:00:00:00:00:07 port 1 static sticky\n");
  const Case cases[] = {
      {9, mac(1), ENODEV},    {2, mac(1), EPERM},  {1, {3, 0, 0, 0, 0, 1}, EADDRNOTAVAIL},
      {1, {}, EADDRNOTAVAIL}, {1, mac(6), EEXIST}, {3, mac(7), EEXIST},
      {1, mac(7), 0},  // heard where it is
      {3, mac(5), 0},  // a static entry may move
  };
  for (const Case& c : cases) EXPECT_EQ(table_->learn(c.port, c.mac, 0, kNow), c.error) << c.port;
  EXPECT_EQ(table_->find(1, mac(5), 0, kNow + 9999 * kSecond).port, 3u) << "and does not age";
  EXPECT_EQ(table_->find(1, mac(6), 0, kNow).flags, kFdbLocal);
  EXPECT_EQ(table_->find(1, mac(7), 0, kNow).flags, kFdbStatic | kFdbSticky);
}

TEST_F(FdbTableTest, VlansKeepAddressesApart) {
  make(8,
       "bridge 10 ageing 300 vlan_filtering\n"
       "port 1 bridge 10 pvid 5\n"
       "port 2 bridge 10 pvid 0\n");
  ASSERT_EQ(table_->learn(1, mac(1), 0, kNow), 0);
  ASSERT_EQ(table_->learn(1, mac(1), 6, kNow), 0);
  EXPECT_EQ(table_->find(2, mac(1), 5, kNow).error, 0);
  EXPECT_EQ(table_->find(2, mac(1), 6, kNow).error, 0);
  EXPECT_EQ(table_->find(2, mac(1), 7, kNow).error, ENOENT);
  EXPECT_EQ(table_->find(2, mac(1), 0, kNow).error, EINVAL) << "no VLAN without a tag";
  EXPECT_EQ(table_->find(2, mac(1), 4095, kNow).error, EINVAL);
}

TEST_F(FdbTableTest, BridgesKeepAddressesApart) {
  make(8,
       "bridge 10\nbridge 20\n"
       "port 1 bridge 10\nport 2 bridge 20\n");
  ASSERT_EQ(table_->learn(1, mac(1), 0, kNow), 0);
  EXPECT_EQ(table_->find(2, mac(1), 0, kNow).error, ENOENT);
  EXPECT_EQ(table_->find(1, mac(1), 0, kNow).port, 1u);
}

TEST_F(FdbTableTest, AFullTableGivesUpAgedEntriesOnly) {
  make(2, kPlain);
  ASSERT_EQ(table_->learn(1, mac(1), 0, kNow), 0);
  ASSERT_EQ(table_->learn(1, mac(2), 0, kNow + kSecond), 0);
  EXPECT_EQ(table_->learn(1, mac(3), 0, kNow + kSecond), ENOSPC);
  EXPECT_EQ(table_->learn(1, mac(3), 0, kNow + 300 * kSecond), 0);
  EXPECT_EQ(table_->find(3, mac(2), 0, kNow + 300 * kSecond).error, 0) << "it was the younger one";
}

TEST_F(FdbTableTest, TextIsReadAndWritten) {
  const std::string text =
      "bridge 10 ageing 60 vlan_filtering\n"
      "port 3 bridge 10 pvid 1\n"
      "port 4 bridge 10 pvid 7 nolearn\n"
      "entry 02:00:00:00:00:01 port 3 vlan 5 static\n"
      "entry 02:00:00:00:00:02 port 10 vlan 1 local\n";
  make(8, text);
  EXPECT_EQ(table_->to_text(kNow), text);
}

TEST_F(FdbTableTest, WrongTextIsRefusedWithItsLine) {
  struct Case {
    std::string_view text;
    std::string_view words;
  };
  const Case cases[] = {
      {"switch 1", "line 1: 'switch' is not known here"},
      {"bridge x", "'x' is no number that fits here"},
      {"port 1 bridge 2", "there is no bridge 2"},
      {"port 1", "'bridge' is missing"},
      {"bridge 1\nentry 02:00:00:00:00:01 port 9", "line 2: port 9 belongs to no bridge"},
      {"bridge 1\nentry 02:00:00:00:00 port 1", "'02:00:00:00:00' is no MAC address"},
      {"bridge 1\nentry 02:00:00:00:00:01", "'port' is missing"},
  };
  for (const Case& c : cases) {
    auto table = FdbTable::create({4, 0});
    const auto result = (*table)->read_text(c.text, kNow);
    ASSERT_FALSE(result.has_value()) << c.text;
    EXPECT_NE(result.error().message.find(c.words), std::string::npos) << result.error().message;
  }
}

TEST_F(FdbTableTest, RandomOperationsAgreeWithAModel) {
  make(1024, kPlain);
  std::map<std::uint8_t, std::pair<std::uint32_t, std::uint64_t>> model;
  std::mt19937 random(20261120);
  std::uint64_t now = kNow;
  for (int step = 0; step < 100'000; ++step) {
    now += random() % (4 * kSecond);
    const auto which = static_cast<std::uint8_t>(random() % 200);
    const std::uint32_t port = random() % 2 == 0 ? 1 : 3;
    if (random() % 3 == 0) {
      ASSERT_EQ(table_->learn(port, mac(which), 0, now), 0);
      model[which] = {port, now};
      continue;
    }
    const auto answer = table_->find(port, mac(which), 0, now);
    const auto known = model.find(which);
    const bool is_known = known != model.end() && now - known->second.second < 300 * kSecond;
    ASSERT_EQ(answer.error, is_known ? 0 : ENOENT) << step;
    if (is_known) {
      ASSERT_EQ(answer.port, known->second.first) << step;
    }
  }
}

}  // namespace
}  // namespace lmn
