// SPDX-License-Identifier: Apache-2.0
//
// Worker: one thread that polls receive queues, runs programs on what they bring, and sees every
// frame to its outcome.
//
//   for each queue in turn: receive (budget 64) -> run -> deliver -> flush
//
// When a whole round brings nothing it sleeps in poll(2) on the queues' descriptors and its own
// wake-up descriptor; queues without one are fed by this worker itself (veth) or by somebody who
// calls wake() (memory). A transmit queue that could not send everything (a full ring) shortens the
// sleep to one millisecond and is flushed again.
//
// What it polls is a Wiring, immutable and replaced as a whole: the worker looks for a new one
// after each batch, and says there that it uses nothing of before (base/epoch.h). Who replaces it
// frees the old one after a grace period. While the worker sleeps or does not run it holds nobody
// up.
//
// CPU queues (cpu_queue.h) are served at the end of each round: those without a thread run here,
// and what is through in any is delivered. run() ends only when they are empty.
//
// Invariants: (1) frames of one queue are run and delivered in the order of arrival; (2) at the end
// of poll_once() no frame is owned by the worker: each is in the pool, in a sink, or in a port; (3)
// between two rounds nothing of the worker's points into a port or a program.
// Threads: run() and poll_once() from one thread at a time; exchange_wiring(), between_rounds(),
// stop() and wake() from any, the last two also from a signal handler; add_port(), clear_ports()
// and context() while nothing runs. Tested by dataplane_test.cc.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "base/epoch.h"
#include "base/mutex.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "dataplane/cpu_queue.h"
#include "dataplane/dispatcher.h"
#include "dataplane/outcome.h"
#include "ports/port.h"

namespace lmn {

// What ends a run; 0 means no such limit.
struct RunLimits {
  std::uint64_t packet_count_max = 0;
  std::uint64_t duration_ns_max = 0;
};

enum class RunEnd : std::uint8_t { kInputEnded, kPacketCount, kDuration, kStopped };

// What a worker polls, what runs there, and where it goes.
struct Wiring {
  struct Binding {
    Port* port;
    RxQueue* rx;
    Dispatcher dispatcher;  // without a program everything passes
    OutcomeTargets targets;
  };
  std::vector<Binding> bindings;

  void add_port(Port& port, const Dispatcher* dispatcher, FrameSink* pass_sink);
};

class Worker {
 public:
  // `context` carries clock, trace sink, ports and CPU number for every run; it is copied. The
  // worker is a reader of `epoch` while it runs; null: nothing that it sees is freed meanwhile.
  static Result<std::unique_ptr<Worker>> create(const RunContext& context, Epoch* epoch = nullptr);

  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // Adds a port to poll, to a wiring of the worker's own. `dispatcher` may be null: everything
  // passes; it is copied. REQUIRES: run() is not running, no other wiring was given; the port
  // outlives the worker.
  void add_port(Port& port, const Dispatcher* dispatcher, FrameSink* pass_sink);
  void clear_ports() { own_wiring_.bindings.clear(); }
  // Polls what `wiring` says, from the next batch on; gives what was used before, null at first.
  // What is given must live until a grace period after it was replaced.
  const Wiring* exchange_wiring(const Wiring* wiring) noexcept;
  // What its programs may touch. REQUIRES: run() is not running.
  RunContext& context() { return context_; }
  // The CPU queues to see to; null: none. REQUIRES: run() is not running; it outlives the worker.
  void set_cpu_queues(CpuQueueSource* source) { cpu_queues_ = source; }

  // One round over all queues, with at most `packet_budget` frames in all. Returns the frames
  // received.
  std::size_t poll_once(std::uint64_t packet_budget = UINT64_MAX) noexcept;
  RunEnd run(const RunLimits& limits) noexcept;

  void stop() noexcept;
  void wake() noexcept;
  // As wake(), for who may ring for each bulk: no system call unless the worker sleeps.
  void ring() noexcept;

  // Calls `chore` while no round is under way and none begins: between two rounds on the worker's
  // thread when it runs, else here and now. Returns when it is done. For what only the worker may
  // touch: frames, pools, the ports' queues. It waits for no grace period. REQUIRES: not called
  // from within a round.
  void between_rounds(const std::function<void()>& chore) LMN_EXCLUDES(chores_lock_);

 private:
  class Turn;  // one stay on the worker's thread, from entering to leaving

  Worker(const RunContext& context, Epoch* epoch) : context_(context), epoch_(epoch) {}
  void enter() noexcept LMN_EXCLUDES(chores_lock_);
  bool try_enter() noexcept LMN_EXCLUDES(chores_lock_);
  void leave() LMN_EXCLUDES(chores_lock_);
  void do_chores() LMN_EXCLUDES(chores_lock_);
  const Wiring& wiring() const noexcept;
  std::size_t poll_round(Turn& turn, std::uint64_t packet_budget) noexcept;
  void process(const Wiring::Binding& binding) noexcept;
  void run_dispatcher(const Dispatcher& dispatcher) noexcept;
  std::size_t serve_cpu_queues(Turn& turn) noexcept;
  bool cpu_queues_hold(bool (*what)(const CpuQueue&)) noexcept;
  void empty_cpu_queues(Turn& turn) noexcept;
  RunEnd run_rounds(Turn& turn, const RunLimits& limits) noexcept;
  bool all_exhausted() const noexcept;
  bool flush_pending() noexcept;
  bool may_sleep() noexcept;
  void sleep(Turn& turn, std::uint64_t until_ns) noexcept;

  RunContext context_;
  Epoch* epoch_;
  FrameBatch batch_;
  FlushList flush_;
  Wiring own_wiring_;
  std::atomic<const Wiring*> wiring_{nullptr};   // null: the own one
  std::atomic<std::uint64_t> wiring_number_{0};  // goes up after it was replaced
  CpuQueueSource* cpu_queues_ = nullptr;
  UniqueFd wakeup_;
  std::atomic<bool> is_stopping_{false};
  std::atomic<bool> is_asleep_{false};
  SpinLock chores_lock_;
  // Somebody polls, or does a chore in the worker's place.
  bool is_occupied_ LMN_GUARDED_BY(chores_lock_) = false;
  std::vector<const std::function<void()>*> chores_ LMN_GUARDED_BY(chores_lock_);
  std::uint64_t chores_asked_ LMN_GUARDED_BY(chores_lock_) = 0;
  std::atomic<std::uint64_t> chores_done_{0};
  std::atomic<bool> has_chores_{false};
};

}  // namespace lmn
