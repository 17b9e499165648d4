// SPDX-License-Identifier: Apache-2.0
//
// What `lmn check` says of one program: a verdict with its facts, as text that reads like a
// compiler's, as JSON, and (check_sarif.h) as SARIF. All three have the same facts.
//
// Tested by tests/messages/messages_test.cc.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/json_writer.h"
#include "spec/environment.h"
#include "spec/object_spec.h"
#include "verifier/explain.h"
#include "verifier/lint.h"

namespace lmn {

struct ProgramVerdict {
  std::string object;
  std::string program;  // empty: the object could not be read
  std::string section;
  std::size_t insn_count = 0;
  std::uint64_t time_us = 0;
  std::uint64_t processed = 0;  // instructions walked, all paths together
  std::uint64_t peak_states = 0;
  std::size_t peak_bytes = 0;
  FeatureSet features;  // what an accepted program needs
  std::optional<Error> error;
  Explanation explanation;  // of the error
  std::string insn_text;    // the instruction that is blamed, disassembled
  std::vector<LintFinding> findings;
  std::string log;  // in the kernel's form, if it was asked for
};

// What a load was refused with, as judge_program tells it; the times and sizes are 0.
ProgramVerdict refused_program(const ObjectSpec& spec, const ProgramSpec& program,
                               const Error& error, const VerifierReport& report);

// Both stages of the verifier, and the lint for what they accept.
// With a level (verifier/kernel_log.h) there is a log.
ProgramVerdict judge_program(const ObjectSpec& spec, const ProgramSpec& program,
                             const Environment& environment, std::uint32_t log_level = 0);

// Lines with their ends. `with_log` adds the refusal in the kernel's words.
std::string verdict_text(const ProgramVerdict& verdict, bool with_log);
void write_verdict_json(JsonWriter& json, const ProgramVerdict& verdict);

}  // namespace lmn
