// SPDX-License-Identifier: Apache-2.0
//
// CpuThread: the thread that is a CPU to programs: it runs those of all CPU queues of one number.
//
// To a program a CPU number means: nothing else runs here meanwhile. Per-CPU values, per-CPU rings
// and scratch maps rely on it. So there is one thread per number and not, as in Linux, one per map
// entry: two entries for a CPU take turns on its thread as Linux's two threads take turns on their
// CPU, and the worker's own number has no thread at all: its queues are served by the worker. The
// thread is named cpumap/N and bound to CPU N where the machine has it and lets us; otherwise it
// runs where the system puts it, for a number is a promise to programs, a place only an advice.
//
// What a result points to (a sink, a map, a program that a redirect found) must not be freed before
// the worker has used it. So the thread passes its grace periods only when all its results are
// delivered, and after kBulksMax bulks it waits for that: a worker delivers once a round.
// Invariants: (1) after set_queues() returns the thread uses no queue that is not among them;
// (2) it is offline while it sleeps without undelivered results.
// Threads: control calls from one at a time. Tested by cpu_queue_test.cc.
// Source: Linux 6.18, kernel/bpf/cpumap.c (cpu_map_kthread_run).
#pragma once

#include <pthread.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/epoch.h"
#include "base/mutex.h"
#include "base/result.h"
#include "base/sleep_bell.h"
#include "dataplane/cpu_queue.h"
#include "packet/frame_batch.h"
#include "packet/run_context.h"

namespace lmn {

class Worker;

class CpuThread {
 public:
  static constexpr std::size_t kBulksMax = CpuQueue::kResultsMax / CpuQueue::kBulkFrames;

  // Returns when the thread runs. `worker` delivers the results; null: somebody else does, unasked.
  // Errors: kLimitExceeded (ENOMEM) when the system gives no thread.
  static Result<std::unique_ptr<CpuThread>> start(const RunContext& context, Epoch& epoch,
                                                  const CpuTables& tables, Worker* worker);
  // Ends the thread; what rests in its queues stays there.
  ~CpuThread();
  CpuThread(const CpuThread&) = delete;
  CpuThread& operator=(const CpuThread&) = delete;

  SleepBell& bell() noexcept { return bell_; }
  std::uint32_t cpu() const noexcept { return cpu_; }
  // Returns when the thread works with these and no others.
  void set_queues(std::vector<CpuQueue*> queues) noexcept LMN_EXCLUDES(lock_);
  // What its programs may touch from now on; the CPU's number and random numbers stay.
  void set_context(const RunContext& context) noexcept LMN_EXCLUDES(lock_);

 private:
  CpuThread(const RunContext& context, Epoch& epoch, const CpuTables& tables, Worker* worker)
      : cpu_(context.cpu),
        epoch_(epoch),
        tables_(tables),
        worker_(worker),
        next_context_(context),
        context_(context) {}
  static void* entry(void* self) noexcept;
  void run() noexcept;
  void take_orders() noexcept LMN_EXCLUDES(lock_);
  std::size_t run_queues() noexcept;
  bool has_undelivered() const noexcept;
  bool must_get_up(bool was_settled) noexcept;
  void rest(EpochReader& reader) noexcept;
  void order() noexcept;

  const std::uint32_t cpu_;
  Epoch& epoch_;
  const CpuTables& tables_;
  Worker* const worker_;
  pthread_t thread_{};
  SleepBell bell_;

  Mutex lock_;  // of what is ordered, not of what runs
  std::vector<CpuQueue*> next_queues_ LMN_GUARDED_BY(lock_);
  RunContext next_context_ LMN_GUARDED_BY(lock_);
  std::atomic<std::uint64_t> ordered_{0};
  std::atomic<std::uint64_t> done_{0};
  std::atomic<bool> is_stopping_{false};

  // The thread's.
  std::vector<CpuQueue*> queues_;
  RunContext context_;
  FrameBatch batch_;
  std::size_t bulk_count_ = 0;  // since the last pass
};

}  // namespace lmn
