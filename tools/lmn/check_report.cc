// SPDX-License-Identifier: Apache-2.0
//
// Verdicts made and written. Tested by tests/messages/messages_test.cc.
#include "check_report.h"

#include <fmt/format.h>
#include <linux/bpf.h>

#include <chrono>

#include "engine/prove.h"
#include "insn/disasm.h"

namespace lmn {
namespace {

class ObjectNames final : public DisasmNames {
 public:
  ObjectNames(const ObjectSpec& object, const ProgramSpec& program)
      : object_(object), program_(program) {}
  std::string map(std::uint32_t index) const override {
    if (index >= program_.maps.size() || program_.maps[index] >= object_.maps.size()) return {};
    return object_.maps[program_.maps[index]].name;
  }
  std::string kfunc(std::uint32_t index) const override {
    return index < program_.kfuncs.size() ? program_.kfuncs[index].name : std::string();
  }

 private:
  const ObjectSpec& object_;
  const ProgramSpec& program_;
};

// Fills what both stages tell; the report stays fresh when the first one refuses. Nothing is
// returned for a refused program.
std::optional<VerifiedProgram> verify_program(const ObjectSpec& spec, const ProgramSpec& program,
                                              const Environment& environment,
                                              std::uint32_t log_level, ProgramVerdict& verdict,
                                              VerifierReport& report) {
  std::vector<MapSpec> maps;
  for (const std::uint32_t position : program.maps) maps.push_back(spec.maps[position]);
  const ProveLog log{log_level != 0 ? &verdict.log : nullptr, log_level};
  auto verified = prove_program(environment, program, maps, spec.btf.get(), &report, log);
  if (!verified) {
    verdict.error = verified.error();
    return std::nullopt;
  }
  verdict.processed = verified->facts().processed;
  verdict.peak_states = verified->facts().peak_states;
  verdict.peak_bytes = verified->facts().peak_bytes;
  verdict.features = verified->facts().features;
  return *std::move(verified);
}

// Why `program` got its error: rule, place, what was known.
void explain_error(const ObjectSpec& spec, const ProgramSpec& program, const VerifierReport& report,
                   ProgramVerdict& verdict) {
  verdict.explanation = explain(program, *verdict.error, report);
  const auto at = verdict.explanation.insn;
  if (!at || at->value >= program.insns.size()) return;
  const ObjectNames names(spec, program);
  verdict.insn_text = disassemble(program.insns[at->value], *at, &names);
}

std::string place_text(const SourcePlace& place) {
  std::string out = fmt::format("{}:{}", place.file, place.line);
  if (place.column != 0) out += fmt::format(":{}", place.column);
  return out;
}

std::string source_line(const SourcePlace& place) {
  return place.text.empty() ? std::string() : fmt::format("{:>6} | {}\n", place.line, place.text);
}

std::string labelled(std::string_view label, std::string_view text) {
  return text.empty() ? std::string() : fmt::format("  {:<9}{}\n", label, text);
}

std::string features_text(FeatureSet features) {
  std::string out;
  features.for_each([&out](Feature feature) {
    out += fmt::format("{}{}", out.empty() ? "" : ", ", feature_info(feature).id);
  });
  return out;
}

std::string findings_text(const ProgramVerdict& verdict) {
  std::string out;
  for (const LintFinding& finding : verdict.findings) {
    const bool has_place = !finding.place.file.empty();
    out += fmt::format("{}: warning: {} [{}]\n",
                       has_place ? place_text(finding.place)
                                 : fmt::format("{}: {}: insn {}", verdict.object, verdict.program,
                                               finding.insn.value),
                       finding.what, finding.id);
    out += source_line(finding.place) + labelled("remedy:", finding.remedy);
  }
  return out;
}

void write_place(JsonWriter& json, const SourcePlace& place) {
  if (place.file.empty()) return;
  json.field("file", place.file);
  json.field("line", place.line);
  json.field("column", place.column);
  json.field("source", place.text);
}

void write_optional(JsonWriter& json, std::string_view name, const std::string& text) {
  if (!text.empty()) json.field(name, text);
}

void write_refusal(JsonWriter& json, const ProgramVerdict& verdict) {
  const Explanation& why = verdict.explanation;
  json.field("error", error_code_name(verdict.error->code));
  json.field("message", verdict.error->message);
  if (why.rule) json.field("rule", rule_info(*why.rule).id);
  if (why.insn) json.field("insn", why.insn->value);
  write_optional(json, "insn_text", verdict.insn_text);
  json.field("what", why.what);
  write_optional(json, "location", verdict.error->location);
  write_place(json, why.place);
  write_optional(json, "known", why.known);
  write_optional(json, "missing", why.missing);
  write_optional(json, "remedy", why.remedy);
  if (!why.note.empty()) {
    json.key("note");
    json.begin_object();
    json.field("text", why.note);
    write_place(json, why.note_place);
    json.end_object();
  }
  json.field("errno", verdict.error->errno_value);
  write_optional(json, "kernel_message", why.kernel_message);
}

}  // namespace

ProgramVerdict judge_program(const ObjectSpec& spec, const ProgramSpec& program,
                             const Environment& environment, std::uint32_t log_level) {
  ProgramVerdict verdict;
  verdict.program = program.name;
  verdict.section = program.section;
  verdict.insn_count = program.insns.size();
  ProgramSpec candidate = program;
  if (candidate.type == 0) candidate.type = BPF_PROG_TYPE_XDP;
  VerifierReport report;
  std::optional<VerifiedProgram> verified;
  const auto start = std::chrono::steady_clock::now();
  if (candidate.defect) {
    verdict.error = candidate.defect;
  } else if (candidate.type != BPF_PROG_TYPE_XDP) {
    verdict.error = Error{ErrorCode::kNotSupported,
                          fmt::format("section '{}' is no XDP program", program.section)};
  } else {
    verified = verify_program(spec, candidate, environment, log_level, verdict, report);
  }
  const auto spent = std::chrono::steady_clock::now() - start;
  verdict.time_us = static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(spent).count());
  if (verified) verdict.findings = lint(*verified);
  if (verdict.error) explain_error(spec, candidate, report, verdict);
  return verdict;
}

ProgramVerdict refused_program(const ObjectSpec& spec, const ProgramSpec& program,
                               const Error& error, const VerifierReport& report) {
  ProgramVerdict verdict;
  verdict.program = program.name;
  verdict.section = program.section;
  verdict.insn_count = program.insns.size();
  verdict.error = error;
  explain_error(spec, program, report, verdict);
  return verdict;
}

std::string verdict_text(const ProgramVerdict& verdict, bool with_log) {
  if (verdict.program.empty()) return fmt::format("refused: {}\n", verdict.error->to_string());
  if (!verdict.error) {
    return findings_text(verdict) +
           fmt::format(
               "{}: {}: accepted: {} instructions, {} processed, {} states, {} KiB, {} us\n",
               verdict.object, verdict.program, verdict.insn_count, verdict.processed,
               verdict.peak_states, verdict.peak_bytes / 1024, verdict.time_us) +
           labelled("needs:", features_text(verdict.features));
  }
  const Explanation& why = verdict.explanation;
  if (!why.rule) {
    return fmt::format("{}: {}: refused: {}\n", verdict.object, verdict.program,
                       verdict.error->to_string());
  }
  std::string out = why.place.file.empty() ? fmt::format("{}: {}", verdict.object, verdict.program)
                                           : place_text(why.place);
  out += fmt::format(": error: {} [{}]\n", why.what, rule_info(*why.rule).id);
  out += source_line(why.place);
  if (why.insn) {
    out += labelled("at:", fmt::format("insn {}: {}", why.insn->value, verdict.insn_text));
  }
  out += labelled("known:", why.known) + labelled("missing:", why.missing);
  out += labelled("remedy:", why.remedy);
  if (!why.note.empty()) {
    out += fmt::format("{}: note: {}\n", place_text(why.note_place), why.note);
    out += source_line(why.note_place);
  }
  if (with_log && !why.kernel_message.empty()) {
    out += fmt::format("  as Linux says it: {}\n", why.kernel_message);
  }
  return out + fmt::format("{}: {}: refused [{}]\n", verdict.object, verdict.program,
                           rule_info(*why.rule).id);
}

void write_verdict_json(JsonWriter& json, const ProgramVerdict& verdict) {
  json.begin_object();
  json.field("object", verdict.object);
  write_optional(json, "program", verdict.program);
  write_optional(json, "section", verdict.section);
  json.field("verdict", verdict.error ? "refused" : "accepted");
  json.field("insns", static_cast<std::uint64_t>(verdict.insn_count));
  json.field("insns_processed", verdict.processed);
  json.field("peak_states", verdict.peak_states);
  json.field("peak_bytes", static_cast<std::uint64_t>(verdict.peak_bytes));
  json.field("time_us", verdict.time_us);
  if (verdict.error) write_refusal(json, verdict);
  if (!verdict.error) {
    json.key("features");
    json.begin_array();
    verdict.features.for_each([&json](Feature feature) { json.string(feature_info(feature).id); });
    json.end_array();
  }
  write_optional(json, "log", verdict.log);
  if (!verdict.findings.empty()) {
    json.key("warnings");
    json.begin_array();
    for (const LintFinding& finding : verdict.findings) {
      json.begin_object();
      json.field("id", finding.id);
      json.field("message", finding.what);
      json.field("insn", finding.insn.value);
      write_place(json, finding.place);
      json.field("remedy", finding.remedy);
      json.end_object();
    }
    json.end_array();
  }
  json.end_object();
}

}  // namespace lmn
