// SPDX-License-Identifier: Apache-2.0
//
// FastcallStack: stack that need not count, because it only holds registers around a call that
// leaves them alone.
//
// A compiler that does not know better saves r1 to r5 around each call. Around a helper or kfunc
// that Linux replaces by a few instructions (bpf_get_smp_processor_id, the casts), Linux takes the
// saves and restores away, provided that nothing else of the function uses these slots, and counts
// the frame without them. So a program that just fits is accepted there; to accept it here as well,
// the same slots are not counted. The pattern, with a call in the middle of equal pairs:
//
//   *(u64 *)(r10 -16) = r1;  *(u64 *)(r10 -24) = r2;  call A;  r2 = *(u64 *)(r10 -24);  r1 = ...
//
// LMN leaves the instructions as they are; every frame has its own 512 bytes when it runs, and only
// the sum over frames is judged with what this gives.
// Difference from Linux 6.18: it lets such slots lie up to 48 bytes below the 512 as well.
// Threads: one verification. Tested by paths_calls_test.cc.
// Source: Linux 6.18, kernel/bpf/verifier.c (mark_fastcall_patterns,
// check_fastcall_stack_contract, remove_fastcall_spills_fills).
#pragma once

#include <cstdint>
#include <vector>

#include "spec/environment.h"
#include "verifier/structure.h"

namespace lmn {

class FastcallStack {
 public:
  FastcallStack(const Environment& env, const StructuredProgram& program);

  // The instruction at `at` accesses the frame of `subprogram` at `lowest` (below r10: negative).
  void note_access(std::uint32_t subprogram, std::uint32_t at, std::int64_t lowest);

  // What a frame of which `used` bytes were used counts as.
  std::uint32_t counted_bytes(std::uint32_t subprogram, std::uint32_t used) const;

 private:
  struct Function {
    std::int32_t pattern_begin = 0;  // lowest offset that is not only in patterns
    bool has_pattern = false;        // whose saves Linux takes away
    bool is_kept = false;            // something else uses the slots
  };

  void find_patterns(const Environment& env, const StructuredProgram& program,
                     const Subprogram& range, Function& function);

  std::vector<Function> functions_;
  std::vector<std::uint8_t> is_in_pattern_;  // per insn
};

}  // namespace lmn
