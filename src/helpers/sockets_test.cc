// SPDX-License-Identifier: Apache-2.0
//
// Goal: the look-ups of sockets and the cookies of listeners, every answer of theirs, without a
// kernel.
// Method: a SocketTable from text; calls with arguments as a program gives them. That Linux answers
// so is tests/differential/sockets_test.cc.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <cerrno>
#include <cstring>

#include "helpers/test_run.h"
#include "packet/socket_table.h"

namespace lmn {
namespace {

constexpr std::string_view kSockets = R"(
tcp listen 10.0.0.1:80 mark 1
tcp established 10.0.0.1:80 peer 10.0.0.9:4000 mark 2
tcp time-wait 10.0.0.1:80 peer 10.0.0.9:4001 mark 3
tcp syn-recv 10.0.0.1:80 peer 10.0.0.9:4002 mark 4
tcp listen [::]:81 v6only mark 5
tcp listen [fd00::1]:82 dev 7 mark 6
udp 10.0.0.1:53 mark 7
syncookies 2
)";

class SocketHelpers : public testing::Test {
 protected:
  void SetUp() override {
    use(kSockets);
    run_.context.cookie_secret = &secret_;
    run_.buff.rxq = &queue_;
  }
  void use(std::string_view text) {
    auto parsed = SocketTable::parse(text);
    ASSERT_TRUE(parsed.has_value()) << parsed.error().to_string();
    table_ = std::move(*parsed);
    run_.context.sockets = &table_;
  }
  static struct bpf_sock_tuple tuple(const char* source, std::uint16_t source_port,
                                     const char* destination, std::uint16_t destination_port) {
    struct bpf_sock_tuple tuple = {};
    if (std::strchr(source, ':') != nullptr) {
      ::inet_pton(AF_INET6, source, tuple.ipv6.saddr);
      ::inet_pton(AF_INET6, destination, tuple.ipv6.daddr);
      tuple.ipv6.sport = htons(source_port);
      tuple.ipv6.dport = htons(destination_port);
    } else {
      ::inet_pton(AF_INET, source, &tuple.ipv4.saddr);
      ::inet_pton(AF_INET, destination, &tuple.ipv4.daddr);
      tuple.ipv4.sport = htons(source_port);
      tuple.ipv4.dport = htons(destination_port);
    }
    return tuple;
  }
  const struct bpf_sock* find(std::uint32_t id, const char* source, std::uint16_t source_port,
                              const char* destination, std::uint16_t destination_port) {
    const struct bpf_sock_tuple asked = tuple(source, source_port, destination, destination_port);
    const bool is_ipv6 = std::strchr(source, ':') != nullptr;
    const std::uint64_t size = is_ipv6 ? sizeof asked.ipv6 : sizeof asked.ipv4;
    return reinterpret_cast<const struct bpf_sock*>(
        run_.call(id, 0, &asked, size, BPF_F_CURRENT_NETNS, 0));
  }
  std::uint32_t mark(std::uint32_t id, const char* source, std::uint16_t source_port,
                     const char* destination, std::uint16_t destination_port) {
    const struct bpf_sock* found = find(id, source, source_port, destination, destination_port);
    return found != nullptr ? found->mark : 0;
  }

  SocketTable table_;
  CookieSecret secret_{{1, 2}, {3, 4}};
  RxQueueInfo queue_{.ifindex = 1};
  const std::vector<std::uint8_t> packet_ = std::vector<std::uint8_t>(60);
  TestRun run_{packet_};
};

TEST_F(SocketHelpers, FindConnectionsListenersAndWhatIsInBetween) {
  constexpr std::uint32_t kTcp = BPF_FUNC_sk_lookup_tcp;
  constexpr std::uint32_t kCommon = BPF_FUNC_skc_lookup_tcp;
  EXPECT_EQ(mark(kTcp, "10.0.0.9", 4000, "10.0.0.1", 80), 2u);
  EXPECT_EQ(mark(kTcp, "10.0.0.9", 4003, "10.0.0.1", 80), 1u);
  EXPECT_EQ(mark(kTcp, "10.0.0.9", 4001, "10.0.0.1", 80), 0u) << "a remnant is no socket in full";
  EXPECT_EQ(mark(kCommon, "10.0.0.9", 4001, "10.0.0.1", 80), 3u);
  EXPECT_EQ(mark(kTcp, "10.0.0.9", 4002, "10.0.0.1", 80), 1u) << "a request leads to its listener";
  EXPECT_EQ(mark(kCommon, "10.0.0.9", 4002, "10.0.0.1", 80), 4u);
  EXPECT_EQ(mark(kTcp, "fd00::9", 1, "fd00::1", 81), 5u);
  EXPECT_EQ(mark(kTcp, "fd00::9", 1, "fd00::1", 82), 0u) << "bound to another device";
  queue_.ifindex = 7;
  EXPECT_EQ(mark(kTcp, "fd00::9", 1, "fd00::1", 82), 6u);
  EXPECT_EQ(mark(BPF_FUNC_sk_lookup_udp, "10.0.0.9", 1, "10.0.0.1", 53), 7u);
  EXPECT_EQ(mark(BPF_FUNC_sk_lookup_udp, "10.0.0.9", 1, "10.0.0.1", 80), 0u);
  const struct bpf_sock* found = find(kTcp, "10.0.0.9", 4000, "10.0.0.1", 80);
  EXPECT_EQ(run_.call(BPF_FUNC_sk_release, found), 0);
  run_.buff.rxq = nullptr;
  EXPECT_EQ(mark(kTcp, "10.0.0.9", 4000, "10.0.0.1", 80), 2u);
}

TEST_F(SocketHelpers, OddQuestionsFindNone) {
  const struct bpf_sock_tuple asked = tuple("10.0.0.9", 1, "10.0.0.1", 80);
  const auto ask = [&](std::uint64_t size, std::uint64_t namespace_id, std::uint64_t flags) {
    return run_.call(BPF_FUNC_sk_lookup_tcp, 0, &asked, size, namespace_id, flags);
  };
  EXPECT_NE(ask(sizeof asked.ipv4, 0xffffffff, 0), 0);
  EXPECT_EQ(ask(sizeof asked.ipv4, 0, 0), 0) << "a namespace that nobody knows";
  EXPECT_EQ(ask(sizeof asked.ipv4, 0xffffffff, 1), 0);
  EXPECT_EQ(ask(sizeof asked.ipv4 + 1, 0xffffffff, 0), 0);
  run_.context.sockets = nullptr;
  EXPECT_EQ(ask(sizeof asked.ipv4, 0xffffffff, 0), 0);
  EXPECT_EQ(run_.call(BPF_FUNC_skc_lookup_tcp, 0, &asked, sizeof asked.ipv4, 0xffffffff, 0), 0);
}

class ListenerCookies : public SocketHelpers {
 protected:
  static constexpr std::uint8_t kSyn = 2;
  static constexpr std::uint8_t kAck = 16;

  void fill(std::uint8_t version, std::uint8_t flags, std::uint32_t sequence,
            std::uint32_t acknowledged) {
    ip_.fill(0);
    tcp_.fill(0);
    ip_[0] = static_cast<std::uint8_t>(version << 4 | 5);
    const std::uint32_t words[] = {htonl(sequence), htonl(acknowledged)};
    std::memcpy(&tcp_[4], words, sizeof words);
    tcp_[12] = 5 << 4;
    tcp_[13] = flags;
  }
  std::int64_t gen(const struct bpf_sock* socket, std::uint32_t ip_bytes = 20,
                   std::uint32_t tcp_bytes = 20) {
    return run_.call(BPF_FUNC_tcp_gen_syncookie, socket, ip_.data(), ip_bytes, tcp_.data(),
                     tcp_bytes);
  }
  std::int64_t check(const struct bpf_sock* socket, std::uint32_t ip_bytes = 20,
                     std::uint32_t tcp_bytes = 20) {
    return run_.call(BPF_FUNC_tcp_check_syncookie, socket, ip_.data(), ip_bytes, tcp_.data(),
                     tcp_bytes);
  }
  const struct bpf_sock* ipv4() {
    return find(BPF_FUNC_sk_lookup_tcp, "10.0.0.9", 1, "10.0.0.1", 80);
  }
  const struct bpf_sock* only_ipv6() {
    return find(BPF_FUNC_sk_lookup_tcp, "fd00::9", 1, "fd00::1", 81);
  }

  std::array<std::uint8_t, 40> ip_{};
  std::array<std::uint8_t, 60> tcp_{};
};

TEST_F(ListenerCookies, AreKnownForTwoMinutes) {
  fill(4, kAck, 1001, 77);
  EXPECT_EQ(check(ipv4()), -ENOENT) << "none has been made";
  fill(4, kSyn, 1000, 0);
  const std::int64_t cookie = gen(ipv4());
  ASSERT_GT(cookie, 0);
  EXPECT_EQ(cookie >> 32, 536) << "no segment size was stated";
  fill(4, kAck, 1001, static_cast<std::uint32_t>(cookie) + 1);
  EXPECT_EQ(check(ipv4()), 0);
  fill(4, kAck, 1001, static_cast<std::uint32_t>(cookie) + 100);
  EXPECT_EQ(check(ipv4()), -ENOENT) << "another number";
  run_.clock.advance_ns(200'000'000'000);
  fill(4, kAck, 1001, static_cast<std::uint32_t>(cookie) + 1);
  EXPECT_EQ(check(ipv4()), -ENOENT);
  fill(6, kSyn, 1000, 0);
  const std::int64_t other = gen(only_ipv6(), 40);
  ASSERT_GT(other, 0);
  EXPECT_EQ(other >> 32, 1220);
  fill(6, kAck, 1001, static_cast<std::uint32_t>(other) + 1);
  EXPECT_EQ(check(only_ipv6(), 40), 0);
}

TEST_F(ListenerCookies, HeadersThatAListenerCannotGet) {
  fill(4, kSyn, 1000, 0);
  EXPECT_EQ(gen(ipv4(), 19), -EINVAL);
  EXPECT_EQ(gen(ipv4(), 20, 19), -EINVAL);
  EXPECT_EQ(gen(ipv4(), 20, 24), -EINVAL) << "not the header's own length";
  EXPECT_EQ(gen(only_ipv6()), -EINVAL) << "IPv4 to a listener of IPv6 only";
  const struct bpf_sock* connection =
      find(BPF_FUNC_sk_lookup_tcp, "10.0.0.9", 4000, "10.0.0.1", 80);
  const struct bpf_sock* udp = find(BPF_FUNC_sk_lookup_udp, "10.0.0.9", 1, "10.0.0.1", 53);
  EXPECT_EQ(gen(connection), -EINVAL);
  EXPECT_EQ(gen(udp), -EINVAL);
  EXPECT_EQ(check(connection), -EINVAL);
  const struct bpf_sock no_socket = {};
  EXPECT_EQ(gen(&no_socket), -EINVAL) << "an address that is no socket's";
  fill(4, kSyn | kAck, 1000, 0);
  EXPECT_EQ(gen(ipv4()), -EINVAL);
  fill(6, kSyn, 1000, 0);
  EXPECT_EQ(gen(ipv4(), 40), -EINVAL) << "IPv6 to a listener of IPv4";
  EXPECT_EQ(gen(only_ipv6(), 39), -EINVAL);
  fill(5, kSyn, 1000, 0);
  EXPECT_EQ(gen(ipv4()), -EPROTONOSUPPORT);
  ASSERT_NE(table_.at(ipv4()), nullptr);
  table_.at(ipv4())->set_last_cookie_s(2);
  fill(5, kAck, 1000, 0);
  EXPECT_EQ(check(ipv4()), -EPROTONOSUPPORT);
  EXPECT_EQ(check(ipv4(), 19), -EINVAL);
  EXPECT_EQ(check(ipv4(), 20, 19), -EINVAL);
  fill(4, kAck | 4, 1000, 0);
  EXPECT_EQ(check(ipv4()), -ENOENT) << "a reset";
}

TEST_F(ListenerCookies, TheHostsSettingDecides) {
  for (const auto& [setting, made, checked] : {std::tuple{"syncookies 0", -ENOENT, -EINVAL},
                                               std::tuple{"syncookies 1", -ENOENT, -ENOENT}}) {
    use("tcp listen 10.0.0.1:80\n" + std::string(setting));
    fill(4, kSyn, 1000, 0);
    EXPECT_EQ(gen(ipv4()), made) << setting;
    fill(4, kAck, 1000, 0);
    EXPECT_EQ(check(ipv4()), checked) << setting;
  }
  use(kSockets);
  run_.context.cookie_secret = nullptr;
  fill(4, kSyn, 1000, 0);
  EXPECT_EQ(gen(ipv4()), -ENOENT);
  EXPECT_EQ(check(ipv4()), -EINVAL);
  run_.context.sockets = nullptr;
  EXPECT_EQ(gen(nullptr), -EINVAL);
}

}  // namespace
}  // namespace lmn
