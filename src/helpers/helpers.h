// SPDX-License-Identifier: Apache-2.0
//
// helpers: the functions that Linux offers to XDP programs, by number, with the kernel's behaviour.
//
// A helper is one row of helpers.def (what the call promises and demands) and one body in a file of
// its family. The row feeds the verifier and the checked interpreter; the body may therefore take
// its arguments as given, because whoever calls it has checked them by the row. Three kinds of
// rows:
//
//   a body      helper_function(id) gives it
//   the engine  a tail call, which no function can do: in helper_protos(), without a body
//   refused     known to Linux, not offered here; helper_refusal(id) says why and what to use
//
// so "no such helper" and "not offered, because ..." are different answers, and a program is never
// run with a call that has nothing behind it.
//
//   HelperFn body = helper_function(BPF_FUNC_map_lookup_elem);
//   std::uint64_t value = body(map, key, 0, 0, 0, &context);
//
// Threads: the tables are constants; a body runs on the worker that owns the RunContext. Bodies
// never allocate, log or throw.
// Tested by helpers_test.cc, algorithms_test.cc and tests/differential/helper*_test.cc.
// Source: Linux 6.18, net/core/filter.c, kernel/bpf/helpers.c, kernel/trace/bpf_trace.c.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "abi/helper_proto.h"
#include "packet/run_context.h"

namespace lmn {

// The helpers that a program may call, sorted by id; for Environment::helpers.
std::span<const HelperProto> helper_protos() noexcept;

// These and the refused ones: every helper that Linux 6.18 lets an XDP program call, sorted by id.
// For judging programs as Linux does, and for naming a call in a message.
std::span<const HelperProto> known_helper_protos() noexcept;

// The body, or null: the engine executes it (BPF_FUNC_tail_call), it is refused, or unknown.
HelperFn helper_function(std::uint32_t id) noexcept;

// Why Linux's helper `id` is refused here, in words for a load error; empty for every other id.
std::string_view helper_refusal(std::uint32_t id) noexcept;

}  // namespace lmn
