// SPDX-License-Identifier: Apache-2.0
//
// Kfuncs of strings: strlen, strcmp, strstr and their families.
//
// A string is any address: it is read byte by byte through what the program may read. No string is
// followed for more than 65,536 bytes (-E2BIG). An address at which nothing can be read gives
// -ERANGE, or -EFAULT where the kernel's own memory would be or when the string leaves what is
// readable. Searching functions give a position, or -ENOENT.
//
// Characters are unsigned, as in the kernel (built with -funsigned-char since 6.2); case is that of
// Latin-1, as in the kernel's own table.
// Tested by kfuncs_test.cc.
// Source: Linux 6.18, kernel/bpf/helpers.c (bpf_str*), lib/ctype.c; Linux 6.19 and 7.0 for
// strcasestr, strncasecmp and strncasestr.
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>

#include "kfuncs/bodies.h"

namespace lmn {
namespace {

constexpr std::uint64_t kStringMax = 1u << 16;  // XATTR_SIZE_MAX

// A string of the guest, read in blocks. `error` is set by the first byte that cannot be read.
class GuestString {
 public:
  GuestString(const RunContext& context, std::uint64_t address)
      : context_(context), address_(address) {
    std::uint8_t first;
    if (kfunc::read_guest_all(context, address, {&first, 1})) return;
    // x86-64: the upper half of the addresses is the kernel's.
    constexpr std::uint64_t kKernelHalf = 0xffff'8000'0000'0000;
    error_ = address >= kKernelHalf ? -EFAULT : -ERANGE;
  }

  int error() const { return error_; }
  // Byte `index`; 0 and an error when it cannot be read.
  std::uint8_t at(std::uint64_t index) {
    if (index - start_ >= count_) fill(index);
    return count_ == 0 ? 0 : block_[index - start_];
  }

 private:
  void fill(std::uint64_t index) {
    start_ = index;
    count_ = kfunc::read_guest(context_, address_ + index, block_);
    if (count_ == 0 && error_ == 0) error_ = -EFAULT;
  }

  const RunContext& context_;
  std::uint64_t address_;
  std::uint64_t start_ = 0;
  std::uint64_t count_ = 0;
  int error_ = 0;
  std::array<std::uint8_t, 64> block_;
};

std::uint8_t lower(std::uint8_t c) {
  const bool is_ascii = c >= 'A' && c <= 'Z';
  constexpr std::uint8_t kTimesSign = 0xd7;  // stands among the capital letters and is none
  const bool is_latin = c >= 0xc0 && c <= 0xde && c != kTimesSign;
  return is_ascii || is_latin ? static_cast<std::uint8_t>(c + 0x20) : c;
}

enum class Case : bool { kKeep, kIgnore };

std::uint8_t folded(std::uint8_t c, Case mode) { return mode == Case::kIgnore ? lower(c) : c; }

std::int64_t compare(const RunContext& context, std::uint64_t r1, std::uint64_t r2,
                     std::uint64_t length, Case mode) {
  GuestString left(context, r1);
  GuestString right(context, r2);
  if (left.error() != 0) return left.error();
  if (right.error() != 0) return right.error();
  const std::uint64_t end = std::min(length, kStringMax);
  for (std::uint64_t i = 0; i < end; ++i) {
    const std::uint8_t a = folded(left.at(i), mode);
    if (left.error() != 0) return left.error();
    const std::uint8_t b = folded(right.at(i), mode);
    if (right.error() != 0) return right.error();
    if (a != b) return a < b ? -1 : 1;
    if (a == 0) return 0;
  }
  return length <= kStringMax ? 0 : -E2BIG;
}

// Where `wanted` stands among the first `length` bytes, which the end of the string bounds.
std::int64_t find(const RunContext& context, std::uint64_t address, std::uint64_t length,
                  std::uint8_t wanted) {
  GuestString text(context, address);
  if (text.error() != 0) return text.error();
  for (std::uint64_t i = 0; i < std::min(length, kStringMax); ++i) {
    const std::uint8_t c = text.at(i);
    if (text.error() != 0) return text.error();
    if (c == wanted) return static_cast<std::int64_t>(i);
    if (c == 0) return -ENOENT;
  }
  return length >= kStringMax ? -E2BIG : -ENOENT;
}

std::int64_t length_of(const RunContext& context, std::uint64_t address, std::uint64_t bound) {
  GuestString text(context, address);
  if (text.error() != 0) return text.error();
  const std::uint64_t end = std::min(bound, kStringMax);
  for (std::uint64_t i = 0; i < end; ++i) {
    const std::uint8_t c = text.at(i);
    if (text.error() != 0) return text.error();
    if (c == 0) return static_cast<std::int64_t>(i);
  }
  return end == kStringMax ? -E2BIG : static_cast<std::int64_t>(end);
}

// Length of the beginning whose characters are all (or none, with `stops_at_member`) in the set.
std::int64_t span_of(const RunContext& context, std::uint64_t address, std::uint64_t set_address,
                     bool stops_at_member) {
  GuestString text(context, address);
  GuestString set(context, set_address);
  if (text.error() != 0) return text.error();
  if (set.error() != 0) return set.error();
  for (std::uint64_t i = 0; i < kStringMax; ++i) {
    const std::uint8_t c = text.at(i);
    if (text.error() != 0) return text.error();
    if (c == 0) return static_cast<std::int64_t>(i);
    std::uint64_t j = 0;
    std::uint8_t member = 0;
    for (; j < kStringMax; ++j) {
      member = set.at(j);
      if (set.error() != 0) return set.error();
      if (member == c || member == 0) break;
    }
    if (j == kStringMax) return -E2BIG;
    if ((member != 0) == stops_at_member) return static_cast<std::int64_t>(i);
  }
  return -E2BIG;
}

// Whether `part` stands at `from`: 1, 0 (not here), -ENOENT (nor later), or another error.
std::int64_t stands_at(GuestString& text, GuestString& part, std::uint64_t from,
                       std::uint64_t length, Case mode) {
  for (std::uint64_t j = 0; j < kStringMax; ++j) {
    const std::uint8_t wanted = folded(part.at(j), mode);
    if (part.error() != 0) return part.error();
    if (wanted == 0) return 1;
    if (from + j >= length) return -ENOENT;
    const std::uint8_t c = folded(text.at(from + j), mode);
    if (text.error() != 0) return text.error();
    if (c == 0) return -ENOENT;
    if (c != wanted) return 0;
  }
  return -E2BIG;
}

// Where the string r2 stands within the first `length` bytes of r1.
std::int64_t find_string(const RunContext& context, std::uint64_t r1, std::uint64_t r2,
                         std::uint64_t length, Case mode) {
  GuestString text(context, r1);
  GuestString part(context, r2);
  if (text.error() != 0) return text.error();
  if (part.error() != 0) return part.error();
  for (std::uint64_t i = 0; i < kStringMax; ++i) {
    const std::int64_t found = stands_at(text, part, i, length, mode);
    if (found == 1) return static_cast<std::int64_t>(i);
    if (found < 0) return found;
  }
  return -E2BIG;
}

}  // namespace

LMN_KFUNC_BODY(bpf_strcmp) {
  return kfunc::result(compare(*context, r1, r2, UINT64_MAX, Case::kKeep));
}

LMN_KFUNC_BODY(bpf_strcasecmp) {
  return kfunc::result(compare(*context, r1, r2, UINT64_MAX, Case::kIgnore));
}

LMN_KFUNC_BODY(bpf_strncasecmp) {
  return kfunc::result(compare(*context, r1, r2, r3, Case::kIgnore));
}

LMN_KFUNC_BODY(bpf_strchr) {
  return kfunc::result(find(*context, r1, kStringMax, static_cast<std::uint8_t>(r2)));
}

LMN_KFUNC_BODY(bpf_strnchr) {
  return kfunc::result(find(*context, r1, r2, static_cast<std::uint8_t>(r3)));
}

LMN_KFUNC_BODY(bpf_strchrnul) {
  const auto wanted = static_cast<std::uint8_t>(r2);
  const std::int64_t length = length_of(*context, r1, kStringMax);
  const std::int64_t found = find(*context, r1, kStringMax, wanted);
  return kfunc::result(found == -ENOENT ? length : found);
}

LMN_KFUNC_BODY(bpf_strrchr) {
  GuestString text(*context, r1);
  if (text.error() != 0) return kfunc::result(text.error());
  std::int64_t last = -ENOENT;
  for (std::uint64_t i = 0; i < kStringMax; ++i) {
    const std::uint8_t c = text.at(i);
    if (text.error() != 0) return kfunc::result(text.error());
    if (c == kfunc::as_s32(r2)) last = static_cast<std::int64_t>(i);
    if (c == 0) return kfunc::result(last);
  }
  return kfunc::failure(E2BIG);
}

LMN_KFUNC_BODY(bpf_strlen) { return kfunc::result(length_of(*context, r1, kStringMax)); }

LMN_KFUNC_BODY(bpf_strnlen) { return kfunc::result(length_of(*context, r1, r2)); }

LMN_KFUNC_BODY(bpf_strspn) { return kfunc::result(span_of(*context, r1, r2, false)); }

LMN_KFUNC_BODY(bpf_strcspn) { return kfunc::result(span_of(*context, r1, r2, true)); }

LMN_KFUNC_BODY(bpf_strstr) {
  return kfunc::result(find_string(*context, r1, r2, kStringMax, Case::kKeep));
}

LMN_KFUNC_BODY(bpf_strcasestr) {
  return kfunc::result(find_string(*context, r1, r2, kStringMax, Case::kIgnore));
}

LMN_KFUNC_BODY(bpf_strnstr) {
  return kfunc::result(find_string(*context, r1, r2, r3, Case::kKeep));
}

LMN_KFUNC_BODY(bpf_strncasestr) {
  return kfunc::result(find_string(*context, r1, r2, r3, Case::kIgnore));
}

}  // namespace lmn
