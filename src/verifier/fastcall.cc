// SPDX-License-Identifier: Apache-2.0
//
// Looking for saves around calls. Tested by paths_calls_test.cc.
#include "verifier/fastcall.h"

#include <algorithm>
#include <optional>

#include "insn/insn_table.h"
#include "verifier/state.h"

namespace lmn {
namespace {

constexpr std::uint32_t kCallerSaved = 0x3f;  // r0 to r5
constexpr std::uint32_t kCallerSavedCount = 6;

struct Call {
  std::uint32_t clobbered = 0;  // result and arguments
  bool is_fast = false;         // Linux replaces it by instructions
};

// What a call of a helper or kfunc touches; nullopt for one that nobody has a row for.
std::optional<Call> summary_of(const Environment& env, const ProgramSpec& program,
                               const Insn& insn) {
  Call out;
  if (is_helper_call(insn)) {
    const HelperProto* proto = env.find_helper(static_cast<std::uint32_t>(insn.imm));
    if (proto == nullptr) return std::nullopt;
    out.clobbered = proto->ret == RetKind::kVoid ? 0u : 1u;
    for (std::size_t i = 0; i < proto->args.size(); ++i) {
      if (proto->args[i].kind != ArgKind::kNone) out.clobbered |= 2u << i;
    }
    out.is_fast = proto->id == BPF_FUNC_get_smp_processor_id;
    return out;
  }
  if (!is_kfunc_call(insn)) return std::nullopt;
  const auto index = static_cast<std::uint64_t>(insn.imm);
  if (index >= program.kfuncs.size()) return std::nullopt;
  const KfuncProto* proto = env.find_kfunc(program.kfuncs[index].name);
  if (proto == nullptr) return std::nullopt;
  out.clobbered = proto->ret == KfuncRet::kVoid ? 0u : 1u;
  for (std::size_t i = 0; i < proto->args.size(); ++i) {
    if (proto->args[i].kind != KfuncArgKind::kNone) out.clobbered |= 2u << i;
  }
  out.is_fast = (proto->flags & kKfFastcall) != 0;
  return out;
}

bool is_save(const Insn& insn) { return insn.op == Op::kStMemReg64 && insn.dst == kFramePointer; }
bool is_restore(const Insn& insn) { return insn.op == Op::kLdxMem64 && insn.src == kFramePointer; }

}  // namespace

FastcallStack::FastcallStack(const Environment& env, const StructuredProgram& program) {
  functions_.resize(program.subprograms().size());
  is_in_pattern_.resize(program.spec().insns.size());
  for (std::size_t f = 0; f < functions_.size(); ++f) {
    find_patterns(env, program, program.subprograms()[f], functions_[f]);
  }
}

void FastcallStack::find_patterns(const Environment& env, const StructuredProgram& program,
                                  const Subprogram& range, Function& function) {
  const auto insns = std::span(program.spec().insns);
  std::int32_t lowest = 0;
  for (std::uint32_t at = range.start.value; at < range.end.value; ++at) {
    if (is_save(insns[at])) lowest = std::min<std::int32_t>(lowest, insns[at].off);
  }
  for (std::uint32_t at = range.start.value; at < range.end.value; ++at) {
    const auto call = summary_of(env, program.spec(), insns[at]);
    if (!call) continue;
    std::uint32_t expected = kCallerSaved & ~call->clobbered;
    std::int32_t offset = lowest;
    std::uint32_t pairs = 0;
    for (std::uint32_t i = 1; i <= kCallerSavedCount; ++i) {
      if (at < range.start.value + i || at + i >= range.end.value) break;
      const Insn& save = insns[at - i];
      const Insn& restore = insns[at + i];
      if (!is_save(save) || !is_restore(restore) || save.src != restore.dst) break;
      if ((expected >> save.src & 1) == 0) break;
      if (save.off != offset || restore.off != offset) break;
      expected &= ~(1u << save.src);
      is_in_pattern_[at - i] = is_in_pattern_[at + i] = 1;
      offset += static_cast<std::int32_t>(kSlotSize);
      ++pairs;
    }
    if (pairs == 0) continue;
    function.pattern_begin = std::min(function.pattern_begin, offset);
    if (call->is_fast) {
      function.has_pattern = true;
    } else {
      function.is_kept = true;
    }
  }
}

void FastcallStack::note_access(std::uint32_t subprogram, std::uint32_t at, std::int64_t lowest) {
  Function& function = functions_[subprogram];
  if (is_in_pattern_[at] != 0 || function.pattern_begin <= lowest) return;
  function.is_kept = true;
}

std::uint32_t FastcallStack::counted_bytes(std::uint32_t subprogram, std::uint32_t used) const {
  const Function& function = functions_[subprogram];
  if (!function.has_pattern || function.is_kept) return used;
  return std::min(used, static_cast<std::uint32_t>(-function.pattern_begin));
}

}  // namespace lmn
