// SPDX-License-Identifier: Apache-2.0
//
// explain: a refusal taken apart for a person or a tool, as a compiler's message is.
//
// A refusal is an Error with one sentence; whoever has to mend the program needs more: the rule,
// the place and its text, what the verifier knew of the values there, what it missed, and what to
// change. Those are the fields of Explanation; text, JSON and SARIF are written from them.
//
// What is missing and what mends it depend on the rule and on how it was broken. A table
// (remedies.def) has a row per rule and piece of the kernel's message; the first row that fits
// counts, and rules.def has the last word where none does.
// Threads: pure functions. Tested by tests/messages/messages_test.cc.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "insn/insn.h"
#include "spec/program_spec.h"
#include "verifier/rules.h"
#include "verifier/state.h"
#include "verifier/verifier.h"

namespace lmn {

// A place in the source; empty file: the program carries no line records.
struct SourcePlace {
  std::string file;
  std::uint32_t line = 0;
  std::uint32_t column = 0;
  std::string text;
};

SourcePlace place_of(const ProgramSpec& program, InsnIndex insn);

struct Explanation {
  std::optional<Rule> rule;
  std::optional<InsnIndex> insn;
  std::string what;  // the sentence, without program, instruction and rule
  SourcePlace place;
  std::string known;    // what the verifier knew of the values involved
  std::string missing;  // what it would have had to know
  std::string remedy;
  std::string kernel_message;
  // A second place and why it matters: where a reference was acquired.
  std::string note;
  SourcePlace note_place;
};

// `report` is the one of the same refusal, or a fresh one when check_structure refused.
Explanation explain(const ProgramSpec& program, const Error& error, const VerifierReport& report);

struct RemedyRow {
  Rule rule;
  std::string_view pattern;  // part of the kernel's message or of what was known; empty fits all
  std::string_view what;     // empty: the verifier's own sentence is better
  std::string_view missing;
  std::string_view remedy;
};

// The first row that fits, or null.
const RemedyRow* find_remedy(Rule rule, std::string_view kernel_message, std::string_view known);

// "r2 is a packet pointer at offset 14, 14 bytes proven".
std::string known_words(std::uint8_t index, const RegState& reg);
// The same of the registers that a refusal at `insn` is about: those its message names, or else
// those the instruction reads.
std::string known_at(const Insn& insn, Rule rule, std::string_view kernel_message,
                     const FrameState& frame);

}  // namespace lmn
