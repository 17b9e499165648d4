// SPDX-License-Identifier: Apache-2.0
//
// bpf_kptr_xchg: puts an object into a pointer in a map's value or in another object, and takes out
// what was there.
//
// The object's reference goes with it: what is put in belongs to the value, what comes out to the
// program. One atomic exchange: two programs at the same pointer never get the same object.
// Threads: any worker. Tested by tests/differential/value_programs_test.cc.
// Source: Linux 6.18, kernel/bpf/helpers.c (bpf_kptr_xchg).
#include <atomic>

#include "helpers/bodies.h"

namespace lmn {

LMN_HELPER_BODY(kptr_xchg) {
  return std::atomic_ref(*helper::as_pointer<std::uint64_t>(r1)).exchange(r2);
}

}  // namespace lmn
