// SPDX-License-Identifier: Apache-2.0
//
// The control-flow graph of a program: basic blocks of each function and the edges between them.
//
// A block begins at a function's start, at a jump's target and after a jump or exit, and runs to
// the next beginning; calls do not end blocks. Edges stay inside a function: first to the block
// that follows, then to the jump's target. `goto out` in block 2 of {0..3} gives the edge 2 ->
// block of `out`; exit has no edge. For listings and drawings; what may run at all is the
// verifier's to say. Targets outside of the function are left out, so that programs that would be
// refused can be drawn. Threads: pure function. Tested by cfg_test.cc.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "insn/insn.h"

namespace lmn {

struct BasicBlock {
  InsnIndex first;
  InsnIndex last;                         // inclusive; of an lddw its first slot
  std::vector<std::uint32_t> successors;  // positions in FunctionGraph::blocks
};

struct FunctionGraph {
  InsnIndex start;
  std::vector<BasicBlock> blocks;  // in the order of instructions
};

// `starts`: first slots of the functions, sorted, the first 0. One graph per start.
// REQUIRES: every kLddw is followed by its kLddwHigh.
std::vector<FunctionGraph> control_flow(std::span<const Insn> insns,
                                        std::span<const InsnIndex> starts);

}  // namespace lmn
