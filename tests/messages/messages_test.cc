// SPDX-License-Identifier: Apache-2.0
//
// Goal: for the mistakes people make, `lmn check` names the right line and says what mends it.
// Method: each .c file of this folder is an XDP program with one mistake, on the line that ends
// with
// "// guilty" ("// check: --untrusted" in its head: judged as for an untrusted loader). Its message
// must be that of the text in golden/, name the guilty line first or in a note, and carry a remedy;
// JSON and SARIF must have the same facts. LMN_UPDATE_GOLDEN=1 rewrites the text: read the diff.
// The lint must find nothing in the examples, and its habits in programs that have them.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "abi/limits.h"
#include "check_report.h"
#include "check_sarif.h"
#include "engine/engine.h"
#include "object_input.h"
#include "verifier/kernel_log.h"

namespace lmn {
namespace {

using ::testing::HasSubstr;

const std::filesystem::path kFolder = LMN_SOURCE_DIR "/tests/messages";

std::string text_of(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::vector<std::string> mistakes() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(kFolder)) {
    if (entry.path().extension() != ".c" || entry.path().stem().string().starts_with("habit_"))
      continue;
    names.push_back(entry.path().stem().string());
  }
  std::ranges::sort(names);
  return names;
}

// The 1-based line that is marked; 0: none.
std::uint32_t guilty_line(const std::string& source) {
  const std::size_t at = source.find("// guilty");
  if (at == std::string::npos) return 0;
  return static_cast<std::uint32_t>(
      1 + std::count(source.begin(), source.begin() + static_cast<std::ptrdiff_t>(at), '\n'));
}

// Golden text has paths relative to the source and to the build tree.
std::string without_folders(std::string text) {
  for (const std::string folder : {LMN_BINARY_DIR "/", LMN_SOURCE_DIR "/"}) {
    for (std::size_t at = text.find(folder); at != std::string::npos; at = text.find(folder)) {
      text.erase(at, folder.size());
    }
  }
  return text;
}

ProgramVerdict judge(const std::string& object, Strictness strictness,
                     std::uint32_t log_level = 0) {
  const std::string path = LMN_BINARY_DIR "/bpf/" + object + ".bpf.o";
  ProgramVerdict verdict;
  const Result<ObjectSpec> spec = load_object_file(path);
  if (!spec || spec->programs.size() != 1) {
    ADD_FAILURE() << path << ": " << (spec ? "not one program" : spec.error().to_string());
    return verdict;
  }
  verdict = judge_program(*spec, spec->programs[0], Engine::environment(strictness), log_level);
  verdict.object = path;
  return verdict;
}

void compare_with_golden(const std::string& name, const std::string& text) {
  const std::filesystem::path golden = kFolder / "golden" / (name + ".txt");
  const char* update = std::getenv("LMN_UPDATE_GOLDEN");
  if (update != nullptr && *update == '1') {
    std::ofstream(golden, std::ios::binary) << text;
    return;
  }
  EXPECT_EQ(text, text_of(golden)) << golden << ": ./dev test --update rewrites it";
}

class Messages : public ::testing::TestWithParam<std::string> {};

TEST_P(Messages, NameTheLineAndTheRemedy) {
  const std::string source = text_of(kFolder / (GetParam() + ".c"));
  const bool is_untrusted = source.find("// check: --untrusted") != std::string::npos;
  const ProgramVerdict verdict =
      judge("messages_" + GetParam(), is_untrusted ? Strictness::kUntrusted : Strictness::kTrusted);
  ASSERT_TRUE(verdict.error) << "accepted";
  const std::string text = without_folders(verdict_text(verdict, true));
  const std::uint32_t line = guilty_line(source);
  ASSERT_NE(line, 0u) << "no line is marked";
  EXPECT_THAT(text, HasSubstr(fmt::format("tests/messages/{}.c:{}:", GetParam(), line)));
  EXPECT_THAT(text, HasSubstr("// guilty\n")) << "the text of the line";
  ASSERT_TRUE(verdict.explanation.rule);
  EXPECT_FALSE(verdict.explanation.missing.empty());
  EXPECT_GT(verdict.explanation.remedy.size(), 20u);
  compare_with_golden(GetParam(), text);
}

TEST_P(Messages, JsonAndSarifHaveTheSameFacts) {
  const std::string source = text_of(kFolder / (GetParam() + ".c"));
  const bool is_untrusted = source.find("// check: --untrusted") != std::string::npos;
  const ProgramVerdict verdict =
      judge("messages_" + GetParam(), is_untrusted ? Strictness::kUntrusted : Strictness::kTrusted);
  ASSERT_TRUE(verdict.error);
  const Explanation& why = verdict.explanation;
  ASSERT_TRUE(why.rule);
  JsonWriter json;
  write_verdict_json(json, verdict);
  const std::string sarif = sarif_text(std::span(&verdict, 1));
  const auto quoted = [](const std::string& text) {
    JsonWriter words;
    words.string(text);
    return words.text();
  };
  const std::string id = quoted(std::string(rule_info(*why.rule).id));
  EXPECT_THAT(json.text(), HasSubstr("\"rule\":" + id));
  EXPECT_THAT(sarif, HasSubstr("\"ruleId\": " + id));
  EXPECT_THAT(json.text(), HasSubstr(fmt::format("\"line\":{}", why.place.line)));
  EXPECT_THAT(sarif, HasSubstr(fmt::format("\"startLine\": {}", why.place.line)));
  for (const std::string& fact : {why.known, why.missing, why.remedy, why.kernel_message,
                                  verdict.insn_text, why.place.text}) {
    if (fact.empty()) continue;
    EXPECT_THAT(json.text(), HasSubstr(quoted(fact)));
    EXPECT_THAT(sarif, HasSubstr(quoted(fact)));
  }
}

// With a level, the refusal also stands in a log of the kernel's form, before its figures.
TEST_P(Messages, AreInTheLogForTools) {
  const std::string source = text_of(kFolder / (GetParam() + ".c"));
  const bool is_untrusted = source.find("// check: --untrusted") != std::string::npos;
  const ProgramVerdict verdict =
      judge("messages_" + GetParam(), is_untrusted ? Strictness::kUntrusted : Strictness::kTrusted,
            kernel_log_level::kPath);
  ASSERT_TRUE(verdict.error) << "accepted";
  const std::size_t figures = verdict.log.rfind("\nprocessed ");
  ASSERT_NE(figures, std::string::npos) << verdict.log;
  const std::string before = verdict.log.substr(0, figures);
  const std::string& words = verdict.explanation.kernel_message;
  EXPECT_TRUE(words.empty() || before.ends_with(words)) << verdict.log;
  EXPECT_LE(verdict.log.size(), limits::kVerifierLogBytesMax) << "of a loop that never ends";
  JsonWriter json;
  write_verdict_json(json, verdict);
  EXPECT_THAT(json.text(), HasSubstr("\"log\":"));
}

INSTANTIATE_TEST_SUITE_P(Mistakes, Messages, ::testing::ValuesIn(mistakes()),
                         [](const auto& row) { return row.param; });

TEST(MessagesFolder, HasThirtyMistakesAndNoOrphans) {
  const std::vector<std::string> names = mistakes();
  EXPECT_GE(names.size(), 30u);
  for (const auto& entry : std::filesystem::directory_iterator(kFolder / "golden")) {
    EXPECT_TRUE(std::filesystem::exists(kFolder / (entry.path().stem().string() + ".c")))
        << entry.path() << " belongs to no program";
  }
}

TEST(Lint, FindsNothingInTheExamples) {
  for (const std::string name :
       {"ethertype_count", "icmp_echo_drop", "vlan_push", "vlan_pop", "mac_swap_tx",
        "redirect_forward", "dns_reply", "icmp_drop_every_second"}) {
    const ProgramVerdict verdict = judge(name, Strictness::kTrusted);
    EXPECT_FALSE(verdict.error) << name << verdict_text(verdict, true);
    EXPECT_TRUE(verdict.findings.empty()) << verdict_text(verdict, true);
  }
}

class Habits : public ::testing::TestWithParam<std::string> {};

// A line with a habit ends with "// warning: ID"; every other line has none.
TEST_P(Habits, AreFoundWhereTheyAre) {
  const ProgramVerdict verdict = judge("messages_" + GetParam(), Strictness::kTrusted);
  ASSERT_FALSE(verdict.error) << verdict_text(verdict, true);
  std::vector<std::string> found;
  for (const LintFinding& finding : verdict.findings) {
    found.push_back(fmt::format("{}:{}", finding.place.line, finding.id));
  }
  std::vector<std::string> expected;
  std::ifstream in(kFolder / (GetParam() + ".c"));
  constexpr std::string_view kMark = "// warning: ";
  std::uint32_t number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    const std::size_t at = line.find(kMark);
    if (at == std::string::npos) continue;
    expected.push_back(fmt::format("{}:{}", number, line.substr(at + kMark.size())));
  }
  EXPECT_THAT(found, ::testing::UnorderedElementsAreArray(expected))
      << verdict_text(verdict, false);
  const std::string sarif = sarif_text(std::span(&verdict, 1));
  for (const LintFinding& finding : verdict.findings) {
    EXPECT_THAT(sarif, HasSubstr(fmt::format("\"ruleId\": \"{}\"", finding.id)));
    EXPECT_THAT(
        verdict_text(verdict, false),
        HasSubstr(fmt::format(":{}:{}: warning: ", finding.place.line, finding.place.column)));
  }
}

INSTANTIATE_TEST_SUITE_P(All, Habits,
                         ::testing::Values("habit_aborted", "habit_redirect", "habit_unread",
                                           "habit_none"),
                         [](const auto& row) { return row.param; });

}  // namespace
}  // namespace lmn
