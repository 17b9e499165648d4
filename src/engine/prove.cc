// SPDX-License-Identifier: Apache-2.0
//
// Both stages of the verifier in their order. Tested by engine_test.cc.
#include "engine/prove.h"

#include <fmt/format.h>

#include "helpers/helpers.h"
#include "insn/helper_names.h"
#include "insn/insn_table.h"
#include "verifier/kernel_log.h"
#include "verifier/structure.h"

namespace lmn {
namespace {

// Why a helper that Linux has is not offered here: the helpers' own table knows, the pass that
// refuses the call does not.
Error with_helper_reason(Error error, const ProgramSpec& program) {
  for (const Insn& insn : program.insns) {
    if (!is_helper_call(insn)) continue;
    const auto id = static_cast<std::uint32_t>(insn.imm);
    const std::string_view reason = helper_refusal(id);
    if (reason.empty()) continue;
    const std::string_view name = uapi_helper_name(insn.imm);
    if (!error.message.contains(fmt::format("unknown func {}#{}", name, id))) continue;
    error.remedy = fmt::format("{}: {}", name, reason);
    break;
  }
  return error;
}

}  // namespace

Result<VerifiedProgram> prove_program(const Environment& environment, const ProgramSpec& program,
                                      std::span<const MapSpec> maps, const Btf* btf,
                                      VerifierReport* report, const ProveLog& log) {
  auto structured = check_structure(environment, program, maps, {.defers_operations = true});
  if (!structured) {
    if (log.text != nullptr) *log.text = kernel_log_of_refusal(structured.error().message);
    return make_error(with_helper_reason(std::move(structured).error(), program));
  }
  VerifyOptions options;
  options.btf = btf;
  options.report = report;
  options.log = log.text;
  options.log_level = log.level;
  auto verified = verify(environment, *std::move(structured), options);
  if (verified) return verified;
  // An operation that was left to the paths is refused in our own words, not in Linux's.
  if (report != nullptr && report->refusal) report->kernel_message.clear();
  return make_error(with_helper_reason(std::move(verified).error(), program));
}

}  // namespace lmn
