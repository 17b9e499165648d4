// SPDX-License-Identifier: Apache-2.0
//
// The namespace and the questions. Tested by what uses it.
#include "differential/fib_world.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/socket.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <thread>
#include <vector>

#include "harness/provoked.h"

namespace lmn {
namespace {

constexpr const char* kSetUp[] = {
    "link set lo up",
    "link add name fiba address 02:00:00:00:01:01 index 101 type veth peer name fibpa index 111",
    "link add name fibb address 02:00:00:00:01:02 index 102 type veth peer name fibpb index 112",
    "link add name fibc address 02:00:00:00:01:03 index 103 type veth peer name fibpc index 113",
    "link set fibb mtu 1400",
    "link set fiba addrgenmode none",
    "link set fibb addrgenmode none",
    "link set fibc addrgenmode none",
    "link set fiba up",
    "link set fibb up",
    "link set fibc up",
    "link set fibpa up",
    "link set fibpb up",
    "link set fibpc up",
    "addr add 10.1.0.1/24 dev fiba",
    "addr add 10.2.0.1/24 dev fibb",
    "addr add fd01::1/64 dev fiba nodad",
    "addr add fd02::1/64 dev fibb nodad",
    "route add 10.3.0.0/16 via 10.2.0.9 metric 7",
    "route add 10.3.1.0/24 via 10.1.0.9",
    "route add 10.3.2.0/24 via 10.2.0.9 mtu lock 1300",
    "route add 10.3.3.0/24 via 10.2.0.9 mtu 1300",
    "route add 10.3.4.0/24 via 10.2.0.8",
    "route add 10.3.5.0/24 dev fibb src 10.1.0.1",
    "route add 10.3.6.0/24 via inet6 fd02::9 dev fibb",
    "route add 10.3.7.0/24 tos 0x10 via 10.1.0.9",
    "route add 10.3.8.0/24 via 10.1.0.9 metric 5",
    "route add 10.3.8.0/24 via 10.2.0.9 metric 6",
    "route add blackhole 10.4.1.0/24",
    "route add unreachable 10.4.2.0/24",
    "route add prohibit 10.4.3.0/24",
    "route add throw 10.4.4.0/24",
    "route add 10.5.0.0/16 via 10.1.0.9 table 100",
    "route add blackhole 10.5.1.0/24 table 100",
    "-6 route add fd03::/64 via fd02::9 metric 7",
    "-6 route add fd03:1::/64 via fd01::9",
    "-6 route add fd03:2::/64 via fd02::9 mtu lock 1300",
    "-6 route add fd03:3::/64 via fd02::8",
    "-6 route add fd03:4::/64 dev fibb src fd01::1",
    "-6 route add fd03:5::/64 dev fibc",
    "-6 route add fd03:6::/64 via fd01::9 metric 5",
    "-6 route add fd03:6::/64 via fd02::9 metric 6",
    "-6 route add blackhole fd04:1::/64",
    "-6 route add unreachable fd04:2::/64",
    "-6 route add prohibit fd04:3::/64",
    "-6 route add throw fd04:4::/64",
    "-6 route add fd05::/64 via fd01::9 table 100",
    "neigh add 10.1.0.9 lladdr 02:00:00:00:09:01 nud permanent dev fiba",
    "neigh add 10.2.0.9 lladdr 02:00:00:00:09:02 nud permanent dev fibb",
    "neigh add 10.3.5.1 lladdr 02:00:00:00:09:03 nud permanent dev fibb",
    "neigh add fd01::9 lladdr 02:00:00:00:09:04 nud permanent dev fiba",
    "neigh add fd02::9 lladdr 02:00:00:00:09:05 nud permanent dev fibb",
};

constexpr const char* kRules[] = {
    "rule add priority 50 fwmark 5/0xff table 100",
    "rule add priority 60 from 10.9.0.0/16 table 100",
    "rule add priority 70 to 10.5.2.0/24 iif fiba table 100",
    "-6 rule add priority 50 fwmark 5 table 100",
};

constexpr const char* kDestinations[] = {
    "10.1.0.9",  "10.1.0.77", "10.1.0.1",  "10.1.0.255", "10.2.0.9",  "10.3.0.1",  "10.3.1.1",
    "10.3.2.1",  "10.3.3.1",  "10.3.4.1",  "10.3.5.1",   "10.3.5.2",  "10.3.6.1",  "10.3.7.1",
    "10.3.8.1",  "10.4.1.1",  "10.4.2.1",  "10.4.3.1",   "10.4.4.1",  "10.5.0.1",  "10.5.1.1",
    "10.5.2.1",  "10.6.0.1",  "127.0.0.1", "127.0.0.2",  "224.0.0.1", "0.0.0.0",   "fd01::9",
    "fd01::77",  "fd01::1",   "fd02::9",   "fd03::1",    "fd03:1::1", "fd03:2::1", "fd03:3::1",
    "fd03:4::1", "fd03:5::1", "fd03:6::1", "fd04:1::1",  "fd04:2::1", "fd04:3::1", "fd04:4::1",
    "fd05::1",   "fd06::1",   "::1",       "fe80::1",    "ff02::1",   "::"};

bool set_up_namespace() {
  for (const char* command : kSetUp) {
    EXPECT_TRUE(run_ip(command)) << "ip " << command;
  }
  bool is_set = true;
  for (const char* device : {"fiba", "fibb", "lo"}) {
    is_set &= write_setting(fmt::format("ipv4/conf/{}/forwarding", device), "1");
    is_set &= write_setting(fmt::format("ipv6/conf/{}/forwarding", device), "1");
  }
  is_set &= write_setting("ipv4/conf/fibc/forwarding", "0");
  is_set &= write_setting("ipv6/conf/fibc/forwarding", "0");
  return is_set;
}

struct bpf_fib_lookup params_of(const Question& question) {
  struct bpf_fib_lookup params;
  std::memset(&params, 0x5a, sizeof params);  // what is left alone shows
  const bool is_ipv6 = std::strchr(question.destination, ':') != nullptr;
  params.family = is_ipv6 ? AF_INET6 : AF_INET;
  params.l4_protocol = question.protocol;
  params.sport = htons(question.source_port);
  params.dport = htons(question.destination_port);
  params.tot_len = static_cast<std::uint16_t>(question.tot_len);
  params.ifindex = question.ifindex;
  params.flowinfo = 0;
  params.tos = static_cast<std::uint8_t>(question.tos);
  if (is_ipv6) {
    ::inet_pton(AF_INET6, question.destination, params.ipv6_dst);
    ::inet_pton(AF_INET6, question.source[0] == '1' ? "fd09::1" : question.source, params.ipv6_src);
  } else {
    ::inet_pton(AF_INET, question.destination, &params.ipv4_dst);
    ::inet_pton(AF_INET, question.source, &params.ipv4_src);
  }
  params.tbid = question.table;
  params.mark = question.mark;
  return params;
}

std::string words_of(const Question& question) {
  return fmt::format(
      "to {} from {} by {}, {} bytes, tos {}, table {}, mark {}, protocol {}, ports {} {}",
      question.destination, question.source, question.ifindex, question.tot_len, question.tos,
      question.table, question.mark, question.protocol, question.source_port,
      question.destination_port);
}

}  // namespace

bool run_ip(const std::string& arguments) {
  return std::system(("ip " + arguments + " 2>/dev/null").c_str()) == 0;
}

bool write_setting(const std::string& path, std::string_view text) {
  std::ofstream file("/proc/sys/net/" + path);
  file << text;
  file.flush();
  return file.good();
}

FibLookup::FibLookup()
    : caller_(BPF_FUNC_fib_lookup, {context(), memory(0), size(1, 128), word()}) {
  caller_.prepare_ours = [this](TestRun& run) { run.context.routes = &table_; };
}

void FibLookup::set_table(const std::string& text) {
  auto parsed = RouteTable::parse(text);
  ASSERT_TRUE(parsed.has_value()) << parsed.error().to_string();
  table_ = std::move(*parsed);
}

void FibLookup::mirror() {
  std::vector<std::string> left_out;
  auto table = RouteTable::from_host(left_out);
  ASSERT_TRUE(table.has_value()) << table.error().to_string();
  for (const std::string& what : left_out) ADD_FAILURE() << "left out: " << what;
  table_ = std::move(*table);
}

void FibLookup::ask(const Question& question, std::uint64_t flags, std::uint64_t size_bytes) {
  const struct bpf_fib_lookup params = params_of(question);
  ask(params, flags, size_bytes, words_of(question));
}

void FibLookup::ask(const struct bpf_fib_lookup& params, std::uint64_t flags,
                    std::uint64_t size_bytes, const std::string& what) {
  std::memcpy(caller_.memory_in().data(), &params, sizeof params);
  const std::vector<std::uint8_t> packet(60);
  const Comparison c = caller_.compare(packet, {0, 0, size_bytes, flags});
  EXPECT_TRUE(c.is_equal()) << what << ", flags " << flags << ": " << c.difference();
  ++answers[c.kernel.result];
  Provoked::instance().add_value("bpf_fib_lookup", c.kernel.result);
}

Comparison FibLookup::compare(const Question& question, std::uint64_t flags) {
  const struct bpf_fib_lookup params = params_of(question);
  std::memcpy(caller_.memory_in().data(), &params, sizeof params);
  const std::vector<std::uint8_t> packet(60);
  return caller_.compare(packet, {0, 0, sizeof params, flags});
}

void ask_everything(FibLookup& lookup) {
  constexpr std::uint64_t kFlagBits = 1u << 6;
  for (const char* destination : kDestinations) {
    for (std::uint64_t flags = 0; flags < kFlagBits; ++flags) {
      for (const std::uint32_t mark : {0u, 5u}) {
        lookup.ask({.destination = destination, .table = 100, .mark = mark}, flags);
      }
      lookup.ask({.destination = destination, .ifindex = 102, .table = 254}, flags);
    }
    for (const std::uint32_t tot_len : {0u, 1279u, 1300u, 1301u, 1400u, 1401u, 1501u, 65535u}) {
      lookup.ask({.destination = destination, .tot_len = tot_len}, 0);
      lookup.ask({.destination = destination, .tot_len = tot_len}, BPF_FIB_LOOKUP_SKIP_NEIGH);
    }
    for (const std::uint32_t ifindex : {0u, 1u, 103u, 111u, 999u}) {
      lookup.ask({.destination = destination, .ifindex = ifindex}, 0);
    }
    for (const std::uint32_t tos : {4u, 0x10u, 0x11u, 0x13u, 0xffu}) {
      lookup.ask({.destination = destination, .tos = tos}, 0);
    }
    for (const char* source : {"10.1.0.9", "fe80::1", "ff02::1", "::1"}) {
      if ((std::strchr(source, ':') == nullptr) != (std::strchr(destination, ':') == nullptr))
        continue;
      lookup.ask({.destination = destination, .source = source}, 0);
    }
    for (const std::uint32_t table : {0u, 77u, 253u, 255u}) {
      lookup.ask({.destination = destination, .table = table},
                 BPF_FIB_LOOKUP_DIRECT | BPF_FIB_LOOKUP_TBID);
    }
  }
}

void ask_nonsense(FibLookup& lookup) {
  const Question question{.destination = "10.3.0.1"};
  for (const std::uint64_t flags : {1ull << 6, 1ull << 31, 1ull << 32}) lookup.ask(question, flags);
  for (const std::uint64_t size_bytes : {1, 63, 64, 65, 128}) lookup.ask(question, 0, size_bytes);
  for (const int family : {0, 1, 3, AF_PACKET, 255}) {
    struct bpf_fib_lookup params = params_of(question);
    params.family = static_cast<std::uint8_t>(family);
    lookup.ask(params, 0, sizeof params, fmt::format("family {}", family));
  }
}

void add_fib_rules() {
  for (const char* rule : kRules) ASSERT_TRUE(run_ip(rule)) << rule;
}

std::string in_fib_world(const std::function<void(FibLookup&)>& body) {
  if (auto reason = why_no_kernel_oracle()) return *reason;
  if (!run_ip("-V > /dev/null")) return "no ip(8)";
  bool is_allowed = true;
  std::thread([&] {
    is_allowed = ::unshare(CLONE_NEWNET) == 0;
    if (!is_allowed) return;
    ASSERT_TRUE(set_up_namespace());
    FibLookup lookup;
    ASSERT_TRUE(lookup.is_loaded());
    body(lookup);
  }).join();
  return is_allowed ? "" : "no right to make a network namespace";
}

}  // namespace lmn
