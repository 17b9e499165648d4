// SPDX-License-Identifier: Apache-2.0
//
// See core_value.h. Shift counts are computed in 32 bits and may wrap, as libbpf's do, for fields
// wider than 64 bits.
#include "object/core_value.h"

#include <fmt/format.h>
#include <linux/bpf.h>
#include <linux/btf.h>

namespace lmn {
namespace {

std::unexpected<Error> malformed(std::string message) {
  return make_error(ErrorCode::kMalformed, "CO-RE: " + std::move(message));
}

// Where the bytes of a field are that one load can fetch.
struct Window {
  std::uint32_t offset = 0;
  std::uint32_t bytes = 0;
  std::uint32_t bits = 0;  // of the field itself
};

// A bitfield is loaded with the smallest aligned integer that holds all of it.
Result<Window> bitfield_window(const CorePath& path, const BtfMember& member, const BtfType& type) {
  Window window;
  window.bits = member.bitfield_size;
  window.bytes = type.size;
  if (window.bytes == 0)
    return malformed(fmt::format("bitfield '{}' of a type without size", member.name));
  while (true) {
    window.offset = static_cast<std::uint32_t>(path.bit_offset / 8 / window.bytes * window.bytes);
    if (path.bit_offset + window.bits - std::uint64_t{window.offset} * 8 <=
        std::uint64_t{window.bytes} * 8)
      return window;
    if (window.bytes >= 8)
      return malformed(fmt::format("bitfield '{}' does not fit one 64-bit load", member.name));
    window.bytes *= 2;
  }
}

Result<CoreNumber> element_number(std::uint32_t kind, const CorePath& path) {
  CoreNumber number;
  const std::uint32_t type = path.steps.back().type;
  LMN_TRY(const std::uint32_t bytes, path.btf->resolve_size(type));
  if (kind == BPF_CORE_FIELD_BYTE_SIZE) {
    number.value = bytes;
    return number;
  }
  if (kind != BPF_CORE_FIELD_BYTE_OFFSET) {
    return malformed(fmt::format("relocation of kind {} on an array element", kind));
  }
  number.value = path.bit_offset / 8;
  number.access_bytes = bytes;
  number.access_type = type;
  return number;
}

Result<CoreNumber> member_number(std::uint32_t kind, const CorePath& path) {
  const Btf& btf = *path.btf;
  const CoreStep& last = path.steps.back();
  const BtfMember& member = btf.members(btf.type(last.type))[last.index];
  const std::uint32_t type_id = btf.skip_modifiers_and_typedefs(member.type);
  const BtfType& type = btf.type(type_id);
  const bool is_bitfield = member.bitfield_size != 0;
  Window window;
  if (is_bitfield) {
    LMN_TRY(window, bitfield_window(path, member, type));
  } else {
    LMN_TRY(window.bytes, btf.resolve_size(type_id));
    window.offset = static_cast<std::uint32_t>(path.bit_offset / 8);
    window.bits = window.bytes * 8;
  }
  CoreNumber number;
  number.is_checked = !is_bitfield;
  switch (kind) {
    case BPF_CORE_FIELD_BYTE_OFFSET:
      number.value = window.offset;
      if (!is_bitfield) {
        number.access_bytes = window.bytes;
        number.access_type = type_id;
      }
      break;
    case BPF_CORE_FIELD_BYTE_SIZE:
      number.value = window.bytes;
      break;
    case BPF_CORE_FIELD_SIGNED:
      number.value =
          (type.is_enumeration() && type.kind_flag) ||
          (type.kind == BtfKind::kInt && (type.int_info().encoding & BTF_INT_SIGNED) != 0);
      number.is_checked = true;
      break;
    case BPF_CORE_FIELD_LSHIFT_U64:
      number.value =
          64 - (static_cast<std::uint32_t>(path.bit_offset) + window.bits - window.offset * 8);
      break;
    case BPF_CORE_FIELD_RSHIFT_U64:
      number.value = 64 - window.bits;
      number.is_checked = true;
      break;
    default:
      return malformed(fmt::format("relocation of kind {} on a field", kind));
  }
  return number;
}

// nullopt: the instruction has to be poisoned.
Result<std::optional<CoreNumber>> field_number(std::uint32_t kind, const CorePath* path) {
  CoreNumber number;
  if (kind == BPF_CORE_FIELD_EXISTS) {
    number.value = path != nullptr;
    return std::optional(number);
  }
  if (path == nullptr) return std::optional<CoreNumber>();
  LMN_TRY(number, path->steps.back().name.empty() ? element_number(kind, *path)
                                                  : member_number(kind, *path));
  return std::optional(number);
}

Result<std::optional<CoreNumber>> type_number(std::uint32_t kind, const CorePath* path) {
  CoreNumber number;
  if (path == nullptr) return std::optional(number);  // absent: 0, whatever was asked
  switch (kind) {
    case BPF_CORE_TYPE_ID_LOCAL:
    case BPF_CORE_TYPE_ID_TARGET:
      number.value = path->root;
      number.is_checked = false;  // linking renumbers types
      break;
    case BPF_CORE_TYPE_SIZE: {
      LMN_TRY(number.value, path->btf->resolve_size(path->root));
      break;
    }
    default:
      number.value = 1;  // it exists, it matches
  }
  return std::optional(number);
}

Result<std::optional<CoreNumber>> enum_number(std::uint32_t kind, const CorePath* path) {
  CoreNumber number;
  if (kind == BPF_CORE_ENUMVAL_EXISTS) {
    number.value = path != nullptr;
    return std::optional(number);
  }
  if (path == nullptr) return std::optional<CoreNumber>();
  const CoreStep& step = path->steps.front();
  const BtfType& type = path->btf->type(step.type);
  const std::int64_t value = path->btf->enumerators(type)[step.index].value;
  // A 32-bit enum's value is taken as signed, whatever its flag says.
  number.value = static_cast<std::uint64_t>(
      type.kind == BtfKind::kEnum ? static_cast<std::int32_t>(value) : value);
  return std::optional(number);
}

Result<std::optional<CoreNumber>> number_of(std::uint32_t kind, const CorePath* path) {
  if (is_core_field(kind)) return field_number(kind, path);
  if (is_core_enum(kind)) return enum_number(kind, path);
  return type_number(kind, path);
}

// Loads of another width give the same number only where the missing bits are zeros.
bool is_width_safe(const CorePath& local, const CoreNumber& mine, const CorePath& target,
                   const CoreNumber& other) {
  const BtfType& from = local.btf->type(mine.access_type);
  const BtfType& to = target.btf->type(other.access_type);
  if (from.kind == BtfKind::kPtr && to.kind == BtfKind::kPtr) return true;  // 32-bit kernels
  return from.kind == BtfKind::kInt && to.kind == BtfKind::kInt &&
         from.int_info().encoding != BTF_INT_SIGNED && to.int_info().encoding != BTF_INT_SIGNED;
}

}  // namespace

Result<CoreChange> core_change(std::uint32_t kind, const CorePath& local, const CorePath* target) {
  CoreChange change;
  LMN_TRY(const std::optional<CoreNumber> mine, number_of(kind, &local));
  LMN_TRY(const std::optional<CoreNumber> other, number_of(kind, target));
  change.local = mine.value_or(CoreNumber());
  if (!mine || !other) {
    change.is_poisoned = true;
    return change;
  }
  change.target = *other;
  if (target != nullptr && mine->access_bytes != other->access_bytes) {
    change.is_width_unsafe = !is_width_safe(local, *mine, *target, *other);
  }
  return change;
}

}  // namespace lmn
