// SPDX-License-Identifier: Apache-2.0
//
// Command: the shape of every lmn command: words in, exit status out.
//
// Exit status: 0 it worked, 1 the operation failed, 2 the command line is wrong. Errors go to
// standard error as "lmn: what is wrong"; results to standard output.
#pragma once

#include <CLI/CLI.hpp>

#include "base/error.h"

namespace lmn {

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;

// Prints the error and gives kExitFailed.
int fail(const Error& error);

// Parses argv[0..] ("lmn run", then its words). True: go on; false: `status` is the exit status
// (help asked, or wrong usage).
bool parse_words(CLI::App& app, int argc, char** argv, int& status);

#define LMN_COMMAND(name, summary) int cmd_##name(int argc, char** argv);
#include "commands.def"
#undef LMN_COMMAND

}  // namespace lmn
