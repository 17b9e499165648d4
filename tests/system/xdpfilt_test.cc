// SPDX-License-Identifier: Apache-2.0
//
// Goal: programs that others wrote and compiled run unmodified and do in LMN what they do in the
// kernel. Method: the ten xdpfilt_*.o objects of Debian's libxdp1 (the packet filter of xdp-tools),
// their maps filled alike on both sides, get 10,000 generated packets; after each packet the return
// code, the packet's bytes and every map element that a rule may touch are compared, and whole maps
// now and then. So that the comparison means something, each verdict that a program can reach must
// make up at least 10 % of the packets and at least 95 % of the program's instructions must have
// been executed; both are printed.
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <array>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <set>

#include "exec/interp/trace.h"
#include "harness/kernel_oracle.h"
#include "harness/traffic.h"
#include "runners/object_runner.h"

namespace lmn {
namespace {

constexpr int kPacketCount = 10'000;
constexpr int kWholeMapsEvery = 2'500;
constexpr double kVerdictShareMin = 0.10;
constexpr double kCoverageMin = 0.95;
constexpr std::uint64_t kSeed = 5;

// Rule flags of xdp-filter: what of a packet an element is compared with.
constexpr std::uint64_t kSource = 1;
constexpr std::uint64_t kDestination = 2;
constexpr std::uint64_t kTcp = 4;
constexpr std::uint64_t kUdp = 8;
constexpr std::uint64_t kAny = kSource | kDestination | kTcp | kUdp;

std::filesystem::path object_path(const std::string& name) {
  return std::filesystem::path("/usr/lib") / LMN_MULTIARCH / "bpf" / (name + ".o");
}

// One map element that the test sets and then watches.
struct Rule {
  std::string map;
  std::vector<std::uint8_t> key;
  std::uint64_t flags;
};

template <typename Bytes>
std::vector<std::uint8_t> key_of(const Bytes& bytes) {
  return {bytes.begin(), bytes.end()};
}

// xdp-filter keys ports by a 32-bit number whose low half is the port in network order.
std::vector<std::uint8_t> port_key(std::uint16_t port) {
  return {static_cast<std::uint8_t>(port >> 8), static_cast<std::uint8_t>(port & 0xff), 0, 0};
}

// Rules for about a quarter of each pool, in all kinds; the rest of a pool matches nothing.
std::vector<Rule> rules() {
  std::vector<Rule> out;
  constexpr std::array<std::uint64_t, 4> kAddressFlags = {kSource, kDestination,
                                                          kSource | kDestination, kTcp};
  constexpr std::array<std::uint64_t, 8> kPortFlags = {kSource | kTcp, kDestination | kTcp,
                                                       kSource | kUdp, kDestination | kUdp,
                                                       kAny,           kAny,
                                                       kUdp | kTcp,    0};
  for (std::size_t i = 0; i < kAddressFlags.size(); ++i) {
    const std::uint64_t flags = kAddressFlags[i];
    out.push_back({"filter_ethernet", key_of(TrafficGenerator::pool_mac(i)), flags});
    out.push_back({"filter_ipv4", key_of(TrafficGenerator::pool_ipv4(i)), flags});
    out.push_back({"filter_ipv6", key_of(TrafficGenerator::pool_ipv6(i)), flags});
  }
  for (std::size_t i = 0; i < TrafficGenerator::kPoolSize; ++i) {
    const std::uint64_t flags = kPortFlags[i % kPortFlags.size()];
    out.push_back({"filter_ports", port_key(TrafficGenerator::pool_port(i)), flags});
  }
  return out;
}

bool has_map(ObjectRunner& runner, const std::string& name) {
  for (const MapShape& map : runner.maps()) {
    if (map.name == name) return true;
  }
  return false;
}

// The same value for every CPU, as xdp-filter itself sets it.
void fill(ObjectRunner& runner, const std::vector<Rule>& all) {
  for (const Rule& rule : all) {
    if (!has_map(runner, rule.map)) continue;
    std::vector<std::uint8_t> value(sizeof rule.flags * kernel_possible_cpus());
    for (std::size_t cpu = 0; cpu < kernel_possible_cpus(); ++cpu)
      std::memcpy(value.data() + cpu * sizeof rule.flags, &rule.flags, sizeof rule.flags);
    const auto done = runner.set_entry(rule.map, rule.key, value);
    ASSERT_TRUE(done) << runner.name() << ": " << done.error().to_string();
  }
}

// Which instructions ran.
class Coverage final : public TraceListener {
 public:
  void on_step(const TraceStep& step) noexcept override {
    if (executed_.empty()) {
      executed_.resize(step.program->insns.size());
      for (const Insn& insn : step.program->insns) {
        if (insn.op != Op::kLddwHigh) ++insn_count_;
      }
    }
    if (!executed_[step.insn.value]) ++executed_count_;
    executed_[step.insn.value] = true;
  }
  void on_touch(const TraceTouch&) noexcept override {}

  std::size_t insn_count() const { return insn_count_; }
  double share() const {
    return insn_count_ == 0
               ? 0
               : static_cast<double>(executed_count_) / static_cast<double>(insn_count_);
  }

 private:
  std::vector<bool> executed_;
  std::size_t insn_count_ = 0;
  std::size_t executed_count_ = 0;
};

class XdpFilterTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(object_path(GetParam())))
      GTEST_SKIP() << object_path(GetParam()) << " is not there (package libxdp1)";
  }

  void open_both() {
    auto kernel = open_kernel_runner(object_path(GetParam()), "");
    ASSERT_TRUE(kernel) << kernel.error().to_string();
    auto engine = open_engine_runner(object_path(GetParam()), "", &coverage_);
    ASSERT_TRUE(engine) << engine.error().to_string();
    kernel_ = *std::move(kernel);
    engine_ = *std::move(engine);
    ASSERT_NO_FATAL_FAILURE(fill(*kernel_, rules_));
    ASSERT_NO_FATAL_FAILURE(fill(*engine_, rules_));
  }

  void expect_same_entry(const std::string& map, const std::vector<std::uint8_t>& key) {
    const auto from_kernel = kernel_->entry(map, key);
    const auto from_engine = engine_->entry(map, key);
    ASSERT_TRUE(from_kernel && from_engine) << map;
    ASSERT_EQ(*from_engine, *from_kernel) << map;
  }

  // What this packet may have changed: the statistics, and the elements of all rules.
  void expect_same_watched_entries() {
    for (std::uint32_t action = 0; action <= XDP_REDIRECT; ++action) {
      const auto* bytes = reinterpret_cast<const std::uint8_t*>(&action);
      ASSERT_NO_FATAL_FAILURE(expect_same_entry("xdp_stats_map", {bytes, bytes + sizeof action}));
    }
    for (const Rule& rule : rules_) {
      if (!has_map(*kernel_, rule.map)) continue;
      ASSERT_NO_FATAL_FAILURE(expect_same_entry(rule.map, rule.key));
    }
  }

  void expect_same_maps() {
    for (const MapShape& map : kernel_->maps()) {
      const auto from_kernel = kernel_->entries(map.name);
      const auto from_engine = engine_->entries(map.name);
      ASSERT_TRUE(from_kernel && from_engine) << map.name;
      ASSERT_TRUE(*from_engine == *from_kernel) << map.name;
    }
  }

  void run_packets() {
    TrafficGenerator traffic(kSeed);
    for (int i = 0; i < kPacketCount; ++i) {
      const PacketBytes packet = traffic.next();
      const auto in_kernel = kernel_->run(packet);
      const auto in_engine = engine_->run(packet);
      ASSERT_TRUE(in_kernel) << in_kernel.error().to_string();
      ASSERT_TRUE(in_engine) << "packet " << i << ": " << in_engine.error().to_string();
      ASSERT_EQ(in_engine->verdict, in_kernel->verdict) << "packet " << i;
      ASSERT_EQ(in_engine->packet, in_kernel->packet) << "packet " << i;
      ASSERT_LE(in_kernel->verdict, static_cast<std::uint32_t>(XDP_REDIRECT));
      ++verdicts_[in_kernel->verdict];
      ASSERT_NO_FATAL_FAILURE(expect_same_watched_entries()) << "packet " << i;
      if (i % kWholeMapsEvery == 0) {
        ASSERT_NO_FATAL_FAILURE(expect_same_maps()) << "packet " << i;
      }
    }
    ASSERT_NO_FATAL_FAILURE(expect_same_maps());
  }

  double share(std::uint32_t verdict) const {
    return static_cast<double>(verdicts_[verdict]) / kPacketCount;
  }

  const std::vector<Rule> rules_ = rules();
  std::unique_ptr<ObjectRunner> kernel_;
  std::unique_ptr<ObjectRunner> engine_;
  Coverage coverage_;
  std::array<int, XDP_REDIRECT + 1> verdicts_{};
};

TEST_P(XdpFilterTest, EqualsKernelPacketByPacket) {
  if (auto reason = why_no_runner(RunnerKind::kKernel)) GTEST_SKIP() << *reason;
  ASSERT_NO_FATAL_FAILURE(open_both());
  ASSERT_NO_FATAL_FAILURE(run_packets());
  std::printf(
      "%-16s %5zu insns, %5.1f %% executed; %d packets: %4.1f %% aborted, %4.1f %% drop, "
      "%4.1f %% pass\n",
      GetParam().c_str(), coverage_.insn_count(), 100 * coverage_.share(), kPacketCount,
      100 * share(XDP_ABORTED), 100 * share(XDP_DROP), 100 * share(XDP_PASS));
  EXPECT_GE(coverage_.share(), kCoverageMin);
  EXPECT_GE(share(XDP_DROP), kVerdictShareMin);
  EXPECT_GE(share(XDP_PASS), kVerdictShareMin);
  // The Ethernet filters abort only on packets shorter than an Ethernet header, which no test run
  // takes.
  if (!GetParam().ends_with("_eth")) {
    EXPECT_GE(share(XDP_ABORTED), kVerdictShareMin);
  }
}

TEST_P(XdpFilterTest, LoadsAndIsNeverStopped) {
  auto engine = open_engine_runner(object_path(GetParam()), "", nullptr);
  ASSERT_TRUE(engine) << engine.error().to_string();
  ASSERT_NO_FATAL_FAILURE(fill(**engine, rules_));
  TrafficGenerator traffic(kSeed + 1);
  for (int i = 0; i < kPacketCount; ++i) {
    const auto result = (*engine)->run(traffic.next());
    ASSERT_TRUE(result) << "packet " << i << ": " << result.error().to_string();
  }
}

std::vector<std::string> object_names() {
  std::vector<std::string> names;
  for (const char* policy : {"alw", "dny"}) {
    for (const char* what : {"all", "eth", "ip", "tcp", "udp"})
      names.push_back(std::string("xdpfilt_") + policy + "_" + what);
  }
  return names;
}

INSTANTIATE_TEST_SUITE_P(Libxdp, XdpFilterTest, ::testing::ValuesIn(object_names()),
                         [](const auto& row) { return row.param; });

// libxdp's dispatcher: global functions, configuration in .rodata; without members it passes.
class XdpDispatcherTest : public ::testing::TestWithParam<RunnerKind> {};

TEST_P(XdpDispatcherTest, LoadsAndPasses) {
  if (auto reason = why_no_runner(GetParam())) GTEST_SKIP() << *reason;
  const std::filesystem::path path = object_path("xdp-dispatcher");
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not there (package libxdp1)";
  for (const char* program : {"xdp_dispatcher", "xdp_pass"}) {
    auto runner = open_runner(GetParam(), path, program);
    ASSERT_TRUE(runner) << program << ": " << runner.error().to_string();
    const PacketBytes packet = PacketBuilder().ethernet().ipv4().udp().build();
    const auto result = (*runner)->run(packet);
    ASSERT_TRUE(result) << result.error().to_string();
    EXPECT_EQ(result->verdict, XDP_PASS) << program;
    EXPECT_EQ(result->packet, packet) << program;
  }
}

INSTANTIATE_TEST_SUITE_P(Libxdp, XdpDispatcherTest,
                         ::testing::Values(RunnerKind::kKernel, RunnerKind::kInterpreter),
                         [](const auto& row) {
                           return std::string(row.param == RunnerKind::kKernel ? "Kernel"
                                                                               : "Interpreter");
                         });

}  // namespace
}  // namespace lmn
