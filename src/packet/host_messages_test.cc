// SPDX-License-Identifier: Apache-2.0
//
// Goal: what the host tells of connections and bridges changes the tables as their headers say, who
// wins where a program wrote too, and short or wrong messages change nothing. Method: messages made
// by hand in the kernel's place; tests/differential/host_events_test.cc has real ones.
#include <gtest/gtest.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <cerrno>
#include <string>
#include <vector>

#include "harness/netlink_message.h"
#include "packet/conntrack_table.h"
#include "packet/fdb_table.h"
#include "packet/host_netlink.h"
#include "packet/jiffies.h"

namespace lmn {
namespace {

constexpr std::uint32_t kNow = 0xffff0000;
constexpr std::uint32_t kSecond = kJiffiesPerSecond;

// Answers every dump with the same messages.
class OneAnswer final : public NetlinkSource {
 public:
  Result<void> dump(const NetlinkQuestion& question, const std::function<void()>& start_again,
                    const NetlinkVisitor& visit) const override {
    start_again();
    for (const Message& message : messages) {
      if (message.question != question.type) continue;
      LMN_CHECK_OK(visit(message.type, message.body.span()));
    }
    return {};
  }
  struct Message {
    std::uint16_t question;
    std::uint16_t type;
    NetlinkBytes body;
  };
  std::vector<Message> messages;
};

class HostConntrack : public testing::Test {
 protected:
  void SetUp() override { make(16); }
  void make(std::uint32_t connections_max) {
    auto table = ConntrackTable::create({connections_max, 7, {}});
    ASSERT_TRUE(table.has_value());
    table_ = std::move(*table);
  }
  void tell(const CtMessage& message, std::uint16_t type = kCtNew, std::uint32_t now = kNow) {
    table_->take_host_event(type, message.body().span(), now);
  }
  std::size_t read(const std::vector<CtMessage>& messages, std::uint32_t now = kNow) {
    OneAnswer answer;
    for (const CtMessage& message : messages) {
      answer.messages.push_back({kQuestion, kCtNew, message.body()});
    }
    const auto count = table_->read_netlink(answer, now);
    EXPECT_TRUE(count.has_value());
    return *count;
  }
  static ConntrackTuple tuple_of(const CtMessage& message) {
    ConntrackTuple tuple;
    const std::uint32_t words[] = {htonl(message.source), htonl(message.destination)};
    std::memcpy(tuple.source.data(), &words[0], 4);
    std::memcpy(tuple.destination.data(), &words[1], 4);
    tuple.source_port = htons(message.source_port);
    tuple.destination_port = htons(message.destination_port);
    tuple.protocol = message.protocol;
    return tuple;
  }
  // As a program would.
  bool insert(const ConntrackTuple& tuple) {
    auto* made = table_->allocate(tuple, tuple.reversed(), {}, kNow);
    if (made == nullptr || !table_->insert(*made, kNow)) return false;
    table_->release(*made);
    return true;
  }
  static constexpr std::uint16_t kQuestion = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET;
  std::unique_ptr<ConntrackTable> table_;
};

TEST_F(HostConntrack, ConnectionsComeChangeAndGoByEvents) {
  CtMessage message;
  tell(message);
  EXPECT_EQ(table_->to_text(kNow), "udp 10.0.0.1:1000 10.0.0.2:80 timeout 300\n");
  message.status = kCtSeenReply | kCtAssured | kCtConfirmed;
  message.mark = 9;
  message.timeout_s = 120;
  tell(message, kCtNew, kNow + kSecond);
  EXPECT_EQ(table_->to_text(kNow + kSecond),
            "udp 10.0.0.1:1000 10.0.0.2:80 timeout 120 status seen_reply,assured mark 9\n");
  EXPECT_EQ(table_->expire(kNow), 1u) << "changed, not there twice";
  tell(message, kCtDelete);
  EXPECT_EQ(table_->to_text(kNow), "");
  tell(message, kCtDelete);
  EXPECT_EQ(table_->host_counts().malformed, 0u);
}

TEST_F(HostConntrack, AProgramsReferenceOutlivesTheHostsConnection) {
  const CtMessage message;
  tell(message);
  const auto found = table_->find(tuple_of(message), {}, kNow);
  ASSERT_NE(found.connection, nullptr);
  tell(message, kCtDelete);
  std::uint64_t status = 0;
  std::memcpy(&status, table_->image(*found.connection) + NfConnLayout{}.status, sizeof status);
  EXPECT_NE(status & kCtDying, 0u);
  EXPECT_EQ(table_->change_timeout(*found.connection, 5, kNow), ETIME);
  tell(message);
  EXPECT_NE(table_->find(tuple_of(message), {}, kNow).connection, found.connection);
  table_->release(*found.connection);
}

// Whoever comes first has the addresses, in either direction.
TEST_F(HostConntrack, WhatAProgramMadeIsNotTheHostsToTouch) {
  const CtMessage message;
  CtMessage turned;
  std::swap(turned.source, turned.destination);
  std::swap(turned.source_port, turned.destination_port);
  ASSERT_TRUE(insert(tuple_of(message)));
  const std::string before = table_->to_text(kNow);
  tell(message);
  tell(turned);
  EXPECT_EQ(read({message}), 1u);
  tell(message, kCtDelete);
  EXPECT_EQ(table_->to_text(kNow), before);
  EXPECT_EQ(table_->host_counts().left_alone, 3u);
  // The other way round: the host's was there first.
  CtMessage other;
  other.source_port = 2000;
  tell(other);
  EXPECT_FALSE(insert(tuple_of(other)));
  EXPECT_FALSE(insert(tuple_of(other).reversed()));
}

TEST_F(HostConntrack, AProgramsChangesHoldUntilTheHostIsHeardOfAgain) {
  CtMessage message;
  message.status = kCtSeenReply;
  tell(message);
  const auto found = table_->find(tuple_of(message), {}, kNow);
  ASSERT_NE(found.connection, nullptr);
  EXPECT_EQ(table_->change_timeout(*found.connection, 10 * kSecond, kNow), 0);
  EXPECT_EQ(table_->change_status(*found.connection, kCtSeenReply | kCtAssured | kCtConfirmed), 0);
  EXPECT_EQ(table_->to_text(kNow),
            "udp 10.0.0.1:1000 10.0.0.2:80 timeout 10 status seen_reply,assured\n");
  EXPECT_EQ(read({message}), 1u);
  EXPECT_EQ(table_->to_text(kNow), "udp 10.0.0.1:1000 10.0.0.2:80 timeout 300 status seen_reply\n");
  table_->release(*found.connection);
}

TEST_F(HostConntrack, AReadingEndsWhatTheHostHasNoMore) {
  CtMessage kept;
  CtMessage gone;
  gone.source_port = 1001;
  CtMessage own;
  own.source_port = 1002;
  EXPECT_EQ(read({kept, gone}), 2u);
  ASSERT_TRUE(insert(tuple_of(own)));
  kept.mark = 3;
  EXPECT_EQ(read({kept}), 1u);
  EXPECT_EQ(table_->expire(kNow), 2u);
  EXPECT_EQ(table_->find(tuple_of(gone), {}, kNow).connection, nullptr);
  EXPECT_NE(table_->to_text(kNow).find("mark 3"), std::string::npos);
  EXPECT_NE(table_->find(tuple_of(own), {}, kNow).connection, nullptr);
  EXPECT_EQ(read({}), 0u);
  EXPECT_EQ(table_->expire(kNow), 1u) << "a program's own stays";
}

TEST_F(HostConntrack, ZonesKeepTheHostsConnectionsApart) {
  CtMessage message;
  tell(message);
  message.zone = 5;
  tell(message);
  EXPECT_EQ(table_->expire(kNow), 2u);
  tell(message, kCtDelete);
  EXPECT_EQ(table_->to_text(kNow), "udp 10.0.0.1:1000 10.0.0.2:80 timeout 300\n");
}

TEST_F(HostConntrack, TheHostsTimesAreNotOverWithinTheGrace) {
  CtMessage message;
  message.timeout_s = 30;
  tell(message);
  ASSERT_TRUE(insert(tuple_of({.source_port = 7})));  // 10 seconds
  table_->set_host_grace(20 * kSecond);
  EXPECT_EQ(table_->expire(kNow + 49 * kSecond), 1u) << "the host's; the program's is over";
  EXPECT_NE(table_->find(tuple_of(message), {}, kNow + 49 * kSecond).connection, nullptr);
  EXPECT_EQ(table_->find(tuple_of(message), {}, kNow + 50 * kSecond).connection, nullptr);
  // The longest time there is, and the grace on top, are not in the past.
  message.timeout_s = UINT32_MAX;
  tell(message);
  EXPECT_NE(table_->find(tuple_of(message), {}, kNow).connection, nullptr);
}

TEST_F(HostConntrack, WhatTheKernelForwardsItselfHasADay) {
  CtMessage message;
  message.has_timeout = false;
  message.status = kCtOffloaded;
  tell(message);
  EXPECT_EQ(table_->to_text(kNow), "udp 10.0.0.1:1000 10.0.0.2:80 timeout 86400 status offload\n");
}

TEST_F(HostConntrack, AFullTableKeepsWhatItHas) {
  make(2);
  std::vector<CtMessage> messages(5);
  for (std::size_t i = 0; i < messages.size(); ++i) {
    messages[i].source_port = static_cast<std::uint16_t>(100 + i);
  }
  EXPECT_EQ(read(messages), 5u);
  const std::string before = table_->to_text(kNow);
  EXPECT_EQ(table_->host_counts().no_room, 3u);
  EXPECT_EQ(read(messages), 5u);
  EXPECT_EQ(table_->to_text(kNow), before) << "the same two";
  EXPECT_EQ(read({messages[4]}, kNow + 1), 1u);
  tell(messages[3]);
  EXPECT_EQ(table_->expire(kNow), 1u) << "what is gone makes room for the next reading";
}

TEST_F(HostConntrack, ShortAndWrongMessagesChangeNothing) {
  const CtMessage good;
  const NetlinkBytes body = good.body();
  const ByteSpan whole = body.span();
  // Cut anywhere: either a connection with both tuples is left, or it is malformed.
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const std::vector<std::uint8_t> cut(whole.begin(),
                                        whole.begin() + static_cast<std::ptrdiff_t>(size));
    const std::uint64_t before = table_->host_counts().malformed;
    table_->take_host_event(kCtNew, cut, kNow);
    const bool is_malformed = table_->host_counts().malformed == before + 1;
    EXPECT_EQ(table_->expire(kNow), is_malformed ? 0u : 1u) << size;
    table_->take_host_event(kCtDelete, whole, kNow);
  }
  // An address of another length, tuples of two protocols, another subsystem's message.
  NetlinkBytes odd = NetlinkBytes::of(nfgenmsg{AF_INET, NFNETLINK_V0, 0});
  NetlinkBytes ip;
  ip.attribute(CTA_IP_V4_SRC, std::uint64_t{1}).attribute(CTA_IP_V4_DST, std::uint32_t{2});
  NetlinkBytes tuple;
  tuple.nest(CTA_TUPLE_IP, ip);
  odd.nest(CTA_TUPLE_ORIG, tuple).nest(CTA_TUPLE_REPLY, tuple);
  table_->take_host_event(kCtNew, odd.span(), kNow);
  CtMessage tcp = good;
  tcp.protocol = 6;
  NetlinkBytes mixed = NetlinkBytes::of(nfgenmsg{AF_INET, NFNETLINK_V0, 0});
  mixed.nest(CTA_TUPLE_ORIG, good.tuple(1, 2, 3, 4)).nest(CTA_TUPLE_REPLY, tcp.tuple(2, 1, 4, 3));
  table_->take_host_event(kCtNew, mixed.span(), kNow);
  const std::uint64_t malformed = table_->host_counts().malformed;
  table_->take_host_event(NFNL_SUBSYS_CTNETLINK_EXP << 8, whole, kNow);
  CtMessage ping = good;
  ping.protocol = 1;
  tell(ping);
  EXPECT_EQ(table_->expire(kNow), 0u);
  EXPECT_EQ(table_->host_counts().malformed, malformed) << "others' are not malformed";
}

// --- bridges

constexpr std::uint64_t kNs = 1'000'000'000;
constexpr std::uint64_t kLater = 1000 * kNs;
constexpr std::uint32_t kBridge = 10;
constexpr MacAddress kStation{2, 0, 0, 0, 0, 1};

NetlinkBytes link(std::uint32_t ifindex, std::uint32_t master) {
  ifinfomsg head{};
  head.ifi_index = static_cast<int>(ifindex);
  NetlinkBytes out = NetlinkBytes::of(head);
  NetlinkBytes info;
  constexpr char kKind[] = "bridge";
  info.attribute(master == 0 ? IFLA_INFO_KIND : IFLA_INFO_SLAVE_KIND, kKind);
  if (master != 0) out.attribute(IFLA_MASTER, master);
  return out.nest(IFLA_LINKINFO, info);
}

NetlinkBytes neighbour(std::uint32_t port, std::uint32_t age_s = 0, std::uint16_t state = 0x02,
                       const MacAddress& mac = kStation) {
  ndmsg head{};
  head.ndm_family = AF_BRIDGE;
  head.ndm_ifindex = static_cast<int>(port);
  head.ndm_state = state;
  NetlinkBytes out = NetlinkBytes::of(head);
  nda_cacheinfo times{};
  times.ndm_updated = age_s * 100;
  return out.bytes(NDA_LLADDR, mac).attribute(NDA_MASTER, kBridge).attribute(NDA_CACHEINFO, times);
}

class HostBridges : public testing::Test {
 protected:
  void SetUp() override {
    table_ = *FdbTable::create({8, 1});
    topology_ = {{RTM_GETLINK, RTM_NEWLINK, link(kBridge, 0)},
                 {RTM_GETLINK, RTM_NEWLINK, link(3, kBridge)},
                 {RTM_GETLINK, RTM_NEWLINK, link(4, kBridge)}};
    read({});
  }
  void read(const std::vector<NetlinkBytes>& entries, std::uint64_t now_ns = kLater) {
    OneAnswer answer;
    answer.messages = topology_;
    for (const NetlinkBytes& entry : entries) {
      answer.messages.push_back({RTM_GETNEIGH, RTM_NEWNEIGH, entry});
    }
    EXPECT_TRUE(table_->read_netlink(answer, now_ns).has_value());
  }
  FdbTable::HostEvent tell(const NetlinkBytes& body, std::uint16_t type = RTM_NEWNEIGH,
                           std::uint64_t now_ns = kLater) {
    return table_->take_host_event(type, body.span(), now_ns);
  }
  std::uint32_t port_of(const MacAddress& mac, std::uint64_t now_ns = kLater) {
    return table_->find(3, mac, 0, now_ns).port;
  }
  std::vector<OneAnswer::Message> topology_;
  std::unique_ptr<FdbTable> table_;
};

TEST_F(HostBridges, EntriesComeMoveAndGoByEvents) {
  EXPECT_EQ(port_of(kStation), 0u);
  EXPECT_EQ(tell(neighbour(3)), FdbTable::HostEvent::kTaken);
  EXPECT_EQ(port_of(kStation), 3u);
  EXPECT_EQ(tell(neighbour(4)), FdbTable::HostEvent::kTaken);
  EXPECT_EQ(port_of(kStation), 4u);
  EXPECT_EQ(tell(neighbour(4), RTM_DELNEIGH), FdbTable::HostEvent::kTaken);
  EXPECT_EQ(port_of(kStation), 0u);
  EXPECT_EQ(tell(neighbour(77)), FdbTable::HostEvent::kTaken) << "a port that is read next";
  EXPECT_EQ(port_of(kStation), 0u);
}

TEST_F(HostBridges, LinksOfBridgesAskForAReading) {
  EXPECT_EQ(tell(link(5, kBridge), RTM_NEWLINK), FdbTable::HostEvent::kReadAgain);
  EXPECT_EQ(tell(link(11, 0), RTM_NEWLINK), FdbTable::HostEvent::kReadAgain);
  ifinfomsg head{};
  head.ifi_index = 3;
  EXPECT_EQ(tell(NetlinkBytes::of(head), RTM_NEWLINK), FdbTable::HostEvent::kReadAgain)
      << "it left the bridge";
  head.ifi_index = 99;
  EXPECT_EQ(tell(NetlinkBytes::of(head), RTM_NEWLINK), FdbTable::HostEvent::kNothing);
  head.ifi_family = AF_BRIDGE;
  EXPECT_EQ(tell(NetlinkBytes::of(head), RTM_DELLINK), FdbTable::HostEvent::kReadAgain);
  topology_.pop_back();
  EXPECT_EQ(tell(neighbour(4)), FdbTable::HostEvent::kTaken);
  constexpr MacAddress kOther{2, 0, 0, 0, 0, 2};
  EXPECT_EQ(table_->learn(4, kOther, 0, kLater), 0);
  read({});
  EXPECT_EQ(table_->find(4, kStation, 0, kLater).error, ENODEV);
  EXPECT_EQ(table_->to_text(kLater).find("entry"), std::string::npos) << "nor its entries";
}

// The last to have heard of a station knows where it is.
TEST_F(HostBridges, TheLastToHearOfAnAddressIsBelieved) {
  read({neighbour(3, 100)});
  ASSERT_EQ(table_->learn(4, kStation, 0, kLater - 50 * kNs), 0);
  EXPECT_EQ(port_of(kStation), 4u);
  read({neighbour(3, 100)});
  EXPECT_EQ(port_of(kStation), 4u) << "the program heard of it 50 seconds later";
  EXPECT_EQ(tell(neighbour(3), RTM_DELNEIGH), FdbTable::HostEvent::kTaken);
  read({});
  EXPECT_EQ(port_of(kStation), 4u) << "what a program learned is not the host's to forget";
  tell(neighbour(3));
  EXPECT_EQ(port_of(kStation), 3u) << "now the host";
  ASSERT_EQ(table_->learn(4, kStation, 0, kLater), 0);
  read({neighbour(3, 100, NUD_NOARP)});
  EXPECT_EQ(port_of(kStation), 3u) << "a static entry is the host's";
}

TEST_F(HostBridges, TheHostsEntriesAreNotTooOldWithinTheGrace) {
  read({neighbour(3)});
  constexpr MacAddress kOther{2, 0, 0, 0, 0, 2};
  ASSERT_EQ(table_->learn(3, kOther, 0, kLater), 0);
  table_->set_host_grace(20 * kNs);
  EXPECT_EQ(port_of(kStation, kLater + 310 * kNs), 3u);
  EXPECT_EQ(port_of(kOther, kLater + 310 * kNs), 0u) << "300 seconds";
  EXPECT_EQ(port_of(kStation, kLater + 320 * kNs), 0u);
}

TEST_F(HostBridges, BridgesOfTextStayBesideTheHosts) {
  ASSERT_TRUE(table_->read_text("bridge 50\nport 51 bridge 50\nport 3 bridge 50\n", kLater));
  read({});
  EXPECT_EQ(table_->learn(51, kStation, 0, kLater), 0);
  read({});
  EXPECT_EQ(table_->find(51, kStation, 0, kLater).port, 51u);
  EXPECT_EQ(table_->find(3, kStation, 0, kLater).error, ENOENT) << "port 3 is the host's again";
  topology_.clear();
  read({});
  EXPECT_EQ(table_->find(3, kStation, 0, kLater).error, ENODEV);
  EXPECT_EQ(table_->find(51, kStation, 0, kLater).port, 51u);
}

TEST_F(HostBridges, MoreThanThereIsRoomForIsCounted) {
  std::vector<NetlinkBytes> entries;
  for (std::uint8_t i = 0; i < 10; ++i) {
    entries.push_back(neighbour(3, 0, 0x02, {2, 0, 0, 0, 1, i}));
  }
  read(entries);
  EXPECT_EQ(table_->host_no_room(), 2u);
  EXPECT_EQ(table_->expire(kLater), 8u);
}

TEST_F(HostBridges, ShortMessagesChangeNothing) {
  const NetlinkBytes entry = neighbour(3);
  const NetlinkBytes member = link(9, kBridge);
  for (std::size_t size = 0; size < entry.span().size(); ++size) {
    const std::vector<std::uint8_t> cut(entry.span().begin(),
                                        entry.span().begin() + static_cast<std::ptrdiff_t>(size));
    table_->take_host_event(RTM_NEWNEIGH, cut, kLater);
    table_->take_host_event(RTM_DELNEIGH, cut, kLater);
  }
  for (std::size_t size = 0; size < member.span().size(); ++size) {
    const std::vector<std::uint8_t> cut(member.span().begin(),
                                        member.span().begin() + static_cast<std::ptrdiff_t>(size));
    table_->take_host_event(RTM_NEWLINK, cut, kLater);
  }
  NetlinkBytes inet = neighbour(3);
  std::vector<std::uint8_t> bytes(inet.span().begin(), inet.span().end());
  bytes[0] = AF_INET;
  EXPECT_EQ(table_->take_host_event(RTM_NEWNEIGH, bytes, kLater), FdbTable::HostEvent::kNothing);
  EXPECT_EQ(table_->expire(kLater), 0u);
}

// --- datagrams

TEST(NetlinkDatagrams, EndWhereTheyAreNotWhole) {
  const CtMessage one;
  std::vector<std::uint8_t> two = one.body().message(kCtNew);
  const std::size_t first = two.size();
  const std::vector<std::uint8_t> second = one.body().message(kCtDelete);
  two.insert(two.end(), second.begin(), second.end());
  const auto count = [](ByteSpan datagram, bool& is_whole) {
    int messages = 0;
    const auto read = read_netlink_datagram(datagram, [&](const NetlinkMessage&) -> Result<void> {
      ++messages;
      return {};
    });
    is_whole = *read;
    return messages;
  };
  for (std::size_t size = 0; size <= two.size(); ++size) {
    bool is_whole = false;
    const int messages = count(std::span(two).first(size), is_whole);
    EXPECT_EQ(messages, size < first ? 0 : size < two.size() ? 1 : 2) << size;
    const std::size_t rest = size < first ? size : size - first;
    EXPECT_EQ(is_whole, size == two.size() || rest < sizeof(nlmsghdr)) << size;
  }
  two[0] = 3;  // shorter than its own header
  bool is_whole = true;
  EXPECT_EQ(count(two, is_whole), 0);
  EXPECT_FALSE(is_whole);
}

}  // namespace
}  // namespace lmn
