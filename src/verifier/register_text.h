// SPDX-License-Identifier: Apache-2.0
//
// Registers and stack slots as the kernel's verifier log writes them, letter by letter, so that
// what reads that log reads ours:
//
//   R1=ctx() R2=scalar(smin=smin32=0,smax=umax=smax32=umax32=255,var_off=(0x0; 0xff)) R10=fp0
//   fp-8=????0mmm fp-16=dynptr_local(id=3)
//
// Numbers of identities (id=3) are ours: only which are equal means anything, in both logs.
// Differences: ids of kernel objects' types are names; a dynptr's and an iterator's parts come from
// our own description of them.
// Threads: pure functions. Tested by kernel_log_test.cc.
// Source: Linux 6.18, kernel/bpf/log.c (print_reg_state, print_scalar_ranges,
// print_verifier_state).
#pragma once

#include <cstdint>
#include <string>

#include "btf/btf.h"
#include "verifier/state.h"

namespace lmn {

// Where the names of objects' types are: of the kernel's objects, and of those that the program
// allocates. Null: the names are left out.
struct ObjectTypes {
  const Btf* kernel = nullptr;
  const Btf* program = nullptr;
};

// What stands behind "R1=". `frame` is the frame whose register it is.
std::string register_text(const RegState& reg, std::uint32_t frame, const ObjectTypes& types = {});

// " fp-16=mmmmmmmm", or nothing for a slot that was never written or is not the first of its kind.
std::string slot_text(const FrameState& frame, std::uint32_t frame_index, std::uint32_t slot,
                      const ObjectTypes& types = {});

// Which registers and slots of one frame are shown.
struct ShownPlaces {
  std::uint16_t registers = 0xffff;
  std::uint64_t slots = ~0ull;
};

// " frame1: R1=5 R10=fp0 fp-16=5 refs=2": the state of `frame_index` with a space before each part.
std::string state_text(const PathState& state, std::uint32_t frame_index,
                       const ShownPlaces& shown = {}, const ObjectTypes& types = {});

}  // namespace lmn
