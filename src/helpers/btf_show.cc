// SPDX-License-Identifier: Apache-2.0
//
// One function per kind of type, and bpf_snprintf_btf. Tested by
// tests/differential/btf_show_test.cc.
#include "helpers/btf_show.h"

#include <linux/bpf.h>
#include <linux/btf.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "helpers/bodies.h"
#include "helpers/format.h"

namespace lmn {
namespace {

__extension__ typedef unsigned __int128 Uint128;

constexpr std::string_view kIndents = "                                ";
constexpr int kSuffixesMax = 10;  // of pointers and arrays together, and typedefs

// Kinds that a value can have; the others are only named.
bool has_size(const BtfType& type) {
  switch (type.kind) {
    case BtfKind::kInt:
    case BtfKind::kStruct:
    case BtfKind::kUnion:
    case BtfKind::kEnum:
    case BtfKind::kEnum64:
    case BtfKind::kDatasec:
    case BtfKind::kFloat:
      return true;
    default:
      return false;
  }
}

template <typename T>
T number_at(const std::uint8_t* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

}  // namespace

int BtfShow::show(std::uint32_t type_id, std::uint64_t address) noexcept {
  if (!out_.empty()) out_[0] = '\0';
  show_type(btf_.type(type_id), {type_id, address, 0});
  return status_;
}

void BtfShow::put(std::string_view text) noexcept {
  if (depth_check_ != 0) return;
  const std::size_t room = out_.size() > length_ ? out_.size() - length_ : 0;
  if (room > 0) {
    const std::size_t count = std::min(text.size(), room - 1);
    text.copy(out_.data() + length_, count);
    out_[length_ + count] = '\0';
  }
  length_ += text.size();
}

std::string_view BtfShow::indent() const noexcept {
  if (has(BTF_F_COMPACT)) return {};
  return kIndents.substr(0, std::min<std::size_t>(depth_, kIndents.size()));
}

std::string_view BtfShow::newline() const noexcept { return has(BTF_F_COMPACT) ? "" : "\n"; }

std::string_view BtfShow::delimiter() const noexcept {
  if (depth_ == 0) return {};
  const bool is_union = type_ != nullptr && type_->kind == BtfKind::kUnion;
  return has(BTF_F_COMPACT) && is_union ? "|" : ",";
}

// ".member = (type)" and the bracket that opens what follows.
std::string_view BtfShow::name() noexcept {
  if (is_array_member_) return {};
  std::uint32_t id = member_ != nullptr ? member_->type : type_id_;
  std::string_view word;
  std::string_view bracket;
  int pointers = 0;
  int arrays = 0;
  bool is_typedef = false;
  const BtfType* type = &btf_.type(id);
  int steps = 0;
  for (; steps < kSuffixesMax; ++steps) {
    if (type->kind == BtfKind::kTypedef) {
      if (!is_typedef) word = type->name;
      is_typedef = true;
      id = type->type;
    } else if (type->kind == BtfKind::kArray) {
      bracket = "[";
      ++arrays;
      id = type->array().element_type;
    } else if (type->kind == BtfKind::kPtr) {
      ++pointers;
      id = type->type;
    } else {
      break;
    }
    if (id == 0) break;
    type = &btf_.type(btf_.skip_modifiers(id));
  }
  if (steps == kSuffixesMax) return {};
  if (!is_typedef) word = type->name;
  std::string_view prefix;
  if (type->is_composite()) {
    prefix = type->kind == BtfKind::kStruct ? "struct" : "union";
    if (arrays == 0) bracket = "{";
  } else if (type->is_enumeration()) {
    prefix = "enum";
  }
  if (pointers > 0) bracket = {};
  if (is_typedef) prefix = {};
  int length = 0;
  if (has(BTF_F_NONAME)) {
    length = std::snprintf(name_.data(), name_.size(), "%.*s", static_cast<int>(bracket.size()),
                           bracket.data());
  } else {
    constexpr std::string_view kStars = "**********";
    constexpr std::string_view kSquares = "[][][][][][][][][][]";
    const bool has_member = member_ != nullptr && !member_->name.empty();
    const std::string_view member = has_member ? member_->name : std::string_view();
    const auto size_of = [](std::string_view text) { return static_cast<int>(text.size()); };
    // NOLINTBEGIN(bugprone-suspicious-stringview-data-usage): %.*s takes the size.
    length = std::snprintf(name_.data(), name_.size(), "%s%.*s%s(%.*s%s%.*s%s%.*s%.*s)%.*s",
                           has_member ? "." : "", size_of(member), member.data(),
                           has_member ? " = " : "", size_of(prefix), prefix.data(),
                           !prefix.empty() && !word.empty() ? " " : "", size_of(word), word.data(),
                           pointers > 0 ? " " : "", pointers, kStars.data(), 2 * arrays,
                           kSquares.data(), size_of(bracket), bracket.data());
    // NOLINTEND(bugprone-suspicious-stringview-data-usage)
  }
  return {name_.data(), std::min(static_cast<std::size_t>(length), name_.size() - 1)};
}

// One value, unless it is zero and need not be shown.
void BtfShow::put_value(std::string_view text, bool is_zero) noexcept {
  if (is_zero && !has(BTF_F_ZERO) && depth_ != 0) return;
  put(indent());
  put(name());
  put(text);
  put(delimiter());
  put(newline());
  depth_to_show_ = std::max(depth_to_show_, depth_);
}

void BtfShow::put_number(std::uint64_t magnitude, bool is_negative) noexcept {
  char text[24];
  const int length = std::snprintf(text, sizeof text, "%s%llu", is_negative ? "-" : "",
                                   static_cast<unsigned long long>(magnitude));
  put_value({text, static_cast<std::size_t>(length)}, magnitude == 0);
}

// --- memory

// 32 bytes of the object are looked at at a time; a value that lies in them is not read again.
const std::uint8_t* BtfShow::readable(std::uint32_t type_id, std::uint64_t address) noexcept {
  const Result<std::uint32_t> size = btf_.resolve_size(type_id);
  if (!size) {
    status_ = -EINVAL;
    return nullptr;
  }
  if (depth_ == 0) {
    object_address_ = address;
    object_bytes_ = *size;
  } else if (has_safe_ && address >= safe_address_) {
    const std::uint64_t wanted = std::min<std::uint64_t>(*size, kBaseTypeBytes);
    const std::uint64_t end = std::min(safe_address_ + kSafeBytes, object_address_ + object_bytes_);
    if (address < end && end - address >= wanted) return &safe_[address - safe_address_];
  }
  const std::uint64_t left = object_address_ + object_bytes_ - address;
  const std::span<std::uint8_t> room(safe_.data(), std::min<std::uint64_t>(left, kSafeBytes));
  if (!room.empty() && !guest::read_guest_all(context_, address, room)) {
    status_ = -EFAULT;
    return nullptr;
  }
  status_ = 0;
  safe_address_ = address;
  has_safe_ = true;
  return safe_.data();
}

const std::uint8_t* BtfShow::start(const BtfType& type, std::uint32_t type_id,
                                   std::uint64_t address) noexcept {
  type_ = &type;
  type_id_ = type_id;
  return readable(type_id, address);
}

void BtfShow::end() noexcept {
  type_ = nullptr;
  type_id_ = 0;
}

const std::uint8_t* BtfShow::start_nested(const BtfType& type, const Value& value) noexcept {
  const std::uint8_t* bytes = start(type, value.type_id, value.address);
  if (bytes == nullptr) return nullptr;
  put(indent());
  put(name());
  put(newline());
  ++depth_;
  return bytes;
}

void BtfShow::end_nested(std::string_view closing) noexcept {
  --depth_;
  put(indent());
  put(closing);
  put(delimiter());
  put(newline());
  end();
}

// --- kinds

void BtfShow::show_type(const BtfType& type, const Value& value) noexcept {
  switch (type.kind) {
    case BtfKind::kInt:
      return show_int(type, value);
    case BtfKind::kPtr:
      return show_pointer(type, value);
    case BtfKind::kEnum:
    case BtfKind::kEnum64:
      return show_enum(type, value);
    case BtfKind::kStruct:
    case BtfKind::kUnion:
      return show_nested(type, value, &BtfShow::show_members);
    case BtfKind::kArray:
      return show_nested(type, value, &BtfShow::show_elements);
    case BtfKind::kTypedef:
    case BtfKind::kVolatile:
    case BtfKind::kConst:
    case BtfKind::kRestrict:
    case BtfKind::kTypeTag:
      return show_type(btf_.type(btf_.skip_modifiers_and_typedefs(value.type_id)), value);
    default:
      break;
  }
  char text[40];
  const int length =
      std::snprintf(text, sizeof text, "<unsupported kind:%u>", static_cast<unsigned>(type.kind));
  put({text, static_cast<std::size_t>(length)});
}

void BtfShow::show_int(const BtfType& type, const Value& value) noexcept {
  constexpr std::uint32_t kBitsPerByte = 8;
  const BtfInt info = type.int_info();
  const std::uint8_t* bytes = start(type, value.type_id, value.address);
  if (bytes == nullptr) return;
  const bool is_signed = (info.encoding & BTF_INT_SIGNED) != 0;
  const bool is_plain =
      value.bit_offset == 0 && info.offset_bits == 0 && info.bits % kBitsPerByte == 0;
  const auto put_signed = [&](std::int64_t number) {
    put_number(
        number < 0 ? 0 - static_cast<std::uint64_t>(number) : static_cast<std::uint64_t>(number),
        number < 0);
  };
  if (!is_plain) {
    const std::uint32_t offset = value.bit_offset + info.offset_bits;
    show_bits(bytes + offset / kBitsPerByte, offset % kBitsPerByte, info.bits);
  } else if (info.bits == 128) {
    show_wide(number_at<std::uint64_t>(bytes + 8), number_at<std::uint64_t>(bytes));
  } else if (info.bits == 64) {
    is_signed ? put_signed(number_at<std::int64_t>(bytes))
              : put_number(number_at<std::uint64_t>(bytes), false);
  } else if (info.bits == 32) {
    is_signed ? put_signed(number_at<std::int32_t>(bytes))
              : put_number(number_at<std::uint32_t>(bytes), false);
  } else if (info.bits == 16) {
    is_signed ? put_signed(number_at<std::int16_t>(bytes))
              : put_number(number_at<std::uint16_t>(bytes), false);
  } else if (info.bits == 8) {
    show_byte(*bytes, is_signed);
  } else {
    show_bits(bytes, 0, info.bits);
  }
  end();
}

void BtfShow::show_byte(std::uint8_t byte, bool is_signed) noexcept {
  if (is_char_array_) {
    if (is_array_terminated_) return;
    if (byte == 0) {
      is_array_terminated_ = true;
      return;
    }
    // As the kernel's isprint(), which takes Latin-1's upper half for letters.
    const bool is_printable = (byte >= 0x20 && byte < 0x7f) || byte >= 0xa0;
    if (is_printable) {
      const char text[] = {'\'', static_cast<char>(byte), '\''};
      return put_value({text, sizeof text}, false);
    }
  }
  const auto number = static_cast<std::int8_t>(byte);
  const bool is_negative = is_signed && number < 0;
  put_number(is_negative ? static_cast<std::uint64_t>(-int{number}) : byte, is_negative);
}

void BtfShow::show_wide(std::uint64_t high, std::uint64_t low) noexcept {
  char text[40];
  int length = 0;
  if (high == 0) {
    length = std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(low));
  } else {
    length =
        std::snprintf(text, sizeof text, "0x%llx%016llx", static_cast<unsigned long long>(high),
                      static_cast<unsigned long long>(low));
  }
  put_value({text, static_cast<std::size_t>(length)}, high == 0 && low == 0);
}

void BtfShow::show_bits(const std::uint8_t* bytes, std::uint32_t bit_offset,
                        std::uint32_t bits) noexcept {
  std::array<std::uint8_t, 16> copy{};
  const std::size_t count = std::min<std::size_t>((bit_offset + bits + 7) / 8, copy.size());
  std::memcpy(copy.data(), bytes, count);
  auto number = number_at<Uint128>(copy.data());
  number >>= bit_offset;
  if (bits < 128) number &= (static_cast<Uint128>(1) << bits) - 1;
  show_wide(static_cast<std::uint64_t>(number >> 64), static_cast<std::uint64_t>(number));
}

void BtfShow::show_pointer(const BtfType& type, const Value& value) noexcept {
  const std::uint8_t* bytes = start(type, value.type_id, value.address);
  if (bytes == nullptr) return;
  const auto pointer = number_at<std::uint64_t>(bytes);
  const std::uint64_t arguments[] = {pointer};
  char text[40];
  const std::int64_t length =
      helper::format_text(context_, has(BTF_F_PTR_RAW) ? "0x%px" : "0x%p", arguments, text);
  put_value({text, static_cast<std::size_t>(std::max<std::int64_t>(length, 0))}, pointer == 0);
  end();
}

void BtfShow::show_enum(const BtfType& type, const Value& value) noexcept {
  const std::uint8_t* bytes = start(type, value.type_id, value.address);
  if (bytes == nullptr) return;
  const bool is_wide = type.kind == BtfKind::kEnum64;
  const std::int64_t number =
      is_wide ? number_at<std::int64_t>(bytes) : number_at<std::int32_t>(bytes);
  const auto is_equal = [&](const BtfEnumerator& one) {
    return is_wide ? one.value == number
                   : static_cast<std::int32_t>(one.value) == static_cast<std::int32_t>(number);
  };
  const auto all = btf_.enumerators(type);
  const auto found = std::ranges::find_if(all, is_equal);
  if (found != all.end()) {
    put_value(found->name, false);
  } else if (type.kind_flag) {
    put_number(
        number < 0 ? 0 - static_cast<std::uint64_t>(number) : static_cast<std::uint64_t>(number),
        number < 0);
  } else {
    put_number(is_wide ? static_cast<std::uint64_t>(number) : static_cast<std::uint32_t>(number),
               false);
  }
  end();
}

// Inside another value, one of nothing but zeroes is left out: it is walked once without writing.
void BtfShow::show_nested(const BtfType& type, const Value& value,
                          void (BtfShow::*show_all)(const BtfType&,
                                                    const Value&) noexcept) noexcept {
  const BtfMember* member = member_;
  if (depth_ > 0 && !has(BTF_F_ZERO)) {
    if (depth_check_ == 0) {
      depth_check_ = depth_ + 1;
      depth_to_show_ = 0;
    }
    (this->*show_all)(type, value);
    member_ = member;
    if (depth_check_ != depth_ + 1) return;
    depth_check_ = 0;
    if (depth_to_show_ <= depth_) return;
  }
  (this->*show_all)(type, value);
}

void BtfShow::show_members(const BtfType& type, const Value& value) noexcept {
  constexpr std::uint32_t kBitsPerByte = 8;
  if (start_nested(type, value) == nullptr) return;
  for (const BtfMember& member : btf_.members(type)) {
    member_ = &member;
    const BtfType& member_type = btf_.type(member.type);
    const std::uint64_t address = value.address + member.bit_offset / kBitsPerByte;
    const std::uint32_t bit_offset = member.bit_offset % kBitsPerByte;
    if (member.bitfield_size != 0) {
      const std::uint8_t* bytes = start(member_type, member.type, address);
      if (bytes != nullptr) show_bits(bytes, bit_offset, member.bitfield_size);
      end();
    } else {
      show_type(member_type, {member.type, address, bit_offset});
    }
    member_ = nullptr;
  }
  end_nested("}");
}

void BtfShow::show_elements(const BtfType& type, const Value& value) noexcept {
  const BtfArray array = type.array();
  const BtfType& element = btf_.type(btf_.skip_modifiers_and_typedefs(array.element_type));
  const std::uint32_t element_bytes = has_size(element) ? element.size : 0;
  is_char_array_ = element.kind == BtfKind::kInt && element_bytes == 1;
  is_array_terminated_ = false;
  if (start_nested(type, value) == nullptr) return;
  for (std::uint32_t i = 0; i < array.count; ++i) {
    is_array_member_ = true;
    member_ = nullptr;
    show_type(element, {array.element_type, value.address + std::uint64_t{i} * element_bytes,
                        value.bit_offset});
    is_array_member_ = false;
    member_ = nullptr;
    if (is_array_terminated_) break;
  }
  is_char_array_ = false;
  is_array_terminated_ = false;
  end_nested("]");
}

LMN_HELPER_BODY(snprintf_btf) {
  constexpr std::uint64_t kFlags = BTF_F_COMPACT | BTF_F_NONAME | BTF_F_PTR_RAW | BTF_F_ZERO;
  if ((r5 & ~kFlags) != 0) return helper::failure(EINVAL);
  struct btf_ptr request;
  if (helper::as_u32(r4) != sizeof request) return helper::failure(EINVAL);
  std::memcpy(&request, helper::as_pointer<const void>(r3), sizeof request);
  if (context->kernel_types == nullptr || request.type_id == 0) return helper::failure(EINVAL);
  const Btf& btf = *context->kernel_types;
  const BtfType* type = btf.find(request.type_id);
  if (type == nullptr) return helper::failure(ENOENT);
  const std::span<char> out(helper::as_pointer<char>(r1), helper::as_u32(r2));
  BtfShow show(btf, *context, out, r5);
  const int status = show.show(request.type_id, reinterpret_cast<std::uintptr_t>(request.ptr));
  return helper::result(status != 0 ? status : static_cast<std::int64_t>(show.length()));
}

}  // namespace lmn
