// SPDX-License-Identifier: Apache-2.0
//
// See kconfig_values.h. A tristate is the enum libbpf_tristate of bpf_helpers.h: no 0, yes 1,
// module 2.
#include "object/kconfig_values.h"

#include <fmt/format.h>
#include <linux/btf.h>

#include <algorithm>
#include <charconv>
#include <optional>

namespace lmn {
namespace {

std::unexpected<Error> refuse(std::string_view name, std::string_view value, std::string_view why) {
  return make_error(ErrorCode::kMalformed,
                    fmt::format("extern (kconfig) '{}': value '{}' {}", name, value, why));
}

void store_number(std::uint64_t number, std::span<std::uint8_t> to) {
  for (std::uint8_t& byte : to) {
    byte = static_cast<std::uint8_t>(number);
    number >>= 8;
  }
}

std::optional<std::uint64_t> parse_number(std::string_view text) {
  bool is_negative = text.starts_with('-');
  if (is_negative) text.remove_prefix(1);
  int base = 10;
  if (text.starts_with("0x") || text.starts_with("0X")) {
    base = 16;
    text.remove_prefix(2);
  } else if (text.size() > 1 && text.starts_with('0')) {
    base = 8;
  }
  std::uint64_t number = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  if (failure != std::errc() || end != text.data() + text.size() || text.empty())
    return std::nullopt;
  return is_negative ? 0 - number : number;
}

bool fits(std::uint64_t number, bool is_signed, std::size_t bytes) {
  if (bytes >= 8) return true;
  const unsigned bits = static_cast<unsigned>(bytes) * 8;
  if (!is_signed) return number >> bits == 0;
  const auto value = static_cast<std::int64_t>(number);
  return value >= -(std::int64_t{1} << (bits - 1)) && value < (std::int64_t{1} << (bits - 1));
}

Result<void> store_letter(std::string_view name, std::string_view value, KconfigType type,
                          std::span<std::uint8_t> to) {
  if (type == KconfigType::kBool && value == "m")
    return refuse(name, value, "is a module, the variable a bool");
  if (type == KconfigType::kChar) {
    to[0] = static_cast<std::uint8_t>(value[0]);
    return {};
  }
  if (type != KconfigType::kBool && type != KconfigType::kTristate) {
    return refuse(name, value, "does not fit its type");
  }
  store_number(value == "y" ? 1 : value == "m" ? 2 : 0, to);
  return {};
}

}  // namespace

KconfigType kconfig_type(const Btf& btf, std::uint32_t type_id, bool& is_signed) {
  const BtfType& type = btf.type(btf.skip_modifiers_and_typedefs(type_id));
  is_signed = false;
  if (type.kind == BtfKind::kInt) {
    const std::uint8_t encoding = type.int_info().encoding;
    if (encoding & BTF_INT_BOOL) return type.size == 1 ? KconfigType::kBool : KconfigType::kUnknown;
    is_signed = (encoding & BTF_INT_SIGNED) != 0;
    if (type.size == 1) return KconfigType::kChar;
    return type.size <= 8 && (type.size & (type.size - 1)) == 0 ? KconfigType::kInteger
                                                                : KconfigType::kUnknown;
  }
  if (type.is_enumeration()) {
    const bool is_word = type.size == 4 || type.kind == BtfKind::kEnum64;
    return is_word && type.name == "libbpf_tristate" ? KconfigType::kTristate
                                                     : KconfigType::kUnknown;
  }
  if (type.kind == BtfKind::kArray && type.array().count != 0) {
    const BtfType& element = btf.type(btf.skip_modifiers_and_typedefs(type.type));
    const bool is_char = element.kind == BtfKind::kInt && element.size == 1 &&
                         (element.int_info().encoding & BTF_INT_BOOL) == 0;
    return is_char ? KconfigType::kCharArray : KconfigType::kUnknown;
  }
  return KconfigType::kUnknown;
}

std::map<std::string_view, std::string_view> parse_kconfig(std::string_view text) {
  std::map<std::string_view, std::string_view> out;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (!line.starts_with("CONFIG_")) continue;
    while (!line.empty() && (line.back() == ' ' || line.back() == '\r' || line.back() == '\t'))
      line.remove_suffix(1);
    const std::size_t equals = line.find('=');
    if (equals == line.npos || equals + 1 == line.size()) continue;
    out.try_emplace(line.substr(0, equals), line.substr(equals + 1));
  }
  return out;
}

Result<void> store_kconfig(std::string_view name, std::string_view value, KconfigType type,
                           bool is_signed, std::span<std::uint8_t> to) {
  if (value == "y" || value == "m" || value == "n") return store_letter(name, value, type, to);
  if (value.starts_with('"')) {
    if (type != KconfigType::kCharArray) return refuse(name, value, "is text, the variable is not");
    if (value.size() < 2 || value.back() != '"') return refuse(name, value, "has no closing quote");
    const std::string_view text = value.substr(1, value.size() - 2);
    std::ranges::fill(to, std::uint8_t{0});
    std::copy_n(text.begin(), std::min(text.size(), to.size() - 1), to.begin());  // cut, but ended
    return {};
  }
  const auto number = parse_number(value);
  if (!number) return refuse(name, value, "is no number");
  if (type != KconfigType::kInteger && type != KconfigType::kChar)
    return refuse(name, value, "is a number, the variable is not");
  if (!fits(*number, is_signed, to.size()))
    return refuse(name, value, fmt::format("does not fit {} bytes", to.size()));
  store_number(*number, to);
  return {};
}

}  // namespace lmn
