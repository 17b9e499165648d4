// SPDX-License-Identifier: Apache-2.0
//
// Liveness: which registers, and which 8-byte slots of its own stack, a function may still read.
//
// Two states that differ only in what is never read again are the same state. Computed once, before
// the walk, by going through each function backwards until nothing changes; a call reads what it
// takes. For the stack, first a pass forward finds the pointers that are r10 plus a constant. What
// it cannot follow makes slots live: a stack pointer that is stored anywhere makes all slots of the
// function live everywhere, one given to a function or a callback makes them live before that call,
// one given to another helper those from there up.
//
// Example: in "*(u64 *)(r10 -8) = r1; r2 = *(u64 *)(r10 -8); r2 = 0; exit" slot 0 is live between
// the first two instructions only.
// Threads: immutable once made. Tested by paths_test.cc.
// Source: Linux 6.18, kernel/bpf/verifier.c (compute_live_registers); the stack's part is our own.
#pragma once

#include <cstdint>
#include <vector>

#include "spec/environment.h"
#include "verifier/structure.h"

namespace lmn {

class Liveness {
 public:
  Liveness(const Environment& env, const StructuredProgram& program);

  // Bit r: register r may be read at or after `insn`, before it is written.
  std::uint16_t registers_before(std::uint32_t insn) const { return registers_[insn]; }
  // Bit i: slot i (r10 - 8 * (i + 1)) likewise.
  std::uint64_t slots_before(std::uint32_t insn) const { return slots_[insn]; }

 private:
  std::vector<std::uint16_t> registers_;
  std::vector<std::uint64_t> slots_;
};

}  // namespace lmn
