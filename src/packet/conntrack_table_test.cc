// SPDX-License-Identifier: Apache-2.0
//
// Goal: connections live, are found and are forgotten as the kernel's. Method: tables; lists and
// references against a plain model under random operations; time is a number the test gives. That
// the kernel answers the same is asked in tests/differential/conntrack_test.cc.
#include "packet/conntrack_table.h"

#include <gtest/gtest.h>
#include <netinet/in.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <random>
#include <set>
#include <tuple>
#include <vector>

#include "packet/jiffies.h"

namespace lmn {
namespace {

constexpr std::uint32_t kNow = 0xffff0000;  // time-outs cross the end of 32 bits

std::uint16_t port(std::uint16_t number) { return htons(number); }

ConntrackTuple tcp(std::uint8_t from, std::uint16_t from_port, std::uint8_t to,
                   std::uint16_t to_port) {
  ConntrackTuple tuple;
  tuple.source = {10, 0, 0, from};
  tuple.destination = {10, 0, 0, to};
  tuple.source_port = port(from_port);
  tuple.destination_port = port(to_port);
  tuple.protocol = IPPROTO_TCP;
  return tuple;
}

class ConntrackTableTest : public testing::Test {
 protected:
  void make(std::uint32_t connections_max, const NfConnLayout& layout = {}) {
    auto table = ConntrackTable::create({connections_max, 42, layout});
    ASSERT_TRUE(table.has_value()) << table.error().to_string();
    table_ = std::move(*table);
  }
  ConntrackTable::Connection* add(const ConntrackTuple& tuple, ConntrackZone zone = {}) {
    auto* made = table_->allocate(tuple, tuple.reversed(), zone, kNow);
    if (made == nullptr || !table_->insert(*made, kNow)) return nullptr;
    return made;
  }
  template <typename T>
  T read(ConntrackTable::Connection& connection, std::uint32_t offset) {
    T value;
    std::memcpy(&value, table_->image(connection) + offset, sizeof value);
    return value;
  }
  std::unique_ptr<ConntrackTable> table_;
};

TEST_F(ConntrackTableTest, SizesAndLayoutsThatCannotBeAreRefused) {
  EXPECT_FALSE(ConntrackTable::create({0, 0, {}}).has_value());
  EXPECT_FALSE(ConntrackTable::create({(1u << 26) + 1, 0, {}}).has_value());
  NfConnLayout layout;
  layout.status = layout.size_bytes - 7;
  EXPECT_FALSE(ConntrackTable::create({1, 0, layout}).has_value());
  layout = {};
  layout.tuples[1] = 0xffffffff;
  EXPECT_FALSE(ConntrackTable::create({1, 0, layout}).has_value());
}

TEST_F(ConntrackTableTest, ImagesHoldTheFieldsWhereTheLayoutSays) {
  NfConnLayout layout;
  layout.size_bytes = 400;
  layout.timeout = 300;
  layout.zone = 304;
  layout.status = 320;
  layout.mark = 392;
  make(4, layout);
  auto* made = table_->allocate(tcp(1, 1000, 2, 80), tcp(2, 80, 1, 1000), {7, kZoneReply}, kNow);
  ASSERT_NE(made, nullptr);
  EXPECT_EQ(read<std::uint32_t>(*made, 300), 2500u) << "ten seconds, not begun";
  EXPECT_EQ(read<std::uint16_t>(*made, 304), 7);
  EXPECT_EQ(read<std::uint8_t>(*made, 307), kZoneReply);
  EXPECT_EQ(read<std::uint64_t>(*made, 320), 0u);
  EXPECT_EQ(read<std::uint32_t>(*made, layout.tuples[0] + layout.source), htonl(0x0a000001));
  EXPECT_EQ(read<std::uint16_t>(*made, layout.tuples[1] + layout.source_port), port(80));
  EXPECT_EQ(read<std::uint16_t>(*made, layout.tuples[1] + layout.family), 2);
  EXPECT_EQ(read<std::uint8_t>(*made, layout.tuples[1] + layout.protocol), 6);
  EXPECT_EQ(read<std::uint8_t>(*made, layout.tuples[1] + layout.direction), 1);
  ASSERT_TRUE(table_->insert(*made, kNow));
  EXPECT_EQ(read<std::uint32_t>(*made, 300), kNow + 2500);
  EXPECT_EQ(read<std::uint64_t>(*made, 320), std::uint64_t{kCtConfirmed});
  EXPECT_EQ(read<std::uint32_t>(*made, 0), 2u) << "the table's reference and ours";
  EXPECT_EQ(table_->at(table_->image(*made)), made);
  EXPECT_EQ(table_->at(table_->image(*made) + 8), nullptr);
}

TEST_F(ConntrackTableTest, TheLayoutMayChangeWhileTheTableIsEmpty) {
  make(4);
  NfConnLayout layout;
  layout.size_bytes = 500;
  layout.mark.reset();
  ASSERT_TRUE(table_->set_layout(layout).has_value());
  EXPECT_EQ(table_->layout(), layout);
  auto* made = add(tcp(1, 1000, 2, 80));
  ASSERT_NE(made, nullptr);
  EXPECT_FALSE(table_->set_layout({}).has_value());
  layout.status = 496;
  EXPECT_FALSE(table_->set_layout(layout).has_value());
}

TEST_F(ConntrackTableTest, BothDirectionsAreFoundAndOnlyAfterInsertion) {
  make(4);
  auto* made = table_->allocate(tcp(1, 1000, 2, 80), tcp(2, 80, 1, 1000), {}, kNow);
  EXPECT_EQ(table_->find(tcp(1, 1000, 2, 80), {}, kNow).connection, nullptr);
  ASSERT_TRUE(table_->insert(*made, kNow));
  const auto there = table_->find(tcp(1, 1000, 2, 80), {}, kNow);
  const auto back = table_->find(tcp(2, 80, 1, 1000), {}, kNow);
  EXPECT_EQ(there.connection, made);
  EXPECT_EQ(there.direction, 0);
  EXPECT_EQ(back.connection, made);
  EXPECT_EQ(back.direction, 1);
  EXPECT_EQ(read<std::uint32_t>(*made, 0), 4u);
  EXPECT_EQ(table_->find(tcp(1, 1000, 2, 81), {}, kNow).connection, nullptr);
  EXPECT_EQ(add(tcp(2, 80, 1, 1000)), nullptr) << "the same, turned around";
}

TEST_F(ConntrackTableTest, ZonesKeepConnectionsApartPerDirection) {
  make(8);
  ASSERT_NE(add(tcp(1, 1000, 2, 80), {5, kZoneOriginal}), nullptr);
  struct Case {
    ConntrackTuple tuple;
    ConntrackZone zone;
    bool is_found;
  };
  const Case cases[] = {
      {tcp(1, 1000, 2, 80), {5, kZoneBoth}, true},
      {tcp(1, 1000, 2, 80), {5, kZoneOriginal}, true},
      {tcp(1, 1000, 2, 80), {5, kZoneReply}, false},
      {tcp(1, 1000, 2, 80), {0, kZoneBoth}, false},
      {tcp(1, 1000, 2, 80), {6, kZoneBoth}, false},
      {tcp(2, 80, 1, 1000), {0, kZoneBoth}, true},  // the reply is in zone 0
      {tcp(2, 80, 1, 1000), {5, kZoneBoth}, false},
      {tcp(2, 80, 1, 1000), {5, kZoneOriginal}, true},
  };
  for (const Case& c : cases) {
    const auto found = table_->find(c.tuple, c.zone, kNow);
    EXPECT_EQ(found.connection != nullptr, c.is_found) << c.zone.id << " " << c.zone.directions;
    if (found.connection != nullptr) table_->release(*found.connection);
  }
  EXPECT_NE(add(tcp(1, 1000, 2, 80), {6, kZoneBoth}), nullptr);
  EXPECT_EQ(add(tcp(1, 1000, 2, 80), {6, kZoneOriginal}), nullptr) << "its reply would be new";
  // Of two that are meant, the one of the zone that counts for the original direction is first.
  auto* second = add(tcp(7, 7, 8, 8), {0, kZoneBoth});
  auto* first = add(tcp(8, 8, 7, 7), {9, kZoneReply});
  ASSERT_NE(second, nullptr);
  ASSERT_NE(first, nullptr);
  EXPECT_EQ(table_->find(tcp(7, 7, 8, 8), {9, kZoneReply}, kNow).connection, second);
}

TEST_F(ConntrackTableTest, TimesEndConnectionsWhenTheyAreMetNext) {
  make(4);
  auto* made = add(tcp(1, 1000, 2, 80));
  const std::uint32_t end = kNow + 10 * kJiffiesPerSecond;
  ASSERT_EQ(table_->find(tcp(1, 1000, 2, 80), {}, end - 1).connection, made);
  table_->release(*made);
  EXPECT_EQ(add(tcp(1, 1000, 2, 80)), nullptr) << "over, but still there";
  EXPECT_EQ(table_->find(tcp(2, 80, 1, 1000), {}, end).connection, nullptr);
  EXPECT_EQ(read<std::uint64_t>(*made, table_->layout().status), kCtConfirmed | kCtDying);
  EXPECT_EQ(table_->change_timeout(*made, 100, end), ETIME);
  EXPECT_EQ(table_->at(table_->image(*made)), made) << "our reference keeps it";
  table_->release(*made);
  EXPECT_EQ(table_->at(table_->image(*made)), nullptr);
  EXPECT_NE(add(tcp(1, 1000, 2, 80)), nullptr);
}

TEST_F(ConntrackTableTest, TimesCountFromInsertionOrFromNow) {
  make(4);
  auto* made = table_->allocate(tcp(1, 1, 2, 2), tcp(2, 2, 1, 1), {}, kNow);
  const std::uint32_t at = table_->layout().timeout;
  table_->set_timeout(*made, ~0ull, kNow);
  EXPECT_EQ(read<std::uint32_t>(*made, at), 0x7fffffffu);
  table_->set_timeout(*made, 500, kNow);
  EXPECT_EQ(read<std::uint32_t>(*made, at), 500u);
  ASSERT_TRUE(table_->insert(*made, kNow + 7));
  EXPECT_EQ(read<std::uint32_t>(*made, at), kNow + 507);
  EXPECT_EQ(table_->change_timeout(*made, 9, kNow + 8), 0);
  EXPECT_EQ(read<std::uint32_t>(*made, at), kNow + 17);
  EXPECT_EQ(table_->change_status(*made, kCtConfirmed | kCtFixedTimeout), 0);
  EXPECT_EQ(table_->change_timeout(*made, 9, kNow + 9), EPERM);
}

TEST_F(ConntrackTableTest, StatusBitsComeAndStay) {
  struct Case {
    std::uint32_t asked;
    int error;
    std::uint32_t after;
  };
  const Case cases[] = {
      {0, EBUSY, kCtConfirmed},  // confirmed cannot go
      {kCtConfirmed | kCtDying, EBUSY, kCtConfirmed},
      {kCtConfirmed | kCtExpected, EBUSY, kCtConfirmed},
      {kCtConfirmed | kCtSeenReply, 0, kCtConfirmed | kCtSeenReply},
      {kCtConfirmed, EBUSY, kCtConfirmed | kCtSeenReply},
      {kCtConfirmed | kCtSeenReply | kCtAssured, 0, kCtConfirmed | kCtSeenReply | kCtAssured},
      {kCtConfirmed | kCtSeenReply, EBUSY, kCtConfirmed | kCtSeenReply | kCtAssured},
      {kCtConfirmed | kCtSeenReply | kCtAssured | kCtSourceNat | kCtTemplate | kCtHelper, 0,
       kCtConfirmed | kCtSeenReply | kCtAssured | kCtHelper},
      {0xffff0000 | kCtConfirmed | kCtSeenReply | kCtAssured, 0,
       kCtConfirmed | kCtSeenReply | kCtAssured | kCtHelper},
  };
  make(4);
  auto* made = add(tcp(1, 1, 2, 2));
  for (const Case& c : cases) {
    EXPECT_EQ(table_->change_status(*made, c.asked), c.error) << c.asked;
    EXPECT_EQ(read<std::uint64_t>(*made, table_->layout().status), c.after) << c.asked;
  }
}

TEST_F(ConntrackTableTest, NatChangesTheReply) {
  make(8);
  auto* made = table_->allocate(tcp(1, 1000, 2, 80), tcp(2, 80, 1, 1000), {}, kNow);
  EXPECT_EQ(table_->set_nat(*made, NatKind::kSource, {192, 0, 2, 1}, port(5)), 0);
  EXPECT_EQ(table_->set_nat(*made, NatKind::kDestination, {192, 0, 2, 2}, std::nullopt), 0);
  EXPECT_EQ(table_->set_nat(*made, NatKind::kSource, {192, 0, 2, 9}, std::nullopt), ENOMEM)
      << "done once";
  ASSERT_TRUE(table_->insert(*made, kNow));
  EXPECT_EQ(table_->set_nat(*made, NatKind::kSource, {192, 0, 2, 9}, std::nullopt), 0)
      << "left alone";
  ConntrackTuple reply;
  reply.protocol = IPPROTO_TCP;
  reply.source = {192, 0, 2, 2};
  reply.source_port = port(80);
  reply.destination = {192, 0, 2, 1};
  reply.destination_port = port(5);
  const auto found = table_->find(reply, {}, kNow);
  EXPECT_EQ(found.connection, made);
  EXPECT_EQ(found.direction, 1);
  EXPECT_EQ(read<std::uint64_t>(*made, table_->layout().status),
            std::uint64_t{kCtConfirmed | kCtSourceNat | kCtDestinationNat | kCtSourceNatDone |
                          kCtDestinationNatDone});
}

TEST_F(ConntrackTableTest, NatToTheSameAddressIsNone) {
  make(8);
  auto* made = table_->allocate(tcp(1, 1000, 2, 80), tcp(2, 80, 1, 1000), {}, kNow);
  EXPECT_EQ(table_->set_nat(*made, NatKind::kSource, {10, 0, 0, 1}, std::nullopt), 0);
  EXPECT_EQ(read<std::uint64_t>(*made, table_->layout().status), std::uint64_t{kCtSourceNatDone});
}

// Clients behind one address: each keeps its port if it can, and is given one of its class else.
TEST_F(ConntrackTableTest, SourceNatFindsFreePorts) {
  make(256);
  std::set<std::uint16_t> ports;
  for (std::uint8_t client = 1; client <= 100; ++client) {
    auto* made = table_->allocate(tcp(client, 700, 200, 80), tcp(200, 80, client, 700), {}, kNow);
    ASSERT_EQ(table_->set_nat(*made, NatKind::kSource, {192, 0, 2, 1}, std::nullopt), 0);
    ASSERT_TRUE(table_->insert(*made, kNow)) << int{client};
    const auto& layout = table_->layout();
    ports.insert(ntohs(read<std::uint16_t>(*made, layout.tuples[1] + layout.destination_port)));
    table_->release(*made);
  }
  EXPECT_EQ(ports.size(), 100u);
  EXPECT_EQ(ports.count(700), 1u) << "the first keeps its own";
  EXPECT_GE(*ports.begin(), 600);
  EXPECT_LT(*ports.rbegin(), 1024);
}

TEST_F(ConntrackTableTest, ASourceKeepsItsTranslation) {
  make(8);
  auto* first = table_->allocate(tcp(1, 1000, 2, 80), tcp(2, 80, 1, 1000), {}, kNow);
  ASSERT_EQ(table_->set_nat(*first, NatKind::kSource, {192, 0, 2, 1}, port(7777)), 0);
  auto* second = table_->allocate(tcp(1, 1000, 3, 80), tcp(3, 80, 1, 1000), {}, kNow);
  ASSERT_EQ(table_->set_nat(*second, NatKind::kSource, {192, 0, 2, 1}, std::nullopt), 0);
  const auto& layout = table_->layout();
  EXPECT_EQ(read<std::uint16_t>(*second, layout.tuples[1] + layout.destination_port), port(7777));
}

TEST_F(ConntrackTableTest, AFullTableForgetsWhatIsOverThenWhatIsNotAssured) {
  make(3);
  for (std::uint8_t i = 1; i <= 3; ++i) {
    auto* made = add(tcp(i, 1, 9, 9));
    ASSERT_NE(made, nullptr);
    if (i < 3) {
      ASSERT_EQ(table_->change_status(*made, kCtConfirmed | kCtAssured), 0);
    }
    table_->release(*made);
  }
  auto* fourth = add(tcp(4, 1, 9, 9));
  ASSERT_NE(fourth, nullptr);
  EXPECT_EQ(table_->find(tcp(3, 1, 9, 9), {}, kNow).connection, nullptr);
  EXPECT_EQ(add(tcp(5, 1, 9, 9)), nullptr) << "two are assured, one is referred to";
  const std::uint32_t later = kNow + 11 * kJiffiesPerSecond;
  EXPECT_NE(table_->allocate(tcp(5, 1, 9, 9), tcp(9, 9, 5, 1), {}, later), nullptr);
}

TEST_F(ConntrackTableTest, TextIsReadAndWritten) {
  make(16);
  const std::string_view text =
      "tcp 10.0.0.1:40000 10.0.0.2:80 timeout 432000 status seen_reply,assured mark 7\n"
      "udp [fd00::1]:53 [fd00::2]:999 reply [fd00::2]:999 [fd00::9]:53 timeout 30 zone 3 orig\n";
  const auto read_back = table_->read_text(text, kNow);
  ASSERT_TRUE(read_back.has_value()) << read_back.error().to_string();
  EXPECT_EQ(table_->to_text(kNow), text);
  EXPECT_EQ(table_->expire(kNow + 31 * kJiffiesPerSecond), 1u);
}

TEST_F(ConntrackTableTest, WrongTextIsRefusedWithItsLine) {
  struct Case {
    std::string_view text;
    std::string_view words;
  };
  const Case cases[] = {
      {"sctp 1.1.1.1:1 2.2.2.2:2", "'sctp' is not known here"},
      {"tcp 1.1.1.1 2.2.2.2:2", "'1.1.1.1' is no address with a port"},
      {"tcp fd00::1 2.2.2.2:2", "'fd00::1' is no address with a port"},
      {"tcp 1.1.1.1:1 [fd00::1]:2", "two ends of different families"},
      {"tcp 1.1.1.1:65536 2.2.2.2:2", "'65536' is no number that fits here"},
      {"tcp 1.1.1.1:1 2.2.2.2:2 status odd", "'odd' is no status"},
      {"tcp 1.1.1.1:1 2.2.2.2:2 reply [::1]:1 [::2]:2", "a reply of another family"},
      {"tcp 1.1.1.1:1 2.2.2.2:2 zone 65536", "'65536' is no number that fits here"},
      {"tcp 1.1.1.1:1 2.2.2.2:2 for ever", "'for' is not known here"},
      {"tcp 1.1.1.1:1", "a word is missing at the end"},
      {"tcp 1.1.1.1:1 2.2.2.2:2\ntcp 1.1.1.1:1 2.2.2.2:2", "line 2: the addresses are those"},
  };
  for (const Case& c : cases) {
    make(4);
    const auto result = table_->read_text(c.text, kNow);
    ASSERT_FALSE(result.has_value()) << c.text;
    EXPECT_NE(result.error().message.find(c.words), std::string::npos) << result.error().message;
  }
}

// What the table must say after any sequence of operations, kept in the plainest way.
struct Model {
  struct Entry {
    ConntrackTuple tuple;
    std::uint32_t timeout;
  };
  std::map<ConntrackTable::Connection*, Entry> entries;
  ConntrackTable::Connection* find(const ConntrackTuple& tuple, std::uint32_t now) {
    for (auto it = entries.begin(); it != entries.end(); ++it) {
      if (it->second.tuple != tuple && it->second.tuple.reversed() != tuple) continue;
      if (static_cast<std::int32_t>(it->second.timeout - now) > 0) return it->first;
      entries.erase(it);
      return nullptr;
    }
    return nullptr;
  }
};

TEST_F(ConntrackTableTest, RandomOperationsAgreeWithAModel) {
  make(64);
  std::mt19937 generator(20261120);
  const auto random = [&generator] { return static_cast<std::uint32_t>(generator()); };
  Model model;
  std::uint32_t now = kNow;
  for (int step = 0; step < 200'000; ++step) {
    const auto address = [&] { return static_cast<std::uint8_t>(random() % 6); };
    const auto number = [&] { return static_cast<std::uint16_t>(random() % 3); };
    const auto tuple = tcp(address(), number(), address(), number());
    now += random() % 4 == 0 ? 1 : 0;
    if (random() % 2 == 0) {
      const auto found = table_->find(tuple, {}, now);
      ASSERT_EQ(found.connection, model.find(tuple, now)) << step;
      if (found.connection != nullptr) table_->release(*found.connection);
      continue;
    }
    if (model.entries.size() > 50) continue;  // full tables choose victims: tested above
    const std::uint32_t timeout = 1 + random() % 60;
    auto* made = table_->allocate(tuple, tuple.reversed(), {}, now);
    if (made == nullptr) {
      ASSERT_GT(table_->expire(now), 0u);
      continue;
    }
    table_->set_timeout(*made, timeout, now);
    // One that is over is in the way or not: whoever walks past it takes it out.
    bool is_known = false;
    std::erase_if(model.entries, [&](const auto& entry) {
      const ConntrackTuple& other = entry.second.tuple;
      if (other != tuple && other.reversed() != tuple) return false;
      const bool is_over = static_cast<std::int32_t>(entry.second.timeout - now) <= 0;
      is_known = is_known || !is_over;
      return is_over;
    });
    const bool is_new = table_->insert(*made, now);
    if (is_known) {
      ASSERT_FALSE(is_new) << step;
    }
    if (!is_new) continue;
    model.entries[made] = {tuple, now + timeout};
    table_->release(*made);
  }
}

}  // namespace
}  // namespace lmn
