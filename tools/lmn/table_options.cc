// SPDX-License-Identifier: Apache-2.0
//
// Files into an engine's tables; which of them are the host's.
#include "table_options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "packet/jiffies.h"

namespace lmn {
namespace {

constexpr std::string_view kHost = "host";
constexpr std::size_t kTableBytesMax = std::size_t{64} << 20;

// Calls `read(text)` with the file's contents.
template <typename Read>
Result<void> read_table(const std::string& path, Read read) {
  LMN_TRY(const std::vector<std::uint8_t> bytes, read_file(path, kTableBytesMax));
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (auto done = read(text); !done) {
    return make_error(std::move(done).error().with_context(path));
  }
  return {};
}

// On the clock that programs have, so that a run with a clock of its own sees the same each time.
std::uint32_t now_in_jiffies(const Engine& engine) {
  return static_cast<std::uint32_t>(jiffies_of(engine.clock()));
}

// "", or how the table follows the host.
std::string follow_text(const Engine& engine, HostTable table, const std::string& source) {
  if (source != kHost || engine.host_follower() == nullptr) return {};
  const HostTableStats stats = engine.host_follower()->stats(table);
  return fmt::format(", of the host: {} events, {} readings, {} failed, {} overflows{}",
                     stats.events, stats.readings, stats.failures, stats.overflows,
                     stats.is_behind ? ", behind" : "");
}

}  // namespace

void add_table_options(CLI::App& app, TableWords& words) {
  app.add_option("--conntrack", words.conntrack,
                 "file of connections that bpf_xdp_ct_lookup finds, or 'host' for the host's");
  app.add_option("--fdb", words.fdb,
                 "file of bridges, ports and addresses that bpf_lmn_fdb_lookup asks, or 'host'");
  app.add_option("--flows", words.flows, "file of flows that bpf_xdp_flow_lookup finds");
}

void follow_tables(const TableWords& words, HostFollowOptions& follow) {
  follow.conntrack = words.conntrack == kHost;
  follow.fdb = words.fdb == kHost;
}

Result<void> fill_tables(Engine& engine, const TableWords& words) {
  KernelTables& tables = engine.kernel_tables();
  if (!words.conntrack.empty() && words.conntrack != kHost) {
    LMN_CHECK_OK(read_table(words.conntrack, [&](std::string_view text) {
      return tables.conntrack().read_text(text, now_in_jiffies(engine));
    }));
  }
  if (!words.fdb.empty() && words.fdb != kHost) {
    LMN_CHECK_OK(read_table(words.fdb, [&](std::string_view text) {
      return tables.fdb().read_text(text, engine.clock().monotonic_ns());
    }));
  }
  if (words.flows.empty()) return {};
  return read_table(words.flows,
                    [&](std::string_view text) { return tables.flows().read_text(text); });
}

std::string table_summary(Engine& engine, const TableWords& words) {
  KernelTables& tables = engine.kernel_tables();
  std::string out;
  if (!words.conntrack.empty()) {
    out += fmt::format("connections: {}{}\n", tables.conntrack().expire(now_in_jiffies(engine)),
                       follow_text(engine, HostTable::kConntrack, words.conntrack));
  }
  if (!words.fdb.empty()) {
    out += fmt::format("bridge entries: {}{}\n", tables.fdb().expire(engine.clock().monotonic_ns()),
                       follow_text(engine, HostTable::kFdb, words.fdb));
  }
  if (!words.flows.empty()) out += fmt::format("flows: {}\n", tables.flows().size());
  return out;
}

}  // namespace lmn
