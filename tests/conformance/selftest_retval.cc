// SPDX-License-Identifier: Apache-2.0
//
// Goal: the kernel's own selftest programs return in the interpreter what their authors say.
// Method: every object of a folder is read, every program with a declaration tag
// "comment:test_retval=N" runs once on 64 zero bytes, as the kernel's test loader does it, and its
// result is compared with N.
//
//   lmn_selftest_retval DIR            all objects, and the sum
//   lmn_selftest_retval DIR FILE...    only these
//
// XDP programs go the product's way: the engine verifies, prepares and runs them. Most are of other
// types, which the engine does not load; those run in a GuestWorld (guests/guest_world.h), by the
// structural stage alone, with the context and the helpers of their own type. Maps that the
// kernel's driver fills first are filled here too.
//
// Prints every program that did not return its value with the reason, and the sums. The exit status
// is 0 when every program returned its value that the kernel runs, and no other one a wrong value.
// The folder is made by scripts/selftests.sh; without it the run is skipped.
// Source: Linux 6.12, tools/testing/selftests/bpf/test_loader.c, prog_tests/verifier.c.
#include <fmt/format.h>
#include <linux/bpf.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <climits>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "base/file.h"
#include "engine/engine.h"
#include "guests/guest_world.h"
#include "guests/kernel_structs.h"
#include "object/object_reader.h"

namespace lmn {
namespace {

constexpr std::size_t kPacketBytes = 64;  // TEST_DATA_LEN

enum class Outcome : std::uint8_t { kMatched, kMismatched, kTrapped, kRefused };

struct Comparison {
  Outcome outcome{};
  std::string reason;
};

// What a program has to return: a number, or anything (the address of something).
struct Wanted {
  std::optional<std::int32_t> value;
};

std::optional<Wanted> parse_wanted(std::string_view text) {
  if (text == "POINTER_VALUE" || text == "0xcafe4all") return Wanted{};
  if (text == "TEST_DATA_LEN") return Wanted{static_cast<std::int32_t>(kPacketBytes)};
  if (text == "INT_MIN") return Wanted{INT_MIN};
  const bool is_hex = text.starts_with("0x");
  if (is_hex) text.remove_prefix(2);
  std::int64_t value = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), value, is_hex ? 16 : 10);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return Wanted{static_cast<std::int32_t>(value)};
}

// The tags that start with `prefix`, by the name of the function they are on.
std::map<std::string, std::string> texts_of(const Btf& btf, std::string_view prefix) {
  std::map<std::string, std::string> out;
  for (std::uint32_t id = 1; id < btf.type_count(); ++id) {
    const BtfType& tag = btf.type(id);
    if (tag.kind != BtfKind::kDeclTag || tag.component_index() != -1) continue;
    if (!tag.name.starts_with(prefix)) continue;
    out[std::string(btf.type(tag.type).name)] = std::string(tag.name.substr(prefix.size()));
  }
  return out;
}

// --- maps that the kernel's driver fills

// struct test_val: an index and eleven numbers.
template <typename Owner>
void fill_map(const Owner& owner, std::string_view file) {
  struct Filled {
    std::string_view file;
    std::string_view map;
  };
  constexpr Filled kFilled[] = {{"verifier_array_access.bpf.o", "map_array_ro"},
                                {"verifier_value_ptr_arith.bpf.o", "map_array_48b"}};
  for (const Filled& filled : kFilled) {
    if (filled.file != file) continue;
    Map* map = owner.find_map(filled.map);
    if (map == nullptr) continue;
    std::array<std::uint32_t, 12> value{};
    value[0] = 7 * sizeof(std::uint32_t);
    value[7] = 0xabcdef12;
    std::vector<std::uint8_t> bytes(map->user_value_bytes());
    std::memcpy(bytes.data(), value.data(), std::min(bytes.size(), sizeof value));
    const std::uint32_t key = 0;
    if (map->user_update(&key, bytes, BPF_ANY) != 0) std::printf("cannot fill a map\n");
  }
}

// --- one program

struct Ran {
  std::uint32_t value = 0;
  std::vector<TrapRecord> traps;
};

class Run {
 public:
  Run(const ObjectSpec& spec, std::size_t index, std::string file)
      : spec_(spec), program_(spec.programs[index]), file_(std::move(file)) {}

  Comparison compare(const Wanted& wanted) const {
    const std::vector<std::uint8_t> packet(kPacketBytes);
    const bool is_xdp = program_.type == BPF_PROG_TYPE_XDP;
    const Result<Ran> ran = is_xdp ? run_in_engine(packet) : run_as_guest(packet);
    if (!ran) return {Outcome::kRefused, ran.error().message};
    if (!ran->traps.empty()) return {Outcome::kTrapped, ran->traps[0].text};
    const auto value = static_cast<std::int32_t>(ran->value);
    if (!wanted.value || *wanted.value == value) return {Outcome::kMatched, ""};
    return {Outcome::kMismatched, fmt::format("returned {}, not {}", value, *wanted.value)};
  }

 private:
  Result<Ran> run_in_engine(std::span<const std::uint8_t> packet) const {
    LMN_TRY(const auto engine, Engine::create({.cpu_count = 2, .seed = 1}));
    LoadOptions options;
    options.object_name = object_name_of(file_);
    options.programs = {program_.name};
    LMN_TRY(const LoadedObject* object, engine->load(spec_, options));
    fill_map(*object, file_);
    LMN_TRY(TestRunResult result,
            engine->test_run(*object->find_program(program_.name), packet, {}));
    return Ran{result.verdict, std::move(result.traps)};
  }

  Result<Ran> run_as_guest(std::span<const std::uint8_t> packet) const {
    LMN_TRY(const auto world, guests::GuestWorld::load(spec_, program_.name));
    fill_map(*world, file_);
    LMN_TRY(guests::GuestRun result, world->run(packet));
    return Ran{result.value, std::move(result.traps)};
  }

  const ObjectSpec& spec_;
  const ProgramSpec& program_;
  std::string file_;
};

// --- all of them

// Whether Linux 6.18 takes a program, by data/verdicts.tsv.
class KernelVerdicts {
 public:
  KernelVerdicts() {
    std::ifstream file(std::string(LMN_SOURCE_DIR) + "/tests/conformance/data/verdicts.tsv");
    std::string line;
    while (std::getline(file, line)) {
      std::istringstream columns(line);
      std::array<std::string, kVerdictColumn + 1> row;
      for (std::string& column : row) std::getline(columns, column, '\t');
      verdicts_[row[0] + " " + row[1]] = row[kVerdictColumn];
    }
  }
  bool accepts(const std::string& file, const std::string& program) const {
    const auto found = verdicts_.find(file + " " + program);
    return found != verdicts_.end() && found->second == "accept";
  }

 private:
  static constexpr std::size_t kVerdictColumn = 5;
  std::map<std::string, std::string> verdicts_;
};

class Table {
 public:
  void add(const std::string& file, const std::string& program, const Comparison& result) {
    const bool is_kernels = kernel_.accepts(file, program);
    ++(is_kernels ? kernels_ : others_)[result.outcome];
    if (result.outcome == Outcome::kMatched) return;
    std::printf("%-10s %s %s: %s%s\n", words(result.outcome), file.c_str(), program.c_str(),
                result.reason.c_str(), is_kernels ? "" : " (nor does the kernel run it)");
  }

  int finish() {
    print("programs with a return value that the kernel runs", kernels_);
    print("that it does not run (test modules, attach points)", others_);
    const bool is_good = kernels_.size() == 1 && kernels_.contains(Outcome::kMatched) &&
                         !others_.contains(Outcome::kMismatched) &&
                         !others_.contains(Outcome::kTrapped);
    return is_good ? 0 : 1;
  }

 private:
  using Counts = std::map<Outcome, std::size_t>;

  static void print(const char* what, const Counts& counts) {
    std::size_t total = 0;
    for (const auto& [outcome, count] : counts) total += count;
    std::printf("%zu %s:", total, what);
    for (const auto& [outcome, count] : counts) std::printf(" %zu %s", count, words(outcome));
    std::printf("\n");
  }

  static const char* words(Outcome outcome) {
    switch (outcome) {
      case Outcome::kMatched:
        return "matched";
      case Outcome::kMismatched:
        return "MISMATCHED";
      case Outcome::kTrapped:
        return "TRAPPED";
      case Outcome::kRefused:
        return "refused";
    }
    return "?";
  }

  const KernelVerdicts kernel_;
  Counts kernels_;
  Counts others_;
};

Result<ObjectSpec> read_file_object(const std::filesystem::path& path,
                                    std::shared_ptr<const Btf> target) {
  LMN_TRY(const auto bytes, read_file(path.string(), limits::kObjectBytesMax));
  ReadOptions options;
  options.object_name = object_name_of(path.string());
  options.target_btf = std::move(target);
  return read_object(bytes, options);
}

// Some objects name another whose types stand for the kernel's.
std::shared_ptr<const Btf> target_of(const std::filesystem::path& path, const Btf& btf) {
  const auto texts = texts_of(btf, "comment:test_btf_path=");
  if (texts.empty()) return nullptr;
  auto named = read_file_object(path.parent_path() / texts.begin()->second, nullptr);
  return named ? named->btf : nullptr;
}

void run_file(const std::filesystem::path& path, Table& table) {
  const std::string file = path.filename().string();
  auto spec = read_file_object(path, nullptr);
  if (!spec || spec->btf == nullptr) return;
  const auto texts = texts_of(*spec->btf, "comment:test_retval=");
  const bool has_defect =
      std::ranges::any_of(spec->programs, [](const auto& program) { return !!program.defect; });
  // Relocations want the types of another object, if this one names one, or the kernel's.
  auto target = target_of(path, *spec->btf);
  if (target == nullptr && has_defect) target = guests::kernel_types();
  if (target != nullptr) spec = read_file_object(path, target);
  for (std::size_t i = 0; i < spec->programs.size(); ++i) {
    const auto text = texts.find(spec->programs[i].name);
    if (text == texts.end()) continue;
    const auto wanted = parse_wanted(text->second);
    if (!wanted) {
      table.add(file, text->first, {Outcome::kRefused, "unknown value " + text->second});
      continue;
    }
    table.add(file, text->first, Run(*spec, i, file).compare(*wanted));
  }
}

int main_of(const std::vector<std::string>& arguments) {
  if (arguments.empty() || !std::filesystem::is_directory(arguments[0])) {
    std::printf("SKIPPED: no folder with selftest objects (scripts/selftests.sh makes one)\n");
    return 0;
  }
  std::set<std::filesystem::path> files;
  if (arguments.size() > 1) {
    for (std::size_t i = 1; i < arguments.size(); ++i) {
      files.insert(std::filesystem::path(arguments[0]) / arguments[i]);
    }
  } else {
    for (const auto& entry : std::filesystem::directory_iterator(arguments[0])) {
      if (entry.path().string().ends_with(".bpf.o")) files.insert(entry.path());
    }
  }
  Table table;
  for (const auto& file : files) run_file(file, table);
  return table.finish();
}

}  // namespace
}  // namespace lmn

int main(int argc, char** argv) {
  return lmn::main_of(std::vector<std::string>(argv + 1, argv + argc));
}
