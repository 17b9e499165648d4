// SPDX-License-Identifier: Apache-2.0
//
// The end of a failed assertion: no allocation, no locks, so that it works from any state.
#include "base/assert.h"

#include <cstdio>
#include <cstdlib>

namespace lmn {

void assert_failed(const char* text, const char* file, int line) noexcept {
  std::fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, text);
  std::abort();
}

}  // namespace lmn
