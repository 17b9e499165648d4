// SPDX-License-Identifier: Apache-2.0
//
// Paths from records, and paths found again in another type. See core_path.h.
#include "object/core_path.h"

#include <fmt/format.h>
#include <linux/bpf.h>

#include <charconv>

#include "object/core_types.h"

namespace lmn {
namespace {

constexpr std::uint32_t kStepsMax = 64;
constexpr std::uint64_t kBytesMax = UINT32_MAX;

std::unexpected<Error> malformed(std::string message) {
  return make_error(ErrorCode::kMalformed, "CO-RE: " + std::move(message));
}

Result<std::vector<std::uint32_t>> parse_access(std::string_view text) {
  std::vector<std::uint32_t> out;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (true) {
    std::uint32_t number = 0;
    const auto [next, failure] = std::from_chars(at, end, number);
    if (failure != std::errc() || number > INT32_MAX)
      return malformed(fmt::format("access '{}' is no path", text.substr(0, 64)));
    if (out.size() == kStepsMax)
      return malformed(fmt::format("access of more than {} steps", kStepsMax));
    out.push_back(number);
    if (next == end) return out;
    if (*next != ':') return malformed(fmt::format("access '{}' is no path", text.substr(0, 64)));
    at = next + 1;
  }
}

// An array of no elements at the end of a struct has as many as are asked for.
bool is_flexible(const Btf& btf, const CoreStep& before, const BtfArray& array) {
  if (before.name.empty() || array.count != 0) return false;
  return before.index + 1 == btf.type(before.type).vlen;
}

// Adds `index` elements of `type` to the offset.
Result<void> advance(CorePath& path, std::uint32_t type, std::uint32_t index) {
  LMN_TRY(const std::uint32_t bytes, path.btf->resolve_size(type));
  const std::uint64_t distance = std::uint64_t{bytes} * index;  // below 2^63
  if (distance > kBytesMax || path.bit_offset / 8 + distance > kBytesMax) {
    return malformed(fmt::format("element {} of {} bytes lies past 4 GiB", index, bytes));
  }
  path.bit_offset += distance * 8;
  return {};
}

// One step of the object's own path: a member or an element of `type`, which becomes the type
// stepped to.
Result<void> step_into(CorePath& path, std::uint32_t& type, std::uint32_t index) {
  const Btf& btf = *path.btf;
  type = btf.skip_modifiers_and_typedefs(type);
  const BtfType& here = btf.type(type);
  if (here.is_composite()) {
    if (index >= here.vlen)
      return malformed(fmt::format("member {} of {} in '{}'", index, here.vlen, here.name));
    const BtfMember& member = btf.members(here)[index];
    path.bit_offset += member.bit_offset;
    if (!member.name.empty()) path.steps.push_back({type, index, member.name});
    type = member.type;
    return {};
  }
  if (here.kind != BtfKind::kArray) {
    return malformed(
        fmt::format("step {} into type [{}], a {}", index, type, btf_kind_word(here.kind)));
  }
  const BtfArray array = here.array();
  if (index >= array.count && !is_flexible(btf, path.steps.back(), array)) {
    return malformed(fmt::format("element {} of {} in type [{}]", index, array.count, type));
  }
  type = btf.skip_modifiers_and_typedefs(array.element_type);
  path.steps.push_back({type, index, {}});
  return advance(path, type, index);
}

// Looks for one named member in a struct of the target, through anonymous ones.
class MemberSearch {
 public:
  MemberSearch(const CorePath& local, const CoreStep& wanted, CorePath& path, CoreBudget& budget)
      : wanted_(wanted), path_(path), budget_(budget) {
    const BtfMember& member = local.btf->members(local.btf->type(wanted.type))[wanted.index];
    local_type_ = {local.btf, member.type};
  }

  // True: found, and `type` is now the member's. False: not there, or of an incompatible type.
  Result<bool> find(std::uint32_t& type) {
    const Btf& target = *path_.btf;
    const std::uint32_t id = target.skip_modifiers_and_typedefs(type);
    const BtfType& here = target.type(id);
    if (!here.is_composite()) return false;
    const auto members = target.members(here);
    for (std::uint32_t i = 0; i < members.size(); ++i) {
      if (!budget_.spend()) return core_budget_error();
      if (path_.depth >= kStepsMax)
        return malformed(fmt::format("target nests more than {} deep", kStepsMax));
      if (!members[i].name.empty() && members[i].name != wanted_.name) continue;
      path_.bit_offset += members[i].bit_offset;
      ++path_.depth;
      LMN_TRY(const bool is_found, members[i].name.empty() ? find_inside(members[i].type, type)
                                                           : take(id, i, members[i], type));
      if (is_found) return true;
      path_.bit_offset -= members[i].bit_offset;
      --path_.depth;
    }
    return false;
  }

 private:
  Result<bool> find_inside(std::uint32_t anonymous, std::uint32_t& type) {
    LMN_TRY(const bool is_found, find(anonymous));
    if (is_found) type = anonymous;
    return is_found;
  }

  Result<bool> take(std::uint32_t composite, std::uint32_t index, const BtfMember& member,
                    std::uint32_t& type) {
    if (!core_fields_compatible(local_type_, {path_.btf, member.type})) return false;
    path_.steps.push_back({composite, index, member.name});
    type = member.type;
    return true;
  }

  const CoreStep& wanted_;
  CorePath& path_;
  CoreBudget& budget_;
  CoreTypeRef local_type_;
};

Result<bool> match_array_step(const CoreStep& wanted, bool is_first, CorePath& path,
                              std::uint32_t& type) {
  const Btf& target = *path.btf;
  type = target.skip_modifiers_and_typedefs(type);
  if (!is_first) {  // the first step is the root itself, as an element
    const BtfType& here = target.type(type);
    if (here.kind != BtfKind::kArray) return false;
    const BtfArray array = here.array();
    if (wanted.index >= array.count && !is_flexible(target, path.steps.back(), array)) return false;
    type = target.skip_modifiers_and_typedefs(array.element_type);
  }
  if (path.depth >= kStepsMax)
    return malformed(fmt::format("target nests more than {} deep", kStepsMax));
  ++path.depth;
  path.steps.push_back({type, wanted.index, {}});
  LMN_CHECK_OK(advance(path, type, wanted.index));
  return true;
}

Result<std::optional<CorePath>> match_field(const CorePath& local, CorePath path,
                                            CoreBudget& budget) {
  std::uint32_t type = path.root;
  for (std::size_t i = 0; i < local.steps.size(); ++i) {
    const CoreStep& wanted = local.steps[i];
    Result<bool> is_found = wanted.name.empty()
                                ? match_array_step(wanted, i == 0, path, type)
                                : MemberSearch(local, wanted, path, budget).find(type);
    if (!is_found) return make_error(std::move(is_found).error());
    if (!*is_found) return std::optional<CorePath>();
  }
  return std::optional(std::move(path));
}

std::optional<CorePath> match_enumerator(const CorePath& local, CorePath path) {
  const Btf& target = *path.btf;
  const std::uint32_t id = target.skip_modifiers_and_typedefs(path.root);
  if (!target.type(id).is_enumeration()) return std::nullopt;
  const std::string_view wanted = essential_name(local.steps[0].name);
  const auto values = target.enumerators(target.type(id));
  for (std::uint32_t i = 0; i < values.size(); ++i) {
    if (essential_name(values[i].name) != wanted) continue;
    path.steps.push_back({id, i, values[i].name});
    return path;
  }
  return std::nullopt;
}

}  // namespace

std::unexpected<Error> core_budget_error() {
  return make_error(ErrorCode::kLimitExceeded,
                    "CO-RE: the types to compare are too many or too entangled");
}

bool is_core_field(std::uint32_t kind) { return kind <= BPF_CORE_FIELD_RSHIFT_U64; }

bool is_core_type(std::uint32_t kind) {
  return (kind >= BPF_CORE_TYPE_ID_LOCAL && kind <= BPF_CORE_TYPE_SIZE) ||
         kind == BPF_CORE_TYPE_MATCHES;
}

bool is_core_enum(std::uint32_t kind) {
  return kind == BPF_CORE_ENUMVAL_EXISTS || kind == BPF_CORE_ENUMVAL_VALUE;
}

std::string CorePath::to_string() const {
  const BtfType& type = btf->type(root);
  std::string out =
      fmt::format("{} {}", btf_kind_word(type.kind), type.name.empty() ? "(anonymous)" : type.name);
  for (std::size_t i = 0; i < steps.size(); ++i) {
    if (!steps[i].name.empty()) {
      out += fmt::format("{}{}", type.is_enumeration() ? "::" : ".", steps[i].name);
    } else if (i > 0 || steps[i].index > 0) {
      out += fmt::format("[{}]", steps[i].index);
    }
  }
  return out;
}

Result<CorePath> parse_core_path(const Btf& btf, const BtfCoreRecord& record) {
  CorePath path;
  path.btf = &btf;
  path.root = record.type_id;
  if (is_core_type(record.kind)) {
    if (record.access != "0")
      return malformed(
          fmt::format("access '{}' to a type as a whole", record.access.substr(0, 64)));
    return path;
  }
  if (!is_core_field(record.kind) && !is_core_enum(record.kind)) {
    return make_error(ErrorCode::kNotSupported,
                      fmt::format("CO-RE: relocation of kind {} is not known", record.kind));
  }
  LMN_TRY(const std::vector<std::uint32_t> access, parse_access(record.access));
  std::uint32_t type = btf.skip_modifiers_and_typedefs(record.type_id);
  if (is_core_enum(record.kind)) {
    const BtfType& enumeration = btf.type(type);
    if (!enumeration.is_enumeration() || access.size() != 1 || access[0] >= enumeration.vlen) {
      return malformed(fmt::format("access '{}' to type [{}], a {}", record.access.substr(0, 64),
                                   record.type_id, btf_kind_word(enumeration.kind)));
    }
    path.steps.push_back({type, access[0], btf.enumerators(enumeration)[access[0]].name});
    return path;
  }
  path.steps.push_back({type, access[0], {}});
  LMN_CHECK_OK(advance(path, type, access[0]));
  for (std::size_t i = 1; i < access.size(); ++i) LMN_CHECK_OK(step_into(path, type, access[i]));
  path.depth = static_cast<std::uint32_t>(access.size());
  return path;
}

Result<std::optional<CorePath>> match_core_path(const CorePath& local, std::uint32_t kind,
                                                const Btf& target, std::uint32_t root,
                                                CoreBudget& budget) {
  CorePath path;
  path.btf = &target;
  path.root = root;
  if (is_core_field(kind)) return match_field(local, std::move(path), budget);
  if (is_core_enum(kind)) return match_enumerator(local, std::move(path));
  const CoreTypeRef mine{local.btf, local.root};
  const CoreTypeRef other{&target, root};
  LMN_TRY(const bool is_same, kind == BPF_CORE_TYPE_MATCHES
                                  ? core_types_match(mine, other, budget)
                                  : core_types_compatible(mine, other, budget));
  return is_same ? std::optional(std::move(path)) : std::nullopt;
}

}  // namespace lmn
