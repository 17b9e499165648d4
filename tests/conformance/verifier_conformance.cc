// SPDX-License-Identifier: Apache-2.0
//
// Goal: our verdict on the kernel's own selftest programs is the kernel's, and so are our words.
// Method: every object of a folder is read, every program that the recorded tables have a verdict
// for is verified, and the two are compared; no kernel is asked.
//
//   lmn_verifier_conformance DIR xdp      the XDP programs, against data/verdicts.tsv
//   lmn_verifier_conformance DIR as-xdp   annotated programs loaded as XDP, where the kernel's
//                                         verdict is the expected one: data/verdicts_as_xdp.tsv
//   ... FILE [PROGRAM]                    only these, with the log of each
//   lmn_verifier_conformance DIR objects  every XDP program of every object in DIR is accepted
//   ... --renamed                         programs, functions and maps get other names first;
//                                         messages, which hold names, are then not compared
//   ... --verdicts                        verdicts only
//
// A test agrees when the verdict is the recorded one and every message that its author expects
// stands in our log, in order. Prints each difference and the sums; wordings of ours that stand for
// the kernel's are in data/wordings.tsv, decided differences in data/verdict_exceptions.tsv. The
// exit status is 0 when no program is wrongly accepted, each difference is decided and has its row
// in docs/kernel-differences.md, and at most kShortMax tests of a table fall short. The folder is
// made by scripts/selftests.sh; without it the run is skipped. The verdicts were recorded on Linux
// 6.18 with the objects compiled by clang 19.
#include <fmt/format.h>
#include <linux/bpf.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "helpers/helpers.h"
#include "kfuncs/kfuncs.h"
#include "object/object_reader.h"
#include "verdict_tables.h"
#include "verifier/kernel_log.h"
#include "verifier/verifier.h"

namespace lmn {
namespace {

constexpr std::size_t kShortMax = 8;

struct Words {
  std::string folder;
  std::string mode;
  std::string file;
  std::string program;
  bool is_renamed = false;
  bool is_verdicts_only = false;
  bool is_verbose() const { return !file.empty(); }
};

struct Tally {
  std::size_t agreed = 0;
  std::size_t annotated = 0;
  std::size_t annotated_agreed = 0;
  std::size_t wrongly_accepted = 0;
  std::size_t wrongly_refused = 0;
  std::size_t with_messages = 0;
  std::size_t messages_agreed = 0;
  std::size_t agreed_in_all = 0;  // verdict and messages
  std::size_t undecided = 0;      // differences without a row
  std::size_t timed = 0;
  double log_time_ratios = 0;
  double worst_time_ratio = 0;
  std::size_t total() const { return agreed + wrongly_accepted + wrongly_refused; }
};

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

void rename(ProgramSpec& program, std::vector<MapSpec>& maps) {
  program.name = "a_program";
  program.section = "xdp";
  for (std::size_t i = 0; i < program.functions.size(); ++i) {
    program.functions[i].name = fmt::format("function_{}", i);
  }
  for (std::size_t i = 0; i < maps.size(); ++i) maps[i].name = fmt::format("map_{}", i);
}

class Conformance {
 public:
  explicit Conformance(const Words& words) : words_(words) {
    map_types_ = all_map_types();
    environment_.helpers = known_helper_protos();
    environment_.map_types = map_types_;
    environment_.context = kXdpMdFields;
    kfuncs_ = kfuncs_of_linux();
    environment_.kfuncs = kfuncs_;
    target_ = read_btf("/sys/kernel/btf/vmlinux");
    environment_.kernel_types = target_.get();
    // The index of names is made once, and not in the time of a program.
    if (target_ != nullptr) (void)target_->find_by_name("xdp_buff", BtfKind::kStruct);
    wordings_ = read_wordings();
    exceptions_ = read_exceptions();
    rows_ = difference_ids();
  }

  void run_file(const std::string& name, const std::vector<VerdictRow>& rows) {
    const std::string path = words_.folder + "/" + name;
    const auto bytes = read_file(path, 64u << 20);
    if (!bytes) {
      fmt::print("{} is not there\n", path);
      missing_files_ = true;
      return;
    }
    const auto object = read(path, *bytes, target_);
    for (const VerdictRow& row : rows) {
      if (!words_.program.empty() && row.program != words_.program) continue;
      if (!object) {
        note_verdict(name, row, false, object.error().to_string());
        continue;
      }
      const ProgramSpec* program = object->find_program(row.program);
      if (program == nullptr) {
        note_verdict(name, row, false, "no such program");
      } else {
        run_program(name, row, *bytes, *object);
      }
    }
  }

  const Tally& sum() const { return sum_; }
  bool has_missing_files() const { return missing_files_; }

  // Decided differences that are none any more: for whoever keeps the table.
  void print_unneeded() const {
    for (std::size_t i = 0; i < exceptions_.size(); ++i) {
      const VerdictException& exception = exceptions_[i];
      if (std::ranges::find(needed_, i) != needed_.end()) continue;
      if (std::ranges::find(judged_, exception.file + " " + exception.program) == judged_.end())
        continue;
      if (exception.what == "message" && (words_.is_renamed || words_.is_verdicts_only)) continue;
      fmt::print("unneeded exception: {} {} {}\n", exception.what, exception.file,
                 exception.program);
    }
  }

 private:
  static std::shared_ptr<const Btf> read_btf(const std::string& path) {
    const auto bytes = read_file(path, 64u << 20);
    if (!bytes) return nullptr;
    const auto btf = parse_btf(*bytes);
    return btf ? *btf : nullptr;
  }

  Result<ObjectSpec> read(const std::string& path, std::span<const std::uint8_t> bytes,
                          const std::shared_ptr<const Btf>& target) const {
    ReadOptions options;
    options.object_name = object_name_of(path);
    options.target_btf = target;
    options.kernel_version = (6u << 16) | (18u << 8);
    options.kconfig = "CONFIG_HZ=250\n";
    return read_object(bytes, options);
  }

  // Tests may name an object whose types are the target of their CO-RE relocations.
  Result<ObjectSpec> reread(const std::string& file, std::span<const std::uint8_t> bytes,
                            const std::string& btf_object) const {
    const auto other = read_file(words_.folder + "/" + btf_object, 64u << 20);
    if (!other) return std::unexpected(other.error());
    LMN_TRY(const ObjectSpec types, read_object(*other, {.object_name = "types"}));
    return read(file, bytes, types.btf);
  }

  void run_program(const std::string& file, const VerdictRow& row,
                   std::span<const std::uint8_t> bytes, const ObjectSpec& object) {
    const ProgramSpec* original = object.find_program(row.program);
    TestTags tags;
    if (object.btf) tags = read_tags(*object.btf, *original);
    if (tags.btf_object.empty()) return judge(file, row, object, *original, tags);
    const auto other = reread(file, bytes, tags.btf_object);
    if (!other) return note_verdict(file, row, false, other.error().to_string());
    judge(file, row, *other, *other->find_program(row.program), tags);
  }

  void judge(const std::string& file, const VerdictRow& row, const ObjectSpec& object,
             const ProgramSpec& original, const TestTags& tags) {
    ProgramSpec program = original;
    if (row.is_as_xdp) {
      program.type = BPF_PROG_TYPE_XDP;
      program.expected_attach_type = BPF_XDP;
    }
    program.prog_flags |= tags.prog_flags;
    std::vector<MapSpec> maps;
    for (const std::uint32_t position : program.maps) maps.push_back(object.maps[position]);
    if (words_.is_renamed) rename(program, maps);
    const auto structure =
        check_structure(environment_, program, maps, {.defers_operations = true});
    if (!structure) {
      note_verdict(file, row, false, structure.error().to_string());
      return note_messages(file, row, tags, structure.error().message, false);
    }
    VerifierReport report;
    VerifyOptions options;
    options.btf = object.btf.get();
    options.report = &report;
    const auto begin = std::chrono::steady_clock::now();
    const auto verified = verify(environment_, *structure, options);
    const auto spent = std::chrono::steady_clock::now() - begin;
    const auto microseconds = std::chrono::duration_cast<std::chrono::microseconds>(spent).count();
    note_time(file, row, static_cast<double>(microseconds));
    const std::string figures = fmt::format("{} insns, {} states, {} us", report.processed,
                                            report.total_states, microseconds);
    note_verdict(file, row, verified.has_value(),
                 verified ? figures
                          : fmt::format("insn {}: {} [{}] {}", report.insn.value,
                                        report.kernel_message, rule_info(report.rule).id, figures));
    if (!words_.is_verbose() && tags.messages.empty())
      return note_messages(file, row, tags, "", true);
    const std::uint32_t level =
        tags.log_level != 0 ? tags.log_level : std::uint32_t{kernel_log_level::kPath};
    KernelLog log(*structure, level, {target_.get(), object.btf.get()});
    options.listener = &log;
    const bool is_accepted = verify(environment_, *structure, options).has_value();
    log.finish(report, spent);
    if (words_.is_verbose()) fmt::print("{}", log.text());
    note_messages(file, row, tags, log.text(), is_accepted == row.is_accepted);
  }

  void note_time(const std::string& file, const VerdictRow& row, double microseconds) {
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

  // Whether the difference is decided; the row must exist.
  bool is_decided(std::string_view what, const std::string& file, const VerdictRow& row) {
    for (std::size_t i = 0; i < exceptions_.size(); ++i) {
      const VerdictException& exception = exceptions_[i];
      if (exception.what != what || exception.file != file) continue;
      if (exception.program != row.program) continue;
      needed_.push_back(i);
      if (std::ranges::find(rows_, exception.row) != rows_.end()) return true;
      fmt::print("no row '{}' in docs/kernel-differences.md\n", exception.row);
    }
    return false;
  }

  void note_verdict(const std::string& file, const VerdictRow& row, bool is_accepted,
                    const std::string& why) {
    judged_.push_back(file + " " + row.program);
    const bool agrees = is_accepted == row.is_accepted;
    has_agreed_ = agrees;
    sum_.annotated += row.is_annotated ? 1 : 0;
    sum_.annotated_agreed += row.is_annotated && agrees ? 1 : 0;
    if (agrees) {
      ++sum_.agreed;
    } else if (is_accepted) {
      ++sum_.wrongly_accepted;
    } else {
      ++sum_.wrongly_refused;
    }
    const bool is_known = !agrees && !is_accepted && is_decided("verdict", file, row);
    if (!agrees && !is_known) ++sum_.undecided;
    if (agrees && !words_.is_verbose()) return;
    fmt::print("{} {} {}: {} here: {}\n",
               agrees     ? "same"
               : is_known ? "decided"
                          : "DIFFERS",
               file, row.program, is_accepted ? "accepted" : "refused", why);
    std::fflush(stdout);
  }

  void note_messages(const std::string& file, const VerdictRow& row, const TestTags& tags,
                     std::string_view log, bool is_same_verdict) {
    const bool are_compared = !words_.is_renamed && !words_.is_verdicts_only;
    if (tags.messages.empty() || !are_compared) {
      sum_.agreed_in_all += has_agreed_ ? 1 : 0;
      return;
    }
    ++sum_.with_messages;
    const auto missing = missing_message(log, tags.messages, wordings_);
    if (!missing) {
      ++sum_.messages_agreed;
      sum_.agreed_in_all += has_agreed_ ? 1 : 0;
      return;
    }
    if (!has_agreed_) return;
    const bool is_known = is_decided("message", file, row);
    if (!is_known) ++sum_.undecided;
    const std::size_t end = log.rfind("\nprocessed ");
    std::string_view last = log.substr(0, end);
    if (last.size() > 300) last = last.substr(last.size() - 300);
    fmt::print("{} {} {}: expected '{}'{}\n", is_known ? "decided" : "WORDS", file, row.program,
               *missing,
               is_same_verdict && !row.is_accepted ? fmt::format(", ours ends '{}'", last) : "");
  }

  const Words& words_;
  std::vector<MapTypeInfo> map_types_;
  std::vector<KfuncProto> kfuncs_;
  Environment environment_;
  std::shared_ptr<const Btf> target_;
  std::vector<Wording> wordings_;
  std::vector<VerdictException> exceptions_;
  std::vector<std::string> rows_;
  std::vector<std::size_t> needed_;  // exceptions that were met
  std::vector<std::string> judged_;  // files and programs
  bool has_agreed_ = false;          // of the program judged last
  bool missing_files_ = false;
  Tally sum_;
};

int run_objects(const Words& words) {
  Conformance conformance(words);
  for (const auto& entry : std::filesystem::directory_iterator(words.folder)) {
    const std::string name = entry.path().filename().string();
    if (!name.ends_with(".o")) continue;
    const auto bytes = read_file(entry.path().string(), 64u << 20);
    if (!bytes) continue;
    const auto object = read_object(*bytes, {.object_name = object_name_of(name)});
    if (!object) {
      fmt::print("{} cannot be read: {}\n", name, object.error().to_string());
      return 1;
    }
    std::vector<VerdictRow> rows;
    for (const ProgramSpec& program : object->programs) {
      if (program.type != BPF_PROG_TYPE_XDP) continue;
      VerdictRow row;
      row.program = program.name;
      row.is_accepted = true;
      rows.push_back(row);
    }
    conformance.run_file(name, rows);
  }
  const Tally& sum = conformance.sum();
  fmt::print("{} of {} XDP programs accepted\n", sum.agreed, sum.total());
  return sum.agreed == sum.total() && sum.total() > 0 ? 0 : 1;
}

int run_tables(const Words& words) {
  const VerdictTable table = words.mode == "xdp" ? read_xdp_table() : read_as_xdp_table();
  Conformance conformance(words);
  for (const auto& [file, rows] : table) {
    if (words.is_verbose() && file != words.file) continue;
    conformance.run_file(file, rows);
  }
  if (words.is_verbose()) return 0;
  conformance.print_unneeded();
  const Tally& sum = conformance.sum();
  fmt::print(
      "{} of {} verdicts agree ({} of {} annotated); {} wrongly accepted, {} wrongly "
      "refused\n",
      sum.agreed, sum.total(), sum.annotated_agreed, sum.annotated, sum.wrongly_accepted,
      sum.wrongly_refused);
  if (sum.with_messages > 0) {
    fmt::print("{} of {} tests with messages find them all\n", sum.messages_agreed,
               sum.with_messages);
  }
  fmt::print("{} of {} agree in verdict and messages; {} differences without a row\n",
             sum.agreed_in_all, sum.total(), sum.undecided);
  if (sum.timed > 0) {
    fmt::print("time: {:.2f} of the kernel's recorded one (geometric mean of {}), worst {:.2f}\n",
               std::exp(sum.log_time_ratios / static_cast<double>(sum.timed)), sum.timed,
               sum.worst_time_ratio);
  }
  const bool is_enough = sum.agreed_in_all + kShortMax >= sum.total() && sum.total() > 0;
  const bool is_good = is_enough && sum.wrongly_accepted == 0 && sum.undecided == 0 &&
                       !conformance.has_missing_files();
  return is_good ? 0 : 1;
}

int run(const std::vector<std::string>& arguments) {
  Words words;
  std::vector<std::string> places;
  for (const std::string& argument : arguments) {
    if (argument == "--renamed") {
      words.is_renamed = true;
    } else if (argument == "--verdicts") {
      words.is_verdicts_only = true;
    } else {
      places.push_back(argument);
    }
  }
  const bool has_mode =
      places.size() >= 2 && (places[1] == "xdp" || places[1] == "as-xdp" || places[1] == "objects");
  if (!has_mode) {
    fmt::print(stderr,
               "usage: lmn_verifier_conformance DIR xdp|as-xdp|objects [--renamed] [--verdicts] "
               "[FILE [PROGRAM]]\n");
    return 2;
  }
  words.folder = places[0];
  words.mode = places[1];
  if (places.size() > 2) words.file = places[2];
  if (places.size() > 3) words.program = places[3];
  if (!std::filesystem::is_directory(words.folder)) {
    fmt::print("[  SKIPPED ] no folder {}: run scripts/selftests.sh first\n", words.folder);
    return 0;
  }
  return words.mode == "objects" ? run_objects(words) : run_tables(words);
}

}  // namespace
}  // namespace lmn

int main(int count, char** words) { return lmn::run({words + 1, words + count}); }
