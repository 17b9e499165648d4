// SPDX-License-Identifier: Apache-2.0
//
// The checked interpreter: the reference semantics of LMN.
//
// It runs a program as the kernel would and checks every step while doing so: which object an
// address belongs to, whether the object is still there, its bounds and rights, whether registers
// and stack bytes were written, and what helpers are given. The first broken rule is a trap
// (trap.h): the packet is ABORTED and the reason reported. So it needs no proof of the program,
// only the structural check, and it is the oracle for everything that does: what the verifier
// accepts never traps here, and what the compiler makes computes the same.
//
//   LMN_TRY(auto structured, check_structure(environment, program, map_specs));
//   LMN_TRY(auto compiled, make_interpreted(std::move(structured), environment, maps,
//   {helper_function}, {})); compiled->run_batch(batch, context);
//
// How it is cut: image.h prepares a program, machine.h is the state of a run, alu.h what
// instructions compute, shadow.h what is known of a value, memory_access.h loads and stores, call.h
// functions and tail calls, helper_call.h helpers, trace.h who watches, interpreter.cc the loop
// over instructions.
//
// What it has not is refused by name when a program is prepared. Threads: the result runs on any
// number of workers at once, each with its own RunContext. Tested by exec_test.cc and
// tests/differential/. Source: RFC 9669; Linux 6.18, kernel/bpf/core.c and verifier.c.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "abi/limits.h"
#include "base/result.h"
#include "exec/compiled_program.h"
#include "exec/helper_table.h"
#include "spec/environment.h"
#include "verifier/structure.h"

namespace lmn {

class Btf;
class Map;
class TraceListener;
struct GuestType;

struct InterpreterOptions {
  // Executed instructions of one packet, tail-called programs and callbacks included.
  std::uint64_t insns_max = limits::kInsnExecutedMax;
  // Rounds that may_goto grants in one call of a function (Linux: BPF_MAX_LOOPS).
  std::uint32_t may_goto_max = limits::kLoopIterationsMax;
  // The types of the object, for programs that allocate objects; it outlives the result. Null:
  // none.
  const Btf* btf = nullptr;
  // Told of every instruction before it runs; null: the untraced loop, which is faster.
  TraceListener* trace = nullptr;
  // The program's type, when it is not XDP (guest_type.h); it outlives the result.
  const GuestType* guest = nullptr;
};

// Prepares `program` to be run by the interpreter.
// `maps` are the live maps that ProgramSpec::maps names, in that order; they outlive the result, as
// do the tables of `environment`. Errors: kNotSupported and kInvalidArgument as
// ProgramImage::build, with the program's name.
Result<std::unique_ptr<CompiledProgram>> make_interpreted(StructuredProgram program,
                                                          const Environment& environment,
                                                          std::span<Map* const> maps,
                                                          const HelperTable& helpers,
                                                          const InterpreterOptions& options);

}  // namespace lmn
