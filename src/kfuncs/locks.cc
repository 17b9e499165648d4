// SPDX-License-Identifier: Apache-2.0
//
// bpf_res_spin_lock and its relatives: locks that do not wait for ever.
//
// The word is that of a spin lock (maps/value_lock.h); a program may hold several, and who holds
// them is known to the run (RunContext::held_resilient). Taking one that the run holds already is
// -EDEADLK; waiting longer than about a quarter of a second is -ETIMEDOUT, and so are two workers
// that wait for each other, where Linux may tell -EDEADLK earlier. Interrupts are nothing here: the
// _irqsave forms differ in what the program must give back.
// Threads: any worker. Tested by tests/differential/value_programs_test.cc.
// Source: Linux 6.18, kernel/bpf/rqspinlock.c (bpf_res_spin_lock,
// resilient_queued_spin_lock_slowpath).
#include <cerrno>

#include "kfuncs/bodies.h"
#include "maps/value_lock.h"

namespace lmn {
namespace {

// A quarter of what a plain lock is waited for.
constexpr int kYieldsMax = value_lock::kYieldsMax / 4;

}  // namespace

LMN_KFUNC_BODY(bpf_res_spin_lock) {
  auto* word = kfunc::as_pointer<std::uint32_t>(r1);
  if (context->held_resilient.holds(word)) return kfunc::failure(EDEADLK);
  if (context->held_resilient.is_full()) return kfunc::failure(ETIMEDOUT);
  if (!take_value_lock(*word, kYieldsMax)) return kfunc::failure(ETIMEDOUT);
  context->held_resilient.add(word);
  return 0;
}

LMN_KFUNC_BODY(bpf_res_spin_unlock) {
  context->held_resilient.release(kfunc::as_pointer<std::uint32_t>(r1));
  return 0;
}

LMN_KFUNC_BODY(bpf_res_spin_lock_irqsave) {
  return kfunc_bpf_res_spin_lock(r1, r2, r3, r4, r5, context);
}

LMN_KFUNC_BODY(bpf_res_spin_unlock_irqrestore) {
  return kfunc_bpf_res_spin_unlock(r1, r2, r3, r4, r5, context);
}

}  // namespace lmn
