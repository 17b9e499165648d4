// SPDX-License-Identifier: Apache-2.0
//
// CpuQueues: the CPU queues of an engine: what entries of its CPUMAPs name.
//
// A CPU number is a thread: all queues of one number share it, and those of the worker's own number
// are served by the worker (cpu_thread.h says why). Without threads the worker serves every number,
// each with a context of its own, at the end of its round and in the order of arrival: so the same
// packets give the same run, which replays need. That is chosen by EngineOptions::cpu_queues.
//
//   acquire()   a map's slot gets a queue; when it returns, the thread runs and serves it
//   release()   the slot let go of it. Frames that are in it, and those that a run under way still
//               puts there, go their way; it is freed behind them, when two grace periods are over:
//               one until no new frame can come, and, when it is empty and off all lists, one until
//               nobody has a list with it. sweep() looks for such queues: in each acquire and
//               release, when the worker idles, and at the end of a run.
//
// Invariants: (1) a queue's program is released after the queue is freed, once; (2) counters of a
// number only go up: those of queues that are gone stay in the sum.
// Threads: acquire, release, sweep, stats: any control thread; CpuQueueSource's part: the worker;
// set_worker, shut_down: while nothing runs. Tested by cpu_queues_test.cc.
// Source: Linux 6.18, kernel/bpf/cpumap.c (cpu_map_update_elem, __cpu_map_entry_replace).
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/epoch.h"
#include "base/mutex.h"
#include "dataplane/cpu_queue.h"
#include "dataplane/cpu_thread.h"
#include "maps/map.h"

namespace lmn {

// What became of the frames that were sent to one CPU.
struct CpuStats {
  std::uint32_t cpu = 0;
  bool has_thread = false;
  CounterSnapshot counters{};
  std::uint64_t held_count = 0;  // frames on their way
};

class CpuQueues final : public CpuQueueSource {
 public:
  // `host` takes the programs back. Without threads the worker serves all.
  CpuQueues(Epoch& epoch, MapHost& host, bool has_threads)
      : epoch_(epoch), host_(host), has_threads_(has_threads) {}
  ~CpuQueues() override;
  CpuQueues(const CpuQueues&) = delete;
  CpuQueues& operator=(const CpuQueues&) = delete;

  // Who delivers, and what programs may touch: called once before the first acquire().
  void set_worker(Worker* worker, const RunContext& context) LMN_EXCLUDES(lock_);
  // What programs may touch from now on. REQUIRES: no run.
  void set_context(const RunContext& context) LMN_EXCLUDES(lock_);

  // A queue of `queue_size` frames to `cpu` that runs `program` (null: everything passes) and takes
  // over the reference to it. Null: the system gives no thread; then the program is the caller's.
  CpuQueue* acquire(std::uint32_t cpu, std::uint32_t queue_size,
                    const ProgramEntry* program) noexcept LMN_EXCLUDES(lock_);
  void release(FrameSink* queue) noexcept LMN_EXCLUDES(lock_);
  // Frees what can be freed; how many queues are left, those in use included.
  std::size_t sweep() noexcept LMN_EXCLUDES(lock_);
  // Ends all threads. From now on a queue is freed as soon as its slot lets go of it, with the
  // frames in it. REQUIRES: no run, now or later.
  void shut_down() noexcept LMN_EXCLUDES(lock_);

  // By CPU number, those that ever had a queue. Exact while nothing runs.
  std::vector<CpuStats> stats() const LMN_EXCLUDES(lock_);
  std::uint64_t frames_held() const LMN_EXCLUDES(lock_);
  std::size_t queue_count() const LMN_EXCLUDES(lock_);

  // CpuQueueSource
  std::span<const Served> queues() noexcept override LMN_EXCLUDES(lock_);
  void publish_tables(const RunContext& worker) noexcept override;
  void on_idle() noexcept override LMN_EXCLUDES(lock_);

 private:
  struct Cpu {
    std::uint32_t number;
    std::unique_ptr<CpuThread> thread;  // null: the worker
    RunContext context;                 // of the worker for this number; unused with a thread
    CounterSnapshot gone{};             // counters of queues that are freed
  };
  enum class Stage : std::uint8_t { kUsed, kReleased, kUnlinked };
  struct Entry {
    std::unique_ptr<CpuQueue> queue;
    Cpu* cpu;
    Stage stage = Stage::kUsed;
    Epoch::Stamp stamp = 0;  // of the stage
  };

  Cpu* find_or_make_cpu(std::uint32_t number) noexcept LMN_REQUIRES(lock_);
  void tell_lists(const Cpu& cpu) noexcept LMN_REQUIRES(lock_);
  bool advance(Entry& entry) noexcept LMN_REQUIRES(lock_);
  std::size_t sweep_locked() noexcept LMN_REQUIRES(lock_);
  void free_entry(Entry& entry) noexcept LMN_REQUIRES(lock_);

  Epoch& epoch_;
  MapHost& host_;
  const bool has_threads_;
  Worker* worker_ = nullptr;
  std::uint32_t worker_cpu_ = 0;
  CpuTables tables_;

  mutable Mutex lock_;
  RunContext context_ LMN_GUARDED_BY(lock_);
  std::vector<std::unique_ptr<Cpu>> cpus_ LMN_GUARDED_BY(lock_);
  std::vector<Entry> entries_ LMN_GUARDED_BY(lock_);
  bool is_shut_down_ LMN_GUARDED_BY(lock_) = false;
  std::vector<Served> list_ LMN_GUARDED_BY(lock_);  // what the worker is to have
  std::atomic<std::uint64_t> list_number_{0};       // goes up with each
  std::atomic<bool> has_released_{false};           // sweep() has something to look at

  // The worker's.
  std::vector<Served> served_;
  std::uint64_t served_number_ = 0;
};

}  // namespace lmn
