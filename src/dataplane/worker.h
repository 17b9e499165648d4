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
// Invariants: (1) frames of one queue are run and delivered in the order of arrival; (2) at the end
// of poll_once() no frame is owned by the worker: each is in the pool, in a sink, or in a port.
// Threads: add_port(), run() and poll_once() from one thread; stop() and wake() from any, also from
// a signal handler. Tested by dataplane_test.cc.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/unique_fd.h"
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

class Worker {
 public:
  // `context` carries clock, trace sink, ports and CPU number for every run; it is copied.
  static Result<std::unique_ptr<Worker>> create(const RunContext& context);

  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // Adds a port to poll. `dispatcher` may be null: everything passes. REQUIRES: run() is not
  // running; all outlive the worker.
  void add_port(Port& port, const Dispatcher* dispatcher, FrameSink* pass_sink);
  void clear_ports() { bindings_.clear(); }
  // What its programs may touch. REQUIRES: run() is not running.
  RunContext& context() { return context_; }

  // One round over all queues, with at most `packet_budget` frames in all. Returns the frames
  // received.
  std::size_t poll_once(std::uint64_t packet_budget = UINT64_MAX) noexcept;
  RunEnd run(const RunLimits& limits) noexcept;

  void stop() noexcept;
  void wake() noexcept;

 private:
  struct Binding {
    Port* port;
    RxQueue* rx;
    const Dispatcher* dispatcher;
    OutcomeTargets targets;
  };

  explicit Worker(const RunContext& context) : context_(context) {}
  void process(Binding& binding) noexcept;
  void run_dispatcher(const Dispatcher* dispatcher) noexcept;
  bool all_exhausted() const noexcept;
  bool flush_pending() noexcept;
  void sleep(std::uint64_t until_ns) noexcept;

  RunContext context_;
  FrameBatch batch_;
  FlushList flush_;
  std::vector<Binding> bindings_;
  UniqueFd wakeup_;
  std::atomic<bool> is_stopping_{false};
};

}  // namespace lmn
