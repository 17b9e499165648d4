// SPDX-License-Identifier: Apache-2.0
//
// CpuQueue: what an entry of a CPUMAP is: a bounded queue of frames to another CPU, and a program
// that runs on them there.
//
//   the worker:             enqueue -> bulk of 8 -> ring ------.       .-> deliver_results -> sinks
//   the thread of the CPU:                                      run_bulk
//
// In Linux the CPU at the other end also carries the packets up its stack. Here it runs the entry's
// program and hands each frame back with its verdict; the worker that owns ports, pool and counters
// sees it to its outcome. So a port's transmit queue, a pool and a counter have one thread, and who
// uses no CPU queue pays no lock for those who do (docs/decisions/0005-cpu-queues.md).
//
// A frame that does not fit into the ring is dropped and counted, as in Linux: a producer never
// waits. XDP_TX and XDP_ABORTED mean nothing there: a frame is dropped, and counted as xdp_unknown
// or xdp_aborted. The program sees the port of arrival as ingress_ifindex, 0 as rx_queue_index, and
// what that port knew of the frame.
//
// Counters of a queue: cpumap_enqueued = rx_packets + pending(), and those of a receive queue
// (outcome.h). All are the worker's.
// Invariants: (1) each frame that enqueue() takes is dropped and counted at the next flush(), or in
// the ring, at the program, or among the results until it is delivered, in the order of arrival;
// (2) has_undelivered() is true until what the results point to (sinks, maps, programs) is no more
// used: the thread that ran the program goes through no grace period before.
// Threads: FrameSink's part, take(), set_delivered() and counters(): the worker; run_bulk() and
// has_work(): the thread of its CPU, or the worker; pending(): any. Tested by cpu_queue_test.cc.
// Source: Linux 6.18, kernel/bpf/cpumap.c.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "base/sleep_bell.h"
#include "base/spsc_ring.h"
#include "dataplane/outcome.h"
#include "packet/frame_batch.h"
#include "packet/frame_sink.h"
#include "packet/program_entry.h"
#include "packet/run_context.h"
#include "telemetry/counters.h"

namespace lmn {

struct Wiring;  // dataplane/worker.h

// A frame that is through: at rest, with the verdict and what the program left for a redirect.
struct CpuResult {
  XdpFrame* frame;
  std::uint32_t verdict;
  std::uint32_t received_bytes;  // its length before the program
  RedirectSlot redirect;
};

class CpuQueue final : public FrameSink {
 public:
  static constexpr std::size_t kBulkFrames = 8;    // CPU_MAP_BULK_SIZE and CPUMAP_BATCH
  static constexpr std::size_t kResultsMax = 256;  // that wait for the worker; then the CPU waits

  // `program` may be null: then everything passes. `bell` wakes the thread of the CPU; null: the
  // worker itself runs the program.
  CpuQueue(std::uint32_t cpu, std::uint32_t queue_size, const ProgramEntry* program,
           SleepBell* bell);
  // Frees the frames that still rest here. REQUIRES: no other thread uses it.
  ~CpuQueue() override;

  std::uint32_t cpu() const noexcept { return cpu_; }
  const ProgramEntry* program() const noexcept { return program_; }
  Counters& counters() noexcept { return counters_; }
  const Counters& counters() const noexcept { return counters_; }

  // --- FrameSink
  // ENETDOWN when it is closed.
  int check(std::uint32_t length_bytes) const noexcept override;
  void enqueue(XdpFrame* frame) noexcept override;
  void flush() noexcept override;
  std::uint64_t pending() const noexcept override {
    const std::uint64_t delivered = delivered_.load(std::memory_order_acquire);
    return accepted_.load(std::memory_order_acquire) - delivered;
  }
  // A closed queue takes no frame: the end of a run, when programs send frames round in circles.
  void set_closed(bool is_closed) noexcept { is_closed_ = is_closed; }

  // --- the CPU's part
  // Runs the program on the next bulk; how many frames that were. What does not fit among the
  // results waits.
  std::size_t run_bulk(FrameBatch& batch, RunContext& context) noexcept;
  bool has_work() noexcept { return !ring_.is_empty() && results_.room() > 0; }
  bool has_undelivered() const noexcept {
    return delivered_.load(std::memory_order_acquire) != run_count_;
  }

  // --- the worker's part
  std::size_t waiting() const noexcept { return ring_.size(); }
  bool has_results() const noexcept { return !results_.is_empty(); }
  bool take(CpuResult& result) noexcept;
  // What was taken is where it belongs, flushed: nothing of it is used any more.
  void set_delivered() noexcept;

 private:
  const std::uint32_t cpu_;
  const ProgramEntry* const program_;
  SleepBell* const bell_;
  SpscRing<XdpFrame*> ring_;
  SpscRing<CpuResult> results_;

  // The worker's.
  std::array<XdpFrame*, kBulkFrames> bulk_{};
  std::size_t bulk_count_ = 0;
  std::uint64_t taken_count_ = 0;
  bool is_closed_ = false;
  Counters counters_;
  std::atomic<std::uint64_t> accepted_{0};
  std::atomic<std::uint64_t> delivered_{0};

  // The CPU's.
  std::uint64_t run_count_ = 0;
  std::array<RxQueueInfo, kBulkFrames> origins_{};
  std::array<std::uint32_t, kBulkFrames> lengths_{};
  std::atomic<std::uint64_t> trapped_count_{0};
};

// Hands what is through in `queue` to its outcome; how many frames that were. `wiring` says where
// the PASS of a port goes, `batch` is room for the frames. The sinks that got some are in `flush`,
// to be flushed before set_delivered().
std::size_t deliver_results(CpuQueue& queue, const Wiring& wiring, FrameBatch& batch,
                            RunContext& context, FlushList& flush) noexcept;

// The tables that a worker may get anew between two rounds, for the threads of its queues. Who
// frees an old table waits for two grace periods: one until the new one is here, one until nobody
// uses the old one.
struct CpuTables {
  std::atomic<const RouteTable*> routes{nullptr};
  std::atomic<const SocketTable*> sockets{nullptr};
  void store(const RunContext& context) noexcept {
    routes.store(context.routes, std::memory_order_release);
    sockets.store(context.sockets, std::memory_order_release);
  }
  void load(RunContext& context) const noexcept {
    context.routes = routes.load(std::memory_order_acquire);
    context.sockets = sockets.load(std::memory_order_acquire);
  }
};

// The queues that a worker sees to. Implemented by the engine.
class CpuQueueSource {
 public:
  struct Served {
    CpuQueue* queue;
    RunContext* context;  // that the worker runs the program with; null: a thread does
  };
  virtual ~CpuQueueSource() = default;
  // All queues, as they are until the worker's next grace period.
  virtual std::span<const Served> queues() noexcept = 0;
  // What the worker's tables are now, for those who run the programs.
  virtual void publish_tables(const RunContext& worker) noexcept = 0;
  // The worker has nothing to do: queues that were given back may be freed.
  virtual void on_idle() noexcept = 0;
};

}  // namespace lmn
