// SPDX-License-Identifier: Apache-2.0
//
// lmn check: every program of every given object through the reader, the verifier and the lint: as
// text like a compiler's, as JSON, or as SARIF (check_report.h, check_sarif.h).
//
// The verdict is the path-sensitive verifier's. What `lmn run` executes is checked again at every
// step by the interpreter, so a verdict is an answer to "would Linux take it, and is it safe".
#include <fmt/format.h>

#include <cerrno>
#include <fstream>
#include <span>
#include <vector>

#include "check_report.h"
#include "check_sarif.h"
#include "command.h"
#include "engine/engine.h"
#include "kfuncs/kernel_types.h"
#include "object_input.h"

namespace lmn {
namespace {

struct CheckWords {
  std::vector<std::string> objects;
  std::string program;
  std::uint32_t log = 0;  // level
  bool json = false;
  bool untrusted = false;
  std::string sarif;
};

// Every program of one object, or the one that says why it could not be read.
std::vector<ProgramVerdict> judge_object(const std::string& path, const CheckWords& words,
                                         Environment environment) {
  std::vector<ProgramVerdict> verdicts;
  Result<ObjectSpec> spec = load_object_file(path);
  if (!spec) {
    ProgramVerdict unread;
    unread.object = path;
    unread.error = spec.error();  // begins with the path already
    verdicts.push_back(std::move(unread));
    return verdicts;
  }
  for (const std::string& note : spec->notes) {
    if (words.log != 0) fmt::print(stderr, "lmn: {}: note: {}\n", path, note);
  }
  // The objects that calls give have the shape that the programs were relocated for.
  const auto types = make_kernel_types(spec->kernel_types.get());
  if (types) environment.kernel_types = types->get();
  for (const ProgramSpec& program : spec->programs) {
    if (!words.program.empty() && program.name != words.program) continue;
    verdicts.push_back(judge_program(*spec, program, environment, words.log));
    verdicts.back().object = path;
  }
  return verdicts;
}

std::string json_text(std::span<const ProgramVerdict> verdicts) {
  JsonWriter json(2);
  json.begin_array();
  for (const ProgramVerdict& verdict : verdicts) write_verdict_json(json, verdict);
  json.end_array();
  return json.text();
}

}  // namespace

int cmd_check(int argc, char** argv) {
  CLI::App app{"Check every program of the given objects", "lmn check"};
  CheckWords words;
  app.add_option("objects", words.objects, "ELF objects")->required();
  app.add_option("--prog", words.program, "only this program");
  app.add_flag("--log{1}", words.log,
               "also print what the reader noticed, and the verifier's log as Linux writes it; "
               "--log=LEVEL: 1 the refused path, 2 all paths, 4 figures, or a sum of these")
      ->check(CLI::Range(1, 7));
  app.add_flag("--untrusted", words.untrusted, "judge as Linux judges loaders without CAP_PERFMON");
  app.add_flag("--json", words.json, "a JSON array on standard output");
  app.add_option("--sarif", words.sarif, "also write the findings to this file, as SARIF 2.1.0");
  int status = kExitOk;
  if (!parse_words(app, argc, argv, status)) return status;

  const Environment environment =
      Engine::environment(words.untrusted ? Strictness::kUntrusted : Strictness::kTrusted);
  std::vector<ProgramVerdict> verdicts;
  for (const std::string& path : words.objects) {
    for (ProgramVerdict& verdict : judge_object(path, words, environment)) {
      if (verdict.error) status = kExitFailed;
      if (!words.json) fmt::print("{}{}", verdict_text(verdict, words.log != 0), verdict.log);
      if (words.json || !words.sarif.empty()) verdicts.push_back(std::move(verdict));
    }
  }
  if (words.json) fmt::print("{}\n", json_text(verdicts));
  if (!words.sarif.empty()) {
    std::ofstream out(words.sarif, std::ios::binary);
    out << sarif_text(verdicts) << std::flush;
    if (!out) {
      fmt::print(stderr, "lmn: {}\n",
                 system_error(fmt::format("write '{}'", words.sarif), errno).to_string());
      return kExitFailed;
    }
  }
  return status;
}

}  // namespace lmn
