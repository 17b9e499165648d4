// SPDX-License-Identifier: Apache-2.0
//
// What programs do in an arena: casts of its addresses, loads, stores, atomic operations.
//
// A program's arena pointer is 32 bits: arithmetic on it wraps there. An access never faults: where
// no page is, a load gives 0 and a store is lost, as the kernel's machine code handles the fault.
// So nothing here traps; the arena itself says which bytes there are (maps/arena_map.h).
//
//   r1 = addr_space_cast(r1, 0, 1)     // user space's address, or any number, to the program's
//   r1 = addr_space_cast(r1, 1, 0)     // back: the high half of the arena's addresses is added
//
// Internal to exec/interp. Threads: as the Machine. Tested by tests/differential/arena_test.cc.
// Source: Linux 6.18, kernel/bpf/verifier.c (check_alu_op, do_misc_fixups),
// arch/x86/net/bpf_jit_comp.c (PROBE_MEM32, the cast to user space).
#pragma once

#include <cstdint>

#include "exec/interp/machine.h"

namespace lmn::interp {

const Step* cast_step(Machine& machine, const Step* step);

// The bytes that `reg` + the step's offset stand for, or null. REQUIRES: the register is kArena.
std::uint8_t* arena_bytes(Machine& machine, const Step* step, std::uint8_t reg,
                          std::uint32_t size_bytes);

}  // namespace lmn::interp
