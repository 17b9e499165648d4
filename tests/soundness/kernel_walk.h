// SPDX-License-Identifier: Apache-2.0
//
// KernelWalk: how the kernel's verifier came to the instruction it refused, read from its log of
// level 2, and what ours made of the same way.
//
// When the kernel refuses a program that we accept, one of them is wrong or we know more. We know
// more exactly where the kernel's way to its refusal leaves the tree of paths that ours walked (a
// branch that ours proved dead), or where at the refused instruction our numbers lie within the
// kernel's and are fewer, or a pointer is known not to be null. And Linux refuses some constants
// where it accepts a range that holds them (an offset beyond 2^29 that is never used): a path that
// ours cut short there was proved by the range. All of it can be read off the kernel's log and an
// Exploration, so that such a difference is explained by facts and not by its words.
//
// The log tells each instruction walked ("14: (bf) r1 = r2"), the state before it ("14: R1=1 ...")
// and where a waiting branch was taken up ("from 9 to 12: ..."): branches wait on a stack, so the
// way to the last instruction is what is left when each "from" cuts back to the branch it names.
// Where several branches could be meant each is followed: one of the ways is the right one.
// Threads: values. Tested by kernel_walk_test.cc.
// Source: Linux 6.18, kernel/bpf/log.c (print_verifier_state, print_scalar_ranges), verifier.c
// (do_check).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "insn/insn.h"
#include "soundness/exploration.h"
#include "verifier/domain/scalar.h"

namespace lmn {

// What the log says of one register.
struct KernelValue {
  Scalar number;  // or variable offset
  bool may_be_null = false;
  bool is_tied = false;  // another number plus a constant
};

struct KernelWalk {
  std::vector<std::uint32_t> insns;                   // from the first to the refused one
  std::array<std::optional<KernelValue>, 11> values;  // of registers, just before the refused one
};

// All ways that the log may tell of. None: it is no such log, was cut, or leaves too much open.
std::vector<KernelWalk> read_kernel_walks(std::string_view log);

// One value as the log prints it: "scalar(smin=0,...)", "map_value(...,umax=7)", "-1", "P3".
std::optional<KernelValue> read_kernel_value(std::string_view text);

enum class WalkDifference : std::uint8_t {
  kNone,          // ours went the same way and knows no more
  kDeadBranch,    // ours proved that the way cannot be walked
  kFewerNumbers,  // ours knows a value that the refused instruction uses better
  kMoreNumbers,   // ours accepted the same instruction with all of the kernel's numbers and more,
                  // or without a tie to another number that the kernel kept
};

// What explains all of the walks; kNone if there is none, or one that nothing explains. REQUIRES:
// `tree` is of the program `insns`, which our verifier accepted.
WalkDifference compare_walks(const std::vector<KernelWalk>& walks, const Exploration& tree,
                             const std::vector<Insn>& insns);

}  // namespace lmn
