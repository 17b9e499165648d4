// SPDX-License-Identifier: Apache-2.0
//
// Goal: cpu_spread does what its head promises: a flow, and its answers, has one CPU and keeps its
// order; no packet is lost; flows are spread; what is no IP packet stays. Method: the object in an
// engine with four CPUs, by threads and by the worker, flows of several packets in both directions;
// and in the kernel and in LMN packet by packet, which must choose the same CPUs.
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <cstring>
#include <map>
#include <set>
#include <string>

#include "abi/limits.h"
#include "base/file.h"
#include "engine/callback_sink.h"
#include "engine/engine.h"
#include "harness/kernel_oracle.h"
#include "harness/packet_builder.h"
#include "object/object_reader.h"
#include "ports/memory/memory_port.h"
#include "runners/object_runner.h"

namespace lmn {
namespace {

const std::string kObject = std::string(LMN_BINARY_DIR) + "/bpf/cpu_spread.bpf.o";
constexpr std::uint32_t kCpus = 4;
constexpr std::uint32_t kFlows = 120;

std::vector<std::uint8_t> bytes_of(std::initializer_list<std::uint32_t> words) {
  std::vector<std::uint8_t> bytes(words.size() * sizeof(std::uint32_t));
  std::memcpy(bytes.data(), words.begin(), bytes.size());
  return bytes;
}

// The packet `number` of a flow, or of its answers; the payload says which it is.
PacketBytes packet_of(std::uint32_t flow, bool is_answer, std::uint8_t number) {
  const Ipv4Address near = {10, 0, 0, static_cast<std::uint8_t>(flow)};
  const Ipv4Address far = {192, 0, 2, static_cast<std::uint8_t>(flow % 7)};
  const auto port = static_cast<std::uint16_t>(1024 + flow * 17);
  PacketBytes payload = {static_cast<std::uint8_t>(flow), number};
  PacketBuilder builder;
  builder.ethernet({}).ipv4({.src = is_answer ? far : near, .dst = is_answer ? near : far});
  if (is_answer) {
    builder.udp({.src_port = 53, .dst_port = port});
  } else {
    builder.udp({.src_port = port, .dst_port = 53});
  }
  return builder.payload(payload).build();
}

class CpuSpreadTest : public ::testing::TestWithParam<CpuQueueRun> {};

TEST_P(CpuSpreadTest, AFlowAndItsAnswersHaveOneCpuAndKeepTheirOrder) {
  const auto file = read_file(kObject, limits::kObjectBytesMax);
  ASSERT_TRUE(file.has_value());
  auto spec = read_object(*file, {.object_name = "cpu_spread"});
  ASSERT_TRUE(spec.has_value()) << spec.error().to_string();
  EngineOptions options;
  options.cpu_queues = GetParam();
  options.cpu_count = kCpus;
  auto engine = *Engine::create(options);
  auto object = engine->load(*spec, {});
  ASSERT_TRUE(object.has_value()) << object.error().to_string();
  const auto update = [&](const char* map, std::uint32_t key, const auto& value) {
    ASSERT_EQ((*object)->find_map(map)->user_update(&key, value, BPF_ANY), 0);
  };
  update("cpu_count", 0, bytes_of({kCpus}));
  for (std::uint32_t cpu = 0; cpu < kCpus; ++cpu) {
    update("cpus", cpu, bytes_of({4096, (*object)->find_program("on_cpu")->id}));
  }
  auto& port = static_cast<MemoryPort&>(*(*engine->open_port("memory:m0"))[0]);
  ASSERT_TRUE(engine->attach(*(*object)->find_program("cpu_spread"), port).has_value());
  std::map<std::uint8_t, std::vector<std::uint8_t>> numbers_of_flow;
  std::size_t arps = 0;
  CallbackSink stack([&](ByteSpan packet, std::uint32_t) {
    const std::size_t payload = 14 + 20 + 8;
    if (packet.size() < payload + 2) return void(++arps);
    numbers_of_flow[packet[payload]].push_back(packet[payload + 1]);
  });
  engine->set_pass_sink(port, &stack);
  for (std::uint8_t number = 0; number < 8; ++number) {
    for (std::uint32_t flow = 0; flow < kFlows; ++flow) {
      ASSERT_EQ(port.push({.bytes = packet_of(flow, number % 2 == 1, number)}), 0);
    }
  }
  const PacketBytes other = PacketBuilder().ethernet({}).build();
  ASSERT_EQ(port.push({.bytes = other}), 0);
  port.end_input();
  engine->run({});
  EXPECT_EQ(engine->accounting_error(), "");
  EXPECT_EQ(arps, 1u);
  ASSERT_EQ(numbers_of_flow.size(), kFlows);
  for (const auto& [flow, numbers] : numbers_of_flow) {
    EXPECT_EQ(numbers, (std::vector<std::uint8_t>{0, 1, 2, 3, 4, 5, 6, 7})) << int{flow};
  }
  std::uint64_t in_all = 0;
  for (const CpuStats& cpu : engine->cpu_stats()) {
    const std::uint64_t packets = cpu.counters[static_cast<std::size_t>(Counter::kCpumapEnqueued)];
    EXPECT_EQ(packets % 8, 0u) << "whole flows";
    EXPECT_GE(packets, kFlows * 8 / kCpus / 2) << "CPU " << cpu.cpu;
    in_all += packets;
  }
  EXPECT_EQ(in_all, kFlows * 8u);
}

INSTANTIATE_TEST_SUITE_P(Served, CpuSpreadTest,
                         ::testing::Values(CpuQueueRun::kThreads, CpuQueueRun::kWorker),
                         [](const auto& given) {
                           return given.param == CpuQueueRun::kThreads ? "ByThreads"
                                                                       : "ByTheWorker";
                         });

// Packets for each CPU, as the first program counted them on CPU 0.
std::vector<std::uint64_t> chosen_by(RunnerKind kind) {
  std::vector<std::uint64_t> chosen;
  auto runner = open_runner(kind, kObject, "cpu_spread");
  EXPECT_TRUE(runner) << runner.error().to_string();
  if (!runner) return chosen;
  EXPECT_TRUE((*runner)->set_entry("cpu_count", bytes_of({0}), bytes_of({kCpus})));
  PacketBuilder v6;
  v6.ethernet({}).ipv6({}).tcp({.src_port = 5, .dst_port = 6});
  for (std::uint32_t flow = 0; flow < kFlows; ++flow) {
    const auto result = (*runner)->run(packet_of(flow, flow % 2 == 0, 0));
    EXPECT_TRUE(result && result->verdict == XDP_PASS) << "no entry: it passes";
  }
  EXPECT_TRUE((*runner)->run(v6.build()));
  EXPECT_TRUE((*runner)->run(PacketBuilder().ethernet({}).build()));
  for (std::uint32_t cpu = 0; cpu < kCpus; ++cpu) {
    const auto entry = (*runner)->entry("sent_cnt", bytes_of({cpu}));
    std::uint64_t packets = 0;
    if (entry && *entry) std::memcpy(&packets, (*entry)->data(), sizeof packets);
    chosen.push_back(packets);
  }
  return chosen;
}

TEST(CpuSpread, TheKernelChoosesTheSameCpus) {
  const auto ours = chosen_by(RunnerKind::kInterpreter);
  std::uint64_t in_all = 0;
  for (const std::uint64_t packets : ours) in_all += packets;
  EXPECT_EQ(in_all, kFlows + 1) << "IPv4 and IPv6, and nothing else";
  if (const auto why = why_no_runner(RunnerKind::kKernel)) GTEST_SKIP() << *why;
  EXPECT_EQ(chosen_by(RunnerKind::kKernel), ours);
}

}  // namespace
}  // namespace lmn
