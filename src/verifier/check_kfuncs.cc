// SPDX-License-Identifier: Apache-2.0
//
// Calls of kernel functions by name: known, offered, allowed to this program. What their arguments
// must be is the path-sensitive stage's.
//
// A name that is not known gets the nearest one that is, since most such calls are slips or a
// function of another kernel version (bpf_obj_drop, bpf_obj_drop_impl). Tested by
// structure_test.cc.
// Source: Linux 6.18, kernel/bpf/verifier.c (add_kfunc_call, check_kfunc_call),
// kernel/bpf/offload.c (bpf_dev_bound_kfunc_check).
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "abi/limits.h"
#include "verifier/rules.h"
#include "verifier/structure_checks.h"

namespace lmn {
namespace {

// Letters to change, add or take away to make one name of the other.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row[b.size()];
}

std::string suggestion(const Environment& env, std::string_view name) {
  constexpr std::size_t kDistanceMax = 5;  // "_impl"
  constexpr std::size_t kNameMax = 128;    // names come from the object: the work is bounded
  if (name.size() > kNameMax) return {};
  const KfuncProto* nearest = nullptr;
  std::size_t distance = kDistanceMax + 1;
  for (const KfuncProto& proto : env.kfuncs) {
    if (!proto.refusal.empty()) continue;
    const std::size_t other = edit_distance(name, proto.name);
    if (other >= distance) continue;
    nearest = &proto;
    distance = other;
  }
  return nearest == nullptr ? "" : fmt::format("; did you mean '{}'?", nearest->name);
}

}  // namespace

Result<void> check_kfunc_call(const StructureDraft& draft, InsnIndex at, const Insn& insn) {
  const auto position = static_cast<std::uint32_t>(insn.imm);
  if (position >= draft.program.kfuncs.size()) {
    return refuse(draft.program, Rule::kKfunc, at,
                  fmt::format("call of kernel function number {}, of {}", position,
                              draft.program.kfuncs.size()));
  }
  const std::string& name = draft.program.kfuncs[position].name;
  if (!draft.program.is_gpl_compatible()) {
    return refuse(draft.program, Rule::kKfuncLicense, at,
                  fmt::format("cannot call kernel function '{}' from non-GPL compatible program "
                              "(its license is \"{}\")",
                              name, draft.program.license));
  }
  const KfuncProto* proto = draft.env.find_known_kfunc(name);
  if (proto == nullptr) {
    return refuse(draft.program, Rule::kKfunc, at,
                  fmt::format("unknown kernel function '{}'{}", name, suggestion(draft.env, name)));
  }
  if (!proto->refusal.empty()) {
    return refuse(draft.program, Rule::kKfunc, at,
                  fmt::format("kernel function '{}': {}", name, proto->refusal));
  }
  const bool is_bound = (draft.program.prog_flags & BPF_F_XDP_DEV_BOUND_ONLY) != 0;
  if ((proto->flags & kKfDeviceBound) != 0 && !is_bound) {
    return refuse(draft.program, Rule::kKfuncDevice, at,
                  fmt::format("'{}': metadata kfuncs require device-bound program", name));
  }
  return {};
}

Result<void> check_kfunc_count(const StructureDraft& draft) {
  const std::size_t count = draft.program.kfuncs.size();
  if (count <= limits::kKfuncsMax) return {};
  return refuse(draft.program, Rule::kKfuncCount,
                fmt::format("too many different kernel function calls: {}, at most {} are allowed",
                            count, limits::kKfuncsMax));
}

const KfuncProto* find_kfunc_address(const Environment& env, const ProgramSpec& program,
                                     const Insn& insn) {
  if (insn.op != Op::kLddw || insn.src != BPF_PSEUDO_BTF_ID) return nullptr;
  const auto position = static_cast<std::uint32_t>(insn.imm);
  if (position >= program.externs.size()) return nullptr;
  return env.find_kfunc(program.externs[position].name);
}

}  // namespace lmn
