// SPDX-License-Identifier: Apache-2.0
//
// ProgramSource: generated programs in three knobs, for everybody who judges the verifier.
//
//   valid   as the generators make them: more than 95 of 100 accepted
//   edge    a valid one with one operand, offset, size, register, operation or jump changed, or a
//           generated one with a risk; about half accepted, and the interesting half
//   wild    instructions at random that decode, behind a valid beginning
//
// Threads: one. Tested by agreement_test.cc (rates per knob) and soundness_test.cc.
#pragma once

#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <string_view>

#include "differential/program_generator.h"
#include "soundness/probe_generator.h"

namespace lmn {

enum class Knob : std::uint8_t { kValid, kEdge, kWild };
inline constexpr std::size_t kKnobCount = 3;
std::string_view knob_name(Knob knob);

class ProgramSource {
 public:
  ProgramSource(std::uint64_t seed, const ProbeMaps& maps);

  GeneratedProgram next(Knob knob);
  // Of 20 programs 10 valid, 9 edge, 1 wild.
  Knob any_knob();

 private:
  std::uint64_t below(std::uint64_t bound) { return random_() % bound; }
  GeneratedProgram valid();
  void mutate(GeneratedProgram& program);
  void change_field(Insn& insn);
  void change_operation(Insn& insn);
  GeneratedProgram wild();
  Insn any_insn();

  std::mt19937_64 random_;
  ProbeMaps maps_;
  ProgramGenerator plain_;
  ProbeGenerator probes_;
};

// The program with as many instructions as possible replaced by `goto +0`, such that `is_still_so`.
GeneratedProgram reduce(GeneratedProgram program,
                        const std::function<bool(const GeneratedProgram&)>& is_still_so);

// Its instructions but for `goto +0`, with their positions.
std::string reduced_text(const GeneratedProgram& program);

}  // namespace lmn
