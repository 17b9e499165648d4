// SPDX-License-Identifier: Apache-2.0
//
// Goal: connections and bridges of the host are followed while the engine runs: what comes, changes
// and goes there does so here, also what no event told and what the kernel could not keep up with
// telling. Method: a network namespace of its own; connections are made by ctnetlink, bridges by
// iproute2; the follower runs beside, and is asked until it knows, up to 20 seconds. The table is
// also written as programs do.
#include "packet/host_events.h"

#include <gtest/gtest.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "base/log.h"
#include "base/unique_fd.h"
#include "engine/host_follower.h"
#include "harness/netlink_message.h"
#include "packet/jiffies.h"

namespace lmn {
namespace {

constexpr int kConntrackGroups[] = {NFNLGRP_CONNTRACK_NEW, NFNLGRP_CONNTRACK_UPDATE,
                                    NFNLGRP_CONNTRACK_DESTROY};

constexpr MacAddress kStation{2, 0, 0, 0, 0, 1};

bool run(const std::string& command) {
  return std::system((command + " >/dev/null 2>&1").c_str()) == 0;
}

template <typename Question>
bool comes_true(Question is_so) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (std::chrono::steady_clock::now() < end) {
    if (is_so()) return true;
    std::this_thread::yield();
  }
  return false;
}

// Makes, changes and ends connections of the host.
class Ctnetlink {
 public:
  Ctnetlink() : fd_(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER)) {}
  // 0, or the errno of the first that failed. All in one call, so that events come at once.
  int send(const std::vector<CtMessage>& messages, std::uint16_t type, std::uint16_t flags) {
    std::vector<std::uint8_t> datagram;
    for (const CtMessage& message : messages) {
      const auto more =
          message.body().message(type, static_cast<std::uint16_t>(flags | NLM_F_REQUEST));
      datagram.insert(datagram.end(), more.begin(), more.end());
    }
    nlmsghdr last{};
    std::memcpy(&last, datagram.data(), sizeof last);
    const std::size_t at = datagram.size() / messages.size() * (messages.size() - 1);
    last.nlmsg_flags |= NLM_F_ACK;
    std::memcpy(datagram.data() + at, &last, sizeof last);
    if (::send(fd_.get(), datagram.data(), datagram.size(), 0) < 0) return errno;
    std::uint8_t answer[4096];
    const ssize_t got = ::recv(fd_.get(), answer, sizeof answer, 0);
    if (got < static_cast<ssize_t>(sizeof(nlmsghdr) + sizeof(int))) return EPROTO;
    int code = 0;
    std::memcpy(&code, answer + sizeof(nlmsghdr), sizeof code);
    return -code;
  }
  int add(const CtMessage& message) { return send({message}, kCtNew, NLM_F_CREATE | NLM_F_EXCL); }
  int change(const CtMessage& message) { return send({message}, kCtNew, 0); }
  int end(const CtMessage& message) { return send({message}, kCtDelete, 0); }

 private:
  UniqueFd fd_;
};

class HostEventsTest : public testing::Test {
 protected:
  // In a thread of its own, so that the namespace ends with the test.
  template <typename Act>
  void in_own_namespace(Act act) {
    std::thread([&] {
      if (::unshare(CLONE_NEWNET) != 0) {
        why_not_ = "needs a network namespace of its own: CAP_SYS_ADMIN";
        return;
      }
      conntrack_ = *ConntrackTable::create({65'536, 3, {}});
      fdb_ = *FdbTable::create({1024, 3});
      act();
    }).join();
  }
  // Empty, or why the host has no connections here.
  std::string why_no_connections(Ctnetlink& host) {
    CtMessage probe;
    probe.source_port = 65'000;
    if (const int error = host.add(probe); error != 0) {
      return "the kernel makes no connections by ctnetlink: errno " + std::to_string(error);
    }
    return host.end(probe) == 0 ? "" : "the kernel ends no connections by ctnetlink";
  }
  std::unique_ptr<HostFollower> follow(HostFollowOptions options) {
    auto started = HostFollower::start(options, {conntrack_.get(), fdb_.get(), &clock_}, log_);
    EXPECT_TRUE(started.has_value()) << started.error().to_string();
    return started ? std::move(*started) : nullptr;
  }
  std::uint32_t now() const { return static_cast<std::uint32_t>(jiffies_of(clock_)); }
  bool has(const std::string& words) {
    return conntrack_->to_text(now()).find(words) != std::string::npos;
  }
  bool insert(std::uint16_t port) {
    ConntrackTuple tuple;
    tuple.source = {10, 9, 0, 1};
    tuple.destination = {10, 9, 0, 2};
    tuple.source_port = htons(port);
    tuple.destination_port = htons(80);
    tuple.protocol = IPPROTO_UDP;
    auto* made = conntrack_->allocate(tuple, tuple.reversed(), {}, now());
    if (made == nullptr || !conntrack_->insert(*made, now())) return false;
    conntrack_->set_timeout(*made, 1000 * kJiffiesPerSecond, now());
    conntrack_->release(*made);
    return true;
  }

  std::string why_not_;
  SystemClock clock_;
  MemoryLog log_;
  std::unique_ptr<ConntrackTable> conntrack_;
  std::unique_ptr<FdbTable> fdb_;
};

TEST_F(HostEventsTest, ConnectionsComeChangeAndGo) {
  in_own_namespace([this] {
    Ctnetlink host;
    why_not_ = why_no_connections(host);
    if (!why_not_.empty()) return;
    CtMessage before;
    before.source_port = 999;
    ASSERT_EQ(host.add(before), 0);
    const auto follower = follow({.conntrack = true});
    ASSERT_NE(follower, nullptr);
    EXPECT_TRUE(has("10.0.0.1:999 ")) << "read at the start";
    ASSERT_TRUE(insert(5));
    for (int round = 0; round < 3; ++round) {
      CtMessage message;
      message.mark = 11;
      message.status = kCtSeenReply | kCtConfirmed;
      ASSERT_EQ(host.add(message), 0);
      EXPECT_TRUE(comes_true([&] { return has("10.0.0.1:1000 10.0.0.2:80 "); }));
      EXPECT_TRUE(has("mark 11"));
      message.mark = 12;
      message.status |= kCtAssured;
      ASSERT_EQ(host.change(message), 0);
      EXPECT_TRUE(comes_true([&] { return has("mark 12"); }));
      EXPECT_TRUE(comes_true([&] { return has("assured"); }));
      ASSERT_EQ(host.end(message), 0);
      EXPECT_TRUE(comes_true([&] { return !has("10.0.0.1:1000 "); }));
      EXPECT_TRUE(has("10.9.0.1:5 ")) << "a program's";
    }
    const HostTableStats stats = follower->stats(HostTable::kConntrack);
    EXPECT_GE(stats.events, 9u);
    EXPECT_EQ(stats.readings, 1u) << "events sufficed";
    EXPECT_EQ(stats.overflows, 0u);
    EXPECT_FALSE(stats.is_behind);
    EXPECT_TRUE(log_.lines.empty()) << log_.lines.front();
  });
  if (!why_not_.empty()) GTEST_SKIP() << why_not_;
}

// A namespace whose kernel makes no events: the next reading sees it.
TEST_F(HostEventsTest, WhatNoEventTellsIsReadInTime) {
  in_own_namespace([this] {
    Ctnetlink host;
    why_not_ = why_no_connections(host);
    if (!why_not_.empty()) return;
    std::ofstream("/proc/sys/net/netfilter/nf_conntrack_events") << "0";
    const auto follower = follow({.conntrack = true, .read_ms = 50});
    ASSERT_NE(follower, nullptr);
    CtMessage message;
    ASSERT_EQ(host.add(message), 0);
    EXPECT_TRUE(comes_true([&] { return has("10.0.0.1:1000 "); }));
    ASSERT_EQ(host.end(message), 0);
    EXPECT_TRUE(comes_true([&] { return !has("10.0.0.1:1000 "); }));
    EXPECT_EQ(follower->stats(HostTable::kConntrack).events, 0u);
    EXPECT_GE(follower->stats(HostTable::kConntrack).readings, 3u);
  });
  if (!why_not_.empty()) GTEST_SKIP() << why_not_;
}

std::vector<CtMessage> many(std::uint16_t count) {
  std::vector<CtMessage> messages(count);
  for (std::uint16_t i = 0; i < count; ++i) {
    messages[i].source_port = static_cast<std::uint16_t>(1000 + i);
  }
  return messages;
}

TEST_F(HostEventsTest, AFullSocketSaysSo) {
  in_own_namespace([this] {
    Ctnetlink host;
    why_not_ = why_no_connections(host);
    if (!why_not_.empty()) return;
    auto events = HostEvents::create({NETLINK_NETFILTER, kConntrackGroups, "connections", 1});
    ASSERT_TRUE(events.has_value()) << events.error().to_string();
    const auto take = [&] {
      const auto taken = events->take([&](std::uint16_t type, ByteSpan body) -> Result<void> {
        conntrack_->take_host_event(type, body, now());
        return {};
      });
      EXPECT_TRUE(taken.has_value());
      return *taken;
    };
    ASSERT_EQ(host.add(many(1)[0]), 0);
    const HostEvents::Taken one = take();
    EXPECT_EQ(one.messages, 1u);
    EXPECT_FALSE(one.is_lost);
    EXPECT_FALSE(one.is_more);
    ASSERT_EQ(host.end(many(1)[0]), 0);
    ASSERT_EQ(host.send(many(200), kCtNew, NLM_F_CREATE | NLM_F_EXCL), 0);
    const HostEvents::Taken some = take();
    EXPECT_TRUE(some.is_lost);
    EXPECT_LT(some.messages, 200u);
    EXPECT_LT(conntrack_->expire(now()), 200u) << "behind";
    EXPECT_FALSE(take().is_lost) << "said once";
    const auto read = conntrack_->read_host(now());
    ASSERT_TRUE(read.has_value()) << read.error().to_string();
    EXPECT_EQ(*read, 200u);
    EXPECT_EQ(conntrack_->expire(now()), 200u);
  });
  if (!why_not_.empty()) GTEST_SKIP() << why_not_;
}

TEST_F(HostEventsTest, AnOverflowLeadsToAReading) {
  in_own_namespace([this] {
    Ctnetlink host;
    why_not_ = why_no_connections(host);
    if (!why_not_.empty()) return;
    auto follower = follow({.conntrack = true, .event_room_bytes = 1});
    ASSERT_NE(follower, nullptr);
    ASSERT_TRUE(insert(5));
    const auto messages = many(1000);
    ASSERT_EQ(host.send(messages, kCtNew, NLM_F_CREATE | NLM_F_EXCL), 0);
    EXPECT_TRUE(comes_true([&] { return conntrack_->expire(now()) == 1001; }));
    EXPECT_TRUE(comes_true([&] { return !follower->stats(HostTable::kConntrack).is_behind; }));
    const std::vector<CtMessage> first(messages.begin(), messages.begin() + 600);
    ASSERT_EQ(host.send(first, kCtDelete, 0), 0);
    EXPECT_TRUE(comes_true([&] { return conntrack_->expire(now()) == 401; }));
    const HostTableStats stats = follower->stats(HostTable::kConntrack);
    EXPECT_GE(stats.overflows, 1u);
    EXPECT_GE(stats.readings, 2u);
    EXPECT_TRUE(has("10.9.0.1:5 ")) << "a program's";
    follower.reset();
    ASSERT_FALSE(log_.lines.empty()) << "and said";
    EXPECT_NE(log_.lines.front().find("connections of the host: the kernel could not keep up"),
              std::string::npos)
        << log_.lines.front();
  });
  if (!why_not_.empty()) GTEST_SKIP() << why_not_;
}

TEST_F(HostEventsTest, BridgesAndTheirEntriesComeAndGo) {
  in_own_namespace([this] {
    if (!run("ip link add name lmnbr type bridge")) {
      why_not_ = "cannot make a bridge: iproute2, or the kernel lacks it";
      return;
    }
    ASSERT_TRUE(run("ip link set lmnbr up"));
    const auto follower = follow({.fdb = true});
    ASSERT_NE(follower, nullptr);
    const auto ask = [this](std::uint32_t port) {
      return fdb_->find(port, kStation, 0, clock_.monotonic_ns());
    };
    for (int round = 0; round < 2; ++round) {
      ASSERT_TRUE(run("ip link add name portx type veth peer name farx"));
      ASSERT_TRUE(run("ip link set portx up master lmnbr && ip link set farx up"));
      const std::uint32_t x = ::if_nametoindex("portx");
      EXPECT_TRUE(comes_true([&] { return ask(x).error == ENOENT; })) << "a port, and no entry";
      ASSERT_TRUE(run("bridge fdb add 02:00:00:00:00:01 dev portx master dynamic"));
      EXPECT_TRUE(comes_true([&] { return ask(x).port == x; }));
      ASSERT_TRUE(run("bridge fdb del 02:00:00:00:00:01 dev portx master"));
      EXPECT_TRUE(comes_true([&] { return ask(x).error == ENOENT; }));
      ASSERT_TRUE(run("bridge link set dev portx learning off"));
      EXPECT_TRUE(
          comes_true([&] { return fdb_->learn(x, kStation, 0, clock_.monotonic_ns()) == EPERM; }));
      ASSERT_TRUE(run("ip link set portx nomaster"));
      EXPECT_TRUE(comes_true([&] { return ask(x).error == ENODEV; }));
      ASSERT_TRUE(run("ip link del portx"));
    }
    const HostTableStats stats = follower->stats(HostTable::kFdb);
    EXPECT_GT(stats.events, 0u);
    EXPECT_GT(stats.readings, 1u) << "links are read again";
    EXPECT_EQ(stats.overflows, 0u);
    EXPECT_FALSE(stats.is_behind);
  });
  if (!why_not_.empty()) GTEST_SKIP() << why_not_;
}

// The issue of nobody telling of new sockets: a listener that is opened later is found.
TEST_F(HostEventsTest, ListenersOpenedLaterAreFound) {
  in_own_namespace([this] {
    ASSERT_TRUE(run("ip link set lo up"));
    const auto follower = follow({.sockets = true});
    ASSERT_NE(follower, nullptr);
    RunContext context;
    const auto is_found = [&] {
      follower->refresh(context);
      SocketQuery query;
      query.destination = {127, 0, 0, 1};
      query.destination_port = 8080;
      const Socket* socket = context.sockets->find(query);
      return socket != nullptr && socket->fields.state == kTcpListen;
    };
    EXPECT_FALSE(is_found());
    {
      const UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
      sockaddr_in address{};
      address.sin_family = AF_INET;
      address.sin_port = htons(8080);
      address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      ASSERT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
      ASSERT_EQ(::listen(fd.get(), 1), 0);
      EXPECT_TRUE(comes_true(is_found));
    }
    EXPECT_TRUE(comes_true([&] { return !is_found(); }));
    EXPECT_GE(follower->stats(HostTable::kSockets).readings, 3u);
    EXPECT_EQ(follower->stats(HostTable::kRoutes).readings, 0u) << "only what is followed";
  });
  if (!why_not_.empty()) GTEST_SKIP() << why_not_;
}

}  // namespace
}  // namespace lmn
