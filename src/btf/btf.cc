// SPDX-License-Identifier: Apache-2.0
//
// Questions to a parsed type graph, and the loader's edits of it. What bounds each walk is said in
// btf.h (invariants 3 and 4); parsing is in btf_parse.cc. Tested by btf_test.cc.
#include "btf/btf.h"

#include <fmt/format.h>
#include <linux/btf.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "abi/limits.h"
#include "base/assert.h"

namespace lmn {
namespace {

constexpr std::uint32_t kPointerBytes = 8;  // of the BPF target, whatever the host has

std::uint32_t name_hash(std::string_view name) {
  std::uint32_t hash = 2166136261u;  // FNV-1a: only spreads; equality is checked on the names
  for (const char c : name) hash = (hash ^ static_cast<std::uint8_t>(c)) * 16777619u;
  return hash;
}

}  // namespace

std::string_view btf_kind_word(BtfKind kind) {
  switch (kind) {
#define LMN_BTF_KIND(name, number, word, dump) \
  case BtfKind::name:                          \
    return word;
#include "btf/btf_kinds.def"
#undef LMN_BTF_KIND
  }
  return "unknown";
}

std::string_view btf_kind_dump_name(BtfKind kind) {
  switch (kind) {
#define LMN_BTF_KIND(name, number, word, dump) \
  case BtfKind::name:                          \
    return dump;
#include "btf/btf_kinds.def"
#undef LMN_BTF_KIND
  }
  return "UNKNOWN";
}

std::string_view essential_name(std::string_view name) {
  // A flavour is "___" between two characters that are no underscores, the last such place.
  for (std::size_t at = name.size(); at >= 5; --at) {
    const std::string_view five = name.substr(at - 5, 5);
    if (five.substr(1, 3) == "___" && five[0] != '_' && five[4] != '_')
      return name.substr(0, at - 4);
  }
  return name;
}

BtfInt BtfType::int_info() const {
  BtfInt info;
  info.encoding = static_cast<std::uint8_t>(BTF_INT_ENCODING(detail));
  info.offset_bits = static_cast<std::uint8_t>(BTF_INT_OFFSET(detail));
  info.bits = static_cast<std::uint8_t>(BTF_INT_BITS(detail));
  return info;
}

BtfArray BtfType::array() const { return {type, detail2, detail}; }

BtfLinkage BtfType::linkage() const { return static_cast<BtfLinkage>(detail); }

std::int32_t BtfType::component_index() const { return static_cast<std::int32_t>(detail); }

bool BtfType::is_modifier() const {
  return kind == BtfKind::kConst || kind == BtfKind::kVolatile || kind == BtfKind::kRestrict ||
         kind == BtfKind::kTypeTag;
}

bool BtfType::is_composite() const { return kind == BtfKind::kStruct || kind == BtfKind::kUnion; }

bool BtfType::is_enumeration() const { return kind == BtfKind::kEnum || kind == BtfKind::kEnum64; }

const BtfType* Btf::find(std::uint32_t id) const {
  if (id < first_id_) return base_->find(id);
  const std::uint32_t local = id - first_id_;
  return local < types_.size() ? &types_[local] : nullptr;
}

const BtfType& Btf::type(std::uint32_t id) const {
  const BtfType* found = find(id);
  LMN_ASSERT(found != nullptr);
  return *found;
}

std::span<const BtfMember> Btf::members(const BtfType& composite) const {
  LMN_DCHECK(composite.is_composite());
  if (composite.detail < members_.first) return base_->members(composite);
  return std::span(members_.rows).subspan(composite.detail - members_.first, composite.vlen);
}

std::span<const BtfEnumerator> Btf::enumerators(const BtfType& enumeration) const {
  LMN_DCHECK(enumeration.is_enumeration());
  if (enumeration.detail < enumerators_.first) return base_->enumerators(enumeration);
  return std::span(enumerators_.rows)
      .subspan(enumeration.detail - enumerators_.first, enumeration.vlen);
}

std::span<const BtfParam> Btf::params(const BtfType& proto) const {
  LMN_DCHECK(proto.kind == BtfKind::kFuncProto);
  if (proto.detail < params_.first) return base_->params(proto);
  return std::span(params_.rows).subspan(proto.detail - params_.first, proto.vlen);
}

std::span<const BtfVariable> Btf::variables(const BtfType& datasec) const {
  LMN_DCHECK(datasec.kind == BtfKind::kDatasec);
  if (datasec.detail < variables_.first) return base_->variables(datasec);
  return std::span(variables_.rows).subspan(datasec.detail - variables_.first, datasec.vlen);
}

std::optional<std::string_view> Btf::string(std::uint32_t offset) const {
  if (offset < string_base_) return base_->string(offset);
  return string_at(raw().subspan(strings_at_, strings_size_), offset - string_base_);
}

BtfKind Btf::kind_of_entry(std::uint64_t entry) const {
  return types_[static_cast<std::uint32_t>(entry) - first_id_].kind;
}

std::span<const std::uint64_t> Btf::lookup(NameIndex& index, bool is_essential,
                                           std::string_view name) const {
  const auto name_of = [&](std::uint64_t entry) {
    const std::string_view whole = types_[static_cast<std::uint32_t>(entry) - first_id_].name;
    return is_essential ? essential_name(whole) : whole;
  };
  std::call_once(index.once, [&] {
    index.entries.reserve(types_.size());
    for (std::uint32_t i = 0; i < types_.size(); ++i) {
      if (types_[i].name.empty()) continue;
      const std::uint64_t id = first_id_ + i;
      index.entries.push_back(std::uint64_t{name_hash(name_of(id))} << 32 | id);
    }
    std::ranges::sort(index.entries, [&](std::uint64_t a, std::uint64_t b) {
      if (a >> 32 != b >> 32) return a < b;
      const int order = name_of(a).compare(name_of(b));
      if (order != 0) return order < 0;
      return std::pair(kind_of_entry(a), a) < std::pair(kind_of_entry(b), b);
    });
  });
  const std::uint64_t hash = name_hash(name);
  const auto is_before = [&](std::uint64_t entry, std::string_view wanted) {
    return entry >> 32 != hash ? entry >> 32 < hash : name_of(entry).compare(wanted) < 0;
  };
  const auto is_behind = [&](std::string_view wanted, std::uint64_t entry) {
    return entry >> 32 != hash ? entry >> 32 > hash : name_of(entry).compare(wanted) > 0;
  };
  const auto first = std::lower_bound(index.entries.begin(), index.entries.end(), name, is_before);
  const auto last = std::upper_bound(first, index.entries.end(), name, is_behind);
  return {first, last};
}

std::vector<std::uint32_t> Btf::find_by_essential_name(std::string_view name) const {
  std::vector<std::uint32_t> out;
  for (const std::uint64_t entry : lookup(by_essential_name_, true, name)) {
    out.push_back(static_cast<std::uint32_t>(entry));
  }
  std::ranges::sort(out);
  return out;
}

std::optional<std::uint32_t> Btf::find_by_name(std::string_view name, BtfKind kind) const {
  if (base_ != nullptr) {
    if (auto found = base_->find_by_name(name, kind)) return found;
  }
  const auto entries = lookup(by_name_, false, name);
  const auto found = std::ranges::lower_bound(
      entries, kind, {}, [this](std::uint64_t entry) { return kind_of_entry(entry); });
  if (found == entries.end() || kind_of_entry(*found) != kind) return std::nullopt;
  return static_cast<std::uint32_t>(*found);
}

std::uint32_t Btf::skip_modifiers(std::uint32_t id) const {
  while (type(id).is_modifier()) id = type(id).type;
  return id;
}

std::uint32_t Btf::skip_modifiers_and_typedefs(std::uint32_t id) const {
  while (type(id).is_modifier() || type(id).kind == BtfKind::kTypedef) id = type(id).type;
  return id;
}

Result<std::uint32_t> Btf::resolve_size(std::uint32_t id) const {
  std::uint64_t count = 1;
  for (std::uint32_t at = id;;) {
    const BtfType& here = type(at);
    std::uint64_t bytes = 0;
    switch (here.kind) {
      case BtfKind::kInt:
      case BtfKind::kStruct:
      case BtfKind::kUnion:
      case BtfKind::kEnum:
      case BtfKind::kEnum64:
      case BtfKind::kFloat:
      case BtfKind::kDatasec:
        bytes = here.size;
        break;
      case BtfKind::kPtr:
        bytes = kPointerBytes;
        break;
      case BtfKind::kArray:
        count *= here.array().count;  // both below 2^32: cannot wrap before the check below
        if (count > std::numeric_limits<std::uint32_t>::max()) {
          return make_error(ErrorCode::kLimitExceeded,
                            fmt::format("btf type [{}]: array of more than 4 GiB", id));
        }
        at = here.type;
        continue;
      case BtfKind::kTypedef:
      case BtfKind::kVolatile:
      case BtfKind::kConst:
      case BtfKind::kRestrict:
      case BtfKind::kVar:
      case BtfKind::kDeclTag:
      case BtfKind::kTypeTag:
        at = here.type;
        continue;
      case BtfKind::kVoid:
      case BtfKind::kFwd:
      case BtfKind::kFunc:
      case BtfKind::kFuncProto:
        return make_error(ErrorCode::kMalformed,
                          fmt::format("btf type [{}]: {} '{}' has no size", at,
                                      btf_kind_word(here.kind), here.name));
    }
    if (bytes * count > std::numeric_limits<std::uint32_t>::max()) {
      return make_error(ErrorCode::kLimitExceeded,
                        fmt::format("btf type [{}]: more than 4 GiB", id));
    }
    return static_cast<std::uint32_t>(bytes * count);
  }
}

std::uint32_t Btf::align_of(std::uint32_t id) const {
  std::size_t visits = 0;
  return alignment_of(id, visits);
}

std::uint32_t Btf::alignment_of(std::uint32_t id, std::size_t& visits) const {
  const std::uint32_t resolved = skip_modifiers_and_typedefs(id);
  const BtfType& here = type(resolved);
  switch (here.kind) {
    case BtfKind::kInt:
    case BtfKind::kEnum:
    case BtfKind::kEnum64:
    case BtfKind::kFloat:
      return std::min(kPointerBytes, here.size);
    case BtfKind::kPtr:
      return kPointerBytes;
    case BtfKind::kArray:
    case BtfKind::kVar:
    case BtfKind::kDeclTag:
      return alignment_of(here.type, visits);
    case BtfKind::kStruct:
    case BtfKind::kUnion: {
      std::uint32_t widest = 1;
      for (const BtfMember& member : members(here)) {
        if (++visits > limits::kBtfVisitsMax) return 0;
        const std::uint32_t align = alignment_of(member.type, visits);
        if (align == 0) return 0;
        if (member.bitfield_size == 0 && member.bit_offset % (8 * align) != 0) return 1;  // packed
        widest = std::max(widest, align);
      }
      return here.size % widest == 0 ? widest : 1;
    }
    default:
      return 0;
  }
}

std::optional<BtfMember> Btf::find_member(const BtfType& composite, std::string_view name) const {
  if (name.empty()) return std::nullopt;
  std::size_t visits = 0;
  return member_at(composite, name, visits);
}

std::optional<BtfMember> Btf::member_at(const BtfType& composite, std::string_view name,
                                        std::size_t& visits) const {
  for (const BtfMember& member : members(composite)) {
    if (++visits > limits::kBtfVisitsMax) return std::nullopt;
    if (member.name == name) return member;
    if (!member.name.empty()) continue;
    const BtfType& inner = type(skip_modifiers_and_typedefs(member.type));
    if (!inner.is_composite()) continue;
    if (auto found = member_at(inner, name, visits)) {
      found->bit_offset += member.bit_offset;
      return found;
    }
  }
  return std::nullopt;
}

void Btf::set_datasec(std::uint32_t id, std::uint32_t size,
                      std::span<const BtfVariable> variables) {
  LMN_ASSERT(id >= first_id_);
  LMN_ASSERT(id < type_count());
  BtfType& datasec = types_[id - first_id_];
  LMN_ASSERT(datasec.kind == BtfKind::kDatasec);
  LMN_ASSERT(variables.size() == datasec.vlen);
  datasec.size = size;
  std::uint8_t* record = raw_.data() + datasec.raw_offset;
  store_unaligned<std::uint32_t>(record + 8, size, std::endian::little);
  record += 12;
  for (std::size_t i = 0; i < variables.size(); ++i, record += 12) {
    variables_.rows[datasec.detail - variables_.first + i] = variables[i];
    store_unaligned<std::uint32_t>(record, variables[i].type, std::endian::little);
    store_unaligned<std::uint32_t>(record + 4, variables[i].offset, std::endian::little);
    store_unaligned<std::uint32_t>(record + 8, variables[i].size, std::endian::little);
  }
}

void Btf::set_linkage(std::uint32_t id, BtfLinkage linkage) {
  LMN_ASSERT(id >= first_id_);
  LMN_ASSERT(id < type_count());
  BtfType& target = types_[id - first_id_];
  target.detail = static_cast<std::uint32_t>(linkage);
  std::uint8_t* record = raw_.data() + target.raw_offset;
  if (target.kind == BtfKind::kVar) {
    store_unaligned<std::uint32_t>(record + 12, target.detail, std::endian::little);
  } else {
    LMN_ASSERT(target.kind == BtfKind::kFunc);  // its linkage is where others have vlen
    store_unaligned<std::uint16_t>(record + 4, static_cast<std::uint16_t>(linkage),
                                   std::endian::little);
  }
}

}  // namespace lmn
