// SPDX-License-Identifier: Apache-2.0
//
// Calls of helpers: the arguments are judged by the helper's prototype, the body is called with
// host addresses, and the result and the registers become what the prototype says. So a body may
// take what it is given.
//
// Internal to exec/interp. Threads: as the Machine. Tested by exec_test.cc.
// Source: Linux 6.18, kernel/bpf/verifier.c, check_helper_call and check_func_arg.
#pragma once

#include <cstdint>
#include <span>

#include "exec/interp/machine.h"

namespace lmn::interp {

// The next step; null when an argument (or a callback) trapped.
const Step* call_helper(Machine& machine, const Step* step);

// r1 to r5 of a callback: the numbers the helper passes, with the shadows that the helper's
// callback is known to get.
void set_callback_arguments(Machine& machine, PendingHelper& helper,
                            std::span<const std::uint64_t> args);

}  // namespace lmn::interp
