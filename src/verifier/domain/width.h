// SPDX-License-Identifier: Apache-2.0
//
// Width<W>: the numbers of W bits, as the domain's operators see them.
//
// Every operator of the number domain is a template on its bit width. Programs need 64 and 32;
// tests use 4, 6 and 8, where all operands can be tried against all concrete values, which proves
// the very code that runs at 64 instead of sampling it. Values are kept in std::uint64_t with the
// bits above W zero, signed ones sign-extended in std::int64_t; at W = 64 every mask folds away.
// Threads: constants and pure functions. Tested by domain_test.cc.
#pragma once

#include <cstdint>
#include <limits>

namespace lmn {

template <int W>
struct Width {
  static_assert(W >= 2 && W <= 64, "a sign and a digit at least, a machine word at most");
  static constexpr std::uint64_t kMask = W == 64 ? ~0ull : (1ull << (W % 64)) - 1;
  static constexpr std::uint64_t kSignBit = 1ull << (W - 1);
  static constexpr std::uint64_t kUnsignedMax = kMask;
  static constexpr std::int64_t kSignedMax = static_cast<std::int64_t>(kMask >> 1);
  static constexpr std::int64_t kSignedMin = -kSignedMax - 1;

  static constexpr std::uint64_t truncate(std::uint64_t value) { return value & kMask; }
  static constexpr std::uint64_t to_unsigned(std::int64_t value) {
    return truncate(static_cast<std::uint64_t>(value));
  }
  static constexpr std::int64_t to_signed(std::uint64_t value) {
    // Flipping the sign bit and taking it away again extends it; exact for every W.
    return static_cast<std::int64_t>((value ^ kSignBit) - kSignBit);
  }
  static constexpr bool fits_signed(std::int64_t value) {
    return value >= kSignedMin && value <= kSignedMax;
  }
};

}  // namespace lmn
