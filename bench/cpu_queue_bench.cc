// SPDX-License-Identifier: Apache-2.0
//
// What a CPU queue costs and what it brings: a packet's way over another CPU, per packet, and the
// same heavy program on the worker and on the CPU of a queue.
//
// A port gives frames without end, a program sends all of them into a queue of 16384 places, and a
// run ends when all of its packets are delivered: nothing is dropped, so time is work. Heavy takes
// about half a microsecond for each packet: on the worker it holds up the port; on another CPU the
// worker's rate is what is left, if there is another CPU (CpuQueue/HeavyOnTheWorker against
// CpuQueue/HeavyOnItsCpu).
#include <benchmark/benchmark.h>
#include <linux/bpf.h>

#include <memory>

#include "dataplane/worker.h"
#include "endless_port.h"
#include "engine/cpu_queues.h"
#include "packet/frame_pool.h"

namespace {

using namespace lmn;

constexpr std::uint32_t kQueueSize = 16384;
constexpr std::uint64_t kPacketsOfARun = 8192;
constexpr int kHeavySteps = 150;

// Says the same of each packet, after so many steps of work.
class Program final : public CompiledProgram {
 public:
  Program(std::uint32_t verdict, int steps, FrameSink* sink)
      : verdict_(verdict), steps_(steps), sink_(sink) {}
  void run_batch(FrameBatch& batch, RunContext&) noexcept override {
    for (std::size_t i = 0; i < batch.count; ++i) {
      for (int step = 0; step < steps_; ++step) benchmark::DoNotOptimize(step);
      batch.verdicts[i] = verdict_;
      batch.redirects[i] = {.kind = RedirectSlot::Kind::kSink, .sink = sink_};
    }
  }
  std::uint32_t run(XdpBuff&, RunContext&) noexcept override { return verdict_; }
  void run_deferred(const DeferredCall&, RunContext&) noexcept override {}
  const void* interpreter_image() const noexcept override { return nullptr; }

 private:
  std::uint32_t verdict_;
  int steps_;
  FrameSink* sink_;
};

class NoHost final : public MapHost {
 public:
  FrameSink* find_sink(std::uint32_t) noexcept override { return nullptr; }
  const ProgramEntry* acquire_program(std::uint32_t) noexcept override { return nullptr; }
  void release_program(const ProgramEntry*) noexcept override {}
};

struct Way {
  bool over_queue;
  bool has_thread;
  int steps;
};

void run_packets(benchmark::State& state, const Way& way) {
  FramePool pool = *FramePool::create(kQueueSize);
  EndlessPort port(pool);
  Hole stack;
  Epoch epoch;
  epoch.start();
  NoHost host;
  SystemClock clock;
  RunContext context;
  context.clock = &clock;
  auto worker = *Worker::create(context, &epoch);
  CpuQueues queues(epoch, host, way.has_thread);
  queues.set_worker(worker.get(), context);
  worker->set_cpu_queues(&queues);
  Program on_cpu(XDP_PASS, way.steps, nullptr);
  ProgramEntry entry;
  entry.program = &on_cpu;
  CpuQueue* queue = way.over_queue ? queues.acquire(1, kQueueSize, &entry) : nullptr;
  Program to_cpu(XDP_REDIRECT, 0, queue);
  const Dispatcher dispatcher{way.over_queue ? &to_cpu : &on_cpu, "bench"};
  worker->add_port(port, &dispatcher, &stack);
  for (auto _ : state) worker->run({.packet_count_max = kPacketsOfARun});
  state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations() * kPacketsOfARun));
  if (queue != nullptr) {
    if (queue->counters().get(Counter::kCpumapDropped) != 0) state.SkipWithError("drops");
    queues.release(queue);
  }
  queues.shut_down();
}

void without_queue(benchmark::State& state) {
  run_packets(state, {.over_queue = false, .has_thread = false, .steps = 0});
}
void served_by_worker(benchmark::State& state) {
  run_packets(state, {.over_queue = true, .has_thread = false, .steps = 0});
}
void served_by_thread(benchmark::State& state) {
  run_packets(state, {.over_queue = true, .has_thread = true, .steps = 0});
}
void heavy_on_the_worker(benchmark::State& state) {
  run_packets(state, {.over_queue = false, .has_thread = false, .steps = kHeavySteps});
}
void heavy_on_its_cpu(benchmark::State& state) {
  run_packets(state, {.over_queue = true, .has_thread = true, .steps = kHeavySteps});
}

BENCHMARK(without_queue)->Name("CpuQueue/None");
BENCHMARK(served_by_worker)->Name("CpuQueue/ServedByTheWorker");
BENCHMARK(served_by_thread)->Name("CpuQueue/ServedByAThread")->UseRealTime();
BENCHMARK(heavy_on_the_worker)->Name("CpuQueue/HeavyOnTheWorker")->UseRealTime();
BENCHMARK(heavy_on_its_cpu)->Name("CpuQueue/HeavyOnItsCpu")->UseRealTime();

}  // namespace
