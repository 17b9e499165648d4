// SPDX-License-Identifier: Apache-2.0
//
// verify: runs the Explorer and turns its refusal into an Error. Tested by paths_test.cc.
#include "verifier/verifier.h"

#include <fmt/format.h>

#include "verifier/explain.h"
#include "verifier/explorer.h"

namespace lmn {

Result<VerifiedProgram> verify(const Environment& env, StructuredProgram program,
                               const VerifyOptions& options) {
  Explorer explorer(env, program, options);
  const bool is_proved = explorer.run();
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
  return VerifiedProgram(VerifiedProgram::Key(), std::move(program), std::move(facts));
}

}  // namespace lmn
