// SPDX-License-Identifier: Apache-2.0
//
// CO-RE (compile once, run everywhere): fits an object's accesses to kernel structs to the types of
// a target.
//
// For each record: the object's own path; candidates in the target, which are the types of that
// name without flavour
// (`task_struct___old` looks for task_struct); the path in each of them; and the number that
// results. Several candidates are fine as long as they agree; if none has what is asked for,
// questions of existence are answered with 0 and all other instructions are poisoned, which the
// verifier accepts in dead code only. Candidates that did not fit once are not tried again for the
// same local type, as libbpf does.
//
// A record that makes no sense spoils the programs that contain its instruction, not the object.
// Tested by core_test.cc. Source: Linux 6.18, tools/lib/bpf/relo_core.c and libbpf.c (which
// candidates, when ambiguous).
#include <fmt/format.h>
#include <linux/bpf.h>

#include <algorithm>
#include <span>

#include "abi/limits.h"
#include "object/core_patch.h"
#include "object/core_path.h"
#include "object/core_types.h"
#include "object/core_value.h"
#include "object/object_draft.h"

namespace lmn {
namespace {

class CoreRelocator {
 public:
  explicit CoreRelocator(ObjectDraft& draft) : draft_(draft) {}

  // Applies one record to its instruction.
  Result<void> relocate(CodeSection& code, const BtfCoreRecord& record);

 private:
  Result<CoreChange> resolve(const BtfCoreRecord& record);
  Result<std::vector<CoreTypeRef>*> candidates(std::uint32_t type);
  void add_candidates(const BtfType& local, const Btf& target, std::vector<CoreTypeRef>& out) const;
  Result<CoreChange> decide(const BtfCoreRecord& record, const CorePath& local,
                            std::vector<CoreTypeRef>& candidates);

  ObjectDraft& draft_;
  CoreBudget budget_;
  std::size_t candidates_left_ = limits::kCoreCandidatesMax;
  std::unordered_map<std::uint32_t, std::vector<CoreTypeRef>> cache_;
};

void CoreRelocator::add_candidates(const BtfType& local, const Btf& target,
                                   std::vector<CoreTypeRef>& out) const {
  for (const std::uint32_t id : target.find_by_essential_name(essential_name(local.name))) {
    if (core_kinds_agree(local, target.type(id))) out.push_back({&target, id});
  }
}

Result<std::vector<CoreTypeRef>*> CoreRelocator::candidates(std::uint32_t type) {
  if (auto known = cache_.find(type); known != cache_.end()) return &known->second;
  const BtfType& local = draft_.btf->type(type);
  if (local.name.empty()) {
    return make_error(ErrorCode::kMalformed,
                      fmt::format("CO-RE: type [{}] has no name to look for", type));
  }
  if (draft_.options.target_btf == nullptr) {
    return make_error(
        ErrorCode::kNotFound,
        fmt::format("CO-RE: {} '{}' must be looked up in a kernel's types, and none were given",
                    btf_kind_word(local.kind), local.name),
        "give the BTF of the kernel to run for (a file, or /sys/kernel/btf/vmlinux)");
  }
  std::vector<CoreTypeRef> found;
  add_candidates(local, *draft_.options.target_btf, found);
  if (found.empty()) {  // modules only for what the kernel itself does not have
    for (const auto& module : draft_.options.target_modules) add_candidates(local, *module, found);
  }
  if (found.size() > candidates_left_) return core_budget_error();
  candidates_left_ -= found.size();
  return &cache_.emplace(type, std::move(found)).first->second;
}

Result<CoreChange> CoreRelocator::decide(const BtfCoreRecord& record, const CorePath& local,
                                         std::vector<CoreTypeRef>& candidates) {
  std::optional<CoreChange> decided;
  std::uint64_t decided_offset = 0;
  std::vector<CoreTypeRef> fitting;
  for (const CoreTypeRef& candidate : candidates) {
    if (!budget_.spend()) return core_budget_error();
    LMN_TRY(const auto path,
            match_core_path(local, record.kind, *candidate.btf, candidate.id, budget_));
    if (!path) continue;
    LMN_TRY(const CoreChange change, core_change(record.kind, local, &*path));
    if (!decided) {
      decided = change;
      decided_offset = path->bit_offset;
    } else if (decided_offset != path->bit_offset || decided->is_poisoned != change.is_poisoned ||
               decided->target.value != change.target.value) {
      return make_error(
          ErrorCode::kMalformed,
          fmt::format("CO-RE: '{}' is ambiguous: [{}] and [{}] of the target give {} (bit {}) and "
                      "{} (bit {})",
                      local.to_string(), fitting.front().id, candidate.id, decided->target.value,
                      decided_offset, change.target.value, path->bit_offset));
    }
    fitting.push_back(candidate);
  }
  if (decided) {
    candidates = std::move(fitting);
    return *decided;
  }
  return core_change(record.kind, local, nullptr);
}

Result<CoreChange> CoreRelocator::resolve(const BtfCoreRecord& record) {
  LMN_TRY(const CorePath local, parse_core_path(*draft_.btf, record));
  if (record.kind == BPF_CORE_TYPE_ID_LOCAL) return core_change(record.kind, local, &local);
  LMN_TRY(std::vector<CoreTypeRef> * found, candidates(record.type_id));
  return decide(record, local, *found);
}

Result<void> CoreRelocator::relocate(CodeSection& code, const BtfCoreRecord& record) {
  const std::size_t slot = record.offset / kSlotBytes;
  const auto slots = std::span(code.slots).subspan(slot);
  if (slots[0].is_lddw() && slots.size() < 2) {
    return make_error(ErrorCode::kMalformed, "CO-RE: half a 64-bit load at the end of the section");
  }
  LMN_TRY(const CoreChange change, resolve(record));
  return patch_core(slots, change);
}

// From now on whoever contains the slot cannot be linked.
Result<void> spoil(ObjectDraft& draft, CodeSection& code, std::uint32_t slot, Error error) {
  error.location = place_in(code.name, std::uint64_t{slot} * kSlotBytes);
  LMN_TRY(const std::uint32_t index, draft.add_error(std::move(error)));
  const SlotReference broken{slot, ReferenceKind::kBroken, index, 0};
  auto at = std::ranges::lower_bound(code.references, slot, {}, &SlotReference::slot);
  if (at != code.references.end() && at->slot == slot) {
    if (at->kind != ReferenceKind::kBroken) *at = broken;
  } else {
    code.references.insert(at, broken);
  }
  return {};
}

}  // namespace

Result<void> relocate_core(ObjectDraft& draft) {
  if (draft.ext.core.empty()) return {};
  std::unordered_map<std::string_view, std::uint32_t> code_of;
  for (std::uint32_t i = 0; i < draft.code.size(); ++i) {
    code_of.try_emplace(draft.elf.section(draft.code[i].section).name, i);
  }
  CoreRelocator relocator(draft);
  for (const auto& group : draft.ext.core) {
    auto found = code_of.find(group.name);
    if (found == code_of.end()) continue;
    CodeSection& code = draft.code[found->second];
    for (const BtfCoreRecord& record : group.records) {
      const std::uint64_t slot = record.offset / kSlotBytes;
      // Linkers keep the records of weak functions they dropped.
      if (!draft.function_at(found->second, slot)) continue;
      auto done = relocator.relocate(code, record);
      if (done) continue;
      LMN_CHECK_OK(spoil(draft, code, static_cast<std::uint32_t>(slot), std::move(done).error()));
    }
  }
  return {};
}

}  // namespace lmn
