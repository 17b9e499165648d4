// SPDX-License-Identifier: Apache-2.0
//
// Entering and leaving functions: program start, calls of the program's own functions, exit, tail
// calls, callbacks.
//
// A call saves the caller's r6 to r9 in the new frame, as the kernel's calling convention has the
// callee do, and gives the callee a stack of its own. A tail call replaces the code and the stack
// of the current frame but not the frames below: a tail call in a subprogram ends by returning to
// that subprogram's caller.
//
// Internal to exec/interp. Threads: as the Machine. Tested by exec_test.cc.
// Source: Linux 6.18, kernel/bpf/verifier.c (setup_func_entry, prepare_func_exit),
// kernel/bpf/core.c (JMP_TAIL_CALL).
#pragma once

#include <cstdint>
#include <span>

#include "exec/interp/machine.h"

namespace lmn::interp {

// Sets the machine to the first instruction of `image`, with the context in r1.
const Step* start(Machine& machine, const ProgramImage& image, XdpBuff& buff);

// Sets the machine to the first instruction of a function that was left for later, with map, key
// and value as arguments; `index` is room for an array's key. Null: the element is gone.
const Step* start_deferred(Machine& machine, const ProgramImage& image, const DeferredCall& call,
                           XdpBuff& no_packet, std::uint32_t& index);

// Nothing is held that has to be given back before the program ends, and no section is open. False:
// trapped.
bool is_balanced(Machine& machine, const Step* step);

// Each of these gives the next step; null when the program ended, by a trap or (exit) by returning
// to C++.
const Step* call_function(Machine& machine, const Step* step);
const Step* exit_function(Machine& machine, const Step* step);
const Step* tail_call(Machine& machine, const Step* step);
const Step* may_goto(Machine& machine, const Step* step);

// RunContext::call_back: runs the function that `function` stands for. 1 when the program has
// trapped, which ends every loop that calls back.
std::uint64_t call_back(void* engine_state, std::uint64_t function,
                        std::span<const std::uint64_t> args) noexcept;

// RunContext::defer: the program that a function value of this run belongs to.
DeferredFunction defer(void* engine_state, std::uint64_t function) noexcept;

// RunContext::stop: the program traps at the helper call it is in.
void stop(void* engine_state) noexcept;

// Runs from `step` until the current frame's function returns to C++ or a trap. Defined by
// interpreter.cc.
void execute(Machine& machine, const Step* step) noexcept;

}  // namespace lmn::interp
