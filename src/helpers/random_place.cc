// SPDX-License-Identifier: Apache-2.0
//
// Helpers that say where a program runs, and the random number. All come from the RunContext: a
// fixed seed and CPU replay a run.
// Tested by helpers_test.cc. Source: Linux 6.18, kernel/bpf/helpers.c and core.c.
#include "helpers/bodies.h"

namespace lmn {

LMN_HELPER_BODY(get_prandom_u32) { return context->prandom.next(); }

LMN_HELPER_BODY(get_smp_processor_id) { return context->cpu; }

LMN_HELPER_BODY(get_numa_node_id) { return context->numa_node; }

}  // namespace lmn
