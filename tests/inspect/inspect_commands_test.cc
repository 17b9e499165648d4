// SPDX-License-Identifier: Apache-2.0
//
// Goal: the commands around the texts hold what their help says: formats, chosen types, JSON that
// is the same content, exit statuses, errors by name, and graphviz called as it wants to be.
// Method: the tool itself is run; for graphviz a script of that name stands in, so that the test
// needs no drawing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "commands_for_tests.h"

namespace lmn {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr int kFailed = 1;
constexpr int kUsage = 2;

std::string object() { return LMN_BINARY_DIR "/bpf/inspect_btf_kinds.bpf.o"; }

CommandOutput lmn(const std::string& words, const std::string& environment = "") {
  return run_command(environment + " " LMN_BINARY_DIR "/tools/lmn " + words);
}

TEST(BtfCommand, ChosenTypesInEachForm) {
  const CommandOutput all = lmn("btf dump " + object());
  ASSERT_EQ(all.status, 0) << all.error;
  EXPECT_THAT(all.out, StartsWith("[1] "));
  const std::size_t at = all.out.find("STRUCT 'leaf'");
  ASSERT_NE(at, std::string::npos);
  const std::size_t bracket = all.out.rfind('[', at);
  const std::string id = all.out.substr(bracket + 1, all.out.find(']', bracket) - bracket - 1);
  const std::string words = "btf dump " + object() + " --type-id " + id;
  EXPECT_THAT(lmn(words).out, StartsWith("[" + id + "] STRUCT 'leaf' size=4 vlen=1\n\t'value' "));
  EXPECT_THAT(lmn(words + " --format c").out,
              AllOf(StartsWith("#ifndef __VMLINUX_H__"), HasSubstr("\nstruct leaf {\n\tint value;"),
                    Not(HasSubstr("struct tree"))));
  EXPECT_THAT(lmn(words + " --json").out,
              AllOf(HasSubstr("\"types\": ["), HasSubstr("\"id\": " + id + ","),
                    HasSubstr("\"kind\": \"STRUCT\"")));
}

TEST(BtfCommand, WrongWordsAndFilesAreNamed) {
  struct Case {
    std::string words;
    int status;
    std::string error;
  };
  const Case cases[] = {
      {"btf", kUsage, "subcommand"},
      {"btf dump", kUsage, "file"},
      {"btf dump x --format yaml", kUsage, "yaml"},
      {"btf dump x --format c --json", kUsage, "--json has no C form"},
      {"btf dump /nonexistent", kFailed, "/nonexistent"},
      {"btf dump " + object() + " --type-id 99999", kFailed, "no btf type [99999]"},
      {"btf dump /dev/null", kFailed, "neither an object nor BTF"},
      {"btf dump " LMN_SOURCE_DIR "/README.md", kFailed, "this is a text file"},
      {"disasm --cfg --visual x", kUsage, "excludes"},
      {"disasm --cfg --json x", kUsage, "excludes"},
  };
  for (const Case& row : cases) {
    const CommandOutput output = lmn(row.words);
    EXPECT_EQ(output.status, row.status) << row.words << "\n" << output.error;
    EXPECT_THAT(output.error, HasSubstr(row.error)) << row.words;
    EXPECT_EQ(output.out, "") << row.words;
  }
}

TEST(DisasmCommand, AGraphIsOfOneProgram) {
  const std::string object = LMN_BINARY_DIR "/bpf/inspect_cfg_program.bpf.o";
  EXPECT_EQ(lmn("disasm --cfg " + object).out, lmn("disasm --cfg --prog branches " + object).out);
  const CommandOutput wrong = lmn("disasm --cfg --prog none " + object);
  EXPECT_EQ(wrong.status, kFailed);
  EXPECT_THAT(wrong.error, HasSubstr("no program 'none'"));
}

TEST(DisasmCommand, VisualRunsGraphviz) {
  const std::string words = "disasm --visual " LMN_BINARY_DIR "/bpf/inspect_cfg_program.bpf.o";
  const std::filesystem::path folder = LMN_BINARY_DIR "/inspect_graphviz";
  std::filesystem::create_directories(folder);
  const std::filesystem::path script = folder / "dot";
  const auto write = [&script](const std::string& body) {
    std::ofstream(script) << "#!/bin/sh\n" << body << "\n";
    std::filesystem::permissions(script, std::filesystem::perms::owner_all);
  };
  const std::string path = "PATH=" + folder.string() + ":$PATH";
  write("echo \"arguments: $*\"; cat");
  const CommandOutput drawn = lmn(words, path);
  EXPECT_EQ(drawn.status, 0) << drawn.error;
  EXPECT_THAT(drawn.out, StartsWith("arguments: -Tsvg\ndigraph \"DOT graph"));
  EXPECT_THAT(drawn.out, HasSubstr("invis"));
  write("exit 3");
  const CommandOutput failed = lmn(words, path);
  EXPECT_EQ(failed.status, kFailed);
  EXPECT_THAT(failed.error, HasSubstr("'dot' failed with exit status 3"));
  std::filesystem::remove(script);
  const CommandOutput missing = lmn(words, "PATH=" + folder.string());
  EXPECT_EQ(missing.status, kFailed);
  EXPECT_THAT(missing.error, HasSubstr("install graphviz"));
  EXPECT_EQ(missing.out, "");
}

}  // namespace
}  // namespace lmn
