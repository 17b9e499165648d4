// SPDX-License-Identifier: Apache-2.0
//
// BTF-typed values in bpftool's form. Recursion is bounded: parse_btf refuses graphs deeper than
// kBtfDepthMax (btf.h, invariants 3 and 4). Tested by map_dump_test.cc.
#include "maps/value_dump.h"

#include <fmt/format.h>
#include <linux/btf.h>

#include <cstring>

namespace lmn {
namespace {

__extension__ typedef unsigned __int128 Uint128;

class ValueDump {
 public:
  ValueDump(BpftoolJson& json, const Btf& btf) : json_(json), btf_(btf) {}

  // `bit_offset` (0..7) is where the value begins in its first byte.
  bool type(std::uint32_t type_id, std::uint32_t bit_offset, ByteSpan bytes) {
    const std::size_t length_before = json_.text().size();
    return or_null(any_kind(type_id, bit_offset, bytes), length_before);
  }

 private:
  // A name must not stay without a value: null stands for one that could not be shown at all.
  bool or_null(bool is_shown, std::size_t length_before) {
    if (!is_shown && json_.text().size() == length_before) json_.token("null");
    return is_shown;
  }

  // What bpftool prints where it has no value; in JSON, which that would break, null.
  void remark(std::string_view words) { json_.token(json_.is_indented() ? words : "null"); }

  bool any_kind(std::uint32_t type_id, std::uint32_t bit_offset, ByteSpan bytes) {
    const BtfType* found = btf_.find(type_id);
    if (found == nullptr) return false;
    switch (found->kind) {
      case BtfKind::kInt:
        return integer(*found, bit_offset, bytes);
      case BtfKind::kStruct:
      case BtfKind::kUnion:
        return composite(*found, bytes);
      case BtfKind::kArray:
        return array(*found, bytes);
      case BtfKind::kEnum:
      case BtfKind::kEnum64:
        return enumeration(*found, bytes);
      case BtfKind::kPtr:
        return pointer(bytes);
      case BtfKind::kVoid:
        remark("(unknown)");
        return true;
      case BtfKind::kFwd:
        remark("(fwd-kind-invalid)");
        return false;
      case BtfKind::kTypedef:
      case BtfKind::kVolatile:
      case BtfKind::kConst:
      case BtfKind::kRestrict:
        return type(btf_.skip_modifiers_and_typedefs(type_id), bit_offset, bytes);
      case BtfKind::kVar:
        return variable(*found, bytes);
      case BtfKind::kDatasec:
        return datasec(*found, bytes);
      case BtfKind::kFunc:
      case BtfKind::kFuncProto:
      case BtfKind::kFloat:
      case BtfKind::kDeclTag:
      case BtfKind::kTypeTag:
        remark("(unsupported-kind");
        return false;
    }
    return false;
  }

  static std::optional<ByteSpan> part(ByteSpan bytes, std::size_t offset, std::size_t size) {
    if (offset > bytes.size() || size > bytes.size() - offset) return std::nullopt;
    return bytes.subspan(offset, size);
  }
  static ByteSpan from(ByteSpan bytes, std::size_t offset) {
    return bytes.subspan(std::min(offset, bytes.size()));
  }

  // An unsigned number of 1, 2, 4 or 8 bytes.
  static std::optional<std::uint64_t> number(ByteSpan bytes, std::size_t size) {
    if (size > bytes.size()) return std::nullopt;
    std::uint64_t value = 0;
    std::memcpy(&value, bytes.data(), size);
    return value;
  }
  static std::int64_t extend_sign(std::uint64_t value, std::size_t size) {
    const std::size_t unused = 64 - 8 * size;
    return static_cast<std::int64_t>(value << unused) >> unused;
  }

  void hexadecimal(Uint128 value) {
    const auto high = static_cast<std::uint64_t>(value >> 64);
    const auto low = static_cast<std::uint64_t>(value);
    const std::string digits =
        high == 0 ? fmt::format("{:#x}", low) : fmt::format("{:#x}{:016x}", high, low);
    json_.token(json_.is_indented() ? digits : '"' + digits + '"');
  }

  // `bits` bits from `bit_offset` (0..7) on, as an unsigned number.
  bool bitfield(std::uint32_t bits, std::uint32_t bit_offset, ByteSpan bytes) {
    const std::uint32_t end = bit_offset + bits;
    const std::size_t size = (end + 7) / 8;
    if (bits == 0 || end > 128 || size > bytes.size()) return false;
    Uint128 value = 0;
    std::memcpy(&value, bytes.data(), size);
    hexadecimal((value << (128 - end)) >> (128 - bits));
    return true;
  }

  bool integer(const BtfType& t, std::uint32_t bit_offset, ByteSpan bytes) {
    const BtfInt info = t.int_info();
    const bool is_plain_size =
        info.bits == 8 || info.bits == 16 || info.bits == 32 || info.bits == 64 || info.bits == 128;
    if (bit_offset != 0 || info.offset_bits != 0 || !is_plain_size) {
      const std::uint32_t total = bit_offset + info.offset_bits;
      return bitfield(info.bits, total % 8, from(bytes, total / 8));
    }
    if (info.bits == 128) return bitfield(128, 0, bytes);
    const auto value = number(bytes, info.bits / 8);
    if (!value) return false;
    switch (info.encoding) {
      case 0:
        json_.token(fmt::format("{}", *value));
        return true;
      case BTF_INT_SIGNED:
        json_.token(fmt::format("{}", extend_sign(*value, info.bits / 8)));
        return true;
      case BTF_INT_CHAR:
        character(static_cast<std::uint8_t>(*value));
        return true;
      case BTF_INT_BOOL:
        json_.token((*value & 0xff) != 0 ? "true" : "false");
        return true;
      default:
        return false;
    }
  }

  void character(std::uint8_t c) {
    if (c >= 0x20 && c < 0x7f) {
      json_.token(fmt::format("\"{}\"", static_cast<char>(c)));
    } else {
      json_.token(json_.is_indented() ? fmt::format("{:#x}", c)
                                      : fmt::format("\"\\u00{:02x}\"", c));
    }
  }

  bool enumeration(const BtfType& t, ByteSpan bytes) {
    const auto value = number(bytes, t.size);
    if (!value) return false;
    // A 32-bit enumerator matches whatever its sign, as the bytes do.
    const std::int64_t extended = extend_sign(*value, t.size);
    for (const BtfEnumerator& enumerator : btf_.enumerators(t)) {
      const bool is_same = t.kind == BtfKind::kEnum64
                               ? enumerator.value == extended
                               : static_cast<std::int32_t>(enumerator.value) == extended;
      if (is_same) {
        json_.string(enumerator.name);
        return true;
      }
    }
    // bpftool 7.1 shows a number without a name as signed, whatever the enum's sign.
    json_.token(fmt::format("{}", extended));
    return true;
  }

  bool pointer(ByteSpan bytes) {
    const auto value = number(bytes, 8);
    if (!value) return false;
    if (!json_.is_indented()) {
      json_.token(fmt::format("{}", *value));
    } else {
      json_.token(*value == 0 ? "(nil)" : fmt::format("{:#x}", *value));
    }
    return true;
  }

  // The text of a char array: printable and with a zero in it; else nothing. Typedefs of char do
  // not count.
  std::optional<std::string_view> text_of(const BtfArray& info, ByteSpan bytes) const {
    const BtfType& element = btf_.type(btf_.skip_modifiers(info.element_type));
    if (element.kind != BtfKind::kInt || element.size != 1) return std::nullopt;
    if (element.int_info().encoding != BTF_INT_CHAR && element.name != "char") return std::nullopt;
    const std::size_t size = std::min<std::size_t>(info.count, bytes.size());
    for (std::size_t i = 0; i < size; ++i) {
      if (bytes[i] == 0) return std::string_view(reinterpret_cast<const char*>(bytes.data()), i);
      if (bytes[i] <= 0x1f || bytes[i] >= 0x7f) return std::nullopt;
    }
    return std::nullopt;
  }

  bool array(const BtfType& t, ByteSpan bytes) {
    const BtfArray info = t.array();
    if (const auto text = text_of(info, bytes)) {
      json_.string(*text);
      return true;
    }
    const auto element_size = btf_.resolve_size(info.element_type);
    if (!element_size) return false;
    json_.begin_array();
    bool is_shown = true;
    for (std::uint64_t i = 0; is_shown && i < info.count; ++i) {
      const auto element = part(bytes, i * *element_size, *element_size);
      is_shown = element && type(info.element_type, 0, *element);
      // Elements without size would go on for as long as the count says.
      if (*element_size == 0) break;
    }
    json_.end_array();
    return is_shown;
  }

  bool composite(const BtfType& t, ByteSpan bytes) {
    json_.begin_object();
    bool is_shown = true;
    for (const BtfMember& member : btf_.members(t)) {
      json_.name(member.name);
      const ByteSpan rest = from(bytes, member.bit_offset / 8);
      const std::uint32_t bit_offset = member.bit_offset % 8;
      const std::size_t length_before = json_.text().size();
      is_shown = member.bitfield_size != 0
                     ? or_null(bitfield(member.bitfield_size, bit_offset, rest), length_before)
                     : type(member.type, bit_offset, rest);
      if (!is_shown) break;
    }
    json_.end_object();
    return is_shown;
  }

  bool variable(const BtfType& t, ByteSpan bytes) {
    json_.begin_object();
    json_.name(t.name);
    const bool is_shown = type(t.type, 0, bytes);
    json_.end_object();
    return is_shown;
  }

  bool datasec(const BtfType& t, ByteSpan bytes) {
    json_.begin_object();
    json_.name(t.name);
    json_.begin_array();
    bool is_shown = true;
    for (const BtfVariable& entry : btf_.variables(t)) {
      is_shown = type(entry.type, 0, from(bytes, entry.offset));
      if (!is_shown) break;
    }
    json_.end_array();
    json_.end_object();
    return is_shown;
  }

  BpftoolJson& json_;
  const Btf& btf_;
};

}  // namespace

bool dump_typed_value(BpftoolJson& json, const Btf& btf, std::uint32_t type_id, ByteSpan bytes) {
  return ValueDump(json, btf).type(type_id, 0, bytes);
}

}  // namespace lmn
