// SPDX-License-Identifier: Apache-2.0
//
// Options for what programs ask a kernel for: connections, bridges, flows. For `lmn run` and `lmn
// test`.
//
// Each names a file in the form of docs/formats/tables.md, or `host` for the tables of the network
// namespace that lmn runs in, which are followed (engine/host_follower.h).
#pragma once

#include <string>

#include "base/result.h"
#include "engine/engine.h"

namespace CLI {
class App;
}

namespace lmn {

struct TableWords {
  std::string conntrack;  // --conntrack FILE|host
  std::string fdb;        // --fdb FILE|host
  std::string flows;      // --flows FILE
};

void add_table_options(CLI::App& app, TableWords& words);

// Sets what `words` wants followed.
void follow_tables(const TableWords& words, HostFollowOptions& follow);

// Reads the files. Errors name the file and its line.
Result<void> fill_tables(Engine& engine, const TableWords& words);

// What the tables that were given hold at the end of a run, one line each.
std::string table_summary(Engine& engine, const TableWords& words);

}  // namespace lmn
