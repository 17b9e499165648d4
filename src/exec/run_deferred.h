// SPDX-License-Identifier: Apache-2.0
//
// Running what timers and works have due: between two batches, on the worker's own thread.
//
// Bounded: of callbacks that start their own timer again with no delay, at most
// kDeferredPerBatchMax are run by one call, so that packets go on. Without anything armed it costs
// one load and no look at the clock. Threads: any worker, each with its own RunContext. Tested by
// tests/differential/value_programs_test.cc and timers_test.cc.
#pragma once

#include "exec/compiled_program.h"
#include "maps/deferred_calls.h"

namespace lmn {

inline constexpr int kDeferredPerBatchMax = 64;

// Runs what is due now; how many calls that were.
inline int run_deferred_calls(RunContext& context) noexcept {
  DeferredCalls* deferred = context.deferred;
  if (deferred == nullptr || deferred->next_due_ns() == UINT64_MAX) return 0;
  const std::uint64_t now_ns = context.clock->monotonic_ns();
  int count = 0;
  for (; count < kDeferredPerBatchMax; ++count) {
    const std::optional<DeferredCall> call = deferred->take_due(now_ns);
    if (!call) break;
    context.deferred_running = call->number;
    call->function.program->run_deferred(*call, context);
    context.deferred_running = 0;
    deferred->finish(call->number);
  }
  return count;
}

}  // namespace lmn
