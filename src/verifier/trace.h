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
// Only tests listen: VerifyOptions::listener is null otherwise, and costs one test per instruction.
// Threads: that of verify. Tested by tests/conformance/soundness_test.cc.
#pragma once

#include "verifier/state.h"

namespace lmn {

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
};

}  // namespace lmn
