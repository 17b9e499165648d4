// SPDX-License-Identifier: Apache-2.0
//
// The bodies of the helpers, declared from helpers.def: internal; the public API is helpers.h.
//
// A body is written as LMN_HELPER_BODY(name) { ... } in the file of its family, with r1 to r5 being
// the program's registers and `context` the run it belongs to. The table of helpers.cc names every
// body, so that one that was never written is a link error, and one that has no row is a compile
// error here.
//
// What all bodies rely on: the caller has checked the arguments by the helper's row. Pointers are
// host addresses of as many bytes as the row demands; a map is a lmn::Map*; the context argument is
// not looked at, because the packet is context->buff. Everything else is any 64 bits.
//
// Threads: the worker that owns the RunContext. Tested by helpers_test.cc.
#pragma once

#include <cstdint>

#include "packet/guest_call.h"
#include "packet/run_context.h"

// clang-format off
#define LMN_HELPER_BODY(name)                                                                  \
  std::uint64_t helper_##name(                                                                 \
      [[maybe_unused]] std::uint64_t r1, [[maybe_unused]] std::uint64_t r2,                    \
      [[maybe_unused]] std::uint64_t r3, [[maybe_unused]] std::uint64_t r4,                    \
      [[maybe_unused]] std::uint64_t r5, [[maybe_unused]] RunContext* context) noexcept
// clang-format on

namespace lmn {

#define LMN_HELPER(id, name, ...) LMN_HELPER_BODY(name);
#define LMN_HELPER_BY_ENGINE(...)
#define LMN_HELPER_MISSING(...)
#define LMN_HELPER_REFUSED(...)
#define LMN_HELPER_SLEEPS(...)
#include "helpers/helpers.def"
#undef LMN_HELPER
#undef LMN_HELPER_BY_ENGINE
#undef LMN_HELPER_MISSING
#undef LMN_HELPER_REFUSED
#undef LMN_HELPER_SLEEPS

namespace helper {

using guest::as_pointer;
using guest::as_s32;
using guest::as_u32;
using guest::failure;
using guest::kEnotsupp;
using guest::read_guest;
using guest::result;

}  // namespace helper

}  // namespace lmn
