// SPDX-License-Identifier: Apache-2.0
//
// lmn check: every program of every given object through the reader and the verifier; one line, or
// one JSON object, each.
//
// The verdict is the path-sensitive verifier's. What `lmn run` executes is checked again at every
// step by the interpreter, so a verdict is an answer to "would Linux take it, and is it safe".
#include <fmt/format.h>
#include <linux/bpf.h>

#include <chrono>

#include "base/json_writer.h"
#include "command.h"
#include "engine/engine.h"
#include "object_input.h"
#include "verifier/structure.h"
#include "verifier/verifier.h"

namespace lmn {
namespace {

struct CheckWords {
  std::vector<std::string> objects;
  std::string program;
  bool log = false;
  bool json = false;
  bool untrusted = false;
};

struct ProgramVerdict {
  std::string object;
  std::string program;
  std::string section;
  std::size_t insn_count = 0;
  std::uint64_t time_us = 0;
  std::uint64_t processed = 0;  // instructions walked, all paths together
  std::uint64_t peak_states = 0;
  std::size_t peak_bytes = 0;
  std::string kernel_message;  // what Linux's log would end with
  std::optional<Error> error;
};

// Both stages of the verifier; fills what they tell.
void verify_program(const ObjectSpec& spec, const ProgramSpec& program,
                    const Environment& environment, ProgramVerdict& verdict) {
  std::vector<MapSpec> maps;
  for (const std::uint32_t position : program.maps) maps.push_back(spec.maps[position]);
  auto structured = check_structure(environment, program, maps);
  if (!structured) {
    verdict.error = structured.error();
    return;
  }
  VerifierReport report;
  VerifyOptions options;
  options.btf = spec.btf.get();
  options.report = &report;
  const auto verified = verify(environment, *std::move(structured), options);
  if (verified) {
    verdict.processed = verified->facts().processed;
    verdict.peak_states = verified->facts().peak_states;
    verdict.peak_bytes = verified->facts().peak_bytes;
    return;
  }
  verdict.error = verified.error();
  verdict.kernel_message = report.kernel_message;
}

ProgramVerdict check_program(const ObjectSpec& spec, const ProgramSpec& program,
                             const Environment& environment) {
  ProgramVerdict verdict;
  verdict.program = program.name;
  verdict.section = program.section;
  verdict.insn_count = program.insns.size();
  ProgramSpec candidate = program;
  if (candidate.type == 0) candidate.type = BPF_PROG_TYPE_XDP;
  const auto start = std::chrono::steady_clock::now();
  if (candidate.defect) {
    verdict.error = candidate.defect;
  } else if (candidate.type != BPF_PROG_TYPE_XDP) {
    verdict.error = Error{ErrorCode::kNotSupported,
                          fmt::format("section '{}' is no XDP program", program.section)};
  } else {
    verify_program(spec, candidate, environment, verdict);
  }
  const auto spent = std::chrono::steady_clock::now() - start;
  verdict.time_us = static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(spent).count());
  return verdict;
}

void write_json(JsonWriter& json, const ProgramVerdict& verdict) {
  json.begin_object();
  json.field("object", verdict.object);
  if (!verdict.program.empty()) json.field("program", verdict.program);
  if (!verdict.section.empty()) json.field("section", verdict.section);
  json.field("verdict", verdict.error ? "refused" : "accepted");
  json.field("insns", static_cast<std::uint64_t>(verdict.insn_count));
  json.field("insns_processed", verdict.processed);
  json.field("peak_states", verdict.peak_states);
  json.field("peak_bytes", static_cast<std::uint64_t>(verdict.peak_bytes));
  json.field("time_us", verdict.time_us);
  if (verdict.error) {
    json.field("error", error_code_name(verdict.error->code));
    json.field("message", verdict.error->message);
    if (!verdict.error->location.empty()) json.field("location", verdict.error->location);
    if (!verdict.error->remedy.empty()) json.field("remedy", verdict.error->remedy);
    json.field("errno", verdict.error->errno_value);
    if (!verdict.kernel_message.empty()) json.field("kernel_message", verdict.kernel_message);
  }
  json.end_object();
}

void print_text(const ProgramVerdict& verdict, bool with_log) {
  if (verdict.program.empty()) {  // the object could not be read; the error begins with its path
    fmt::print("refused: {}\n", verdict.error->to_string());
    return;
  }
  if (!verdict.error) {
    fmt::print("{}: {}: accepted: {} instructions, {} processed, {} states, {} KiB, {} us\n",
               verdict.object, verdict.program, verdict.insn_count, verdict.processed,
               verdict.peak_states, verdict.peak_bytes / 1024, verdict.time_us);
    return;
  }
  fmt::print("{}: {}: refused: {}\n", verdict.object, verdict.program, verdict.error->to_string());
  if (with_log && !verdict.kernel_message.empty()) {
    fmt::print("  as Linux says it: {}\n", verdict.kernel_message);
  }
}

}  // namespace

int cmd_check(int argc, char** argv) {
  CLI::App app{"Check every program of the given objects", "lmn check"};
  CheckWords words;
  app.add_option("objects", words.objects, "ELF objects")->required();
  app.add_option("--prog", words.program, "only this program");
  app.add_flag("--log", words.log,
               "also print what the reader noticed, and refusals in Linux's words");
  app.add_flag("--untrusted", words.untrusted, "judge as Linux judges loaders without CAP_PERFMON");
  app.add_flag("--json", words.json, "a JSON array on standard output");
  int status = kExitOk;
  if (!parse_words(app, argc, argv, status)) return status;

  const Environment environment =
      Engine::environment(words.untrusted ? Strictness::kUntrusted : Strictness::kTrusted);
  JsonWriter json(2);
  json.begin_array();
  const auto tell = [&](const ProgramVerdict& verdict) {
    if (verdict.error) status = kExitFailed;
    words.json ? write_json(json, verdict) : print_text(verdict, words.log);
  };
  for (const std::string& path : words.objects) {
    Result<ObjectSpec> spec = load_object_file(path);
    if (!spec) {
      // The error begins with the path already.
      ProgramVerdict unread;
      unread.object = path;
      unread.error = spec.error();
      tell(unread);
      continue;
    }
    for (const std::string& note : spec->notes) {
      if (words.log) fmt::print(stderr, "lmn: {}: note: {}\n", path, note);
    }
    for (const ProgramSpec& program : spec->programs) {
      if (!words.program.empty() && program.name != words.program) continue;
      ProgramVerdict verdict = check_program(*spec, program, environment);
      verdict.object = path;
      tell(verdict);
    }
  }
  json.end_array();
  if (words.json) fmt::print("{}\n", json.text());
  return status;
}

}  // namespace lmn
