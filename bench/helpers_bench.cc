// SPDX-License-Identifier: Apache-2.0
//
// What a helper costs: ours, called through the table as the interpreter calls it, and the
// kernel's, for comparison. Times are per call.
//
// The kernel's side is a program of 32 equal calls under BPF_PROG_TEST_RUN, less a program without
// calls; the verifier is told nothing that it could inline by. Without the right to load programs
// those rows say so and are skipped. adjust_head is two calls there and back, as programs use it.
#include <benchmark/benchmark.h>
#include <linux/bpf.h>

#include <array>
#include <string>
#include <vector>

#include "differential/raw_insn.h"
#include "harness/kernel_oracle.h"
#include "helpers/test_run.h"

namespace {

using namespace lmn;       // NOLINT(google-build-using-namespace)
using namespace lmn::raw;  // NOLINT(google-build-using-namespace)

constexpr int kBytes = 20;  // an IPv4 header

// --- ours

class OurSide {
 public:
  OurSide() : run_(std::vector<std::uint8_t>(64)) { run_.context.clock = &clock_; }

  template <typename... Args>
  void call(benchmark::State& state, std::uint32_t id, Args... args) {
    const HelperFn body = helper_function(id);
    std::array<std::uint64_t, 5> r = {static_cast<std::uint64_t>(args)...};
    for (auto _ : state) {
      benchmark::DoNotOptimize(body(r[0], r[1], r[2], r[3], r[4], &run_.context));
    }
    state.SetItemsProcessed(state.iterations());
  }
  RunContext* context() { return &run_.context; }
  std::uint64_t memory() { return reinterpret_cast<std::uintptr_t>(memory_.data()); }

 private:
  SystemClock clock_;
  TestRun run_;
  alignas(8) std::array<std::uint8_t, 64> memory_{};
};

void our_call(benchmark::State& state, std::uint32_t id) { OurSide().call(state, id); }

void our_csum_diff(benchmark::State& state) {
  OurSide ours;
  ours.call(state, BPF_FUNC_csum_diff, ours.memory(), kBytes, ours.memory() + 32, kBytes, 0);
}

void our_load_bytes(benchmark::State& state) {
  OurSide ours;
  ours.call(state, BPF_FUNC_xdp_load_bytes, 0, 14, ours.memory(), kBytes);
}

void our_redirect(benchmark::State& state) { OurSide().call(state, BPF_FUNC_redirect, 3, 0); }

void our_adjust_head(benchmark::State& state) {
  OurSide ours;
  const HelperFn body = helper_function(BPF_FUNC_xdp_adjust_head);
  const auto back = static_cast<std::uint64_t>(-14);
  for (auto _ : state) {
    benchmark::DoNotOptimize(body(0, back, 0, 0, 0, ours.context()));
    benchmark::DoNotOptimize(body(0, 14, 0, 0, 0, ours.context()));
  }
  state.SetItemsProcessed(state.iterations());
}

// --- the kernel's

constexpr int kCalls = 32;
constexpr std::uint32_t kRepeat = 300'000;
using Insns = std::vector<struct bpf_insn>;

std::uint32_t kernel_ns(const Insns& once, int calls) {
  Insns program = {move(6, 1)};
  for (int offset = -64; offset < 0; offset += 8) {
    program.push_back(insn(BPF_ST | BPF_MEM | BPF_DW, 10, 0, offset, 0));
  }
  for (int i = 0; i < calls; ++i) program.insert(program.end(), once.begin(), once.end());
  program.push_back(move_imm(0, XDP_PASS));
  program.push_back(exit());
  const KernelProgram loaded = KernelProgram::load(program);
  if (!loaded.is_loaded()) return 0;
  return loaded.run(std::vector<std::uint8_t>(64), {.repeat = kRepeat}).duration_ns;
}

void kernel_call(benchmark::State& state, const Insns& once) {
  if (auto reason = why_no_kernel_oracle()) return state.SkipWithError(reason->c_str());
  for (auto _ : state) {
    const std::uint32_t floor = kernel_ns(once, 0);
    const std::uint32_t total = kernel_ns(once, kCalls);
    state.SetIterationTime((static_cast<double>(total) - floor) / kCalls * 1e-9);
  }
  state.SetItemsProcessed(state.iterations());
}

Insns stack_address(int reg, int offset) { return {move(reg, 10), alu_imm(BPF_ADD, reg, offset)}; }

Insns operator+(Insns a, const Insns& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

Insns kernel_csum_diff() {
  return stack_address(1, -64) + Insns{move_imm(2, kBytes)} + stack_address(3, -32) +
         Insns{move_imm(4, kBytes), move_imm(5, 0), call(BPF_FUNC_csum_diff)};
}
Insns kernel_load_bytes() {
  return Insns{move(1, 6), move_imm(2, 14)} + stack_address(3, -64) +
         Insns{move_imm(4, kBytes), call(BPF_FUNC_xdp_load_bytes)};
}
Insns kernel_adjust_head() {
  return {move(1, 6), move_imm(2, -14), call(BPF_FUNC_xdp_adjust_head),
          move(1, 6), move_imm(2, 14),  call(BPF_FUNC_xdp_adjust_head)};
}
Insns kernel_redirect() { return {move_imm(1, 3), move_imm(2, 0), call(BPF_FUNC_redirect)}; }

void compare(const char* name, void (*ours)(benchmark::State&), Insns kernel) {
  benchmark::RegisterBenchmark((std::string("Helper/") + name).c_str(), ours);
  benchmark::RegisterBenchmark((std::string("Kernel/") + name).c_str(),
                               [kernel](benchmark::State& state) { kernel_call(state, kernel); })
      ->UseManualTime()
      ->Iterations(3);
}

template <std::uint32_t kId>
void compare_plain(const char* name) {
  compare(name, [](benchmark::State& state) { our_call(state, kId); }, {call(kId)});
}

const bool kRegistered = [] {
  compare_plain<BPF_FUNC_ktime_get_ns>("ktime_get_ns");
  compare_plain<BPF_FUNC_ktime_get_coarse_ns>("ktime_get_coarse_ns");
  compare_plain<BPF_FUNC_get_prandom_u32>("get_prandom_u32");
  compare_plain<BPF_FUNC_get_smp_processor_id>("get_smp_processor_id");
  compare("redirect", our_redirect, kernel_redirect());
  compare("adjust_head_pair", our_adjust_head, kernel_adjust_head());
  compare("csum_diff_20", our_csum_diff, kernel_csum_diff());
  compare("load_bytes_20", our_load_bytes, kernel_load_bytes());
  return true;
}();

}  // namespace
