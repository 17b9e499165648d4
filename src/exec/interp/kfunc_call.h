// SPDX-License-Identifier: Apache-2.0
//
// Calls of kernel functions: as helper_call.h does it for helpers, by the rows of kfuncs.def.
//
// Beyond arguments and results a kernel function may make, use and end objects on the stack
// (stack_object.h), open and close sections in which only some things are allowed, and end the
// program: bpf_throw leaves all functions at once and gives its value to the program's exception
// callback, or makes it the verdict.
//
// Internal to exec/interp. Threads: as the Machine. Tested by kfunc_call_test.cc.
// Source: Linux 6.18, kernel/bpf/verifier.c, check_kfunc_call and check_kfunc_args.
#pragma once

#include <cstdint>
#include <span>

#include "exec/interp/machine.h"

namespace lmn::interp {

// The next step; null when an argument trapped or the program ended.
const Step* call_kfunc(Machine& machine, const Step* step);

// r1 and r2 of the function that orders a tree: two nodes.
void set_kfunc_callback_arguments(Machine& machine, std::span<const std::uint64_t> args);
// Gives back the objects that a stopped program held.
void release_held_objects(Machine& machine);

// Whether the interpreter itself does what `proto` says, without a body.
bool is_engine_kfunc(const KfuncProto& proto);
// Whether it can check the arguments and result of `proto`.
bool is_kfunc_supported(const KfuncProto& proto);

}  // namespace lmn::interp
