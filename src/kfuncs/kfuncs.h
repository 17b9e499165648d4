// SPDX-License-Identifier: Apache-2.0
//
// kfuncs: the kernel functions that Linux offers to XDP programs, by name, with the kernel's
// behaviour.
//
// A kfunc is one row of kfuncs.def (what the call promises and demands) and one body in a file of
// its family, as a helper is; the difference is that programs name it instead of numbering it.
// Three kinds of rows:
//
//   a body      kfunc_function(name) gives it
//   the engine  changes how the program runs (bpf_throw, bpf_rcu_read_lock): no body
//   refused     known to Linux, not offered here; KfuncProto::refusal says what is missing
//
//   HelperFn body = kfunc_function("bpf_dynptr_size");
//   std::uint64_t size = body(dynptr, 0, 0, 0, 0, &context);
//
// Threads: the tables are constants; a body runs on the worker that owns the RunContext. Bodies
// never allocate, log or throw.
// Tested by kfuncs_test.cc and tests/differential/kfunc_rows_test.cc.
// Source: Linux 6.18, kernel/bpf/helpers.c, net/core/filter.c, net/core/xdp.c.
#pragma once

#include <span>
#include <string_view>

#include "abi/kfunc_proto.h"
#include "packet/run_context.h"

namespace lmn {

// Every row, sorted by name, those with a KfuncProto::refusal included; for Environment::kfuncs.
std::span<const KfuncProto> kfunc_protos() noexcept;

// The body, or null: the engine executes it, it is refused, or unknown.
HelperFn kfunc_function(std::string_view name) noexcept;

}  // namespace lmn
