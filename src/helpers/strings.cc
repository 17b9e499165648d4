// SPDX-License-Identifier: Apache-2.0
//
// Helpers of strings: strncmp, strtol, strtoul.
//
// The number parser takes what the kernel's takes: white space (Latin-1's no-break space included),
// a minus sign, then digits in base 8, 10 or 16; base 0 reads the prefix. It looks at 63 characters
// at most, says how many bytes it used, and stops at the first that is no digit. "0x" without a
// digit behind it is the number 0 and a leftover in base 0, and no number in base 16.
// Tested by algorithms_test.cc and tests/differential/helpers_test.cc.
// Source: Linux 6.18, kernel/bpf/helpers.c (__bpf_strtoull), lib/kstrtox.c, lib/string.c.
#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <limits>
#include <string_view>

#include "base/byte_reader.h"
#include "helpers/bodies.h"

namespace lmn {
namespace {

constexpr std::uint64_t kBaseMask = 0x1f;
constexpr std::size_t kDigitsMax = 63;

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r') || c == '\xa0'; }

// The value of a digit in bases up to 16, or 16.
unsigned digit_value(char c) {
  if (c >= '0' && c <= '9') return static_cast<unsigned>(c - '0');
  const char lower = static_cast<char>(c | 0x20);
  if (lower >= 'a' && lower <= 'f') return static_cast<unsigned>(lower - 'a') + 10;
  return 16;
}

// Settles base 0 by the prefix, and takes the prefix of base 16 off.
unsigned settle_base(std::string_view& digits, unsigned base) {
  const auto at = [&](std::size_t i) { return i < digits.size() ? digits[i] : '\0'; };
  const bool has_hex_prefix = at(0) == '0' && (at(1) | 0x20) == 'x';
  if (base == 0) {
    if (has_hex_prefix && digit_value(at(2)) < 16) {
      base = 16;
    } else {
      base = at(0) == '0' ? 8 : 10;
    }
  }
  if (base == 16 && has_hex_prefix) digits.remove_prefix(2);
  return base;
}

struct Parsed {
  int error = 0;  // positive errno
  std::uint64_t magnitude = 0;
  bool is_negative = false;
  std::size_t used_bytes = 0;
};

Parsed parse_number(std::string_view text, std::uint64_t flags) {
  Parsed parsed;
  const auto failed = [&](int error) {
    parsed.error = error;
    return parsed;
  };
  const unsigned base = flags & kBaseMask;
  if (base != 0 && base != 8 && base != 10 && base != 16) return failed(EINVAL);
  if ((flags & ~kBaseMask) != 0) return failed(EINVAL);

  std::string_view rest = text;
  while (!rest.empty() && is_space(rest.front())) rest.remove_prefix(1);
  parsed.is_negative = !rest.empty() && rest.front() == '-';
  if (parsed.is_negative) rest.remove_prefix(1);
  if (rest.empty()) return failed(EINVAL);

  std::string_view digits = rest.substr(0, kDigitsMax);
  const std::size_t available = digits.size();
  const unsigned radix = settle_base(digits, base);
  bool overflows = false;
  std::size_t count = 0;
  for (; count < digits.size() && digit_value(digits[count]) < radix; ++count) {
    std::uint64_t next = 0;
    overflows |= __builtin_mul_overflow(parsed.magnitude, radix, &next);
    overflows |= __builtin_add_overflow(next, digit_value(digits[count]), &parsed.magnitude);
  }
  if (overflows) return failed(ERANGE);
  if (count == 0) return failed(EINVAL);
  const std::size_t prefix = available - digits.size();
  parsed.used_bytes = (text.size() - rest.size()) + prefix + count;
  return parsed;
}

std::string_view text_of(std::uint64_t address, std::uint64_t size) {
  return {helper::as_pointer<const char>(address), static_cast<std::size_t>(size)};
}

}  // namespace

LMN_HELPER_BODY(strtol) {
  auto* out = helper::as_pointer<std::uint8_t>(r4);
  store_unaligned<std::uint64_t>(out, 0);
  const Parsed parsed = parse_number(text_of(r1, r2), r3);
  if (parsed.error != 0) return helper::failure(parsed.error);
  constexpr std::uint64_t kPositiveMax = std::numeric_limits<std::int64_t>::max();
  const std::uint64_t limit = parsed.is_negative ? kPositiveMax + 1 : kPositiveMax;
  if (parsed.magnitude > limit) return helper::failure(ERANGE);
  store_unaligned<std::uint64_t>(out, parsed.is_negative ? 0 - parsed.magnitude : parsed.magnitude);
  return parsed.used_bytes;
}

LMN_HELPER_BODY(strtoul) {
  auto* out = helper::as_pointer<std::uint8_t>(r4);
  store_unaligned<std::uint64_t>(out, 0);
  const Parsed parsed = parse_number(text_of(r1, r2), r3);
  if (parsed.error != 0) return helper::failure(parsed.error);
  if (parsed.is_negative) return helper::failure(EINVAL);
  store_unaligned<std::uint64_t>(out, parsed.magnitude);
  return parsed.used_bytes;
}

LMN_HELPER_BODY(strncmp) {
  const auto* a = helper::as_pointer<const std::uint8_t>(r1);
  const auto* b = helper::as_pointer<const std::uint8_t>(r3);
  const std::uint32_t length = helper::as_u32(r2);
  for (std::uint32_t i = 0; i < length; ++i) {
    if (a[i] != b[i]) return helper::result(a[i] < b[i] ? -1 : 1);
    if (a[i] == 0) return 0;
  }
  return 0;
}

}  // namespace lmn
