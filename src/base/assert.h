// SPDX-License-Identifier: Apache-2.0
//
// Assertions for programmers' errors. LMN_ASSERT stays on in release builds (use it off the
// per-packet path); LMN_DCHECK is on in the dev, gcc and sanitizer presets only. Neither is for
// input: bad input is an Error (base/result.h). A failed assertion prints file, line and text and
// aborts.
#pragma once

namespace lmn {
[[noreturn]] void assert_failed(const char* text, const char* file, int line) noexcept;
}  // namespace lmn

#define LMN_ASSERT(condition) \
  ((condition) ? static_cast<void>(0) : ::lmn::assert_failed(#condition, __FILE__, __LINE__))

#ifdef LMN_DCHECKS
#define LMN_DCHECK(condition) LMN_ASSERT(condition)
#else
#define LMN_DCHECK(condition) static_cast<void>(0)
#endif

namespace lmn {
// For checks that need more than a condition: `if constexpr (kHasDchecks) check_the_books();`
#ifdef LMN_DCHECKS
inline constexpr bool kHasDchecks = true;
#else
inline constexpr bool kHasDchecks = false;
#endif
}  // namespace lmn
