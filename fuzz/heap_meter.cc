// SPDX-License-Identifier: Apache-2.0
//
// See heap_meter.h. The counters are globals because the sanitizer's hooks take no argument of
// ours. Source: sanitizer/allocator_interface.h of LLVM 19.
#include "heap_meter.h"

#include <cstdint>

extern "C" {
// NOLINTBEGIN(bugprone-reserved-identifier): the sanitizers' own names
int __sanitizer_install_malloc_and_free_hooks(void (*on_malloc)(const volatile void*, std::size_t),
                                              void (*on_free)(const volatile void*))
    __attribute__((weak));
std::size_t __sanitizer_get_allocated_size(const volatile void* memory) __attribute__((weak));
// NOLINTEND(bugprone-reserved-identifier)
}

namespace lmn::fuzz::heap_meter {
namespace {

// Since reset_peak(); what was allocated before it and is freed after it makes `live_bytes`
// negative.
std::int64_t live_bytes = 0;
std::int64_t worst_bytes = 0;

void on_malloc(const volatile void* /*memory*/, std::size_t size) {
  live_bytes += static_cast<std::int64_t>(size);
  if (live_bytes > worst_bytes) worst_bytes = live_bytes;
}

void on_free(const volatile void* memory) {
  if (memory == nullptr) return;
  live_bytes -= static_cast<std::int64_t>(__sanitizer_get_allocated_size(memory));
}

}  // namespace

bool start() {
  if (__sanitizer_install_malloc_and_free_hooks == nullptr) return false;
  return __sanitizer_install_malloc_and_free_hooks(on_malloc, on_free) != 0;
}

void reset_peak() {
  live_bytes = 0;
  worst_bytes = 0;
}

std::size_t peak_bytes() { return static_cast<std::size_t>(worst_bytes); }

}  // namespace lmn::fuzz::heap_meter
