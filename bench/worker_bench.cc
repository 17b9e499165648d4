// SPDX-License-Identifier: Apache-2.0
//
// What a worker's round costs beside the program: take, count, deliver, and what is done once per
// batch (grace periods, timers, tables).
//
// A port that has frames without end and sends into nothing, a program that says the same of each,
// and no system call: what is measured is the loop alone. Worker/Round/1 shows what is paid per
// batch, Worker/Round/64 what of it a packet pays; Worker/Run is one run of a million packets, as
// `lmn run` does it, per packet.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <memory>

#include "dataplane/worker.h"
#include "endless_port.h"
#include "packet/frame_pool.h"

namespace {

using namespace lmn;

class SameVerdict final : public CompiledProgram {
 public:
  explicit SameVerdict(std::uint32_t verdict) : verdict_(verdict) {}
  void run_deferred(const DeferredCall&, RunContext&) noexcept override {}
  void run_batch(FrameBatch& batch, RunContext&) noexcept override {
    std::fill_n(batch.verdicts.begin(), batch.count, verdict_);
  }
  std::uint32_t run(XdpBuff&, RunContext&) noexcept override { return verdict_; }
  const void* interpreter_image() const noexcept override { return nullptr; }

 private:
  std::uint32_t verdict_;
};

constexpr std::uint32_t kTransmit = 3;

struct Bench {
  SystemClock clock;
  FramePool pool = std::move(*FramePool::create(limits::kFramesDefault));
  EndlessPort port{pool};
  SameVerdict program{kTransmit};
  Dispatcher dispatcher{&program, "same"};
  Epoch epoch;
  std::unique_ptr<Worker> worker;

  Bench() {
    RunContext context;
    context.clock = &clock;
    epoch.start();
    worker = *Worker::create(context, &epoch);
    worker->add_port(port, &dispatcher, nullptr);
  }
};

void poll_rounds(benchmark::State& state) {
  Bench bench;
  const auto per_batch = static_cast<std::uint64_t>(state.range(0));
  for (auto _ : state) benchmark::DoNotOptimize(bench.worker->poll_once(per_batch));
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(poll_rounds)->Name("Worker/Round")->Arg(1)->Arg(64);

void run_many(benchmark::State& state) {
  Bench bench;
  constexpr std::uint64_t kPackets = 1'000'000;
  for (auto _ : state) {
    benchmark::DoNotOptimize(bench.worker->run({.packet_count_max = kPackets}));
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kPackets));
}
BENCHMARK(run_many)->Name("Worker/Run");

}  // namespace
