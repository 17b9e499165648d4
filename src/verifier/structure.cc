// SPDX-License-Identifier: Apache-2.0
//
// check_structure: the parts in their order, and the questions a StructuredProgram answers.
// Tested by structure_test.cc.
#include "verifier/structure.h"

#include <algorithm>

#include "base/assert.h"
#include "verifier/constant_reach.h"
#include "verifier/structure_checks.h"

namespace lmn {
namespace {

Result<void> check_parts(StructureDraft& draft) {
  LMN_CHECK_OK(check_size(draft));
  LMN_CHECK_OK(check_fields(draft));
  LMN_CHECK_OK(find_subprograms(draft));
  LMN_CHECK_OK(check_jumps(draft));
  LMN_CHECK_OK(check_map_references(draft));
  LMN_CHECK_OK(check_reach(draft));
  LMN_CHECK_OK(check_kfunc_count(draft));
  LMN_CHECK_OK(check_operations(draft));
  LMN_CHECK_OK(check_call_depth(draft));
  return check_tail_calls(draft);
}

// What runs instead of the program's own instructions where those cannot: see structure.h.
void replace_operations(const Environment& env, ProgramSpec& program, const StructureFacts& facts) {
  const Insn stop{.op = Op::kJa, .off = -1};
  for (const InsnIndex at : facts.dead_operations) {
    const bool is_wide = program.insns[at.value].op == Op::kLddw;
    program.insns[at.value] = stop;
    if (is_wide) program.insns[at.value + 1] = stop;
  }
  for (Insn& insn : program.insns) {
    const bool is_kfunc = find_kfunc_address(env, program, insn) != nullptr;
    if (!is_kfunc && !is_weak_extern(program, insn)) continue;
    insn.src = 0;
    insn.imm = is_kfunc ? kKfuncAddress : 0;
  }
}

}  // namespace

Result<StructuredProgram> check_structure(const Environment& env, const ProgramSpec& program,
                                          std::span<const MapSpec> maps,
                                          const StructureOptions& options) {
  LMN_ASSERT(maps.size() == program.maps.size());
  if (program.defect) return make_error(*program.defect);
  StructureDraft draft{
      .env = env, .program = program, .maps = maps, .facts = {}, .options = options};
  LMN_CHECK_OK(check_parts(draft));
  ProgramSpec runnable = program;
  replace_operations(env, runnable, draft.facts);
  return StructuredProgram(StructuredProgram::Key(), std::move(runnable),
                           {maps.begin(), maps.end()}, std::move(draft.facts));
}

StructuredProgram::StructuredProgram(Key, ProgramSpec spec, std::vector<MapSpec> maps,
                                     StructureFacts facts)
    : spec_(std::move(spec)), maps_(std::move(maps)), facts_(std::move(facts)) {}

std::optional<std::uint32_t> StructuredProgram::callee_of(InsnIndex insn) const {
  const auto site = std::ranges::lower_bound(facts_.calls, insn, {}, &CallSite::insn);
  if (site == facts_.calls.end() || site->insn != insn) return std::nullopt;
  return site->callee;
}

std::uint32_t StructuredProgram::subprogram_of(InsnIndex insn) const {
  LMN_ASSERT(insn.value < spec_.insns.size());
  return subprogram_at(facts_.subprograms, insn);
}

std::uint32_t subprogram_at(std::span<const Subprogram> subprograms, InsnIndex insn) {
  const auto after = std::ranges::upper_bound(subprograms, insn, {}, &Subprogram::start);
  return static_cast<std::uint32_t>(after - subprograms.begin()) - 1;
}

}  // namespace lmn
