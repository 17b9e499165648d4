// SPDX-License-Identifier: Apache-2.0
//
// VerifierListener: who watches the walk over a program's paths: every state at every instruction,
// and how paths part, meet and end.
//
// A listener can rebuild the whole tree of paths. One path is walked at a time; on_visit tells each
// of its states in order. on_branch says that a second path goes on from the state visited last and
// waits; on_next_path that the path waiting last goes on now. on_keep names the kept state that the
// state visited last became; on_included that the state visited last lies within a kept one, so
// that the path ends here.
//
// The soundness harness listens, and KernelLog (kernel_log.h); otherwise VerifyOptions::listener is
// null, which costs one test per instruction.
// Threads: that of verify. Tested by tests/soundness/soundness_test.cc and kernel_log_test.cc.
#pragma once

#include "verifier/state.h"

namespace lmn {

// A step of a walk backwards for precision (precision.h).
struct PrecisionNote {
  enum class Kind : std::uint8_t {
    kFrom,    // goes back from insn (to `first`), to the instruction before `after`
    kBefore,  // is about to go back over insn
    kParent,  // arrived at the kept state `parent`
    kCopied,  // what a kept state that includes the present one wants of `frame`
  };
  Kind kind = Kind::kBefore;
  std::uint32_t frame = 0;
  std::uint32_t insn = 0;
  std::uint32_t first = 0;
  std::int64_t after = -1;
  std::uint16_t registers = 0;  // of `frame`, that matter
  std::uint64_t slots = 0;
  const PathState* parent = nullptr;
};

class VerifierListener {
 public:
  virtual ~VerifierListener() = default;
  // A walk over the paths of the entry, or of a global function, begins.
  virtual void on_walk(std::uint32_t subprogram) = 0;
  // state.insn is about to be judged. The state is valid during the call.
  virtual void on_visit(const PathState& state) = 0;
  virtual void on_branch() = 0;
  virtual void on_next_path() = 0;
  virtual void on_keep(const KnownState& kept) = 0;
  // With all_numbers_count, also numbers that are not precise in `by` were compared.
  virtual void on_included(const KnownState& by, bool all_numbers_count) = 0;
  virtual void on_precision(const PrecisionNote& /*note*/) {}
};

}  // namespace lmn
