// SPDX-License-Identifier: Apache-2.0
//
// lint: legal but bad habits of an accepted program, found by looking at its instructions.
//
//   aborted-verdict     XDP_ABORTED (0) is returned on a path where nothing was called that could
//                       have failed: it counts as an error and fires a tracepoint
//   redirect-fallback   bpf_redirect_map with flags 0 and no lookup before it: an empty slot gives
//                       XDP_ABORTED
//   unread-result       the result of a helper that can fail is never read
//
// It would rather miss a habit than blame good code. XDP_ABORTED after a helper whose result is
// read is what the action is for (`if (bpf_xdp_adjust_head(...)) return XDP_ABORTED;`), and so is
// what depends on it. An unread bpf_map_update_elem counts where it can fail in ordinary life: with
// BPF_NOEXIST or BPF_EXIST, or because the map can be full; but per-CPU and LRU maps hold
// statistics and caches, where a lost entry is no error. Constants are followed through registers,
// not through the stack.
// Threads: a pure function. Tested by tests/messages/messages_test.cc.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "verifier/explain.h"
#include "verifier/verifier.h"

namespace lmn {

struct LintHabit {
  std::string_view id;
  std::string_view words;
  std::string_view remedy;
};

std::span<const LintHabit> lint_habits();  // sorted by id

struct LintFinding {
  std::string_view id;
  std::string what;
  std::string_view remedy;
  InsnIndex insn;
  SourcePlace place;
};

// Sorted by instruction; one finding per habit and source line.
std::vector<LintFinding> lint(const VerifiedProgram& program);

}  // namespace lmn
