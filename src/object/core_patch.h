// SPDX-License-Identifier: Apache-2.0
//
// Writing a CO-RE number into an instruction: as immediate operand, as 64-bit load, or as offset
// (and width) of a load or store. Tested by core_test.cc. Source: Linux 6.18,
// tools/lib/bpf/relo_core.c (which instructions, what is poison).
#pragma once

#include <span>

#include "base/result.h"
#include "object/core_value.h"
#include "object/raw_insn.h"

namespace lmn {

// A call of this helper stands where something did not exist; no kernel has it, so only dead code
// may contain it.
inline constexpr std::int32_t kCorePoison = 0xbad2310;

// REQUIRES: `slots` starts at the instruction; its second slot follows if it is a 64-bit load.
Result<void> patch_core(std::span<RawInsn> slots, const CoreChange& change);

}  // namespace lmn
