// SPDX-License-Identifier: Apache-2.0
//
// Helpers of time. All read the run's Clock, so that a replay sees the times it was given.
//
// Jiffies are the kernel's timer ticks. Their rate is a build option of a kernel and invisible to
// user space; ours is 250 per second, as Debian's kernels are built. They start 300 seconds before
// a 32-bit overflow, as Linux's do, so that programs that mistake them for 32 bits fail early here
// too.
// Tested by helpers_test.cc and tests/differential/helpers_test.cc.
// Source: Linux 6.18, kernel/bpf/helpers.c; include/linux/jiffies.h (INITIAL_JIFFIES).
#include "helpers/bodies.h"
#include "packet/jiffies.h"

namespace lmn {

LMN_HELPER_BODY(ktime_get_ns) { return context->clock->monotonic_ns(); }

LMN_HELPER_BODY(ktime_get_boot_ns) { return context->clock->boot_ns(); }

LMN_HELPER_BODY(ktime_get_coarse_ns) { return context->clock->monotonic_coarse_ns(); }

LMN_HELPER_BODY(ktime_get_tai_ns) { return context->clock->tai_ns(); }

LMN_HELPER_BODY(jiffies64) { return jiffies_of(*context->clock); }

}  // namespace lmn
