// SPDX-License-Identifier: Apache-2.0
//
// The parts of the structural pass. Internal to the verifier; the public function is
// check_structure (structure.h), which calls them in the order of their declaration: each relies on
// what those before it established.
// Threads: pure functions. Tested by structure_test.cc.
#pragma once

#include "verifier/structure.h"

namespace lmn {

// What a part of the pass works on; facts are filled as they become known.
struct StructureDraft {
  const Environment& env;
  const ProgramSpec& program;
  std::span<const MapSpec> maps;
  StructureFacts facts;
  StructureOptions options = {};

  std::span<const Insn> insns() const { return program.insns; }
  std::uint32_t slot_count() const { return static_cast<std::uint32_t>(program.insns.size()); }
};

// The function that holds `insn`: the last one that starts at or before it.
std::uint32_t subprogram_at(std::span<const Subprogram> subprograms, InsnIndex insn);

// check_control_flow.cc
Result<void> check_size(const StructureDraft& draft);
Result<void> check_fields(const StructureDraft& draft);
Result<void> find_subprograms(StructureDraft& draft);  // fills subprograms and calls
Result<void> check_jumps(StructureDraft& draft);       // fills has_backward_jumps
Result<void> check_reach(const StructureDraft& draft);

// check_maps.cc
Result<void> check_map_references(const StructureDraft& draft);

// check_operations.cc
Result<void> check_operation(const StructureDraft& draft, InsnIndex at);
Result<void> check_operations(StructureDraft& draft);  // fills dead_operations

// check_kfuncs.cc
Result<void> check_kfunc_call(const StructureDraft& draft, InsnIndex at, const Insn& insn);
Result<void> check_kfunc_count(const StructureDraft& draft);
// All that a program can do with the address of a kernel function is to compare it with 0.
inline constexpr std::int64_t kKfuncAddress = 1;
// The kernel function whose address `insn` takes, if it may be called; else null.
const KfuncProto* find_kfunc_address(const Environment& env, const ProgramSpec& program,
                                     const Insn& insn);

// check_calls.cc
Result<void> check_call_depth(StructureDraft& draft);  // fills max_call_depth
Result<void> check_tail_calls(StructureDraft& draft);  // fills has_tail_call(s)

}  // namespace lmn
