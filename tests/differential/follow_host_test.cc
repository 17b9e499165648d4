// SPDX-License-Identifier: Apache-2.0
//
// Goal: while an engine runs, the tables that its programs ask are the host's, a moment later; a
// round of the worker sees one state of them.
// Method: a HostFollower in the network namespace of fib_world.h; ip(8) and sockets of our own
// change it, and what refresh() gives is asked until it shows the change.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <thread>

#include "base/log.h"
#include "base/unique_fd.h"
#include "differential/fib_world.h"
#include "engine/host_follower.h"

namespace lmn {
namespace {

// Asks until `is_there` says yes; the host's change needs a moment to come.
template <typename Question>
bool comes_true(HostFollower& follower, RunContext& context, Question is_there) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (std::chrono::steady_clock::now() < end) {
    follower.refresh(context);
    if (is_there(context)) return true;
    std::this_thread::yield();
  }
  return false;
}

bool has_route(const RunContext& context, const char* destination) {
  RouteQuery query;
  EXPECT_EQ(::inet_pton(AF_INET, destination, query.destination.data()), 1);
  query.ingress = 101;
  return context.routes->find_route(query) != nullptr;
}

bool has_udp_socket(const RunContext& context, std::uint16_t port) {
  SocketQuery query;
  query.protocol = SocketProtocol::kUdp;
  query.destination_port = port;
  return context.sockets->find(query) != nullptr;
}

TEST(HostFollower, RoutesAndSocketsComeAndGo) {
  const std::string why = in_fib_world([](FibLookup&) {
    MemoryLog log;
    auto started = HostFollower::start({.routes = true, .sockets = true}, {}, log);
    ASSERT_TRUE(started.has_value()) << started.error().to_string();
    HostFollower& follower = **started;
    RunContext context;
    follower.refresh(context);
    ASSERT_NE(context.routes, nullptr);
    ASSERT_NE(context.sockets, nullptr);
    EXPECT_FALSE(has_route(context, "10.60.0.1"));
    for (int round = 0; round < 3; ++round) {
      ASSERT_TRUE(run_ip("route add 10.60.0.0/16 via 10.1.0.9"));
      EXPECT_TRUE(comes_true(follower, context,
                             [](const RunContext& now) { return has_route(now, "10.60.0.1"); }));
      ASSERT_TRUE(run_ip("route del 10.60.0.0/16"));
      EXPECT_TRUE(comes_true(follower, context,
                             [](const RunContext& now) { return !has_route(now, "10.60.0.1"); }));
    }
    EXPECT_FALSE(has_udp_socket(context, 5353));
    {
      const UniqueFd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
      sockaddr_in address{};
      address.sin_family = AF_INET;
      address.sin_port = htons(5353);
      ASSERT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
      EXPECT_TRUE(comes_true(follower, context,
                             [](const RunContext& now) { return has_udp_socket(now, 5353); }));
    }
    EXPECT_TRUE(comes_true(follower, context,
                           [](const RunContext& now) { return !has_udp_socket(now, 5353); }));
    EXPECT_TRUE(log.lines.empty()) << log.lines.front();
  });
  if (!why.empty()) GTEST_SKIP() << why;
}

// The tables stay as they are until refresh() is called, whatever the host does.
TEST(HostFollower, NothingChangesWithinARound) {
  const std::string why = in_fib_world([](FibLookup&) {
    MemoryLog log;
    auto started = HostFollower::start({.routes = true}, {}, log);
    ASSERT_TRUE(started.has_value()) << started.error().to_string();
    RunContext context;
    (*started)->refresh(context);
    const RouteTable* before = context.routes;
    for (int i = 0; i < 50; ++i) {
      ASSERT_TRUE(
          run_ip(i % 2 == 0 ? "route add 10.60.0.0/16 via 10.1.0.9" : "route del 10.60.0.0/16"));
      EXPECT_EQ(context.routes, before);
      EXPECT_FALSE(has_route(context, "10.60.0.1"));
    }
    EXPECT_EQ(context.sockets, nullptr) << "not followed";
  });
  if (!why.empty()) GTEST_SKIP() << why;
}

}  // namespace
}  // namespace lmn
