// SPDX-License-Identifier: Apache-2.0
//
// Calls between the program's functions: no cycle, at most 8 frames; and tail calls.
// Tested by structure_test.cc.
// Source: Linux 6.18, kernel/bpf/verifier.c (check_max_stack_depth, check_abnormal_return).
#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "abi/limits.h"
#include "insn/insn_table.h"
#include "verifier/rules.h"
#include "verifier/structure_checks.h"

namespace lmn {
namespace {

// Finds the deepest chain of calls from each function. Callbacks are roots of their own: whether
// one runs on top of its creator (bpf_loop) or later (a timer) is not known here.
class CallDepth {
 public:
  explicit CallDepth(const StructureDraft& draft)
      : draft_(draft), functions_(draft.facts.subprograms.size()) {}

  // Depth of function `index`, callees included. Recursion is bounded by the number of functions.
  Result<std::uint32_t> of(std::uint32_t index) {
    Function& function = functions_[index];
    if (function.depth != 0) return function.depth;
    function.is_open = true;
    std::uint32_t deepest = 0;
    for (const CallSite& site : calls_in(index)) {
      if (site.is_address) continue;
      if (functions_[site.callee].is_open) return recursion(site);
      LMN_TRY(const std::uint32_t depth, of(site.callee));
      if (depth > deepest) function.deepest_call = site.insn;
      deepest = std::max(deepest, depth);
    }
    function.is_open = false;
    function.depth = deepest + 1;
    return function.depth;
  }

  // The call that opens frame number `limit` + 1 on the deepest chain from `index`.
  InsnIndex first_call_beyond(std::uint32_t index, std::uint32_t limit) const {
    for (std::uint32_t frame = 1; frame < limit; ++frame)
      index = callee_at(functions_[index].deepest_call);
    return functions_[index].deepest_call;
  }

 private:
  struct Function {
    std::uint32_t depth = 0;  // 0: not known yet
    bool is_open = false;     // on the chain that is being followed
    InsnIndex deepest_call;   // with depth > 1
  };

  std::span<const CallSite> calls_in(std::uint32_t index) const {
    const Subprogram& subprogram = draft_.facts.subprograms[index];
    const auto first =
        std::ranges::lower_bound(draft_.facts.calls, subprogram.start, {}, &CallSite::insn);
    const auto last =
        std::ranges::lower_bound(draft_.facts.calls, subprogram.end, {}, &CallSite::insn);
    return {first, last};
  }

  std::uint32_t callee_at(InsnIndex call) const {
    return std::ranges::lower_bound(draft_.facts.calls, call, {}, &CallSite::insn)->callee;
  }

  std::unexpected<Error> recursion(const CallSite& site) const {
    const InsnIndex start = draft_.facts.subprograms[site.callee].start;
    return refuse(
        draft_.program, Rule::kRecursion, site.insn,
        fmt::format("recursive call of the function at {}", function_words(draft_.program, start)));
  }

  const StructureDraft& draft_;
  std::vector<Function> functions_;
};

}  // namespace

Result<void> check_call_depth(StructureDraft& draft) {
  CallDepth depths(draft);
  for (std::uint32_t index = 0; index < draft.facts.subprograms.size(); ++index) {
    LMN_TRY(const std::uint32_t depth, depths.of(index));
    if (depth > limits::kCallFramesMax) {
      const auto limit = static_cast<std::uint32_t>(limits::kCallFramesMax);
      return refuse(draft.program, Rule::kCallDepth, depths.first_call_beyond(index, limit),
                    fmt::format("the call stack of {} frames is too deep, at most {} are allowed",
                                depth, limit));
    }
    if (index == 0) draft.facts.max_call_depth = depth;
  }
  return {};
}

Result<void> check_tail_calls(StructureDraft& draft) {
  const bool has_btf =
      !draft.program.functions.empty() && draft.program.functions.front().btf_type_id != 0;
  for (std::uint32_t at = 0; at < draft.slot_count(); ++at) {
    const Insn& insn = draft.insns()[at];
    if (!is_helper_call(insn) || insn.imm != BPF_FUNC_tail_call) continue;
    const std::uint32_t index = subprogram_at(draft.facts.subprograms, InsnIndex{at});
    if (index != 0 && !has_btf) {
      return refuse(draft.program, Rule::kTailCallBtf, InsnIndex{at},
                    "tail_call is not allowed in subprogs without BTF");
    }
    draft.facts.subprograms[index].has_tail_call = true;
    draft.facts.has_tail_calls = true;
  }
  return {};
}

}  // namespace lmn
