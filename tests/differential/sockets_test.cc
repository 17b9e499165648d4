// SPDX-License-Identifier: Apache-2.0
//
// Goal: bpf_sk_lookup_tcp, _udp and bpf_skc_lookup_tcp find the socket that the kernel finds, show
// the same fields of it, and bpf_tcp_gen_syncookie and _check_syncookie judge listeners alike.
// Method: a network namespace of our own with sockets of every kind; its mirror in the engine; then
// every pair of addresses and ports that occurs is asked in both by programs/sockets_in_c.c.
// Cookies are compared but for the secret in them: each side knows its own again and not the
// other's.
#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/unique_fd.h"
#include "engine/engine.h"
#include "harness/provoked.h"
#include "runners/counted_runner.h"

namespace lmn {
namespace {

// The layouts of programs/sockets_in_c.c.
struct Question {
  std::uint64_t namespace_id = 0;
  std::uint64_t flags = 0;
  struct bpf_sock_tuple tuple = {};
  std::uint8_t is_udp = 0;
  std::uint8_t is_ipv6 = 0;
  std::uint8_t is_common = 0;
  std::uint8_t odd_size = 0;
  std::uint8_t ip[40] = {};
  std::uint8_t tcp[60] = {};
  std::uint32_t ip_bytes = 0;
  std::uint32_t tcp_bytes = 0;
  std::uint32_t padding = 0;
};
static_assert(sizeof(Question) == 168);
static_assert(sizeof(struct bpf_sock_tuple) == 36);

constexpr std::size_t kFamilyField = 1;
constexpr std::size_t kSourceIpv6Field = 7;
constexpr std::size_t kDestinationIpv4Field = 13;
constexpr std::size_t kDestinationIpv6Field = 14;
constexpr std::size_t kStateField = 18;
constexpr std::size_t kQueueField = 19;
constexpr std::size_t kDestinationIpv4HalfField = 21;

struct Answer {
  std::uint32_t is_found = 0;
  std::uint32_t fields[23] = {};  // in the order of the program; the last is padding
  std::int64_t check = 0;
  std::int64_t gen = 0;
  std::int64_t released = 0;
  bool operator==(const Answer&) const = default;
};

std::string words_of(const Answer& answer) {
  std::string text = fmt::format("found {}, check {}, gen {:#x}, released {}, fields",
                                 answer.is_found, answer.check, answer.gen, answer.released);
  for (const std::uint32_t field : answer.fields) text += fmt::format(" {:x}", field);
  return text;
}

struct Address {
  sockaddr_storage storage{};
  socklen_t size = 0;
};

Address address_of(const std::string& host, std::uint16_t port) {
  Address address;
  if (host.find(':') != std::string::npos) {
    auto& ipv6 = reinterpret_cast<sockaddr_in6&>(address.storage);
    ipv6.sin6_family = AF_INET6;
    ipv6.sin6_port = htons(port);
    EXPECT_EQ(::inet_pton(AF_INET6, host.c_str(), &ipv6.sin6_addr), 1);
    address.size = sizeof ipv6;
  } else {
    auto& ipv4 = reinterpret_cast<sockaddr_in&>(address.storage);
    ipv4.sin_family = AF_INET;
    ipv4.sin_port = htons(port);
    EXPECT_EQ(::inet_pton(AF_INET, host.c_str(), &ipv4.sin_addr), 1);
    address.size = sizeof ipv4;
  }
  return address;
}

// One socket of the namespace.
struct Kind {
  int type = SOCK_STREAM;
  const char* host = "127.0.0.1";
  std::uint16_t port = 0;
  bool is_on_loopback_only = false;  // SO_BINDTODEVICE
  bool is_ipv6_only = false;
  int mark = 0;
  int priority = 0;
  const char* peer = nullptr;
  std::uint16_t peer_port = 0;
};

constexpr Kind kKinds[] = {
    {.host = "127.0.0.1", .port = 80},
    {.host = "127.0.0.1", .port = 80},  // a group
    {.host = "0.0.0.0", .port = 80, .mark = 5, .priority = 3},
    {.host = "0.0.0.0", .port = 81, .is_on_loopback_only = true, .mark = 7},
    {.host = "0.0.0.0", .port = 81},
    {.host = "::", .port = 82, .mark = 9},
    {.host = "::", .port = 83, .is_ipv6_only = true},
    {.host = "0.0.0.0", .port = 83},
    {.host = "::1", .port = 84, .priority = 2},
    {.host = "::ffff:127.0.0.1", .port = 85},
    {.type = SOCK_DGRAM, .host = "0.0.0.0", .port = 80},
    {.type = SOCK_DGRAM, .host = "127.0.0.1", .port = 80, .mark = 4},
    {.type = SOCK_DGRAM, .host = "127.0.0.1", .port = 80, .peer = "127.0.0.1", .peer_port = 81},
    {.type = SOCK_DGRAM, .host = "0.0.0.0", .port = 81, .is_on_loopback_only = true},
    {.type = SOCK_DGRAM, .host = "0.0.0.0", .port = 81},
    {.type = SOCK_DGRAM, .host = "::", .port = 82},
    {.type = SOCK_DGRAM, .host = "::1", .port = 82, .peer = "::1", .peer_port = 83},
    {.type = SOCK_DGRAM, .host = "::", .port = 83, .is_ipv6_only = true},
};

UniqueFd open_socket(const Kind& kind) {
  const Address local = address_of(kind.host, kind.port);
  UniqueFd fd(::socket(local.storage.ss_family, kind.type | SOCK_CLOEXEC, 0));
  // Which of the two a socket has is not shown to us: of UDP sockets the mirror assumes this one.
  const int one = 1;
  const int sharing = kind.type == SOCK_STREAM ? SO_REUSEPORT : SO_REUSEADDR;
  ::setsockopt(fd.get(), SOL_SOCKET, sharing, &one, sizeof one);
  const int only = kind.is_ipv6_only ? 1 : 0;
  if (local.storage.ss_family == AF_INET6) {
    ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only);
  }
  if (kind.is_on_loopback_only) {
    EXPECT_EQ(::setsockopt(fd.get(), SOL_SOCKET, SO_BINDTODEVICE, "lo", 3), 0);
  }
  ::setsockopt(fd.get(), SOL_SOCKET, SO_MARK, &kind.mark, sizeof kind.mark);
  ::setsockopt(fd.get(), SOL_SOCKET, SO_PRIORITY, &kind.priority, sizeof kind.priority);
  EXPECT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&local.storage), local.size), 0)
      << kind.host << ":" << kind.port << ": " << std::strerror(errno);
  if (kind.peer != nullptr) {
    const Address peer = address_of(kind.peer, kind.peer_port);
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&peer.storage), peer.size), 0);
  }
  if (kind.type == SOCK_STREAM) {
    EXPECT_EQ(::listen(fd.get(), 16), 0);
  }
  return fd;
}

// A connection to a listener of its own, and the server's side of it.
struct Connection {
  UniqueFd listener;
  UniqueFd client;
  UniqueFd server;
};

Connection connect_to(const char* host, std::uint16_t port, std::uint16_t client_port,
                      bool is_deferred = false) {
  Connection connection;
  connection.listener = open_socket({.host = host, .port = port});
  const int defer_s = 30;
  if (is_deferred) {
    ::setsockopt(connection.listener.get(), IPPROTO_TCP, TCP_DEFER_ACCEPT, &defer_s,
                 sizeof defer_s);
  }
  const Address server = address_of(host, port);
  const Address local = address_of(host, client_port);
  connection.client.reset(::socket(server.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(::bind(connection.client.get(), reinterpret_cast<const sockaddr*>(&local.storage),
                   local.size),
            0);
  EXPECT_EQ(::connect(connection.client.get(), reinterpret_cast<const sockaddr*>(&server.storage),
                      server.size),
            0);
  if (!is_deferred) {
    connection.server.reset(::accept4(connection.listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  }
  return connection;
}

// The peer's acknowledgement comes when its kernel likes.
void wait_for_state(int fd, std::uint8_t state) {
  struct tcp_info info = {};
  for (int i = 0; i < 1'000'000 && info.tcpi_state != state; ++i) {
    socklen_t size = sizeof info;
    if (::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return;
    std::this_thread::yield();
  }
}

bool set_loopback_up() {
  const UniqueFd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  std::memcpy(request.ifr_name, "lo", sizeof "lo");
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  return ::ioctl(fd.get(), SIOCSIFFLAGS, &request) == 0;
}

void set_syncookies(int setting) { std::ofstream("/proc/sys/net/ipv4/tcp_syncookies") << setting; }

// The namespace and both runners. Everything happens on the thread that made it.
class World {
 public:
  // False: there is no right to.
  bool open() {
    if (::unshare(CLONE_NEWNET) != 0) return false;
    EXPECT_TRUE(set_loopback_up());
    for (const Kind& kind : kKinds) sockets_.push_back(open_socket(kind));
    connections_.push_back(connect_to("127.0.0.1", 90, 4000));
    connections_.push_back(connect_to("::1", 90, 4001));
    connections_.push_back(connect_to("127.0.0.1", 91, 4002, true));  // a request
    connections_.push_back(connect_to("127.0.0.1", 92, 4003));
    ::shutdown(connections_.back().client.get(), SHUT_WR);  // fin-wait-2 and close-wait
    wait_for_state(connections_.back().client.get(), TCP_FIN_WAIT2);
    connections_.push_back(connect_to("127.0.0.1", 93, 4004));
    connections_.back().client.reset();  // time-wait at the client
    connections_.back().server.reset();
    const std::string path = std::string(LMN_BINARY_DIR) + "/bpf/sockets_in_c.bpf.o";
    auto kernel = open_runner(RunnerKind::kKernel, path, "look_up");
    auto ours = open_counted_runner(path, "look_up");
    EXPECT_TRUE(kernel.has_value()) << kernel.error().to_string();
    EXPECT_TRUE(ours.has_value()) << ours.error().to_string();
    if (!kernel || !ours) return true;
    kernel_ = std::move(*kernel);
    ours_ = std::move(*ours);
    mirror();
    return true;
  }
  bool is_complete() const { return kernel_ != nullptr; }
  void mirror() {
    auto table = SocketTable::from_host();
    ASSERT_TRUE(table.has_value()) << table.error().to_string();
    ours_->engine()->set_sockets(std::move(*table));
  }

  Answer ask_kernel(const Question& question) { return ask(*kernel_, question); }
  Answer ask_ours(const Question& question) { return ask(*ours_, question); }

 private:
  static Answer ask(ObjectRunner& runner, const Question& question) {
    std::vector<std::uint8_t> packet(14 + sizeof question);
    std::memcpy(packet.data() + 14, &question, sizeof question);
    Answer answer;
    const auto result = runner.run(packet);
    EXPECT_TRUE(result.has_value()) << result.error().to_string();
    if (!result) return answer;
    EXPECT_EQ(result->verdict, static_cast<std::uint32_t>(XDP_PASS)) << runner.name();
    const std::uint32_t zero = 0;
    const auto value = runner.entry("out", {reinterpret_cast<const std::uint8_t*>(&zero), 4});
    const bool is_answer = value && *value && (*value)->size() == sizeof answer;
    EXPECT_TRUE(is_answer);
    if (is_answer) std::memcpy(&answer, (*value)->data(), sizeof answer);
    // What the kernel keeps as the IPv6 addresses of an IPv4 socket, or as the peer's IPv4 address
    // of an IPv6 socket, depends on how it came to be.
    // The queue of the last packet, which only the kernel may know.
    answer.fields[kQueueField] = 0;
    if (answer.fields[kFamilyField] == AF_INET6) {
      answer.fields[kDestinationIpv4Field] = answer.fields[kDestinationIpv4HalfField] = 0;
    }
    if (answer.fields[kFamilyField] == AF_INET) {
      for (std::size_t i = 0; i < 4; ++i) {
        answer.fields[kSourceIpv6Field + i] = answer.fields[kDestinationIpv6Field + i] = 0;
      }
    }
    return answer;
  }

  std::vector<UniqueFd> sockets_;
  std::vector<Connection> connections_;
  std::unique_ptr<ObjectRunner> kernel_;
  std::unique_ptr<ObjectRunner> ours_;
};

// Runs `body` on a thread with a World; empty, or why the test must be skipped.
template <typename Body>
std::string in_world(Body body) {
  for (const RunnerKind kind : {RunnerKind::kKernel, RunnerKind::kInterpreter}) {
    if (auto reason = why_no_runner(kind)) return *reason;
  }
  bool is_allowed = true;
  std::thread([&] {
    World world;
    is_allowed = world.open();
    if (world.is_complete()) body(world);
  }).join();
  return is_allowed ? "" : "no right to make a network namespace";
}

Question question_of(const std::string& source, std::uint16_t source_port,
                     const std::string& destination, std::uint16_t destination_port) {
  Question question;
  question.namespace_id = static_cast<std::uint64_t>(BPF_F_CURRENT_NETNS);
  question.is_ipv6 = source.find(':') != std::string::npos ? 1 : 0;
  if (question.is_ipv6 != 0) {
    ::inet_pton(AF_INET6, source.c_str(), question.tuple.ipv6.saddr);
    ::inet_pton(AF_INET6, destination.c_str(), question.tuple.ipv6.daddr);
    question.tuple.ipv6.sport = htons(source_port);
    question.tuple.ipv6.dport = htons(destination_port);
  } else {
    ::inet_pton(AF_INET, source.c_str(), &question.tuple.ipv4.saddr);
    ::inet_pton(AF_INET, destination.c_str(), &question.tuple.ipv4.daddr);
    question.tuple.ipv4.sport = htons(source_port);
    question.tuple.ipv4.dport = htons(destination_port);
  }
  return question;
}

// An IP header and a TCP header of a SYN (or what `flags` say) in a question to a listener.
void add_headers(Question& question, std::uint8_t flags, std::uint32_t sequence,
                 std::uint32_t acknowledged) {
  const bool is_ipv6 = question.is_ipv6 != 0;
  if (is_ipv6) {
    question.ip[0] = 0x60;
    std::memcpy(question.ip + 8, question.tuple.ipv6.saddr, 32);
    std::memcpy(question.tcp, &question.tuple.ipv6.sport, 4);
    question.ip_bytes = 40;
  } else {
    question.ip[0] = 0x45;
    std::memcpy(question.ip + 12, &question.tuple.ipv4.saddr, 8);
    std::memcpy(question.tcp, &question.tuple.ipv4.sport, 4);
    question.ip_bytes = 20;
  }
  const std::uint32_t words[] = {htonl(sequence), htonl(acknowledged)};
  std::memcpy(question.tcp + 4, words, sizeof words);
  const std::uint8_t rest[] = {6 << 4, flags, 0, 0, 0, 0, 0, 0, 2, 4, 1460 >> 8, 1460 & 0xff};
  std::memcpy(question.tcp + 12, rest, sizeof rest);
  question.tcp_bytes = 24;
}

constexpr std::uint8_t kSyn = 2;
constexpr std::uint8_t kAck = 16;

TEST(Sockets, EveryPairOfAddressesFindsTheSame) {
  const std::string why = in_world([](World& world) {
    constexpr std::uint16_t kPorts[] = {80, 81, 82, 83,   84,   85,   90,
                                        91, 92, 93, 4000, 4002, 4003, 4004};
    constexpr std::uint16_t kSourcePorts[] = {80, 81,   83,   90,   91,   92,
                                              93, 4000, 4001, 4002, 4003, 4004};
    constexpr std::pair<const char*, const char*> kAddresses[] = {
        {"127.0.0.1", "127.0.0.1"}, {"127.0.0.1", "127.0.0.2"},
        {"127.0.0.2", "127.0.0.1"}, {"::1", "::1"},
        {"::1", "fd00::1"},         {"::ffff:127.0.0.1", "::ffff:127.0.0.1"}};
    std::size_t found = 0;
    std::set<std::uint32_t> states;
    for (const auto& [source, destination] : kAddresses) {
      for (const std::uint16_t port : kPorts) {
        for (const std::uint16_t source_port : kSourcePorts) {
          for (const int kind : {0, 1, 2}) {
            Question question = question_of(source, source_port, destination, port);
            question.is_udp = kind == 1 ? 1 : 0;
            question.is_common = kind == 2 ? 1 : 0;
            const Answer kernel = world.ask_kernel(question);
            const Answer ours = world.ask_ours(question);
            ASSERT_TRUE(kernel == ours)
                << source << ":" << source_port << " -> " << destination << ":" << port << ", kind "
                << kind << "\nkernel: " << words_of(kernel) << "\nours:   " << words_of(ours);
            found += kernel.is_found;
            if (kernel.is_found != 0) states.insert(kernel.fields[kStateField]);
          }
        }
      }
    }
    EXPECT_GT(found, 500u);
    for (const std::uint32_t state : {1u, 5u, 6u, 7u, 8u, 10u, 12u}) {
      EXPECT_TRUE(states.contains(state)) << "no socket of state " << state << " was found";
    }
  });
  if (!why.empty()) GTEST_SKIP() << why;
}

TEST(Sockets, OddQuestionsFindNone) {
  const std::string why = in_world([](World& world) {
    const auto same = [&](const Question& question) {
      const Answer kernel = world.ask_kernel(question);
      const Answer ours = world.ask_ours(question);
      EXPECT_TRUE(kernel == ours) << "kernel: " << words_of(kernel)
                                  << "\nours:   " << words_of(ours);
      return kernel.is_found != 0;
    };
    for (const int kind : {0, 1, 2}) {
      Question question = question_of("127.0.0.1", 1, "127.0.0.1", 80);
      question.is_udp = kind == 1 ? 1 : 0;
      question.is_common = kind == 2 ? 1 : 0;
      EXPECT_TRUE(same(question));
      for (const std::uint64_t id : {0xffffffffull, ~0ull, 0x80000000ull}) {
        question.namespace_id = id;
        EXPECT_TRUE(same(question)) << id;
      }
      for (const std::uint64_t id : {0ull, 1ull, 77ull, 0x7fffffffull, 1ull << 32, 1ull << 40}) {
        question.namespace_id = id;
        EXPECT_FALSE(same(question)) << id;
      }
      question.namespace_id = ~0ull;
      for (const std::uint64_t flags : {1ull, 1ull << 32, 1ull << 63}) {
        question.flags = flags;
        EXPECT_FALSE(same(question)) << flags;
      }
      question.flags = 0;
      question.odd_size = 1;
      EXPECT_FALSE(same(question));
    }
  });
  if (!why.empty()) GTEST_SKIP() << why;
}

// What both sides may be compared by: a cookie's low half is a secret's.
Answer without_cookie(Answer answer) {
  if (answer.gen > 0) answer.gen &= ~0xffffffffll;
  return answer;
}

// Every question about cookies, on both sides.
class CookieQuestions {
 public:
  explicit CookieQuestions(World& world) : world_(world) {}

  void same(const Question& question, const std::string& what) {
    const Answer kernel = world_.ask_kernel(question);
    const Answer ours = world_.ask_ours(question);
    EXPECT_TRUE(without_cookie(kernel) == without_cookie(ours))
        << what << "\nkernel: " << words_of(kernel) << "\nours:   " << words_of(ours);
    gen_results.insert(kernel.gen > 0 ? 1 : kernel.gen);
    check_results.insert(kernel.check);
    Provoked::instance().add("bpf_tcp_gen_syncookie", kernel.gen);
    Provoked::instance().add("bpf_tcp_check_syncookie", kernel.check);
  }
  // All TCP flags, and headers that are too short or of another version.
  void ask_about(const char* host, std::uint16_t port, int setting) {
    const std::string where = fmt::format("setting {}: {} port {}", setting, host, port);
    Question question = question_of(host, 5000, host, port);
    for (int flags = 0; flags < 64; ++flags) {
      add_headers(question, static_cast<std::uint8_t>(flags), 1000, 2000);
      same(question, fmt::format("{}, flags {}", where, flags));
    }
    add_headers(question, kSyn, 1000, 0);
    for (const std::uint32_t bytes : {1u, 19u, 20u, 23u, 25u, 60u}) {
      Question other = question;
      other.tcp_bytes = bytes;
      same(other, fmt::format("{}, {} bytes of TCP", where, bytes));
    }
    for (const std::uint32_t bytes : {1u, 19u, 20u, 39u, 40u}) {
      Question other = question;
      other.ip_bytes = bytes;
      same(other, fmt::format("{}, {} bytes of IP", where, bytes));
    }
    for (const int version : {0, 4, 5, 6, 15}) {
      for (const std::uint8_t flags : {kSyn, kAck}) {
        Question other = question;
        add_headers(other, flags, 1000, 2000);
        other.ip[0] = static_cast<std::uint8_t>(version << 4 | 5);
        same(other, fmt::format("{}, version {}", where, version));
      }
    }
  }
  // Each side knows its own cookies and no others.
  void ask_for_own(const char* host, std::uint16_t port) {
    Question syn = question_of(host, 5000, host, port);
    add_headers(syn, kSyn, 1000, 0);
    const auto ack_of = [&](const Answer& answer) {
      Question ack = syn;
      add_headers(ack, kAck, 1001, static_cast<std::uint32_t>(answer.gen) + 1);
      return ack;
    };
    const Question kernel_ack = ack_of(world_.ask_kernel(syn));
    const Question our_ack = ack_of(world_.ask_ours(syn));
    EXPECT_EQ(world_.ask_kernel(kernel_ack).check, 0);
    EXPECT_EQ(world_.ask_ours(our_ack).check, 0);
    EXPECT_EQ(world_.ask_kernel(our_ack).check, -ENOENT);
    EXPECT_EQ(world_.ask_ours(kernel_ack).check, -ENOENT);
  }

  std::set<std::int64_t> gen_results;
  std::set<std::int64_t> check_results;

 private:
  World& world_;
};

TEST(Sockets, ListenersMakeAndKnowCookies) {
  const std::string why = in_world([](World& world) {
    constexpr std::uint16_t kListenerPorts[] = {80, 82, 83, 84, 85, 90};
    CookieQuestions questions(world);
    for (const int setting : {0, 1, 2}) {
      set_syncookies(setting);
      world.mirror();
      for (const char* host : {"127.0.0.1", "::1"}) {
        // No cookie has been made yet: nothing can come back.
        Question question = question_of(host, 5000, host, 82);
        add_headers(question, kAck, 1000, 2000);
        questions.same(question, fmt::format("setting {}: an ack to {}", setting, host));
      }
      for (const std::uint16_t port : kListenerPorts) {
        for (const char* host : {"127.0.0.1", "::1"}) questions.ask_about(host, port, setting);
      }
    }
    questions.ask_for_own("127.0.0.1", 80);
    questions.ask_for_own("::1", 84);
    for (const std::int64_t result : {1, -EINVAL, -ENOENT, -EPROTONOSUPPORT}) {
      EXPECT_TRUE(questions.gen_results.contains(result)) << "gen never gave " << result;
    }
    for (const std::int64_t result : {-EINVAL, -ENOENT, -EPROTONOSUPPORT}) {
      EXPECT_TRUE(questions.check_results.contains(result)) << "check never gave " << result;
    }
  });
  if (!why.empty()) GTEST_SKIP() << why;
}

}  // namespace
}  // namespace lmn
