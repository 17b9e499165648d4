// SPDX-License-Identifier: Apache-2.0
//
// The table of rules and the shape of a refusal. Tested by structure_test.cc.
#include "verifier/rules.h"

#include <fmt/format.h>

#include <iterator>

#include "base/assert.h"

namespace lmn {
namespace {

constexpr RuleInfo kRules[] = {
#define LMN_VERIFIER_RULE(name, number, id, group, code, error, demand, remedy) \
  {id, number, RuleGroup::group, ErrorCode::code, error, demand, remedy},
#include "verifier/rules.def"
#undef LMN_VERIFIER_RULE
};

constexpr bool rules_are_sorted() {
  for (std::size_t i = 1; i < std::size(kRules); ++i) {
    const bool same_group = kRules[i - 1].group == kRules[i].group;
    if (same_group ? kRules[i - 1].id >= kRules[i].id : kRules[i - 1].group > kRules[i].group) {
      return false;
    }
  }
  return true;
}
static_assert(rules_are_sorted(), "rules.def: groups in order, ids sorted and unique within one");

constexpr bool numbers_are_unique() {
  for (std::size_t i = 0; i < std::size(kRules); ++i) {
    for (std::size_t j = i + 1; j < std::size(kRules); ++j) {
      if (kRules[i].number == kRules[j].number) return false;
    }
  }
  return true;
}
static_assert(numbers_are_unique(), "rules.def: a rule is quoted by its number");

std::unexpected<Error> refusal(Rule rule, std::string message) {
  const RuleInfo& info = rule_info(rule);
  Error error;
  error.code = info.code;
  error.errno_value = info.errno_value;
  error.message = std::move(message);
  error.remedy = std::string(info.remedy);
  return std::unexpected(std::move(error));
}

}  // namespace

const RuleInfo& rule_info(Rule rule) { return kRules[static_cast<std::size_t>(rule)]; }

Rule rule_of(const Error& error) {
  for (std::size_t i = 0; i < std::size(kRules); ++i) {
    if (error.message.ends_with(fmt::format("[{}]", kRules[i].id))) return static_cast<Rule>(i);
  }
  LMN_ASSERT(false);
  return Rule{};
}

std::unexpected<Error> refuse(const ProgramSpec& program, Rule rule, InsnIndex at,
                              const std::string& what) {
  auto error = refusal(rule, fmt::format("prog \"{}\": insn {}: {} [{}]", program.name, at.value,
                                         what, rule_info(rule).id));
  if (const LineInfo* line = program.line_of(at)) {
    error.error().location = fmt::format("{}:{}", line->file, line->line);
  }
  return error;
}

std::unexpected<Error> refuse(const ProgramSpec& program, Rule rule, const std::string& what) {
  return refusal(rule, fmt::format("prog \"{}\": {} [{}]", program.name, what, rule_info(rule).id));
}

std::string function_words(const ProgramSpec& program, InsnIndex start) {
  const FunctionInfo* function = program.function_of(start);
  if (function == nullptr || function->insn != start || function->name.empty()) {
    return fmt::format("insn {}", start.value);
  }
  return fmt::format("'{}'", function->name);
}

}  // namespace lmn
