// SPDX-License-Identifier: Apache-2.0
//
// The rules of one instruction by itself: what it writes, what it calls, what it refers to outside
// the program. Tested by structure_test.cc.
// Source: Linux 6.18, kernel/bpf/verifier.c (check_reg_arg, check_helper_call, check_kfunc_call,
// check_ld_abs, check_alu_op).
#include <fmt/format.h>

#include <algorithm>

#include "insn/disasm.h"
#include "insn/helper_names.h"
#include "insn/insn_table.h"
#include "verifier/constant_reach.h"
#include "verifier/rules.h"
#include "verifier/structure_checks.h"

namespace lmn {
namespace {

// The call that object readers put where an instruction depends on a field or type that the target
// does not have (tools/lib/bpf/relo_core.c and LMN's own).
constexpr std::int64_t kCorePoison = 0xbad2310;

Result<void> check_helper(const StructureDraft& draft, InsnIndex at, const Insn& insn) {
  const HelperProto* helper =
      insn.imm < 0 ? nullptr : draft.env.find_helper(static_cast<std::uint32_t>(insn.imm));
  if (insn.imm == kCorePoison) {
    return refuse(draft.program, Rule::kHelperUnknown, at,
                  "the instruction that was here needs a field, type or enumerator that the target "
                  "does not have (CO-RE), and no check before it keeps the program away");
  }
  if (helper == nullptr) {
    const std::string_view name = uapi_helper_name(insn.imm);
    return refuse(draft.program, Rule::kHelperUnknown, at,
                  fmt::format("unknown func {}#{}", name.empty() ? "unknown" : name, insn.imm));
  }
  if ((helper->flags & kHelperGplOnly) != 0 && !draft.program.is_gpl_compatible()) {
    return refuse(draft.program, Rule::kHelperLicense, at,
                  fmt::format("cannot call GPL-restricted function {}#{} from non-GPL compatible "
                              "program (its license is \"{}\")",
                              helper->name, helper->id, draft.program.license));
  }
  return {};
}

// `list` holds names of things outside the program; `index` is the program's and may be anything.
template <typename Ref>
std::string name_at(const std::vector<Ref>& list, std::int64_t index) {
  const auto position = static_cast<std::uint32_t>(index);
  return position < list.size() ? fmt::format("'{}'", list[position].name)
                                : fmt::format("number {}, of {}", position, list.size());
}

Result<void> check_call(const StructureDraft& draft, InsnIndex at, const Insn& insn) {
  if (is_helper_call(insn)) return check_helper(draft, at, insn);
  return is_kfunc_call(insn) ? check_kfunc_call(draft, at, insn) : Result<void>{};
}

}  // namespace

Result<void> check_operation(const StructureDraft& draft, InsnIndex at) {
  const Insn& insn = draft.insns()[at.value];
  switch (op_class(insn.op)) {
    case OpClass::kCall:
      LMN_CHECK_OK(check_call(draft, at, insn));
      break;
    case OpClass::kLegacy:
      if (draft.env.has_classic_access) break;
      return refuse(draft.program, Rule::kLegacyAccess, at,
                    fmt::format("{}: packet access of classic BPF (LD_ABS, LD_IND) is not allowed "
                                "for XDP programs",
                                disassemble(insn)));
    case OpClass::kAddrSpaceCast:
      if (std::ranges::any_of(draft.maps,
                              [](const MapSpec& map) { return map.type == BPF_MAP_TYPE_ARENA; })) {
        break;
      }
      return refuse(draft.program, Rule::kArena, at,
                    "addr_space_cast in a program without an arena");
    case OpClass::kWide:
      if (insn.src == BPF_PSEUDO_BTF_ID && !is_weak_extern(draft.program, insn) &&
          find_kfunc_address(draft.env, draft.program, insn) == nullptr) {
        return refuse(draft.program, Rule::kExtern, at,
                      fmt::format("reference to kernel variable {}",
                                  name_at(draft.program.externs, insn.imm)));
      }
      break;
    case OpClass::kAlu:
    case OpClass::kByteSwap:
    case OpClass::kLoad:
    case OpClass::kStore:
    case OpClass::kAtomic:
    case OpClass::kJump:
    case OpClass::kBranch:
    case OpClass::kExit:
      break;
  }
  if (written_register(insn) == kFramePointer) {
    return refuse(draft.program, Rule::kFramePointer, at,
                  fmt::format("{}: frame pointer is read only", disassemble(insn)));
  }
  return {};
}

Result<void> check_operations(StructureDraft& draft) {
  std::vector<bool> is_reached;  // found out when it first matters: for most programs never
  for (std::uint32_t at = 0; at < draft.slot_count(); ++at) {
    auto checked = check_operation(draft, InsnIndex{at});
    if (checked) continue;
    if (is_reached.empty()) is_reached = constant_reach(draft);
    if (is_reached[at]) {
      if (!draft.options.defers_operations) return checked;
      draft.facts.deferred.push_back({InsnIndex{at}, checked.error(), draft.insns()[at]});
    }
    draft.facts.dead_operations.push_back(InsnIndex{at});
    draft.facts.has_backward_jumps = true;  // of what takes its place
  }
  return {};
}

}  // namespace lmn
