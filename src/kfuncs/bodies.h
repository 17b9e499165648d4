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

#include <cstdint>

#include "packet/guest_call.h"
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

using guest::as_pointer;
using guest::as_s32;
using guest::as_u32;
using guest::failure;
using guest::read_guest;
using guest::read_guest_all;
using guest::result;

}  // namespace kfunc

}  // namespace lmn
