// SPDX-License-Identifier: Apache-2.0
//
// References to maps. Tested by structure_test.cc.
// Source: Linux 6.18, kernel/bpf/verifier.c (resolve_pseudo_ldimm64), kernel/bpf/arraymap.c
// (array_map_direct_value_addr).
#include <fmt/format.h>

#include "abi/limits.h"
#include "insn/insn_table.h"
#include "verifier/rules.h"
#include "verifier/structure_checks.h"

namespace lmn {
namespace {

// The address of a value: of a one-entry map that has its values in one piece, and within the
// value.
Result<void> check_value_reference(const StructureDraft& draft, InsnIndex at, const MapSpec& map,
                                   std::uint32_t offset) {
  const MapTypeInfo* type = draft.env.find_map_type(map.type);
  if (type == nullptr || (type->flags & kMapDirectValue) == 0) {
    return refuse(draft.program, Rule::kMapValueType, at,
                  fmt::format("address of a value of map '{}' of type {}, no direct value access "
                              "support for this map type",
                              map.name, type == nullptr ? "unknown" : type->name));
  }
  // An arena's entries are its pages, all in one piece.
  if (map.type == BPF_MAP_TYPE_ARENA) return {};
  if (map.max_entries != 1) {
    return refuse(draft.program, Rule::kMapValueEntries, at,
                  fmt::format("address of a value of map '{}', which has {} entries, not 1",
                              map.name, map.max_entries));
  }
  if (offset >= map.value_size) {
    return refuse(draft.program, Rule::kMapValueOffset, at,
                  fmt::format("address at offset {} in a value of map '{}', which has {} bytes",
                              offset, map.name, map.value_size));
  }
  return {};
}

Result<void> check_reference(const StructureDraft& draft, InsnIndex at, const Insn& insn) {
  if (insn.src == BPF_PSEUDO_MAP_FD || insn.src == BPF_PSEUDO_MAP_VALUE) {
    return refuse(draft.program, Rule::kMapReference, at,
                  fmt::format("map by descriptor {}, which nobody resolved",
                              static_cast<std::int32_t>(insn.imm)));
  }
  const bool is_value = insn.src == BPF_PSEUDO_MAP_IDX_VALUE;
  if (insn.src != BPF_PSEUDO_MAP_IDX && !is_value) return {};
  const auto index = static_cast<std::uint32_t>(insn.imm);
  if (index >= draft.maps.size()) {
    return refuse(draft.program, Rule::kMapReference, at,
                  fmt::format("reference to map {} of {}", index, draft.maps.size()));
  }
  if (!is_value) return {};
  const auto offset = static_cast<std::uint32_t>(static_cast<std::uint64_t>(insn.imm) >> 32);
  return check_value_reference(draft, at, draft.maps[index], offset);
}

}  // namespace

Result<void> check_map_references(const StructureDraft& draft) {
  if (draft.maps.size() > limits::kUsedMapsMax) {
    return refuse(
        draft.program, Rule::kMapCount,
        fmt::format("{} maps, at most {} are allowed", draft.maps.size(), limits::kUsedMapsMax));
  }
  for (const MapSpec& map : draft.maps) {
    if (draft.env.find_map_type(map.type) != nullptr) continue;
    return refuse(draft.program, Rule::kMapType,
                  fmt::format("map '{}' is of type {}, which is not known", map.name, map.type));
  }
  for (std::uint32_t at = 0; at < draft.slot_count(); ++at) {
    const Insn& insn = draft.insns()[at];
    if (insn.op == Op::kLddw) LMN_CHECK_OK(check_reference(draft, InsnIndex{at}, insn));
  }
  return {};
}

}  // namespace lmn
