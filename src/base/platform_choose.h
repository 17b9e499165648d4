// SPDX-License-Identifier: Apache-2.0
//
// Choosing one of two values without a branch, as far as a compiler can be told.
//
//   const std::uint64_t next = choose(is_there, found, std::uint64_t{0});
//
// Both values are computed. It is for conditions that go either way as often as not: a processor
// that guesses wrongly loses more time than both values cost. Clang is told so; g++ decides by
// itself. Threads: pure. Tested by what searches with it: src/maps/lpm_test.cc.
#pragma once

#include "base/platform.h"

namespace lmn {

template <typename T>
LMN_FAST T choose(bool condition, T yes, T no) noexcept {
#if __has_builtin(__builtin_unpredictable)
  return __builtin_unpredictable(condition) ? yes : no;
#else
  return condition ? yes : no;
#endif
}

}  // namespace lmn
