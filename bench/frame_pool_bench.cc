// SPDX-License-Identifier: Apache-2.0
//
// What a frame costs before any program sees it: taking it from the pool and giving it back, and
// touching its header.
//
// SwapMacs runs over a whole pool, twice: over the pool's frames, each of which starts one cache
// line later in its page than its neighbour, and over frames that all start at the same offset of a
// page. The second is what the stagger avoids. Times are per frame.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <vector>

#include "packet/frame_pool.h"

namespace {

using lmn::FramePool;
namespace limits = lmn::limits;

constexpr std::size_t kFrames = limits::kFramesDefault;

void count_frames(benchmark::State& state, std::size_t per_iteration) {
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(per_iteration));
}

void allocate_and_free(benchmark::State& state) {
  auto pool = FramePool::create(kFrames);
  if (!pool) return state.SkipWithError("no memory for a pool");
  std::array<std::uint8_t*, limits::kBatchSize> batch{};
  for (auto _ : state) {
    for (std::uint8_t*& frame : batch) frame = pool->allocate();
    benchmark::DoNotOptimize(batch.data());
    for (std::uint8_t* frame : batch) pool->free(frame);
  }
  count_frames(state, batch.size());
}

void swap_macs(std::uint8_t* packet) { std::swap_ranges(packet, packet + 6, packet + 6); }

void swap_all(benchmark::State& state, const std::vector<std::uint8_t*>& packets) {
  for (auto _ : state) {
    for (std::uint8_t* packet : packets) swap_macs(packet);
    benchmark::ClobberMemory();
  }
  count_frames(state, packets.size());
}

void swap_staggered(benchmark::State& state) {
  auto pool = FramePool::create(kFrames);
  if (!pool) return state.SkipWithError("no memory for a pool");
  std::vector<std::uint8_t*> packets;
  while (std::uint8_t* frame = pool->allocate()) packets.push_back(frame + limits::kHeadroomBytes);
  swap_all(state, packets);
}

void swap_same_offset(benchmark::State& state) {
  std::vector<std::uint8_t> memory((kFrames + 1) * limits::kFrameBytes);
  std::vector<std::uint8_t*> packets;
  for (std::size_t i = 0; i < kFrames; ++i) {
    packets.push_back(memory.data() + i * limits::kFrameBytes + limits::kHeadroomBytes);
  }
  swap_all(state, packets);
}

BENCHMARK(allocate_and_free)->Name("FramePool/AllocateAndFree");
BENCHMARK(swap_staggered)->Name("FramePool/SwapMacs/staggered");
BENCHMARK(swap_same_offset)->Name("FramePool/SwapMacs/same_offset");

}  // namespace
