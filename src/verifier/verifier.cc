// SPDX-License-Identifier: Apache-2.0
//
// verify: runs the Explorer and turns its refusal into an Error. Tested by paths_test.cc.
#include "verifier/verifier.h"

#include <fmt/format.h>

#include <chrono>
#include <optional>

#include "verifier/explain.h"
#include "verifier/explorer.h"
#include "verifier/kernel_log.h"
#include "verifier/needed_features.h"

namespace lmn {

namespace {

// Walks all paths, and writes the log meanwhile if one is wanted.
bool run_with_log(const Environment& env, const StructuredProgram& program,
                  const VerifyOptions& options, std::optional<Explorer>& explorer) {
  VerifyOptions logged = options;
  KernelLog log(program, options.log_level, {env.kernel_types, options.btf});
  logged.listener = &log;
  explorer.emplace(env, program, logged);
  const auto begin = std::chrono::steady_clock::now();
  const bool is_proved = explorer->run();
  log.finish(explorer->report(), std::chrono::steady_clock::now() - begin);
  *options.log = log.text();
  return is_proved;
}

}  // namespace

Result<VerifiedProgram> verify(const Environment& env, StructuredProgram program,
                               const VerifyOptions& options) {
  std::optional<Explorer> walk;
  const bool is_logged = options.log != nullptr;
  if (!is_logged) walk.emplace(env, program, options);
  const bool is_proved = is_logged ? run_with_log(env, program, options, walk) : walk->run();
  Explorer& explorer = *walk;
  const VerifierReport& report = explorer.report();
  if (options.report != nullptr) *options.report = report;
  if (!is_proved) {
    if (report.refusal) return make_error(*report.refusal);
    auto error = refuse(program.spec(), report.rule, report.insn, report.words);
    error.error().errno_value = report.errno_value;
    const RemedyRow* row = find_remedy(report.rule, report.kernel_message, report.known);
    if (row != nullptr) error.error().remedy = row->remedy;
    return error;
  }
  VerifiedFacts facts = explorer.take_facts();
  facts.features = needed_features(env, program, facts);
  return VerifiedProgram(VerifiedProgram::Key(), std::move(program), std::move(facts));
}

}  // namespace lmn
