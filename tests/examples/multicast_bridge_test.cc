// SPDX-License-Identifier: Apache-2.0
//
// Goal: examples/multicast_bridge.c learns, forwards, and sends multicast to the members of a group
// and to nobody else: a map in a map is a multicast group, in LMN and in Linux.
// Method: verdicts of single packets in both; then frames that really travel: between memory ports
// of an engine, and in the kernel between TAP devices by BPF_F_TEST_XDP_LIVE_FRAMES. LMN's bridge
// functions answer from a table that the test fills.
#include <bpf/bpf.h>
#include <linux/bpf.h>

#include <functional>

#include "abi/limits.h"
#include "base/file.h"
#include "engine/engine.h"
#include "examples/example_fixture.h"
#include "examples/test_world.h"
#include "object/object_reader.h"
#include "packet/frame_pool.h"
#include "ports/memory/memory_port.h"

namespace lmn {
namespace {

enum Counter : std::uint32_t { kToStation, kToGroup, kToVlan, kToAll, kToHost, kNotForwarded };

constexpr MacAddress kA = {0x02, 0, 0, 0, 0, 0x0a};
constexpr MacAddress kB = {0x02, 0, 0, 0, 0, 0x0b};
constexpr MacAddress kHost = {0x02, 0, 0, 0, 0, 0x01};
constexpr MacAddress kGroup = {0x01, 0x00, 0x5e, 0x01, 0x02, 0x03};
constexpr MacAddress kEverybody = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

Bytes frame(const MacAddress& from, const MacAddress& to, std::uint16_t vlan_id = 0) {
  PacketBuilder packet;
  packet.ethernet({.dst = to, .src = from});
  if (vlan_id != 0) packet.vlan({.id = vlan_id});
  return packet.ipv4().udp().filler(18).build();
}

Bytes place(const MacAddress& mac, std::uint16_t vlan_id = 0) {
  Bytes key(mac.begin(), mac.end());
  const Bytes vlan = raw(vlan_id);
  key.insert(key.end(), vlan.begin(), vlan.end());
  return key;
}

// --- verdicts, in both

class MulticastBridgeTest : public ExamplesTest {
 protected:
  void bridge(const std::function<void()>& body) {
    if (GetParam() == RunnerKind::kInterpreter) {
      left_ = 2;
      right_ = 3;
      ASSERT_NO_FATAL_FAILURE(load("multicast_bridge"));
      body();
      return;
    }
    const auto why = TestWorld::visit([&](const TestWorld& world) {
      left_ = world.left();
      right_ = world.right();
      ASSERT_NO_FATAL_FAILURE(load("multicast_bridge"));
      body();
      runner_.reset();
    });
    if (why) GTEST_SKIP() << *why;
  }
  std::uint32_t verdict(std::uint32_t from, const Bytes& packet) {
    const PacketResult result = run_from(from, packet);
    EXPECT_EQ(result.packet, packet);
    return result.verdict;
  }
  void make_group(const Bytes& key, std::vector<std::uint32_t> members) {
    std::vector<MapEntry> entries;
    for (const std::uint32_t member : members) entries.push_back({raw(member), raw(member)});
    const auto done = runner_->set_inner_map("groups", key, entries);
    ASSERT_TRUE(done) << done.error().to_string();
  }
  std::uint64_t count(std::uint32_t what) { return counter("bridge_cnt", what); }

  std::uint32_t left_ = 0;
  std::uint32_t right_ = 0;
};

TEST_P(MulticastBridgeTest, LearnsWhoIsWhere) {
  bridge([this] {
    EXPECT_EQ(verdict(left_, frame(kA, kB)), XDP_REDIRECT) << "to all";
    EXPECT_EQ(count(kToAll), 1u);
    EXPECT_EQ(verdict(right_, frame(kB, kA)), XDP_REDIRECT);
    EXPECT_EQ(verdict(left_, frame(kA, kB)), XDP_REDIRECT);
    EXPECT_EQ(count(kToStation), 2u);
    EXPECT_EQ(verdict(right_, frame(kA, kB)), XDP_DROP) << "both are there now";
    EXPECT_EQ(count(kNotForwarded), 1u);
    EXPECT_EQ(verdict(left_, frame(kB, kA)), XDP_REDIRECT) << "one has moved";
    EXPECT_EQ(count(kToStation), 3u);
    // The same addresses in a VLAN are other stations; a group never sends.
    EXPECT_EQ(verdict(left_, frame(kA, kB, 5)), XDP_REDIRECT);
    EXPECT_EQ(verdict(left_, frame(kGroup, kA, 7)), XDP_REDIRECT);
    EXPECT_EQ(count(kToAll), 3u);
    EXPECT_EQ(entries("stations").size(), 3u);
  });
}

TEST_P(MulticastBridgeTest, TheHostsOwnAddressIsNobodyElses) {
  bridge([this] {
    set_entry("stations", place(kHost), Bytes(16));
    EXPECT_EQ(verdict(left_, frame(kA, kHost)), XDP_PASS);
    EXPECT_EQ(verdict(right_, frame(kHost, kA)), XDP_REDIRECT) << "a thief";
    EXPECT_EQ(verdict(left_, frame(kA, kHost)), XDP_PASS);
    EXPECT_EQ(count(kToHost), 2u);
  });
}

TEST_P(MulticastBridgeTest, MembershipAndFramesOfTheLinkAreTheHosts) {
  bridge([this] {
    const auto eth = [](MacAddress to) { return PacketBuilder().ethernet({.dst = to}); };
    const MacAddress spanning_tree = {0x01, 0x80, 0xc2, 0, 0, 0};
    const MacAddress lldp = {0x01, 0x80, 0xc2, 0, 0, 0x0e};
    const MacAddress beyond = {0x01, 0x80, 0xc2, 0, 0, 0x10};
    const MacAddress all6 = {0x33, 0x33, 0, 0, 0, 0x16};
    const auto mld = [&](std::uint8_t type) {
      return eth(all6).ipv6().ipv6_extension({.type = 0}).icmp({.type = type}).build();
    };
    const std::vector<std::pair<Bytes, std::uint32_t>> cases = {
        {eth(spanning_tree).build(), XDP_PASS},
        {eth(lldp).filler(50).build(), XDP_PASS},
        {eth(beyond).build(), XDP_REDIRECT},
        {eth(kGroup).ipv4({.protocol = 2}).filler(8).build(), XDP_PASS},
        {eth(kGroup).vlan().ipv4({.options = {148, 4, 0, 0}, .protocol = 2}).filler(8).build(),
         XDP_PASS},
        {eth(kGroup).ipv4().udp().build(), XDP_REDIRECT},
        {mld(130), XDP_PASS},
        {mld(132), XDP_PASS},
        {mld(143), XDP_PASS},
        {mld(135), XDP_REDIRECT},
        {eth(all6).ipv6().ipv6_extension({.type = 0}).filler(0).build(), XDP_REDIRECT},
        {eth(kGroup).ipv4().build(), XDP_REDIRECT},
    };
    for (std::size_t i = 0; i < cases.size(); ++i)
      EXPECT_EQ(verdict(left_, cases[i].first), cases[i].second) << i;
  });
}

TEST_P(MulticastBridgeTest, AGroupIsAMapInTheMap) {
  bridge([this] {
    make_group(place(kGroup), {runner_->redirect_ifindex()});
    make_group(place(kEverybody, 5), {});
    EXPECT_EQ(verdict(left_, frame(kA, kGroup)), XDP_REDIRECT);
    EXPECT_EQ(count(kToGroup), 1u);
    EXPECT_EQ(verdict(left_, frame(kA, kGroup, 5)), XDP_REDIRECT) << "nobody asked there";
    EXPECT_EQ(verdict(left_, frame(kA, kB, 5)), XDP_REDIRECT);
    EXPECT_EQ(count(kToVlan), 2u);
    EXPECT_EQ(verdict(left_, frame(kA, kGroup, 6)), XDP_REDIRECT);
    EXPECT_EQ(count(kToAll), 1u);
    // Another map of ports in the place of the first.
    make_group(place(kGroup), {});
    EXPECT_EQ(verdict(left_, frame(kA, kGroup)), XDP_REDIRECT);
    EXPECT_EQ(count(kToGroup), 2u);
  });
}

INSTANTIATE_TEST_SUITE_P(Runners, MulticastBridgeTest, ::testing::ValuesIn(kBothRunners),
                         runner_name);

// --- frames that travel: the kernel

// One frame, as if it had come in by `ifindex` (0: by none), sent where the program says.
bool send_live(int program_fd, std::uint32_t ifindex, const Bytes& packet) {
  struct xdp_md context = {};
  context.data_end = static_cast<std::uint32_t>(packet.size());
  context.ingress_ifindex = ifindex;
  struct bpf_test_run_opts options = {};
  options.sz = sizeof options;
  options.data_in = packet.data();
  options.data_size_in = context.data_end;
  if (ifindex != 0) {
    options.ctx_in = &context;
    options.ctx_size_in = sizeof context;
  }
  options.repeat = 1;
  options.flags = BPF_F_TEST_XDP_LIVE_FRAMES;
  return bpf_prog_test_run_opts(program_fd, &options) == 0;
}

TEST(MulticastBridge, TheKernelSendsToMembersOfAMapInAMap) {
  if (auto reason = why_no_runner(RunnerKind::kKernel)) GTEST_SKIP() << *reason;
  const auto why = TestWorld::visit([](const TestWorld& world) {
    ExampleUser user;
    ASSERT_NO_FATAL_FAILURE(user.load(RunnerKind::kKernel, "multicast_bridge"));
    const std::vector<MapEntry> both = {{raw(std::uint32_t{1}), raw(world.left())},
                                        {raw(std::uint32_t{2}), raw(world.right())}};
    ASSERT_TRUE(user.runner_->set_inner_map("groups", place(kGroup), both));
    ASSERT_TRUE(user.runner_->set_inner_map("groups", place(kGroup, 7), std::span(both).first(1)));
    const int program = user.runner_->program_fd();
    ASSERT_TRUE(send_live(program, 0, frame(kA, kGroup)));
    EXPECT_EQ(world.sent_by(world.left()), frame(kA, kGroup));
    EXPECT_EQ(world.sent_by(world.right()), frame(kA, kGroup));
    ASSERT_TRUE(send_live(program, world.left(), frame(kA, kGroup)));
    EXPECT_TRUE(world.sent_by(world.left()).empty()) << "where it came from";
    EXPECT_EQ(world.sent_by(world.right()), frame(kA, kGroup));
    ASSERT_TRUE(send_live(program, world.right(), frame(kA, kGroup, 7)));
    EXPECT_EQ(world.sent_by(world.left()), frame(kA, kGroup, 7));
    EXPECT_TRUE(world.sent_by(world.right()).empty()) << "not a member in VLAN 7";
  });
  if (why) GTEST_SKIP() << *why;
}

// --- frames that travel: LMN

class BridgedPorts : public ::testing::Test {
 protected:
  static constexpr std::size_t kPorts = 4;

  void SetUp() override {
    engine_ = *Engine::create({.seed = 1});
    const auto bytes = read_file(example_path("multicast_bridge"), limits::kObjectBytesMax);
    ASSERT_TRUE(bytes) << bytes.error().to_string();
    const auto spec = read_object(*bytes, {.object_name = "multicast_bridge"});
    ASSERT_TRUE(spec) << spec.error().to_string();
    auto object = engine_->load(*spec, {});
    ASSERT_TRUE(object) << object.error().to_string();
    object_ = *object;
    Map& all = *object_->find_map("ports");
    for (std::size_t i = 0; i < kPorts; ++i) {
      auto opened = engine_->open_port("memory:m" + std::to_string(i));
      ASSERT_TRUE(opened) << opened.error().to_string();
      ports_[i] = as_memory_port(*(*opened)[0]);
      ASSERT_TRUE(engine_->attach(*object_->programs[0], *ports_[i]));
      add(all, i);
    }
  }
  void add(Map& group, std::size_t port) {
    const std::uint32_t ifindex = ports_[port]->info().ifindex;
    ASSERT_EQ(group.user_update(&ifindex, raw(ifindex), BPF_ANY), 0);
  }
  void make_group(const Bytes& key, std::initializer_list<std::size_t> members) {
    Map& groups = *object_->find_map("groups");
    auto group = engine_->create_inner_map(groups);
    ASSERT_TRUE(group) << group.error().to_string();
    for (const std::size_t member : members) add(**group, member);
    ASSERT_EQ(groups.user_update(key.data(), raw((*group)->id()), BPF_ANY), 0);
    ASSERT_TRUE(engine_->close_map(**group));
  }
  // Lets `packet` come in by a port; which ports it went out by, one character each.
  std::string ways_out(std::size_t port, const Bytes& packet) {
    EXPECT_EQ(ports_[port]->push({packet}), 0);
    engine_->run({.packet_count_max = 1});
    EXPECT_EQ(engine_->accounting_error(), "");
    std::string out;
    for (std::size_t i = 0; i < kPorts; ++i) {
      while (XdpFrame* sent = ports_[i]->take()) {
        EXPECT_EQ(sent->length, packet.size());
        out += static_cast<char>('0' + i);
        free_frame(sent);
      }
    }
    return out;
  }

  std::unique_ptr<Engine> engine_;
  LoadedObject* object_ = nullptr;
  std::array<MemoryPort*, kPorts> ports_{};
};

TEST_F(BridgedPorts, FramesGoToMembersOfTheGroupAndNotBack) {
  make_group(place(kGroup), {0, 2});
  make_group(place(kEverybody, 5), {1, 2, 3});
  EXPECT_EQ(ways_out(0, frame(kA, kGroup)), "2");
  EXPECT_EQ(ways_out(1, frame(kB, kGroup)), "02");
  EXPECT_EQ(ways_out(1, frame(kB, kGroup, 5)), "23");
  EXPECT_EQ(ways_out(0, frame(kHost, kEverybody)), "123");
  EXPECT_EQ(ways_out(1, frame(kB, kA)), "0");
  EXPECT_EQ(ways_out(0, frame(kA, kB)), "1");
  EXPECT_EQ(ways_out(0, frame(kA, kA)), "");
  make_group(place(kGroup), {3});  // others have joined, the first have left
  EXPECT_EQ(ways_out(1, frame(kB, kGroup)), "3");
}

// With a bridge that the engine knows the program asks that, and its own table stays empty.
TEST_F(BridgedPorts, ABridgeOfLmnKnowsWhereStationsAre) {
  std::string text = "bridge 10 ageing 300\n";
  for (const MemoryPort* port : ports_) {
    text += "port " + std::to_string(port->info().ifindex) + " bridge 10\n";
  }
  text += "entry 02:00:00:00:00:0a port " + std::to_string(ports_[3]->info().ifindex) + " static\n";
  text += "entry 02:00:00:00:00:01 port " + std::to_string(ports_[0]->info().ifindex) + " local\n";
  const auto done = engine_->kernel_tables().fdb().read_text(text, engine_->clock().monotonic_ns());
  ASSERT_TRUE(done) << done.error().to_string();
  EXPECT_EQ(ways_out(0, frame(kB, kA)), "3") << "told by the table";
  EXPECT_EQ(ways_out(1, frame(kA, kB)), "0") << "learned by the packet before";
  EXPECT_EQ(ways_out(2, frame(kB, kHost)), "") << "for the host";
  EXPECT_EQ(ways_out(2, frame(kB, {0x02, 9, 9, 9, 9, 9})), "013") << "nobody knows";
  Bytes key(8);
  EXPECT_LT(object_->find_map("stations")->next_key(nullptr, key.data()), 0);
}

}  // namespace
}  // namespace lmn
