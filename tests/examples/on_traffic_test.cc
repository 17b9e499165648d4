// SPDX-License-Identifier: Apache-2.0
//
// Goal: every example gives the same verdicts, packets and map contents in LMN as in the kernel, on
// packets that nobody thought of; and is accepted by both when it is compiled for older and newer
// instruction sets. Method: one table of examples with what each needs in its maps; both sides get
// the same generated traffic, in a network namespace, from two devices in turn.
//
// What cannot be equal is named in the table: times, secrets, numbers of ports.
#include <linux/bpf.h>
#include <linux/if_ether.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <random>
#include <set>

#include "examples/example_fixture.h"
#include "examples/flood_filter.h"
#include "examples/load_balancer.h"
#include "examples/test_world.h"
#include "harness/traffic.h"

namespace lmn {
namespace {

using Fill = void (*)(ObjectRunner&, const TestWorld&);

struct Row {
  const char* example;
  Fill fill = nullptr;
  std::set<std::string> uncompared = {};  // maps that may differ
  // Makes an element of `map` or a packet comparable.
  void (*mask_value)(const std::string& map, Bytes& value) = nullptr;
  void (*mask_packet)(PacketResult& result) = nullptr;
  std::set<std::uint32_t> verdicts = {};  // that must have occurred
};

void set(ObjectRunner& runner, std::string_view map, const Bytes& key, const Bytes& value) {
  const auto done = runner.set_entry(map, key, value);
  ASSERT_TRUE(done) << map << ": " << done.error().to_string();
}

Bytes pool_prefix4(std::uint32_t bits, std::size_t index) {
  Bytes key = raw(bits);
  const Ipv4Address address = TrafficGenerator::pool_ipv4(index);
  key.insert(key.end(), address.begin(), address.end());
  return key;
}

std::array<std::uint32_t, 4> pool_words(std::size_t index, bool is_ipv6) {
  std::array<std::uint32_t, 4> words{};
  const Ipv4Address v4 = TrafficGenerator::pool_ipv4(index);
  const Ipv6Address v6 = TrafficGenerator::pool_ipv6(index);
  if (is_ipv6) {
    std::memcpy(words.data(), v6.data(), sizeof words);
  } else {
    std::memcpy(words.data(), v4.data(), v4.size());
  }
  return words;
}

std::uint16_t network_order(std::uint16_t number) {
  return static_cast<std::uint16_t>(number << 8 | number >> 8);
}

void fill_out_port(ObjectRunner& runner, const TestWorld& world) {
  set(runner, "out_port", raw(world.left() % 256), raw(runner.redirect_ifindex()));
}

void fill_dns(ObjectRunner& runner, const TestWorld&) {
  for (std::uint32_t i = 0; i < 4; ++i) {
    Bytes key = dns_wire_name("host" + std::to_string(i) + ".example");
    key.resize(64);
    set(runner, "dns_records", key, raw(i, i, std::uint64_t{0}));
  }
}

// An hour between packets: within a test only bursts pass, whatever the time.
void fill_flood(ObjectRunner& runner, const TestWorld&) {
  constexpr std::uint64_t kHour = 3'600'000'000'000;
  for (std::uint32_t kind = 0; kind < FLOOD_CLASSES; ++kind) {
    set(runner, "limits", raw(kind), raw(kHour, std::uint64_t{5 + kind}));
  }
  for (std::size_t i = 0; i < 4; ++i) {
    set(runner, "reflectors", raw(network_order(TrafficGenerator::pool_port(i))),
        raw(std::uint8_t{1}));
  }
  set(runner, "list4", pool_prefix4(32, 0), raw(std::uint32_t{LISTED_ALLOW}));
  set(runner, "list4", pool_prefix4(24, 1), raw(std::uint32_t{LISTED_DENY}));
  Bytes key = raw(std::uint32_t{128});
  const Ipv6Address address = TrafficGenerator::pool_ipv6(2);
  key.insert(key.end(), address.begin(), address.end());
  set(runner, "list6", key, raw(std::uint32_t{LISTED_DENY}));
}

void fill_services(ObjectRunner& runner) {
  for (const bool is_ipv6 : {false, true}) {
    for (std::size_t i = 0; i < 4; ++i) {
      for (std::size_t p = 0; p < TrafficGenerator::kPoolSize; ++p) {
        for (const std::uint8_t protocol : {std::uint8_t{6}, std::uint8_t{17}}) {
          if (is_ipv6 != (p % 2 == 0) || i * 16 + p > 40 || (p + protocol) % 3 == 0) continue;
          struct service_key key = {};
          const auto words = pool_words(i, is_ipv6);
          std::ranges::copy(words, key.address);
          key.port = network_order(TrafficGenerator::pool_port(p));
          key.protocol = protocol;
          key.version = is_ipv6 ? 6 : 4;
          const std::uint32_t ring = is_ipv6;
          // The table is small: later ones are refused in both alike.
          (void)runner.set_entry("services", raw(key), raw(ring));
        }
      }
    }
  }
}

void fill_balancer(ObjectRunner& runner, const TestWorld&) {
  fill_services(runner);
  constexpr std::uint32_t kBackends = 6;
  for (std::uint32_t i = 0; i < kBackends; ++i) {
    struct backend backend = {};
    std::ranges::copy(pool_words(i, i >= 3), backend.address);
    backend.way = i % 3;
    set(runner, "backends", raw(i), raw(backend));
  }
  std::vector<std::uint32_t> ring(RING_SLOTS);
  for (std::uint32_t which = 0; which < 2; ++which) {
    const std::uint32_t members[] = {3 * which, 3 * which + 1, 3 * which + 2};
    fill_ring(ring.data(), members, 3);
    for (std::uint32_t i = 0; i < RING_SLOTS; ++i) {
      set(runner, "rings", raw(which * RING_SLOTS + i), raw(ring[i]));
    }
  }
}

void fill_bridge(ObjectRunner& runner, const TestWorld& world) {
  const Bytes port = raw(runner.redirect_ifindex());
  set(runner, "ports", raw(std::uint32_t{1}), port);
  const std::vector<MapEntry> members = {{raw(std::uint32_t{7}), port}};
  Bytes place(8, 0xff);
  place[6] = 5;
  place[7] = 0;
  const auto done = runner.set_inner_map("groups", place, members);
  ASSERT_TRUE(done) << done.error().to_string();
  Bytes host(8);
  std::ranges::copy(TrafficGenerator::pool_mac(3), host.begin());
  set(runner, "stations", host, raw(std::uint32_t{0}, std::uint32_t{0}, std::uint64_t{0}));
  (void)world;
}

void fill_firewall(ObjectRunner& runner, const TestWorld& world) {
  set(runner, "trusted", raw(world.left()), raw(std::uint8_t{1}));
  set(runner, "services",
      raw(network_order(TrafficGenerator::pool_port(1)), std::uint8_t{6}, std::uint8_t{0}),
      raw(std::uint8_t{1}));
}

void fill_proxy(ObjectRunner& runner, const TestWorld&) {
  for (std::size_t i = 0; i < TrafficGenerator::kPoolSize; i += 2) {
    set(runner, "protected_ports", raw(network_order(TrafficGenerator::pool_port(i))),
        raw(std::uint8_t{1}));
  }
}

void mask_station(const std::string& map, Bytes& value) {
  if (map == "stations") std::fill(value.begin() + 8, value.end(), std::uint8_t{0});
}

void mask_bucket(const std::string& map, Bytes& value) {
  if (map == "buckets") std::ranges::fill(value, std::uint8_t{0});
}

// A cookie is a secret's child, and the segment size next to it is chosen by the same table.
void mask_cookie(PacketResult& result) {
  if (result.verdict != XDP_TX) return;
  const std::size_t tcp = result.packet[14] >> 4 == 4 ? 34 : 54;
  ASSERT_GE(result.packet.size(), tcp + 24);
  std::fill_n(result.packet.begin() + static_cast<std::ptrdiff_t>(tcp) + 4, 4, std::uint8_t{0});
  std::fill_n(result.packet.begin() + static_cast<std::ptrdiff_t>(tcp) + 16, 2, std::uint8_t{0});
}

const std::vector<Row>& rows() {
  static const std::vector<Row> kRows = {
      {.example = "ethertype_count", .verdicts = {XDP_PASS}},
      {.example = "icmp_echo_drop", .verdicts = {XDP_PASS, XDP_DROP}},
      {.example = "icmp_drop_every_second", .verdicts = {XDP_PASS, XDP_DROP}},
      {.example = "vlan_push", .verdicts = {XDP_PASS}},
      {.example = "vlan_pop", .verdicts = {XDP_PASS}},
      {.example = "mac_swap_tx", .verdicts = {XDP_TX}},
      {.example = "redirect_forward",
       .fill = fill_out_port,
       .uncompared = {"out_port"},
       .verdicts = {XDP_PASS, XDP_REDIRECT}},
      {.example = "dns_reply", .fill = fill_dns, .verdicts = {XDP_PASS, XDP_TX}},
      // Linux lacks the bridge functions, and LMN has no bridge here: both pass everything, one of
      // them after it has counted that nothing was learned.
      {.example = "learning_bridge", .uncompared = {"bridge_cnt"}, .verdicts = {XDP_PASS}},
      // Without rules; tests/differential/ternary_test.cc has some.
      {.example = "ternary_acl", .uncompared = {"acl_tables"}, .verdicts = {XDP_PASS}},
      {.example = "drop_log", .uncompared = {"drops"}, .verdicts = {XDP_PASS, XDP_DROP}},
      {.example = "flood_filter",
       .fill = fill_flood,
       .mask_value = mask_bucket,
       .verdicts = {XDP_PASS, XDP_DROP}},
      {.example = "load_balancer", .fill = fill_balancer, .verdicts = {XDP_PASS, XDP_DROP}},
      {.example = "multicast_bridge",
       .fill = fill_bridge,
       .uncompared = {"ports", "groups"},
       .mask_value = mask_station,
       .verdicts = {XDP_PASS, XDP_DROP, XDP_REDIRECT}},
      {.example = "stateful_firewall", .fill = fill_firewall, .verdicts = {XDP_PASS, XDP_DROP}},
      {.example = "syn_proxy",
       .fill = fill_proxy,
       .mask_packet = mask_cookie,
       .verdicts = {XDP_PASS, XDP_DROP, XDP_TX}},
  };
  return kRows;
}

class ExamplesOnTrafficTest : public ::testing::TestWithParam<Row> {
 protected:
  // Both sides of `object` with their maps filled.
  void open(const std::string& object, const TestWorld& world) {
    for (const RunnerKind kind : {RunnerKind::kKernel, RunnerKind::kInterpreter}) {
      auto opened = open_runner(kind, example_path(object), "");
      ASSERT_TRUE(opened) << opened.error().to_string();
      if (GetParam().fill != nullptr) GetParam().fill(**opened, world);
      (kind == RunnerKind::kKernel ? kernel_ : engine_) = *std::move(opened);
    }
  }

  void run_traffic(const TestWorld& world, int packets, std::uint64_t seed) {
    TrafficGenerator traffic(seed);
    for (int i = 0; i < packets; ++i) {
      const PacketBytes packet = traffic.next();
      const std::uint32_t from = i % 2 == 0 ? world.left() : world.right();
      auto in_kernel = kernel_->run_from(from, packet);
      auto in_engine = engine_->run_from(from, packet);
      ASSERT_TRUE(in_kernel) << in_kernel.error().to_string();
      ASSERT_TRUE(in_engine) << "packet " << i << ": " << in_engine.error().to_string();
      seen_.insert(in_kernel->verdict);
      if (GetParam().mask_packet != nullptr) {
        GetParam().mask_packet(*in_kernel);
        GetParam().mask_packet(*in_engine);
      }
      ASSERT_EQ(in_engine->verdict, in_kernel->verdict) << "packet " << i;
      ASSERT_EQ(in_engine->packet, in_kernel->packet) << "packet " << i;
    }
  }

  std::vector<MapEntry> contents(ObjectRunner& runner, const std::string& map) const {
    auto found = runner.entries(map);
    EXPECT_TRUE(found) << found.error().to_string();
    if (!found) return {};
    for (MapEntry& each : *found) {
      if (GetParam().mask_value != nullptr) GetParam().mask_value(map, each.value);
    }
    return *std::move(found);
  }

  // Ours has the maps that the program uses; libbpf makes all that the object has.
  void compare_maps() {
    for (const MapShape& map : engine_->maps()) {
      if (GetParam().uncompared.contains(map.name)) continue;
      const std::size_t dot = map.name.find('.');
      const std::string name = dot == std::string::npos ? map.name : map.name.substr(dot);
      EXPECT_TRUE(contents(*engine_, name) == contents(*kernel_, name)) << name;
    }
  }

  std::unique_ptr<ObjectRunner> kernel_;
  std::unique_ptr<ObjectRunner> engine_;
  std::set<std::uint32_t> seen_;
};

TEST_P(ExamplesOnTrafficTest, InterpreterEqualsKernel) {
  if (auto reason = why_no_runner(RunnerKind::kKernel)) GTEST_SKIP() << *reason;
  const auto why = TestWorld::visit([this](const TestWorld& world) {
    ASSERT_NO_FATAL_FAILURE(open(GetParam().example, world));
    ASSERT_NO_FATAL_FAILURE(run_traffic(world, 20'000, 3));
    EXPECT_TRUE(std::ranges::includes(seen_, GetParam().verdicts)) << "a verdict never occurred";
    compare_maps();
  });
  if (why) GTEST_SKIP() << *why;
}

// Compiled for the instruction sets of 2018 and of 2023, besides the one between that all tests
// use.
TEST_P(ExamplesOnTrafficTest, OtherInstructionSetsDoTheSame) {
  if (auto reason = why_no_runner(RunnerKind::kKernel)) GTEST_SKIP() << *reason;
  for (const char* set : {"_v2", "_v4"}) {
    const auto why = TestWorld::visit([&](const TestWorld& world) {
      ASSERT_NO_FATAL_FAILURE(open(std::string(GetParam().example) + set, world));
      ASSERT_NO_FATAL_FAILURE(run_traffic(world, 3'000, 4));
      compare_maps();
    });
    if (why) GTEST_SKIP() << *why;
  }
}

INSTANTIATE_TEST_SUITE_P(All, ExamplesOnTrafficTest, ::testing::ValuesIn(rows()),
                         [](const auto& row) { return std::string(row.param.example); });

}  // namespace
}  // namespace lmn
