// SPDX-License-Identifier: Apache-2.0
//
// bpf_spin_lock and bpf_spin_unlock: a lock in a map's value, for the few words of the value that
// have to change together.
//
// The lock is the 32-bit word of struct bpf_spin_lock: 0 is open, 1 is taken. Nothing in it tells
// who holds it; the run does (RunContext::held_lock), so that a program that is stopped between the
// two calls leaves no lock behind. The verifier sees to the rest: one lock at a time, no call
// while it is held, opened on every path.
//
// How it is waited for, and not for ever: maps/value_lock.h. The word lies in memory that a broken
// program may have written; a run that finds it taken for about a second is stopped.
//
// Threads: any worker. Tested by spin_lock_test.cc and
// tests/differential/helper_programs_test.cc.
// Source: Linux 6.18, kernel/bpf/helpers.c (bpf_spin_lock, __bpf_spin_lock).
#include "helpers/bodies.h"
#include "maps/value_lock.h"

namespace lmn {

LMN_HELPER_BODY(spin_lock) {
  auto* word = helper::as_pointer<std::uint32_t>(r1);
  if (take_value_lock(*word)) {
    context->held_lock.set(word);
  } else if (context->stop != nullptr) {
    context->stop(context->engine_state);
  }
  return 0;
}

LMN_HELPER_BODY(spin_unlock) {
  context->held_lock.release();
  return 0;
}

}  // namespace lmn
