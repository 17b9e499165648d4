// SPDX-License-Identifier: Apache-2.0
//
// Exceptions: bpf_throw ends the program wherever it is, and what it throws goes to a function of
// the program that a tag of the entry names, if there is one.
//
// That function is global, takes one number, and what it returns is the program's return value. It
// is walked like other global functions, from any number; it may not throw again.
// Tested by paths_calls_test.cc and tests/conformance.
// Source: Linux 6.18, kernel/bpf/verifier.c (bpf_find_exception_callback_insn_off,
// do_check_common, check_max_stack_depth_subprog).
#include <fmt/format.h>

#include "verifier/explorer.h"

namespace lmn {

// It leaves all frames at once; but a helper that called back could not be unwound.
StepResult Explorer::check_throw() {
  if (!check_nothing_held("bpf_throw", false)) return StepResult::kRefused;
  for (const FrameState& frame : state_->frames) {
    if (!frame.is_callback && root_ != exception_callback_) continue;
    reject(Rule::kCallback, fmt::format("bpf_throw kfunc (insn {}) cannot be called from callback "
                                        "subprog {}",
                                        at_, frame.subprogram));
    return StepResult::kRefused;
  }
  return StepResult::kPathEnds;
}

// Whether the function that is to get what the program throws can do so.
bool Explorer::check_exception_callback() {
  const auto& functions = program_.spec().functions;
  if (options_.btf == nullptr || functions.empty()) return true;
  std::uint32_t tags = 0;
  for (std::uint32_t id = 1; id < options_.btf->type_count(); ++id) {
    const BtfType& type = options_.btf->type(id);
    if (type.kind != BtfKind::kDeclTag || type.type != functions.front().btf_type_id) continue;
    if (type.name.starts_with("exception_callback:")) ++tags;
  }
  if (tags > 1) {
    return reject(Rule::kCallback, "multiple exception callback tags for main subprog");
  }
  const auto& start = program_.spec().exception_callback;
  if (!start) return true;
  at_ = start->value;
  const std::uint32_t callback = program_.subprogram_of(*start);
  const FunctionSignature& signature = signature_of(callback);
  if (!signature.is_usable) return reject(Rule::kCallback, signature.problem);
  const bool takes_a_number =
      signature.args.size() == 1 && signature.args[0].kind == FunctionArg::Kind::kNumber;
  if (!takes_a_number) {
    return reject(Rule::kCallback, "exception cb only supports single integer argument");
  }
  is_called_[callback] = 1;
  return true;
}

}  // namespace lmn
