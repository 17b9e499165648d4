// SPDX-License-Identifier: Apache-2.0
//
// The relations of core_types.h. Each is a loop along pointers and arrays with recursion only into
// members and parameters; kDepthMax bounds both, as libbpf's limit of 32 does.
#include "object/core_types.h"

#include <fmt/format.h>
#include <linux/btf.h>

#include <algorithm>

namespace lmn {
namespace {

constexpr int kDepthMax = 32;

CoreTypeRef resolved(CoreTypeRef ref) {
  return {ref.btf, ref.btf->skip_modifiers_and_typedefs(ref.id)};
}

const BtfType& type_of(CoreTypeRef ref) { return ref.btf->type(ref.id); }

std::unexpected<Error> too_deep() {
  return make_error(ErrorCode::kLimitExceeded,
                    fmt::format("CO-RE: types nest more than {} deep", kDepthMax));
}

bool is_plain_int(const BtfType& type) { return type.int_info().offset_bits == 0; }

bool is_signed_int(const BtfType& type) { return (type.int_info().encoding & BTF_INT_SIGNED) != 0; }

bool same_essential_name(std::string_view local, std::string_view target) {
  return essential_name(local) == essential_name(target);
}

Result<bool> compatible(CoreTypeRef local, CoreTypeRef target, CoreBudget& budget, int level) {
  for (int depth = 0; depth < kDepthMax; ++depth) {
    if (!budget.spend()) return core_budget_error();
    local = resolved(local);
    target = resolved(target);
    const BtfType& mine = type_of(local);
    const BtfType& other = type_of(target);
    if (!core_kinds_agree(mine, other)) return false;
    switch (mine.kind) {
      case BtfKind::kVoid:
      case BtfKind::kStruct:
      case BtfKind::kUnion:
      case BtfKind::kEnum:
      case BtfKind::kEnum64:
      case BtfKind::kFwd:
        return true;
      case BtfKind::kInt:
        return is_plain_int(mine) && is_plain_int(other);
      case BtfKind::kPtr:
      case BtfKind::kArray:
        break;
      case BtfKind::kFuncProto: {
        const auto my_params = local.btf->params(mine);
        const auto other_params = target.btf->params(other);
        if (my_params.size() != other_params.size()) return false;
        if (level == 0) return too_deep();
        for (std::size_t i = 0; i < my_params.size(); ++i) {
          LMN_TRY(const bool is_same,
                  compatible({local.btf, my_params[i].type}, {target.btf, other_params[i].type},
                             budget, level - 1));
          if (!is_same) return false;
        }
        break;  // and the type it returns
      }
      default:
        return false;  // functions, variables: nothing a relocation asks for
    }
    local.id = mine.type;
    target.id = other.type;
  }
  return too_deep();
}

// One question "does local match target", see core_types.h. behind_pointer: only names and kinds of
// structs count.
class Matcher {
 public:
  explicit Matcher(CoreBudget& budget) : budget_(budget) {}
  Result<bool> match(CoreTypeRef local, CoreTypeRef target, bool behind_pointer, int level);

 private:
  Result<bool> match_members(CoreTypeRef local, CoreTypeRef target, int level);
  Result<bool> match_values(CoreTypeRef local, CoreTypeRef target);
  Result<bool> match_params(CoreTypeRef local, CoreTypeRef target, bool behind_pointer, int level);

  CoreBudget& budget_;
};

// A forward declaration stands for a struct or union of the same name, where only a pointer leads
// to it.
bool forward_agrees(const BtfType& forward, const BtfType& other, bool behind_pointer) {
  if (other.kind == BtfKind::kFwd) return forward.kind_flag == other.kind_flag;
  if (!behind_pointer) return false;
  return other.kind == (forward.kind_flag ? BtfKind::kUnion : BtfKind::kStruct);
}

Result<bool> Matcher::match_values(CoreTypeRef local, CoreTypeRef target) {
  if (type_of(local).size != type_of(target).size) return false;
  const auto theirs = target.btf->enumerators(type_of(target));
  for (const BtfEnumerator& mine : local.btf->enumerators(type_of(local))) {
    bool is_found = false;
    for (const BtfEnumerator& other : theirs) {
      if (!budget_.spend()) return core_budget_error();
      is_found = same_essential_name(mine.name, other.name);
      if (is_found) break;
    }
    if (!is_found) return false;
  }
  return true;
}

Result<bool> Matcher::match_members(CoreTypeRef local, CoreTypeRef target, int level) {
  const auto theirs = target.btf->members(type_of(target));
  const auto ours = local.btf->members(type_of(local));
  if (ours.size() > theirs.size()) return false;
  for (const BtfMember& mine : ours) {
    bool is_found = false;
    for (const BtfMember& other : theirs) {
      if (!budget_.spend()) return core_budget_error();
      if (!same_essential_name(mine.name, other.name)) continue;
      LMN_TRY(is_found, match({local.btf, mine.type}, {target.btf, other.type}, false, level - 1));
      if (is_found) break;
    }
    if (!is_found) return false;
  }
  return true;
}

Result<bool> Matcher::match_params(CoreTypeRef local, CoreTypeRef target, bool behind_pointer,
                                   int level) {
  const auto ours = local.btf->params(type_of(local));
  const auto theirs = target.btf->params(type_of(target));
  if (ours.size() != theirs.size()) return false;
  for (std::size_t i = 0; i < ours.size(); ++i) {
    LMN_TRY(const bool is_same, match({local.btf, ours[i].type}, {target.btf, theirs[i].type},
                                      behind_pointer, level - 1));
    if (!is_same) return false;
  }
  return true;
}

Result<bool> Matcher::match(CoreTypeRef local, CoreTypeRef target, bool behind_pointer, int level) {
  if (level <= 0) return too_deep();
  for (int depth = 0; depth < kDepthMax; ++depth) {
    if (!budget_.spend()) return core_budget_error();
    local = resolved(local);
    target = resolved(target);
    const BtfType& mine = type_of(local);
    const BtfType& other = type_of(target);
    if (!same_essential_name(mine.name, other.name)) return false;
    switch (mine.kind) {
      case BtfKind::kFwd:
        return forward_agrees(mine, other, behind_pointer);
      case BtfKind::kEnum:
      case BtfKind::kEnum64:
        if (!other.is_enumeration()) return false;
        return match_values(local, target);
      case BtfKind::kStruct:
      case BtfKind::kUnion:
        if (behind_pointer && other.kind == BtfKind::kFwd) return forward_agrees(other, mine, true);
        if (mine.kind != other.kind) return false;
        if (behind_pointer) return true;
        return match_members(local, target, level);
      case BtfKind::kInt:
        return other.kind == BtfKind::kInt && mine.size == other.size &&
               is_signed_int(mine) == is_signed_int(other);
      case BtfKind::kPtr:
        if (other.kind != BtfKind::kPtr) return false;
        behind_pointer = true;
        break;
      case BtfKind::kArray:
        if (other.kind != BtfKind::kArray || mine.array().count != other.array().count)
          return false;
        break;
      case BtfKind::kFuncProto: {
        if (other.kind != BtfKind::kFuncProto) return false;
        LMN_TRY(const bool is_same, match_params(local, target, behind_pointer, level));
        if (!is_same) return false;
        break;
      }
      case BtfKind::kVoid:
        return other.kind == BtfKind::kVoid;
      default:
        return false;
    }
    local.id = mine.type;
    target.id = other.type;
  }
  return too_deep();
}

}  // namespace

bool core_kinds_agree(const BtfType& local, const BtfType& target) {
  return local.kind == target.kind || (local.is_enumeration() && target.is_enumeration());
}

bool core_fields_compatible(CoreTypeRef local, CoreTypeRef target) {
  while (true) {  // ends: chains of arrays do (btf.h, invariant 3)
    local = resolved(local);
    target = resolved(target);
    const BtfType& mine = type_of(local);
    const BtfType& other = type_of(target);
    if (mine.is_composite() && other.is_composite()) return true;
    if (!core_kinds_agree(mine, other)) return false;
    switch (mine.kind) {
      case BtfKind::kPtr:
      case BtfKind::kFloat:
        return true;
      case BtfKind::kFwd:
      case BtfKind::kEnum:
      case BtfKind::kEnum64:
        return mine.name.empty() || other.name.empty() ||
               same_essential_name(mine.name, other.name);
      case BtfKind::kInt:
        return is_plain_int(mine) && is_plain_int(other);
      case BtfKind::kArray:
        local.id = mine.type;
        target.id = other.type;
        continue;
      default:
        return false;
    }
  }
}

Result<bool> core_types_compatible(CoreTypeRef local, CoreTypeRef target, CoreBudget& budget) {
  return compatible(local, target, budget, kDepthMax);
}

Result<bool> core_types_match(CoreTypeRef local, CoreTypeRef target, CoreBudget& budget) {
  return Matcher(budget).match(local, target, false, kDepthMax);
}

}  // namespace lmn
