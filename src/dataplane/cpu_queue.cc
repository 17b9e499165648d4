// SPDX-License-Identifier: Apache-2.0
//
// CPU queues: the two rings, the bulk, and what becomes of the results. Tested by
// cpu_queue_test.cc. Source: Linux 6.18, kernel/bpf/cpumap.c (bq_enqueue, bq_flush_to_queue,
// cpu_map_bpf_prog_run_xdp).
#include "dataplane/cpu_queue.h"

#include <linux/bpf.h>

#include <algorithm>
#include <cerrno>

#include "base/assert.h"
#include "dataplane/worker.h"
#include "exec/compiled_program.h"

namespace lmn {
namespace {

// What a frame may have brought along from its port.
constexpr std::uint16_t kAllMetadata =
    kMetaHash | kMetaTime | kMetaVlan | kMetaChecksum | kMetaMark;
// A verdict that is no action, for those that mean nothing on a CPU queue.
constexpr std::uint32_t kNoAction = UINT32_MAX;

}  // namespace

CpuQueue::CpuQueue(std::uint32_t cpu, std::uint32_t queue_size, const ProgramEntry* program,
                   SleepBell* bell)
    : cpu_(cpu), program_(program), bell_(bell), ring_(queue_size), results_(kResultsMax) {}

CpuQueue::~CpuQueue() {
  std::for_each_n(bulk_.begin(), bulk_count_, free_frame);
  XdpFrame* frame = nullptr;
  while (ring_.pop(frame)) free_frame(frame);
  CpuResult result;
  while (results_.pop(result)) free_frame(result.frame);
}

int CpuQueue::check(std::uint32_t) const noexcept { return is_closed_ ? ENETDOWN : 0; }

void CpuQueue::enqueue(XdpFrame* frame) noexcept {
  accepted_.store(accepted_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  bulk_[bulk_count_++] = frame;
  if (bulk_count_ == kBulkFrames) flush();
}

void CpuQueue::flush() noexcept {
  if (bulk_count_ == 0) return;
  std::uint64_t dropped = 0;
  for (std::size_t i = 0; i < bulk_count_; ++i) {
    if (ring_.push(bulk_[i])) continue;
    free_frame(bulk_[i]);  // ENOSPC
    ++dropped;
  }
  counters_.add(Counter::kCpumapEnqueued, bulk_count_ - dropped);
  counters_.add(Counter::kCpumapDropped, dropped);
  accepted_.store(accepted_.load(std::memory_order_relaxed) - dropped, std::memory_order_release);
  bulk_count_ = 0;
  if (bell_ != nullptr) bell_->ring();
}

std::size_t CpuQueue::run_bulk(FrameBatch& batch, RunContext& context) noexcept {
  const std::size_t count = std::min(kBulkFrames, results_.room());
  batch.clear();
  XdpFrame* frame = nullptr;
  while (batch.count < count && ring_.pop(frame)) {
    const std::size_t i = batch.count++;
    origins_[i] = {.ifindex = frame->ingress_ifindex, .queue_index = 0, .metadata = kAllMetadata};
    lengths_[i] = frame->length;
    batch.buffs[i] = to_buff(*frame, origins_[i]);
    batch.verdicts[i] = XDP_PASS;
    batch.redirects[i] = {};
  }
  if (batch.count == 0) return 0;
  if (program_ != nullptr) {
    const std::uint64_t trapped_before = context.trapped_count;
    program_->program->run_batch(batch, context);
    trapped_count_.fetch_add(context.trapped_count - trapped_before, std::memory_order_relaxed);
  }
  for (std::size_t i = 0; i < batch.count; ++i) {
    const std::uint32_t verdict = batch.verdicts[i] == XDP_TX ? kNoAction : batch.verdicts[i];
    results_.push({to_frame(batch.buffs[i]), verdict, lengths_[i], batch.redirects[i]});
  }
  run_count_ += batch.count;
  return batch.count;
}

bool CpuQueue::take(CpuResult& result) noexcept {
  if (!results_.pop(result)) return false;
  ++taken_count_;
  return true;
}

void CpuQueue::set_delivered() noexcept {
  if (delivered_.load(std::memory_order_relaxed) == taken_count_) return;
  counters_.set(Counter::kXdpTrapped, trapped_count_.load(std::memory_order_relaxed));
  delivered_.store(taken_count_, std::memory_order_release);
  if (bell_ != nullptr) bell_->ring();
}

std::size_t deliver_results(CpuQueue& queue, const Wiring& wiring, FrameBatch& batch,
                            RunContext& context, FlushList& flush) noexcept {
  static constexpr RxQueueInfo kUnknownPort;
  const Wiring::Binding* origin = nullptr;  // null: the port of arrival is gone
  const auto origin_of = [&](std::uint32_t ifindex) -> const Wiring::Binding* {
    const auto found = std::ranges::find(
        wiring.bindings, ifindex,
        [](const Wiring::Binding& binding) { return binding.rx->info().ifindex; });
    return found != wiring.bindings.end() ? &*found : nullptr;
  };
  const auto hand_over = [&] {
    FrameSink* pass_sink = origin != nullptr ? origin->targets.pass_sink : nullptr;
    deliver(batch, {.tx = nullptr, .pass_sink = pass_sink}, context, queue.counters(), flush);
  };
  std::size_t count = 0;
  std::uint64_t bytes = 0;
  CpuResult result;
  batch.clear();
  batch.limit = limits::kBatchSize;
  // As many as there are now: the CPU may go on bringing more.
  for (std::size_t left = CpuQueue::kResultsMax; left > 0 && queue.take(result); --left) {
    const Wiring::Binding* from = origin_of(result.frame->ingress_ifindex);
    if (batch.is_full() || (from != origin && batch.count > 0)) hand_over();
    origin = from;
    const std::size_t i = batch.count++;
    batch.buffs[i] = to_buff(*result.frame, from != nullptr ? from->rx->info() : kUnknownPort);
    batch.verdicts[i] = result.verdict;
    batch.redirects[i] = result.redirect;
    bytes += result.received_bytes;
    ++count;
  }
  queue.counters().add(Counter::kRxPackets, count);
  queue.counters().add(Counter::kRxBytes, bytes);
  hand_over();
  return count;
}

}  // namespace lmn
