// SPDX-License-Identifier: Apache-2.0
//
// lmn btf dump: the types of an object, of the kernel or of a file of BTF, as `bpftool btf dump
// file` prints them: record by record, or as a C header.
#include <fmt/format.h>

#include "base/json_writer.h"
#include "btf/btf_c.h"
#include "btf/btf_text.h"
#include "btf_input.h"
#include "command.h"

namespace lmn {
namespace {

struct DumpWords {
  std::string path;
  std::string base_path;
  std::string format = "raw";
  std::vector<std::uint32_t> ids;
  bool as_json = false;
};

Result<std::string> dump(const DumpWords& words) {
  LMN_TRY(const std::shared_ptr<const Btf> btf, load_btf_file(words.path, words.base_path));
  const BtfTextOptions options{.ids = words.ids};
  if (words.format == "c") return btf_c_header(*btf, options);
  if (!words.as_json) return btf_raw_text(*btf, options);
  JsonWriter json(2);
  LMN_CHECK_OK(write_btf_json(json, *btf, options));
  return json.text() + "\n";
}

}  // namespace

int cmd_btf(int argc, char** argv) {
  CLI::App app{"Look at types (BTF)", "lmn btf"};
  app.require_subcommand(1);
  DumpWords words;
  CLI::App& command = *app.add_subcommand("dump", "print the types of a file");
  command.add_option("file", words.path, "ELF object, or raw BTF such as /sys/kernel/btf/vmlinux")
      ->required();
  command.add_option("--format", words.format, "raw: record by record; c: a header")
      ->check(CLI::IsMember({"raw", "c"}));
  command.add_option("--type-id", words.ids,
                     "only this type (may be repeated); with c: and what it needs");
  command.add_option("--base", words.base_path, "the BTF that FILE goes on from, if it is split");
  command.add_flag("--json", words.as_json, "the records as JSON");
  int status = kExitOk;
  if (!parse_words(app, argc, argv, status)) return status;
  if (words.as_json && words.format == "c") {
    fmt::print(stderr, "lmn: --json has no C form: leave one of --json and --format c away\n");
    return kExitUsage;
  }
  const Result<std::string> text = dump(words);
  if (!text) return fail(text.error());
  fmt::print("{}", *text);
  return kExitOk;
}

}  // namespace lmn
