// SPDX-License-Identifier: Apache-2.0
//
// What the thread sanitizer is told of orders that are made where it does not look: in libraries
// that were not built with it.
//
//   tell_released(&tag);      // one thread: all it did before ...
//   tell_acquired(&tag);      // ... comes before what this thread does from here on
//
// In other builds they are nothing. A tag is any address that nothing else uses. Tell only what the
// library really promises: a wrong word here hides a race for good.
// Threads: any. Tested by the tests of epoch.h under TSan.
#pragma once

#if defined(__SANITIZE_THREAD__)
#define LMN_HAS_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define LMN_HAS_TSAN 1
#endif
#endif

#if defined(LMN_HAS_TSAN)
extern "C" {
void __tsan_acquire(void* address);
void __tsan_release(void* address);
}
#endif

namespace lmn {

inline void tell_released([[maybe_unused]] void* tag) noexcept {
#if defined(LMN_HAS_TSAN)
  __tsan_release(tag);
#endif
}

inline void tell_acquired([[maybe_unused]] void* tag) noexcept {
#if defined(LMN_HAS_TSAN)
  __tsan_acquire(tag);
#endif
}

}  // namespace lmn
