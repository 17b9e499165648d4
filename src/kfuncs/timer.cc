// SPDX-License-Identifier: Apache-2.0
//
// bpf_timer_cancel_async: takes a timer back without waiting for a callback that runs.
//
// Unlike bpf_timer_cancel it leaves the timer its callback, and may be called in the callback.
// Programs run where Linux asks the timer itself; there is no context here that must leave it to
// somebody else (-ECANCELED).
// Threads: any worker. Tested by timer_kfunc_test.cc.
// Source: Linux 7.0, kernel/bpf/helpers.c (bpf_timer_cancel_async), kernel/time/hrtimer.c
// (hrtimer_try_to_cancel).
#include <cerrno>

#include "kfuncs/bodies.h"
#include "maps/deferred_calls.h"

namespace lmn {

LMN_KFUNC_BODY(bpf_timer_cancel_async) {
  if (context->deferred == nullptr) return kfunc::failure(EINVAL);
  return kfunc::result(context->deferred->try_cancel(r1));
}

}  // namespace lmn
