// SPDX-License-Identifier: Apache-2.0
//
// The bodies of the kfuncs, declared from kfuncs.def: internal; the public API is kfuncs.h.
//
// A body is written as LMN_KFUNC_BODY(name) { ... } in the file of its family, with r1 to r5 being
// the program's registers and `context` the run it belongs to. The table of kfuncs.cc names every
// body, so that one that was never written is a link error, and one that has no row is a compile
// error here.
//
// What all bodies rely on: the caller has checked the arguments by the kfunc's row. Pointers are
// host addresses of as many bytes as the row demands; a map is a lmn::Map*; the context argument is
// not looked at, because the packet is context->buff. kIgnored arguments are any 64 bits, and are
// read through context->read_guest only.
//
// Results: the row says how many bytes of r0 count; whoever calls clears the others, which is what
// compiled kernel code leaves there on x86-64.
// Threads: the worker that owns the RunContext. Tested by kfuncs_test.cc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "packet/run_context.h"

// clang-format off
#define LMN_KFUNC_BODY(name)                                                                   \
  std::uint64_t kfunc_##name(                                                                  \
      [[maybe_unused]] std::uint64_t r1, [[maybe_unused]] std::uint64_t r2,                    \
      [[maybe_unused]] std::uint64_t r3, [[maybe_unused]] std::uint64_t r4,                    \
      [[maybe_unused]] std::uint64_t r5, [[maybe_unused]] RunContext* context) noexcept
// clang-format on

namespace lmn {

#define LMN_KFUNC(name, ...) LMN_KFUNC_BODY(name);
#define LMN_KFUNC_BY_ENGINE(...)
#define LMN_KFUNC_REFUSED(...)
#include "kfuncs/kfuncs.def"
#undef LMN_KFUNC
#undef LMN_KFUNC_BY_ENGINE
#undef LMN_KFUNC_REFUSED

namespace kfunc {

// A signed result as a register holds it: sign-extended.
constexpr std::uint64_t result(std::int64_t value) { return static_cast<std::uint64_t>(value); }
// A failure, from a positive errno.
constexpr std::uint64_t failure(int errno_value) { return result(-errno_value); }

// Arguments that the kernel declares as 32 bits wide lose their upper half.
constexpr std::uint32_t as_u32(std::uint64_t value) { return static_cast<std::uint32_t>(value); }
constexpr std::int32_t as_s32(std::uint64_t value) { return static_cast<std::int32_t>(value); }

template <typename T>
T* as_pointer(std::uint64_t value) {
  return reinterpret_cast<T*>(static_cast<std::uintptr_t>(value));
}

// What the program may read from `address` on, copied to `out`: the number of bytes, 0 for none.
inline std::size_t read_guest(const RunContext& context, std::uint64_t address,
                              std::span<std::uint8_t> out) noexcept {
  if (context.read_guest == nullptr) return 0;
  return context.read_guest(context.engine_state, address, out);
}

// All of `out` from `address`, or nothing that counts.
inline bool read_guest_all(const RunContext& context, std::uint64_t address,
                           std::span<std::uint8_t> out) noexcept {
  return read_guest(context, address, out) == out.size();
}

}  // namespace kfunc
}  // namespace lmn
