// SPDX-License-Identifier: Apache-2.0
//
// Outcome: what becomes of a frame after its verdict, and the number that says so.
//
// Every frame that a batch brought ends in exactly one of: a pass sink, the pool (dropped, for a
// named reason), the port's own transmit queue, or a redirect target's queue. So for each receive
// queue at any batch border
//
//   rx_packets = xdp_aborted + xdp_drop + xdp_unknown + xdp_pass + xdp_tx + xdp_redirect
//   xdp_pass   = pass_delivered + pass_no_stack + pass_failed
//   xdp_redirect + generated = redirect_delivered + redirect_dropped + redirect_no_target +
//   redirect_no_group
//                            + redirect_down + redirect_too_long + redirect_failed
//
// which accounting_error() checks and every data-plane test asserts at its end. The frames of a CPU
// queue add up the same way in its own counters, with cpumap_enqueued = rx_packets + those under
// way.
//
// Semantics: rules.md sections 2 and 3 of the project's reference, from Linux 6.18
// net/core/filter.c (xdp_do_redirect) and kernel/bpf/devmap.c: redirect without a target is EINVAL
// and a drop; invalid members of a broadcast are skipped in silence; an empty group is no error;
// n-1 copies are made and the last target gets the original. Not done yet: entry programs run when
// a frame is handed over and not when the bulk is flushed (docs/kernel-differences.md). Threads:
// one worker. Tested by dataplane_test.cc.
#pragma once

#include <string>
#include <vector>

#include "packet/frame_batch.h"
#include "packet/frame_sink.h"
#include "packet/run_context.h"
#include "telemetry/counters.h"

namespace lmn {

// The sinks that got frames and must be flushed at the end of the poll; each once. Capacity is
// reserved up front.
class FlushList {
 public:
  FlushList() { sinks_.reserve(256); }
  void add(FrameSink* sink) noexcept {
    for (FrameSink* known : sinks_) {
      if (known == sink) return;
    }
    sinks_.push_back(sink);
  }
  void flush_all() noexcept {
    for (FrameSink* sink : sinks_) sink->flush();
    sinks_.clear();
  }

 private:
  std::vector<FrameSink*> sinks_;
};

// Where the frames of one receive queue may go.
struct OutcomeTargets {
  FrameSink* tx = nullptr;         // XDP_TX
  FrameSink* pass_sink = nullptr;  // XDP_PASS; null: counted as pass_no_stack
};

// Hands every frame of the batch to its outcome, in the order of arrival, and empties the batch.
// Targets that must be flushed are added to `flush`.
void deliver(FrameBatch& batch, const OutcomeTargets& targets, RunContext& context,
             Counters& counters, FlushList& flush) noexcept;

// Empty when the equations above hold for `counters`, else the one that does not, with its numbers.
std::string accounting_error(const CounterSnapshot& counters);

}  // namespace lmn
