// SPDX-License-Identifier: Apache-2.0
//
// lmn: one binary, many commands. This file only finds the command; each one is a file
// cmd_<name>.cc and a row of commands.def.
#include <fmt/format.h>

#include <array>
#include <cstdio>
#include <exception>
#include <string_view>

#include "command.h"

namespace lmn {
namespace {

struct CommandRow {
  std::string_view name;
  std::string_view summary;
  int (*run)(int argc, char** argv);
};

constexpr CommandRow kCommands[] = {
#define LMN_COMMAND(name, summary) {#name, summary, cmd_##name},
#include "commands.def"
#undef LMN_COMMAND
};

void print_help(std::FILE* to) {
  fmt::print(to,
             "lmn: the express data path (XDP) in user space\n\nusage: lmn COMMAND "
             "[OPTIONS]\n\ncommands:\n");
  for (const CommandRow& command : kCommands)
    fmt::print(to, "  {:<8} {}\n", command.name, command.summary);
  fmt::print(to, "\n'lmn COMMAND --help' lists a command's options. Every command has --json.\n");
}

}  // namespace

int fail(const Error& error) {
  fmt::print(stderr, "lmn: {}\n", error.to_string());
  return kExitFailed;
}

bool parse_words(CLI::App& app, int argc, char** argv, int& status) {
  try {
    app.parse(argc, argv);
    return true;
  } catch (const CLI::ParseError& error) {
    status = app.exit(error) == 0 ? kExitOk : kExitUsage;
    return false;
  }
}

int lmn_main(int argc, char** argv) {
  const std::string_view name = argc > 1 ? argv[1] : "";
  if (name == "--help" || name == "-h" || name == "help") {
    print_help(stdout);
    return kExitOk;
  }
  if (name == "--version") {
    fmt::print("lmn {}\n", LMN_VERSION);
    return kExitOk;
  }
  for (const CommandRow& command : kCommands) {
    if (command.name == name) return command.run(argc - 1, argv + 1);
  }
  if (!name.empty()) fmt::print(stderr, "lmn: no command '{}'\n", name);
  print_help(stderr);
  return kExitUsage;
}

}  // namespace lmn

int main(int argc, char** argv) {
  // Nothing of ours throws; CLI11 and the standard library may, and the border is here.
  try {
    return lmn::lmn_main(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "lmn: %s\n", error.what());
    return lmn::kExitFailed;
  }
}
