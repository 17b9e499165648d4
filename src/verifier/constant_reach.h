// SPDX-License-Identifier: Apache-2.0
//
// Which instructions a program can get to when branches that constants decide go only one way.
//
// Portable programs are written so: `if (bpf_core_field_exists(...)) use_it();`. When the object is
// read, the question becomes the constant 0 and the use becomes a call that nobody may make; the
// kernel accepts the program, because its analysis never gets to the call. This is the part of that
// analysis which needs no pointers: registers that hold a known number, through moves and
// arithmetic, joined where ways meet. What is not reached here is not reached by any run.
//
// Counter-example: a constant that goes through the stack or a map is not followed, so code that is
// dead only because of it counts as reached. The path-sensitive stage knows more.
// Cost: a block is looked at again only when a register of its entry state stops being known, at
// most 12 times; memory is one state per jump target.
// Threads: a pure function. Tested by structure_test.cc, constant_reach_test.cc.
// Source: the idea is conditional constant propagation (Wegman and Zadeck, 1991), without SSA form.
#pragma once

#include <vector>

#include "verifier/structure_checks.h"

namespace lmn {

// One element per slot. REQUIRES: the parts up to check_reach passed.
std::vector<bool> constant_reach(const StructureDraft& draft);

// A reference to a kernel variable that the program can do without (__weak): its address is 0, as
// libbpf makes it when the kernel has no such variable.
bool is_weak_extern(const ProgramSpec& program, const Insn& insn);

}  // namespace lmn
