// SPDX-License-Identifier: Apache-2.0
//
// What the bodies of helpers and kfuncs share: registers to C++ values and back.
//
// A called function sees five registers of 64 bits and gives one. What the kernel declares narrower
// (an offset, a size, an ifindex) loses its upper half on the way in, and a negative errno is
// sign-extended on the way out: as_u32, as_s32, result and failure do exactly that, so that no body
// has a cast of its own. Addresses that a program gives as numbers, which nobody has checked, are
// read through the executing engine only.
//
// Threads: values; read_guest on the worker that owns the RunContext.
// Tested by src/helpers/helpers_test.cc and src/kfuncs/kfuncs_test.cc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "packet/run_context.h"

namespace lmn::guest {

// A signed result as a register holds it: sign-extended.
constexpr std::uint64_t result(std::int64_t value) { return static_cast<std::uint64_t>(value); }
// A failure, from a positive errno.
constexpr std::uint64_t failure(int errno_value) { return result(-errno_value); }

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

// The kernel's own errno for "this driver cannot": outside the range of user space's errno.h.
// Source: Linux 6.18, include/linux/errno.h.
inline constexpr int kEnotsupp = 524;

}  // namespace lmn::guest
