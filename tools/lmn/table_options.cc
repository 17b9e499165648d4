// SPDX-License-Identifier: Apache-2.0
//
// Files and the host's tables into an engine's.
#include "table_options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <string_view>
#include <vector>

#include "base/clock.h"
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

std::uint32_t now_in_jiffies() {
  const SystemClock clock;
  return static_cast<std::uint32_t>(jiffies_of(clock));
}

Result<void> fill_conntrack(ConntrackTable& table, const std::string& source) {
  const std::uint32_t now = now_in_jiffies();
  if (source != kHost) {
    return read_table(source, [&](std::string_view text) { return table.read_text(text, now); });
  }
  LMN_TRY([[maybe_unused]] const std::size_t count, table.read_host(now));
  return {};
}

Result<void> fill_fdb(FdbTable& table, const std::string& source) {
  const std::uint64_t now_ns = SystemClock().monotonic_ns();
  if (source == kHost) return table.read_host(now_ns);
  return read_table(source, [&](std::string_view text) { return table.read_text(text, now_ns); });
}

}  // namespace

void add_table_options(CLI::App& app, TableWords& words) {
  app.add_option("--conntrack", words.conntrack,
                 "file of connections that bpf_xdp_ct_lookup finds, or 'host' for the host's");
  app.add_option("--fdb", words.fdb,
                 "file of bridges, ports and addresses that bpf_lmn_fdb_lookup asks, or 'host'");
  app.add_option("--flows", words.flows, "file of flows that bpf_xdp_flow_lookup finds");
}

Result<void> fill_tables(Engine& engine, const TableWords& words) {
  KernelTables& tables = engine.kernel_tables();
  if (!words.conntrack.empty()) LMN_CHECK_OK(fill_conntrack(tables.conntrack(), words.conntrack));
  if (!words.fdb.empty()) LMN_CHECK_OK(fill_fdb(tables.fdb(), words.fdb));
  if (words.flows.empty()) return {};
  return read_table(words.flows,
                    [&](std::string_view text) { return tables.flows().read_text(text); });
}

std::string table_summary(Engine& engine, const TableWords& words) {
  KernelTables& tables = engine.kernel_tables();
  std::string out;
  if (!words.conntrack.empty()) {
    out += fmt::format("connections: {}\n", tables.conntrack().expire(now_in_jiffies()));
  }
  if (!words.fdb.empty()) {
    out += fmt::format("bridge entries: {}\n", tables.fdb().expire(SystemClock().monotonic_ns()));
  }
  if (!words.flows.empty()) out += fmt::format("flows: {}\n", tables.flows().size());
  return out;
}

}  // namespace lmn
