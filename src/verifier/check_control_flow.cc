// SPDX-License-Identifier: Apache-2.0
//
// Size, encoding, functions, jumps and reachability. Everything is linear in the number of slots
// (and functions are at most 256), because it runs on programs of strangers.
// Tested by structure_test.cc.
// Source: Linux 6.18, kernel/bpf/verifier.c (add_subprog_and_kfunc, check_subprogs, check_cfg).
#include <fmt/format.h>

#include <algorithm>

#include "abi/limits.h"
#include "insn/codec.h"
#include "insn/insn_table.h"
#include "verifier/rules.h"
#include "verifier/structure_checks.h"

namespace lmn {
namespace {

// Control may not run past this instruction into the next function.
bool ends_function(const ProgramSpec& program, const Insn& insn) {
  if (!falls_through(insn.op)) return true;
  if (!is_kfunc_call(insn) || insn.imm < 0) return false;
  const auto index = static_cast<std::uint64_t>(insn.imm);
  return index < program.kfuncs.size() && program.kfuncs[index].name == "bpf_throw";
}

std::string last_insn_words(const ProgramSpec& program, InsnIndex start) {
  return fmt::format("the function at {} runs past its end: last insn is not an exit or jmp",
                     function_words(program, start));
}

// Which slots control can reach from the first one and the exception callback's first, through
// jumps, calls and addresses of functions. The second slot of lddw is marked only when a jump leads
// there.
std::vector<bool> reached_slots(const StructureDraft& draft) {
  std::vector<bool> is_reached(draft.slot_count());
  std::vector<std::uint32_t> pending = {0};
  const auto visit = [&](std::uint64_t slot) {
    if (slot < is_reached.size() && !is_reached[slot]) {
      is_reached[slot] = true;
      pending.push_back(static_cast<std::uint32_t>(slot));
    }
  };
  is_reached[0] = true;
  if (draft.program.exception_callback) visit(draft.program.exception_callback->value);
  while (!pending.empty()) {
    const std::uint32_t at = pending.back();
    pending.pop_back();
    const Insn& insn = draft.insns()[at];
    if (falls_through(insn.op)) visit(std::uint64_t{at} + slot_count(insn.op));
    if (const auto target = jump_target(InsnIndex{at}, insn)) visit(target->value);
    if (const auto target = function_target(InsnIndex{at}, insn)) visit(target->value);
  }
  return is_reached;
}

// The first jump to `target`, for the message; every marked second slot has one.
InsnIndex first_jump_to(const StructureDraft& draft, InsnIndex target) {
  for (std::uint32_t at = 0; at < draft.slot_count(); ++at) {
    if (jump_target(InsnIndex{at}, draft.insns()[at]) == target) return InsnIndex{at};
  }
  return target;
}

}  // namespace

Result<void> check_size(const StructureDraft& draft) {
  const std::size_t count = draft.insns().size();
  if (count >= 1 && count <= limits::kInsnSlotsMax) return {};
  return refuse(draft.program, Rule::kProgramSize,
                fmt::format("{} slots, 1 to {} are allowed", count, limits::kInsnSlotsMax));
}

Result<void> check_fields(const StructureDraft& draft) {
  const std::span<const Insn> insns = draft.insns();
  for (std::uint32_t at = 0; at < insns.size(); ++at) {
    const InsnIndex index{at};
    if (const char* problem = field_problem(insns[at])) {
      return refuse(draft.program, Rule::kFields, index,
                    fmt::format("{}: {}", op_name(insns[at].op), problem));
    }
    const bool follows_lddw = at > 0 && insns[at - 1].op == Op::kLddw;
    if (insns[at].op == Op::kLddwHigh && !follows_lddw) {
      return refuse(draft.program, Rule::kFields, index, "second slot of lddw without the first");
    }
    if (insns[at].op != Op::kLddwHigh && follows_lddw) {
      return refuse(draft.program, Rule::kFields, InsnIndex{at - 1},
                    "lddw without its second slot");
    }
  }
  if (insns.back().op == Op::kLddw) {
    return refuse(draft.program, Rule::kFields, InsnIndex{draft.slot_count() - 1},
                  "lddw without its second slot");
  }
  return {};
}

Result<void> find_subprograms(StructureDraft& draft) {
  std::vector<InsnIndex> starts = {InsnIndex{0}};
  std::vector<std::pair<InsnIndex, InsnIndex>> references;
  for (std::uint32_t at = 0; at < draft.slot_count(); ++at) {
    const Insn& insn = draft.insns()[at];
    if (!is_function_call(insn) && !is_function_address(insn)) continue;
    const std::optional<InsnIndex> target = function_target(InsnIndex{at}, insn);
    const char* what = is_function_call(insn) ? "call" : "address of a function";
    if (!target || target->value >= draft.slot_count()) {
      return refuse(draft.program, Rule::kCallTarget, InsnIndex{at},
                    fmt::format("{} leads to no instruction of the program", what));
    }
    if (draft.insns()[target->value].op == Op::kLddwHigh) {
      return refuse(draft.program, Rule::kCallTarget, InsnIndex{at},
                    fmt::format("{} leads into the lddw at insn {}", what, target->value - 1));
    }
    references.emplace_back(InsnIndex{at}, *target);
    starts.push_back(*target);
  }
  if (const auto callback = draft.program.exception_callback) {
    if (callback->value >= draft.slot_count()) {
      return refuse(draft.program, Rule::kCallTarget, "exception callback outside the program");
    }
    starts.push_back(*callback);
  }
  std::ranges::sort(starts);
  starts.erase(std::ranges::unique(starts).begin(), starts.end());
  if (starts.size() > limits::kSubprogramsMax) {
    return refuse(draft.program, Rule::kSubprogramCount,
                  fmt::format("{} functions, at most {} are allowed", starts.size(),
                              limits::kSubprogramsMax));
  }
  for (std::size_t i = 0; i < starts.size(); ++i) {
    const InsnIndex end = i + 1 < starts.size() ? starts[i + 1] : InsnIndex{draft.slot_count()};
    draft.facts.subprograms.push_back({.start = starts[i], .end = end});
  }
  for (const auto& [insn, target] : references) {
    draft.facts.calls.push_back({.insn = insn,
                                 .callee = subprogram_at(draft.facts.subprograms, target),
                                 .is_address = is_function_address(draft.insns()[insn.value])});
  }
  return {};
}

Result<void> check_jumps(StructureDraft& draft) {
  for (const Subprogram& subprogram : draft.facts.subprograms) {
    for (InsnIndex at = subprogram.start; at < subprogram.end; ++at.value) {
      const Insn& insn = draft.insns()[at.value];
      if (!is_jump(insn.op)) continue;
      const std::optional<InsnIndex> target = jump_target(at, insn);
      if (!target || *target < subprogram.start || *target >= subprogram.end) {
        const std::int64_t distance =
            op_info(insn.op).imm.use == FieldUse::kJump ? insn.imm : insn.off;
        return refuse(
            draft.program, Rule::kJumpRange, at,
            fmt::format("jump out of range to insn {}, its function has {} to {}",
                        at.value + 1 + distance, subprogram.start.value, subprogram.end.value - 1));
      }
      if (*target <= at) draft.facts.has_backward_jumps = true;
    }
    const InsnIndex last{subprogram.end.value - 1};
    if (!ends_function(draft.program, draft.insns()[last.value])) {
      return refuse(draft.program, Rule::kLastInsn, last,
                    last_insn_words(draft.program, subprogram.start));
    }
  }
  return {};
}

Result<void> check_reach(const StructureDraft& draft) {
  const std::vector<bool> is_reached = reached_slots(draft);
  for (std::uint32_t at = 0; at < draft.slot_count(); ++at) {
    if (!is_reached[at]) {
      return refuse(draft.program, Rule::kUnreachable, InsnIndex{at}, "unreachable insn");
    }
    if (draft.insns()[at].op != Op::kLddw) continue;
    ++at;
    if (is_reached[at]) {
      return refuse(draft.program, Rule::kJumpIntoLddw, first_jump_to(draft, InsnIndex{at}),
                    fmt::format("jump into the second slot of the lddw at insn {}", at - 1));
    }
  }
  return {};
}

}  // namespace lmn
