// SPDX-License-Identifier: Apache-2.0
//
// Goal: packets go to another CPU and on from there, whoever serves it, while entries come and go
// under them; no frame, queue or program is lost or freed too early. Method: an engine with two
// programs from assembler text (one sends to a CPU, one runs there) on memory ports, and on an
// in-engine pair whose frames circle while a control thread replaces entries. Tests named after a
// pattern are of faults that Linux had.
#include "engine/cpu_queues.h"

#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <cerrno>
#include <cstring>
#include <set>
#include <thread>

#include "engine/callback_sink.h"
#include "engine/engine.h"
#include "insn/assemble.h"
#include "ports/memory/memory_port.h"

namespace lmn {
namespace {

// To the CPU that the first byte says; XDP_TX where there is no entry.
constexpr std::string_view kToCpu = R"(
  r6 = *(u32 *)(r1 +0)
  r7 = *(u32 *)(r1 +4)
  r2 = r6
  r2 += 14
  if r2 > r7 goto drop
  r2 = *(u8 *)(r6 +0)
  r1 = map[idx:0]
  r3 = 3
  call bpf_redirect_map
  exit
drop:
  r0 = 1
  exit
)";

// Counts in the slot of its CPU; verdict = second byte; the number of the CPU goes into the third.
constexpr std::string_view kOnCpu = R"(
  r6 = *(u32 *)(r1 +0)
  r7 = *(u32 *)(r1 +4)
  r2 = r6
  r2 += 14
  if r2 > r7 goto drop
  call bpf_get_smp_processor_id
  *(u8 *)(r6 +2) = r0
  *(u32 *)(r10 -4) = 0
  r2 = r10
  r2 += -4
  r1 = map[idx:0]
  call bpf_map_lookup_elem
  if r0 == 0 goto drop
  r1 = *(u64 *)(r0 +0)
  r1 += 1
  *(u64 *)(r0 +0) = r1
  r0 = *(u8 *)(r6 +1)
  exit
drop:
  r0 = 1
  exit
)";

// Like kToCpu, but it then says PASS: what the helper left must not be used by anybody.
constexpr std::string_view kRedirectsAndPasses = R"(
  r2 = 1
  r1 = map[idx:0]
  r3 = 0
  call bpf_redirect_map
  r0 = 2
  exit
)";

constexpr std::string_view kReturnsRedirect = R"(
  r0 = 4
  exit
)";

ProgramSpec program_from(std::string_view text, std::string name, std::uint32_t attach_type) {
  ProgramSpec program;
  program.name = std::move(name);
  program.section = attach_type == BPF_XDP_CPUMAP ? "xdp/cpumap" : "xdp";
  program.type = BPF_PROG_TYPE_XDP;
  program.expected_attach_type = attach_type;
  program.license = "GPL";
  auto insns = assemble(text);
  EXPECT_TRUE(insns.has_value()) << insns.error().to_string();
  program.insns = *insns;
  return program;
}

MapSpec map_spec(std::string name, std::uint32_t type, std::uint32_t max_entries) {
  MapSpec map;
  map.name = std::move(name);
  map.type = type;
  map.key_size = 4;
  map.value_size = 8;
  map.max_entries = max_entries;
  return map;
}

class CpuQueuesTest : public ::testing::TestWithParam<CpuQueueRun> {
 protected:
  static constexpr std::uint32_t kCpus = 4;

  void make_engine(CpuQueueRun run) {
    EngineOptions options;
    options.log = &log_;
    options.seed = 7;
    options.cpu_queues = run;
    options.cpu_count = kCpus;
    engine_ = *Engine::create(options);
    ObjectSpec spec;
    spec.programs.push_back(program_from(kToCpu, "to_cpu", BPF_XDP));
    spec.programs.push_back(program_from(kOnCpu, "on_cpu", BPF_XDP_CPUMAP));
    spec.programs.push_back(program_from(kRedirectsAndPasses, "passes", BPF_XDP));
    spec.programs.push_back(program_from(kReturnsRedirect, "redirects", BPF_XDP));
    spec.programs[0].maps = {0};
    spec.programs[1].maps = {1};
    spec.programs[2].maps = {0};
    spec.maps.push_back(map_spec("cpus", BPF_MAP_TYPE_CPUMAP, kCpus));
    spec.maps.push_back(map_spec("counts", BPF_MAP_TYPE_PERCPU_ARRAY, 1));
    auto object = engine_->load(spec, {});
    ASSERT_TRUE(object.has_value()) << object.error().to_string();
    object_ = *object;
    cpus_ = object_->find_map("cpus");
  }
  int set_cpu(std::uint32_t cpu, std::uint32_t queue_size, bool with_program = true) {
    const std::array<std::uint32_t, 2> value = {
        queue_size, with_program ? object_->find_program("on_cpu")->id : 0};
    std::array<std::uint8_t, sizeof value> bytes{};
    std::memcpy(bytes.data(), value.data(), bytes.size());
    return cpus_->user_update(&cpu, bytes, BPF_ANY);
  }
  std::uint64_t counted_on(std::uint32_t cpu) {
    std::array<std::uint64_t, kCpus> values{};
    std::array<std::uint8_t, sizeof values> bytes{};
    const std::uint32_t key = 0;
    EXPECT_EQ(object_->find_map("counts")->user_lookup(&key, bytes, 0), 0);
    std::memcpy(values.data(), bytes.data(), bytes.size());
    return values[cpu];
  }
  Port& open(const std::string& text, std::string_view program) {
    auto ports = engine_->open_port(text);
    EXPECT_TRUE(ports.has_value()) << ports.error().to_string();
    EXPECT_TRUE(engine_->attach(*object_->find_program(program), *(*ports)[0]).has_value());
    return *(*ports)[0];
  }
  static std::vector<std::uint8_t> packet(std::uint32_t cpu, std::uint8_t verdict) {
    std::vector<std::uint8_t> bytes(60, 0x55);
    bytes[0] = static_cast<std::uint8_t>(cpu);
    bytes[1] = verdict;
    return bytes;
  }
  std::uint64_t enqueued() {
    std::uint64_t sum = 0;
    for (const CpuStats& stats : engine_->cpu_stats()) {
      sum += get(stats.counters, Counter::kCpumapEnqueued);
    }
    return sum;
  }
  // Until as many frames as there may be have gone into a queue.
  void wait_for_traffic() {
    const std::uint64_t before = enqueued();
    while (enqueued() < before + 100) sched_yield();
  }
  CounterSnapshot cpu_counters(std::uint32_t cpu) {
    for (const CpuStats& stats : engine_->cpu_stats()) {
      if (stats.cpu == cpu) return stats.counters;
    }
    return {};
  }
  static std::uint64_t get(const CounterSnapshot& counters, Counter counter) {
    return counters[static_cast<std::size_t>(counter)];
  }

  MemoryLog log_;
  std::unique_ptr<Engine> engine_;
  LoadedObject* object_ = nullptr;
  Map* cpus_ = nullptr;
};

INSTANTIATE_TEST_SUITE_P(Served, CpuQueuesTest,
                         ::testing::Values(CpuQueueRun::kThreads, CpuQueueRun::kWorker),
                         [](const auto& given) {
                           return given.param == CpuQueueRun::kThreads ? "ByThreads"
                                                                       : "ByTheWorker";
                         });

TEST_P(CpuQueuesTest, PacketsAreRunOnTheCpuThatTheEntryNames) {
  make_engine(GetParam());
  for (std::uint32_t cpu = 0; cpu < kCpus; ++cpu) ASSERT_EQ(set_cpu(cpu, 512), 0);
  auto& port = static_cast<MemoryPort&>(open("memory:m0", "to_cpu"));
  std::vector<std::vector<std::uint8_t>> passed(kCpus);
  CallbackSink stack([&](ByteSpan bytes, std::uint32_t ifindex) {
    EXPECT_EQ(ifindex, port.info().ifindex);
    ASSERT_EQ(bytes[2], bytes[0]) << "bpf_get_smp_processor_id";
    passed[bytes[0]].push_back(bytes[3]);
  });
  engine_->set_pass_sink(port, &stack);
  for (int i = 0; i < 1000; ++i) {
    auto bytes = packet(static_cast<std::uint32_t>(i) % kCpus, i % 3 == 0 ? XDP_DROP : XDP_PASS);
    bytes[3] = static_cast<std::uint8_t>(i / 4);
    ASSERT_EQ(port.push({.bytes = bytes}), 0);
  }
  port.end_input();
  EXPECT_EQ(engine_->run({}), RunEnd::kInputEnded);
  EXPECT_EQ(engine_->accounting_error(), "");
  std::uint64_t in_all = 0;
  for (std::uint32_t cpu = 0; cpu < kCpus; ++cpu) {
    EXPECT_EQ(counted_on(cpu), 250u) << "the slot of its CPU";
    EXPECT_TRUE(std::ranges::is_sorted(passed[cpu])) << "in the order of arrival";
    const CounterSnapshot counters = cpu_counters(cpu);
    EXPECT_EQ(get(counters, Counter::kCpumapEnqueued), 250u);
    EXPECT_EQ(get(counters, Counter::kCpumapDropped), 0u);
    EXPECT_EQ(get(counters, Counter::kPassDelivered), passed[cpu].size());
    in_all += get(counters, Counter::kXdpDrop) + passed[cpu].size();
  }
  EXPECT_EQ(in_all, 1000u);
  const bool has_threads = GetParam() == CpuQueueRun::kThreads;
  EXPECT_FALSE(engine_->cpu_stats()[0].has_thread) << "the worker's own number";
  EXPECT_EQ(engine_->cpu_stats()[1].has_thread, has_threads);
}

TEST_P(CpuQueuesTest, AQueueThatIsFullDropsAndSaysSo) {
  make_engine(GetParam());
  ASSERT_EQ(set_cpu(1, 4, false), 0);
  auto& port = static_cast<MemoryPort&>(open("memory:m0", "to_cpu"));
  for (int i = 0; i < 64; ++i) ASSERT_EQ(port.push({.bytes = packet(1, XDP_PASS)}), 0);
  port.end_input();
  engine_->run({});
  const CounterSnapshot counters = cpu_counters(1);
  EXPECT_EQ(get(counters, Counter::kCpumapEnqueued) + get(counters, Counter::kCpumapDropped), 64u);
  EXPECT_GE(get(counters, Counter::kCpumapEnqueued), 4u);
  EXPECT_EQ(get(counters, Counter::kPassNoStack), get(counters, Counter::kCpumapEnqueued));
  EXPECT_EQ(port.rx_queue().counters().get(Counter::kRedirectDelivered), 64u);
  EXPECT_EQ(engine_->accounting_error(), "");
}

// Linux 109980b894e9: what a program's bpf_redirect_map left was used for another program's packet,
// which returned XDP_REDIRECT without a call.
TEST_P(CpuQueuesTest, Pattern86_ARedirectOfOneProgramIsNotAnothers) {
  make_engine(GetParam());
  ASSERT_EQ(set_cpu(1, 64), 0);
  auto& first = static_cast<MemoryPort&>(open("memory:m0", "passes"));
  auto& second = static_cast<MemoryPort&>(open("memory:m1", "redirects"));
  for (int i = 0; i < 10; ++i) {
    ASSERT_EQ(first.push({.bytes = packet(1, XDP_PASS)}), 0);
    ASSERT_EQ(second.push({.bytes = packet(1, XDP_PASS)}), 0);
  }
  first.end_input();
  second.end_input();
  engine_->run({});
  EXPECT_EQ(second.rx_queue().counters().get(Counter::kRedirectNoTarget), 10u);
  EXPECT_EQ(get(cpu_counters(1), Counter::kCpumapEnqueued), 0u);
  EXPECT_EQ(counted_on(1), 0u);
  EXPECT_EQ(engine_->accounting_error(), "");
}

// Frames circle between the ends of a pair, by way of a CPU queue where there is an entry, while
// entries are made, replaced and removed. None may be lost, and in the end none is under way.
TEST_P(CpuQueuesTest, Pattern88And90_EntriesComeAndGoWhileFramesGoThroughThem) {
  make_engine(GetParam());
  constexpr std::uint32_t kFrames = 48;
  auto ports = engine_->open_port("veth:a,b");
  ASSERT_TRUE(ports.has_value());
  for (Port* port : *ports) {
    ASSERT_TRUE(engine_->attach(*object_->find_program("to_cpu"), *port).has_value());
    engine_->set_pass_sink(*port, &port->tx_queue());
  }
  auto& source = static_cast<MemoryPort&>(open("memory:m0", "to_cpu"));
  engine_->set_pass_sink(source, &(*ports)[0]->tx_queue());
  for (std::uint32_t i = 0; i < kFrames; ++i) {
    ASSERT_EQ(source.push({.bytes = packet(i % kCpus, XDP_PASS)}), 0);
  }
  for (std::uint32_t cpu = 0; cpu < kCpus; ++cpu) ASSERT_EQ(set_cpu(cpu, 256), 0);
  std::jthread run([&] { engine_->run({}); });
  for (std::uint32_t i = 0; i < 600; ++i) {
    const std::uint32_t cpu = i % kCpus;
    if (i % 48 == 0) wait_for_traffic();  // all of them are there
    switch (i / kCpus % 3) {
      case 0:
        EXPECT_EQ(set_cpu(cpu, 128 + i), 0);
        break;
      case 1:
        EXPECT_EQ(cpus_->user_erase(&cpu), 0);
        break;
      case 2:
        EXPECT_EQ(set_cpu(cpu, 256, i % 2 == 0), 0);
        EXPECT_EQ(set_cpu(cpu, 256), 0) << "taken back at once";
        break;
    }
  }
  engine_->stop();
  run.join();
  EXPECT_EQ(engine_->accounting_error(), "");
  for (const CpuStats& stats : engine_->cpu_stats()) {
    EXPECT_EQ(get(stats.counters, Counter::kCpumapDropped), 0u);
    EXPECT_EQ(stats.held_count, 0u);
    EXPECT_EQ(get(stats.counters, Counter::kCpumapEnqueued),
              get(stats.counters, Counter::kPassDelivered));
  }
  std::size_t held = 0;
  for (const auto& port : engine_->ports()) held += port->frames_held();
  // The source's own first verdict may be XDP_TX, back to its outside.
  EXPECT_EQ(held, kFrames);
}

TEST(CpuQueuesReplay, TheSamePacketsGiveTheSameRun) {
  std::vector<std::string> runs;
  for (int run = 0; run < 2; ++run) {
    EngineOptions options;
    MemoryLog log;
    options.log = &log;
    options.seed = 42;  // a replay: kAuto serves by the worker
    options.cpu_count = 4;
    auto engine = *Engine::create(options);
    ObjectSpec spec;
    spec.programs.push_back(program_from(kToCpu, "to_cpu", BPF_XDP));
    spec.programs.push_back(program_from(R"(
  r6 = *(u32 *)(r1 +0)
  r7 = *(u32 *)(r1 +4)
  r2 = r6
  r2 += 14
  if r2 > r7 goto out
  call bpf_get_prandom_u32
  *(u8 *)(r6 +3) = r0
out:
  r0 = 2
  exit
)",
                                         "on_cpu", BPF_XDP_CPUMAP));
    spec.programs[0].maps = {0};
    spec.maps.push_back(map_spec("cpus", BPF_MAP_TYPE_CPUMAP, 4));
    LoadedObject* object = *engine->load(spec, {});
    for (std::uint32_t cpu = 0; cpu < 4; ++cpu) {
      const std::array<std::uint32_t, 2> value = {64, object->find_program("on_cpu")->id};
      std::array<std::uint8_t, sizeof value> bytes{};
      std::memcpy(bytes.data(), value.data(), bytes.size());
      ASSERT_EQ(object->find_map("cpus")->user_update(&cpu, bytes, BPF_ANY), 0);
    }
    auto ports = *engine->open_port("memory:m0");
    auto& port = static_cast<MemoryPort&>(*ports[0]);
    ASSERT_TRUE(engine->attach(*object->find_program("to_cpu"), port).has_value());
    std::string told;
    CallbackSink stack([&](ByteSpan bytes, std::uint32_t) {
      told += static_cast<char>('0' + bytes[0]);
      told += static_cast<char>(bytes[3]);
    });
    engine->set_pass_sink(port, &stack);
    for (std::uint32_t i = 0; i < 400; ++i) {
      std::vector<std::uint8_t> bytes(60, 0);
      bytes[0] = static_cast<std::uint8_t>(i * i % 4);
      ASSERT_EQ(port.push({.bytes = bytes}), 0);
    }
    port.end_input();
    engine->run({});
    EXPECT_EQ(told.size(), 800u);
    std::set<char> numbers;
    for (std::size_t i = 1; i < told.size(); i += 2) numbers.insert(told[i]);
    EXPECT_GT(numbers.size(), 50u) << "random numbers differ";
    runs.push_back(told);
  }
  EXPECT_EQ(runs[0], runs[1]);
}

// A host that counts programs. Linux CVE-2023-53441 lost an entry's memory when it was replaced.
class CountingHost final : public MapHost {
 public:
  FrameSink* find_sink(std::uint32_t) noexcept override { return nullptr; }
  const ProgramEntry* acquire_program(std::uint32_t) noexcept override {
    ++held;
    return &entry;
  }
  void release_program(const ProgramEntry*) noexcept override { --held; }
  ProgramEntry entry;
  int held = 0;
};

TEST(CpuQueuesLife, Pattern90_AReplacedQueueIsFreedWithItsProgram) {
  for (const bool has_threads : {true, false}) {
    Epoch epoch;
    epoch.start();
    CountingHost host;
    FramePool pool = *FramePool::create(64);
    SystemClock clock;
    RunContext context;
    context.clock = &clock;
    auto worker = *Worker::create(context, &epoch);
    CpuQueues queues(epoch, host, has_threads);
    queues.set_worker(worker.get(), context);
    worker->set_cpu_queues(&queues);
    CpuQueue* queue = queues.acquire(1, 32, nullptr);
    const RxQueueInfo rxq{.ifindex = 3};
    for (int i = 0; i < 100; ++i) {
      for (int frame = 0; frame < 5; ++frame) {
        XdpBuff buff = make_xdp_buff(pool, pool.allocate(), rxq);
        buff.data_end = buff.data + 60;
        queue->enqueue(to_frame(buff));
      }
      queue->flush();
      CpuQueue* before = std::exchange(queue, queues.acquire(1, 32, nullptr));
      queues.release(before);
      if (i % 2 == 0) worker->run({});
      EXPECT_LE(queues.queue_count(), 16u) << "what is empty is freed with a later change";
    }
    queues.release(queue);
    worker->run({});
    // Whoever passes the last grace period may be the epoch's thread.
    while (queues.sweep() > 0) sched_yield();
    EXPECT_EQ(pool.in_use(), 0u);
    ASSERT_EQ(queues.stats().size(), 1u);
    EXPECT_EQ(queues.stats()[0].counters[static_cast<std::size_t>(Counter::kPassNoStack)], 500u);
    // The same with programs, and nothing in the queues.
    for (int i = 0; i < 50; ++i) {
      queue = queues.acquire(1, 8, host.acquire_program(0));
      queues.release(queue);
    }
    while (queues.sweep() > 0) sched_yield();
    EXPECT_EQ(host.held, 0);
    queues.shut_down();
  }
}

TEST(CpuQueuesLife, FramesOfAnEngineThatGoesAreFreed) {
  Epoch epoch;
  CountingHost host;
  FramePool pool = *FramePool::create(64);
  RunContext context;
  CpuQueues queues(epoch, host, true);
  queues.set_worker(nullptr, context);
  CpuQueue* queue = queues.acquire(1, 32, host.acquire_program(0));
  const RxQueueInfo rxq{.ifindex = 3};
  host.entry.program = nullptr;
  XdpBuff buff = make_xdp_buff(pool, pool.allocate(), rxq);
  buff.data_end = buff.data + 60;
  queues.shut_down();
  queue->enqueue(to_frame(buff));
  EXPECT_EQ(pool.in_use(), 1u);
  queues.release(queue);
  EXPECT_EQ(pool.in_use(), 0u);
  EXPECT_EQ(host.held, 0);
  EXPECT_EQ(queues.queue_count(), 0u);
}

}  // namespace
}  // namespace lmn
