// SPDX-License-Identifier: Apache-2.0
//
// SARIF over JsonWriter. Tested by tests/messages/messages_test.cc.
#include "check_sarif.h"

#include <fmt/format.h>

namespace lmn {
namespace {

// Paths become URIs: what a URI does not allow is written as %XX.
std::string uri_of(std::string_view path) {
  constexpr std::string_view kPlain = "-._~/:@!$&'()*+,;=";
  std::string out = path.starts_with('/') ? "file://" : "";
  for (const char c : path) {
    const bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                          (c >= '0' && c <= '9') || kPlain.find(c) != std::string_view::npos;
    if (is_plain) {
      out += c;
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

void write_message(JsonWriter& json, std::string_view key, std::string_view text) {
  json.key(key);
  json.begin_object();
  json.field("text", text);
  json.end_object();
}

void write_rule(JsonWriter& json, std::string_view id, std::string_view demand,
                std::string_view remedy, std::string_view level) {
  json.begin_object();
  json.field("id", id);
  write_message(json, "shortDescription", demand);
  if (!remedy.empty()) write_message(json, "help", remedy);
  json.key("defaultConfiguration");
  json.begin_object();
  json.field("level", level);
  json.end_object();
  json.end_object();
}

void write_rules(JsonWriter& json) {
  json.key("rules");
  json.begin_array();
  for (std::size_t i = 0; i < kRuleCount; ++i) {
    const RuleInfo& info = rule_info(static_cast<Rule>(i));
    write_rule(json, info.id, info.demand, info.remedy, "error");
  }
  for (const LintHabit& habit : lint_habits()) {
    write_rule(json, habit.id, habit.words, habit.remedy, "warning");
  }
  json.end_array();
}

// A location always has an artifact: the object stands in for a source that is not known.
void write_location(JsonWriter& json, const ProgramVerdict& verdict, const SourcePlace& place,
                    std::string_view message = {}) {
  const bool has_source = !place.file.empty();
  json.begin_object();
  json.key("physicalLocation");
  json.begin_object();
  json.key("artifactLocation");
  json.begin_object();
  json.field("uri", uri_of(has_source ? place.file : verdict.object));
  json.end_object();
  if (has_source && place.line != 0) {
    json.key("region");
    json.begin_object();
    json.field("startLine", place.line);
    if (place.column != 0) json.field("startColumn", place.column);
    if (!place.text.empty()) write_message(json, "snippet", place.text);
    json.end_object();
  }
  json.end_object();
  if (!verdict.program.empty()) {
    json.key("logicalLocations");
    json.begin_array();
    json.begin_object();
    json.field("name", verdict.program);
    json.field("kind", "function");
    json.end_object();
    json.end_array();
  }
  if (!message.empty()) write_message(json, "message", message);
  json.end_object();
}

void write_locations(JsonWriter& json, const ProgramVerdict& verdict, const SourcePlace& place) {
  json.key("locations");
  json.begin_array();
  write_location(json, verdict, place);
  json.end_array();
}

void write_optional(JsonWriter& json, std::string_view name, const std::string& text) {
  if (!text.empty()) json.field(name, text);
}

void write_refusal(JsonWriter& json, const ProgramVerdict& verdict) {
  const Explanation& why = verdict.explanation;
  json.begin_object();
  if (why.rule) json.field("ruleId", rule_info(*why.rule).id);
  json.field("level", "error");
  std::string text = why.what.empty() ? verdict.error->to_string() : why.what;
  if (!why.missing.empty()) text += fmt::format("; missing: {}", why.missing);
  if (!why.remedy.empty()) text += fmt::format("; remedy: {}", why.remedy);
  write_message(json, "message", text);
  write_locations(json, verdict, why.place);
  if (!why.note.empty()) {
    json.key("relatedLocations");
    json.begin_array();
    write_location(json, verdict, why.note_place, why.note);
    json.end_array();
  }
  json.key("properties");
  json.begin_object();
  json.field("object", verdict.object);
  write_optional(json, "program", verdict.program);
  if (why.insn) json.field("insn", why.insn->value);
  write_optional(json, "insn_text", verdict.insn_text);
  write_optional(json, "known", why.known);
  write_optional(json, "missing", why.missing);
  write_optional(json, "remedy", why.remedy);
  write_optional(json, "kernel_message", why.kernel_message);
  json.field("errno", verdict.error->errno_value);
  json.end_object();
  json.end_object();
}

void write_warning(JsonWriter& json, const ProgramVerdict& verdict, const LintFinding& finding) {
  json.begin_object();
  json.field("ruleId", finding.id);
  json.field("level", "warning");
  write_message(json, "message", fmt::format("{}; remedy: {}", finding.what, finding.remedy));
  write_locations(json, verdict, finding.place);
  json.key("properties");
  json.begin_object();
  json.field("object", verdict.object);
  json.field("program", verdict.program);
  json.field("insn", finding.insn.value);
  json.end_object();
  json.end_object();
}

}  // namespace

std::string sarif_text(std::span<const ProgramVerdict> verdicts) {
  JsonWriter json(2);
  json.begin_object();
  json.field("$schema", "https://json.schemastore.org/sarif-2.1.0.json");
  json.field("version", "2.1.0");
  json.key("runs");
  json.begin_array();
  json.begin_object();
  json.key("tool");
  json.begin_object();
  json.key("driver");
  json.begin_object();
  json.field("name", "lmn check");
  json.field("semanticVersion", LMN_VERSION);
  write_rules(json);
  json.end_object();
  json.end_object();
  json.field("columnKind", "unicodeCodePoints");
  json.key("results");
  json.begin_array();
  for (const ProgramVerdict& verdict : verdicts) {
    if (verdict.error) write_refusal(json, verdict);
    for (const LintFinding& finding : verdict.findings) write_warning(json, verdict, finding);
  }
  json.end_array();
  json.end_object();
  json.end_array();
  json.end_object();
  return json.text() + "\n";
}

}  // namespace lmn
