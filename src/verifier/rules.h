// SPDX-License-Identifier: Apache-2.0
//
// Rule: what a refused program broke; rules.def as a table.
//
// A refusal is an Error whose message says what is wrong at this place and ends with the rule's id,
// so that a reader finds the rule's page and a test can tell one refusal from another.
// Threads: constants. Tested by structure_test.cc.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "spec/program_spec.h"

namespace lmn {

enum class Rule : std::uint8_t {
#define LMN_VERIFIER_RULE(name, ...) name,
#include "verifier/rules.def"
#undef LMN_VERIFIER_RULE
};

inline constexpr std::size_t kRuleCount = 0
#define LMN_VERIFIER_RULE(...) +1
#include "verifier/rules.def"
#undef LMN_VERIFIER_RULE
    ;

// The stage that checks a rule.
enum class RuleGroup : std::uint8_t { kStructure, kPaths };

struct RuleInfo {
  std::string_view id;
  std::uint16_t number;
  RuleGroup group;
  ErrorCode code;
  int errno_value;
  std::string_view demand;
  std::string_view remedy;
};

const RuleInfo& rule_info(Rule rule);
// The rule that refuse() made `error` for. REQUIRES: it did.
Rule rule_of(const Error& error);

// `prog "xdp_fw": insn 14: WHAT [rule-id]`, located at the source line of the instruction if the
// program carries line records ("fw.c:33").
std::unexpected<Error> refuse(const ProgramSpec& program, Rule rule, InsnIndex at,
                              const std::string& what);
// The same for the program as a whole.
std::unexpected<Error> refuse(const ProgramSpec& program, Rule rule, const std::string& what);

// "insn 14" or, with a name for the function that starts there, "'parse_eth'".
std::string function_words(const ProgramSpec& program, InsnIndex start);

}  // namespace lmn
