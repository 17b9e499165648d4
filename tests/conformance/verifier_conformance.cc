// SPDX-License-Identifier: Apache-2.0
//
// Goal: our verdict on the kernel's own selftest programs is the kernel's. Method: every object of
// a folder is read, every program that the recorded tables have a verdict for is verified, and the
// two are compared; no kernel is asked.
//
//   lmn_verifier_conformance DIR xdp      the XDP programs, against data/verdicts.tsv
//   lmn_verifier_conformance DIR as-xdp   annotated programs loaded as XDP, where the kernel's
//                                         verdict is the expected one: data/verdicts_as_xdp.tsv
//   ... FILE [PROGRAM]                    only these, with the messages of all
//   lmn_verifier_conformance DIR objects  every XDP program of every object in DIR is accepted
//
// Prints each difference, a line per file that has any, and the sum: verdicts, refusals whose words
// hold the message that the test expects, and our time beside the kernel's recorded one (geometric
// mean over programs that took it 50 us). The exit status is 0 when no verdict differs. The folder
// is made by scripts/selftests.sh; without it the run is skipped. The verdicts were recorded on
// Linux 6.18 with the objects compiled by clang 19.
#include <fmt/format.h>
#include <linux/bpf.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "base/file.h"
#include "helpers/helpers.h"
#include "kfuncs/kfuncs.h"
#include "object/object_reader.h"
#include "verifier/verifier.h"

namespace lmn {
namespace {

struct Row {
  std::string program;
  bool is_accepted = false;
  bool is_as_xdp = false;
  double kernel_microseconds = 0;
};
using Table = std::map<std::string, std::vector<Row>>;

struct Tally {
  std::size_t agreed = 0;
  std::size_t wrongly_accepted = 0;
  std::size_t wrongly_refused = 0;
  std::size_t messages = 0;          // refusals of programs that say what they expect
  std::size_t messages_matched = 0;  // all of it is in ours
  double log_time_ratios = 0;
  double worst_time_ratio = 0;
  std::size_t timed = 0;
  std::size_t total() const { return agreed + wrongly_accepted + wrongly_refused; }
};

std::vector<std::string> columns_of(const std::string& line) {
  std::vector<std::string> out;
  std::istringstream stream(line);
  for (std::string column; std::getline(stream, column, '\t');) out.push_back(column);
  return out;
}

double number_of(std::string_view text) {
  double value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

std::string data_file(std::string_view name) {
  return fmt::format("{}/tests/conformance/data/{}", LMN_SOURCE_DIR, name);
}

Table read_xdp_table() {
  Table out;
  std::ifstream file(data_file("verdicts.tsv"));
  for (std::string line; std::getline(file, line);) {
    const auto columns = columns_of(line);
    if (columns.size() < 6 || columns[3] != "xdp") continue;
    if (columns[5] != "accept" && columns[5] != "reject") continue;
    const double spent = columns.size() > 10 ? number_of(columns[10]) : 0;
    out[columns[0]].push_back({columns[1], columns[5] == "accept", false, spent});
  }
  return out;
}

// Rows whose verdict as XDP is what the test's author expects, with the message that he expects.
Table read_as_xdp_table() {
  Table out;
  std::ifstream file(data_file("verdicts_as_xdp.tsv"));
  for (std::string line; std::getline(file, line);) {
    const auto columns = columns_of(line);
    if (columns.size() < 7 || columns[4] != columns[6]) continue;
    if (columns.size() > 10 && columns[10] == "n") continue;
    if (columns.size() > 11 && columns[11] == "n") continue;
    if (columns[4] != "accept" && columns[4] != "reject") continue;
    const double spent = columns.size() > 9 ? number_of(columns[9]) : 0;
    out[columns[0]].push_back({columns[1], columns[6] == "accept", true, spent});
  }
  return out;
}

std::vector<MapTypeInfo> all_map_types() {
  std::vector<MapTypeInfo> out;
  for (std::uint32_t type = 1; type < __MAX_BPF_MAP_TYPE; ++type) {
    const bool is_direct = type == BPF_MAP_TYPE_ARRAY || type == BPF_MAP_TYPE_ARENA;
    out.push_back({type, "map", is_direct ? std::uint16_t{kMapDirectValue} : std::uint16_t{0}});
  }
  return out;
}

// What a kernel offers, those included that LMN has no body for: the verifier's judgement is
// compared here, not what can be run.
std::vector<KfuncProto> kfuncs_of_linux() {
  const auto known = kfunc_protos();
  std::vector<KfuncProto> out(known.begin(), known.end());
  for (KfuncProto& proto : out) proto.refusal = {};
  return out;
}

class Conformance {
 public:
  Conformance(std::string folder, bool is_verbose, std::string only)
      : folder_(std::move(folder)), is_verbose_(is_verbose), only_(std::move(only)) {
    map_types_ = all_map_types();
    environment_.helpers = known_helper_protos();
    environment_.map_types = map_types_;
    environment_.context = kXdpMdFields;
    kfuncs_ = kfuncs_of_linux();
    environment_.kfuncs = kfuncs_;
    if (auto bytes = read_file("/sys/kernel/btf/vmlinux", 64u << 20)) {
      if (auto btf = parse_btf(*bytes)) target_ = *btf;
    }
    environment_.kernel_types = target_.get();
    // The index of names is made once, and not in the time of a program.
    if (target_ != nullptr) (void)target_->find_by_name("xdp_buff", BtfKind::kStruct);
  }

  void run_file(const std::string& name, const std::vector<Row>& rows) {
    const std::string path = folder_ + "/" + name;
    const auto bytes = read_file(path, 64u << 20);
    if (!bytes) return;
    ReadOptions options;
    options.object_name = object_name_of(path);
    options.target_btf = target_;
    options.kernel_version = (6u << 16) | (18u << 8);
    const auto object = read_object(*bytes, options);
    Tally tally;
    for (const Row& row : rows) {
      if (!only_.empty() && row.program != only_) continue;
      if (!object) {
        note(name, row, false, object.error().to_string(), tally);
        continue;
      }
      const ProgramSpec* program = object->find_program(row.program);
      if (program == nullptr) {
        note(name, row, false, "no such program", tally);
      } else {
        run_program(name, row, *object, *program, tally);
      }
    }
    if (tally.agreed != tally.total()) {
      fmt::print("{}: {} of {} agree, {} wrongly accepted, {} wrongly refused\n", name,
                 tally.agreed, tally.total(), tally.wrongly_accepted, tally.wrongly_refused);
    }
    sum_.agreed += tally.agreed;
    sum_.wrongly_accepted += tally.wrongly_accepted;
    sum_.wrongly_refused += tally.wrongly_refused;
  }

  const Tally& sum() const { return sum_; }

 private:
  void run_program(const std::string& file, const Row& row, const ObjectSpec& object,
                   const ProgramSpec& original, Tally& tally) {
    ProgramSpec program = original;
    if (row.is_as_xdp) {
      program.type = BPF_PROG_TYPE_XDP;
      program.expected_attach_type = BPF_XDP;
    }
    std::vector<MapSpec> maps;
    for (const std::uint32_t position : program.maps) maps.push_back(object.maps[position]);
    auto structure = check_structure(environment_, program, maps, {.defers_operations = true});
    if (!structure) return note(file, row, false, structure.error().to_string(), tally);
    VerifierReport report;
    VerifyOptions options;
    options.btf = object.btf.get();
    options.report = &report;
    const auto begin = std::chrono::steady_clock::now();
    const auto verified = verify(environment_, *std::move(structure), options);
    const auto spent = std::chrono::steady_clock::now() - begin;
    const auto microseconds = std::chrono::duration_cast<std::chrono::microseconds>(spent).count();
    note_time(file, row, static_cast<double>(microseconds));
    if (!verified && !row.is_accepted) note_message(file, row, object, original, report);
    if (verified) {
      const VerifiedFacts& facts = verified->facts();
      note(file, row, true,
           fmt::format("{} insns, {} states, {} bytes, {} us", facts.processed, facts.total_states,
                       facts.peak_bytes, microseconds),
           tally);
    } else {
      note(file, row, false,
           fmt::format("insn {}: {} [{}] {} us", report.insn.value, report.kernel_message,
                       rule_info(report.rule).id, microseconds),
           tally);
    }
  }

  void note_time(const std::string& file, const Row& row, double microseconds) {
    if (row.kernel_microseconds < 50) return;
    const double ratio = std::max(microseconds, 1.0) / row.kernel_microseconds;
    sum_.log_time_ratios += std::log(ratio);
    ++sum_.timed;
    sum_.worst_time_ratio = std::max(sum_.worst_time_ratio, ratio);
    if (ratio > 2) {
      fmt::print("SLOW {} {}: {} us, the kernel took {}\n", file, row.program, microseconds,
                 row.kernel_microseconds);
    }
  }

  // The messages a test expects are tags of its function.
  void note_message(const std::string& file, const Row& row, const ObjectSpec& object,
                    const ProgramSpec& program, const VerifierReport& report) {
    constexpr std::string_view kTag = "test_expect_msg=";
    if (!object.btf || program.functions.empty()) return;
    bool is_any = false;
    bool is_all = true;
    std::string missing;
    for (std::uint32_t id = 1; id < object.btf->type_count(); ++id) {
      const BtfType& type = object.btf->type(id);
      if (type.kind != BtfKind::kDeclTag || type.type != program.functions.front().btf_type_id) {
        continue;
      }
      const std::size_t at = type.name.find(kTag);
      if (at == std::string_view::npos) continue;
      is_any = true;
      std::string_view wanted = type.name.substr(at + kTag.size());
      // Numbered, so that they stand in order: "0=R1 invalid mem access".
      if (const std::size_t text = wanted.find('='); text < 4) wanted = wanted.substr(text + 1);
      if (report.kernel_message.find(wanted) != std::string::npos) continue;
      is_all = false;
      missing = wanted;
    }
    if (!is_any) return;
    ++sum_.messages;
    sum_.messages_matched += is_all ? 1 : 0;
    if (!is_all) {
      fmt::print("WORDS {} {}: expected '{}', ours '{}'\n", file, row.program, missing,
                 report.kernel_message);
    }
  }

  void note(const std::string& file, const Row& row, bool is_accepted, const std::string& why,
            Tally& tally) {
    const bool agrees = is_accepted == row.is_accepted;
    if (agrees) {
      ++tally.agreed;
    } else if (is_accepted) {
      ++tally.wrongly_accepted;
    } else {
      ++tally.wrongly_refused;
    }
    if (agrees && !is_verbose_) return;
    fmt::print("{} {} {}: {} here: {}\n", agrees ? "same" : "DIFFERS", file, row.program,
               is_accepted ? "accepted" : "refused", why);
    std::fflush(stdout);
  }

  std::string folder_;
  bool is_verbose_;
  std::string only_;
  std::vector<MapTypeInfo> map_types_;
  std::vector<KfuncProto> kfuncs_;
  Environment environment_;
  std::shared_ptr<const Btf> target_;
  Tally sum_;
};

int run_objects(const std::string& folder) {
  Conformance conformance(folder, true, "");
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (!name.ends_with(".o")) continue;
    const auto bytes = read_file(entry.path().string(), 64u << 20);
    if (!bytes) continue;
    const auto object = read_object(*bytes, {.object_name = object_name_of(name)});
    if (!object) continue;
    std::vector<Row> rows;
    for (const ProgramSpec& program : object->programs) {
      if (program.type == BPF_PROG_TYPE_XDP) rows.push_back({program.name, true});
    }
    conformance.run_file(name, rows);
  }
  const Tally& sum = conformance.sum();
  fmt::print("{} of {} XDP programs accepted\n", sum.agreed, sum.total());
  return sum.agreed == sum.total() ? 0 : 1;
}

int run(const std::vector<std::string>& arguments) {
  if (arguments.size() < 2) {
    fmt::print(stderr, "usage: lmn_verifier_conformance DIR xdp|as-xdp [FILE [PROGRAM]]\n");
    return 2;
  }
  if (!std::filesystem::is_directory(arguments[0])) {
    fmt::print("[  SKIPPED ] no folder {}: run scripts/selftests.sh first\n", arguments[0]);
    return 0;
  }
  if (arguments[1] == "objects") return run_objects(arguments[0]);
  const Table table = arguments[1] == "xdp" ? read_xdp_table() : read_as_xdp_table();
  const bool is_verbose = arguments.size() > 2;
  Conformance conformance(arguments[0], is_verbose, arguments.size() > 3 ? arguments[3] : "");
  for (const auto& [file, rows] : table) {
    if (is_verbose && file != arguments[2]) continue;
    conformance.run_file(file, rows);
  }
  const Tally& sum = conformance.sum();
  fmt::print("{} of {} verdicts agree; {} wrongly accepted, {} wrongly refused\n", sum.agreed,
             sum.total(), sum.wrongly_accepted, sum.wrongly_refused);
  fmt::print("{} of {} expected messages\n", sum.messages_matched, sum.messages);
  if (sum.timed > 0) {
    fmt::print("time: {:.2f} of the kernel's (geometric mean of {}), worst {:.2f}\n",
               std::exp(sum.log_time_ratios / static_cast<double>(sum.timed)), sum.timed,
               sum.worst_time_ratio);
  }
  return sum.agreed == sum.total() ? 0 : 1;
}

}  // namespace
}  // namespace lmn

int main(int count, char** words) { return lmn::run({words + 1, words + count}); }
