// SPDX-License-Identifier: Apache-2.0
//
// The structural pass, first stage of the verifier: what can be said of a program without knowing
// any value. It makes a StructuredProgram, the only thing the checked interpreter takes.
//
// The rules, in the order in which they are checked (rules.def has their words):
//
//   size        program-size
//   encoding    fields: also for programs that never were bytes
//   functions   call-target, subprogram-count: a function starts at 0 and wherever a call or the
//               address of a function leads; it ends where the next one starts
//   jumps       jump-range (also gotol and may_goto), last-insn: control leaves a function only by
//               exit
//   maps        map-count, map-type, map-reference, map-value-type, map-value-entries,
//               map-value-offset
//   reach       unreachable, jump-into-lddw: the first instruction that no path leads to is named
//   operations  frame-pointer, helper-unknown, helper-license, kfunc, kfunc-count, kfunc-device,
//               kfunc-license, extern, legacy-access, arena
//   calls       recursion, call-depth, tail-call-btf
//
// Loops are legal; whether they end is not judged here.
//
// "operations" are judged where a run could get to when branches that constants decide go one way
// (constant_reach.h): portable programs guard what an older target lacks. What is refused but never
// reached is replaced by "goto pc-1" in StructuredProgram::spec(), as the kernel's
// sanitize_dead_code does; the address of a weak kernel variable by 0, that of a kernel function
// that is offered by 1. Numbers stay.
//
// Differences from Linux 6.18: (1) the kernel knows more code to be dead, for it follows constants
// through the stack and frozen maps; and it does not look at "fields" of dead code at all. (2)
// Distances are added in 64 bits: a gotol by 2^31 - 1 is out of range, where the kernel's sum wraps
// to another number that is out of range.
// Not done yet: the depth of calls through callbacks (bpf_loop) and the stack's bytes are the
// path-sensitive stage's, which knows what a callback is used for.
//
// Threads: a pure function; StructuredProgram is a value.
// Tested by structure_test.cc, and forge_test.cc proves that nobody else can make one.
// Source: Linux 6.18, kernel/bpf/verifier.c (add_subprog_and_kfunc, check_subprogs,
// resolve_pseudo_ldimm64, check_cfg, check_max_stack_depth, check_helper_call, check_reg_arg).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "insn/insn.h"
#include "spec/environment.h"
#include "spec/map_spec.h"
#include "spec/program_spec.h"

namespace lmn {

// A function of the program: the slots [start, end).
struct Subprogram {
  InsnIndex start;
  InsnIndex end;
  bool has_tail_call = false;

  bool operator==(const Subprogram&) const = default;
};

// An instruction that refers to a function of the program.
struct CallSite {
  InsnIndex insn;
  std::uint32_t callee = 0;  // position in StructuredProgram::subprograms
  bool is_address = false;   // lddw of BPF_PSEUDO_FUNC: the callee is a callback

  bool operator==(const CallSite&) const = default;
};

// An operation that is refused if some run gets there, which the paths will tell.
struct DeferredOperation {
  InsnIndex insn;
  Error refusal;
  Insn operation{};  // what StructuredProgram::spec() has replaced
};

struct StructureOptions {
  // For programs whose paths are walked next (verifier.h): what constants in the code do not decide
  // may be decided by frozen maps or by values on the stack, so refusals of "operations" wait.
  bool defers_operations = false;
};

// What the pass learns on the way.
struct StructureFacts {
  std::vector<Subprogram> subprograms;  // sorted by start; the first is the entry
  std::vector<CallSite> calls;          // sorted by insn
  std::uint32_t max_call_depth = 1;     // frames, the entry's included; callbacks not counted
  bool has_tail_calls = false;
  bool has_backward_jumps = false;          // without one there is no loop
  std::vector<InsnIndex> dead_operations;   // refused, but no run gets there
  std::vector<DeferredOperation> deferred;  // sorted by insn; also among dead_operations
};

class StructuredProgram;

// Errors: kRefused (Linux refuses it too) or kNotSupported, with Linux's errno, message
// `prog "xdp_fw": insn 14: ... [rule-id]` and the source line; the defect of the spec, if it has
// one.
// `maps` are the blueprints of program.maps, in that order. REQUIRES: as many of them.
Result<StructuredProgram> check_structure(const Environment& env, const ProgramSpec& program,
                                          std::span<const MapSpec> maps,
                                          const StructureOptions& options = {});

// A program that passed. Made by check_structure and copied, never forged.
class StructuredProgram {
 public:
  // Only check_structure can make one.
  class Key {
    Key() {}            // not defaulted: {} must not make one either
    Key(const Key&) {}  // not trivial: std::bit_cast must not make one either
    friend Result<StructuredProgram> check_structure(const Environment&, const ProgramSpec&,
                                                     std::span<const MapSpec>,
                                                     const StructureOptions&);
  };

  StructuredProgram(Key, ProgramSpec spec, std::vector<MapSpec> maps, StructureFacts facts);

  // As checked, but for dead operations and weak externs (see above).
  const ProgramSpec& spec() const { return spec_; }
  std::span<const MapSpec> maps() const { return maps_; }
  std::span<const Subprogram> subprograms() const { return facts_.subprograms; }
  std::span<const CallSite> calls() const { return facts_.calls; }
  // What StructureOptions::defers_operations left to whoever walks the paths.
  std::span<const DeferredOperation> deferred() const { return facts_.deferred; }
  std::uint32_t max_call_depth() const { return facts_.max_call_depth; }
  bool has_tail_calls() const { return facts_.has_tail_calls; }
  bool has_backward_jumps() const { return facts_.has_backward_jumps; }

  // The function that `insn` calls or takes the address of; nullopt when it does neither.
  std::optional<std::uint32_t> callee_of(InsnIndex insn) const;
  // The function that holds `insn`. REQUIRES: it is an instruction of the program.
  std::uint32_t subprogram_of(InsnIndex insn) const;

 private:
  ProgramSpec spec_;
  std::vector<MapSpec> maps_;
  StructureFacts facts_;
};

}  // namespace lmn
