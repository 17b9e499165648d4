// SPDX-License-Identifier: Apache-2.0
//
// What read_object makes of object files, against what libbpf makes of them
// (scripts/conformance/objects.sh):
//
//   lmn_compare_objects LABEL VERDICTS|- EQUAL_MIN OBJECT|LINKED=PART+PART...
//
// An object that needs others can be loaded only when linked with them: then LINKED is compared,
// and counts for each PART that we can read. Each object is one of
//   equal          names, sections, types, every instruction, maps and BTF ids as libbpf's; where
//                  this kernel lacks a kernel symbol that the object insists on, libbpf gets a copy
//                  with weak externs, which it loads
//   counts equal   libbpf cannot load it: what it opens is equal, and the entry function of each
//                  program has the number of instructions in VERDICTS (insns_static)
//   not comparable libbpf cannot load it, and no count is known
//   refused        by us, with the reason
//   different      from libbpf, or from the kernel's counts
// All but the equal ones are listed. Exit status 0: at least EQUAL_MIN are equal in instructions or
// counts; 1: fewer, or a file cannot be read.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "base/file.h"
#include "libbpf_oracle.h"
#include "object/elf_numbers.h"
#include "object/object_reader.h"

namespace {

using Bytes = std::vector<std::uint8_t>;

constexpr std::size_t kFileBytesMax = 64u << 20;
constexpr std::size_t kFileColumn = 0;  // of VERDICTS
constexpr std::size_t kProgramColumn = 1;
constexpr std::size_t kCountColumn = 7;

// Instruction counts of entry functions: [file][program].
using Counts = std::map<std::string, std::map<std::string, std::size_t>>;

Counts read_counts(const std::string& path) {
  Counts counts;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    std::vector<std::string> fields;
    std::istringstream row(line);
    for (std::string field; std::getline(row, field, '\t');) fields.push_back(field);
    if (fields.size() <= kCountColumn) continue;
    const std::string& text = fields[kCountColumn];
    std::size_t count = 0;
    std::from_chars(text.data(), text.data() + text.size(), count);
    if (count != 0) counts[fields[kFileColumn]][fields[kProgramColumn]] = count;
  }
  return counts;
}

// The object with all its undefined symbols weak: sections and symbols are found as in elf_file.cc,
// for bytes that it has accepted.
Bytes with_weak_externs(Bytes bytes) {
  using lmn::load_unaligned;
  const auto table = load_unaligned<std::uint64_t>(bytes.data() + 40);
  const auto count = load_unaligned<std::uint16_t>(bytes.data() + 60);
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint8_t* header = bytes.data() + table + i * lmn::elf::kSectionHeaderBytes;
    if (load_unaligned<std::uint32_t>(header + 4) != lmn::elf::kSymtab) continue;
    const auto offset = load_unaligned<std::uint64_t>(header + 24);
    const auto size = load_unaligned<std::uint64_t>(header + 32);
    for (std::uint64_t at = offset; at < offset + size; at += lmn::elf::kSymbolBytes) {
      constexpr std::uint8_t kGlobalNoType = 0x10;
      constexpr std::uint8_t kWeakNoType = 0x20;
      const bool is_undefined = load_unaligned<std::uint16_t>(bytes.data() + at + 6) == 0;
      if (is_undefined && bytes[at + 4] == kGlobalNoType) bytes[at + 4] = kWeakNoType;
    }
  }
  return bytes;
}

// A file of the same name elsewhere (libbpf names maps by it), gone when this is.
class TemporaryCopy {
 public:
  TemporaryCopy(const std::string& path, const Bytes& bytes) {
    std::string folder = std::filesystem::temp_directory_path() / "lmn_objects_XXXXXX";
    if (mkdtemp(folder.data()) == nullptr) return;
    folder_ = folder;
    path_ = folder_ / std::filesystem::path(path).filename();
    std::ofstream(path_, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
  }
  TemporaryCopy(const TemporaryCopy&) = delete;
  TemporaryCopy& operator=(const TemporaryCopy&) = delete;
  ~TemporaryCopy() {
    std::error_code ignored;
    if (!folder_.empty()) std::filesystem::remove_all(folder_, ignored);
  }
  std::string path() const { return path_; }

 private:
  std::filesystem::path folder_;
  std::filesystem::path path_;
};

enum class Outcome { kEqual, kCountsEqual, kNotComparable, kRefused, kDifferent };
constexpr std::array kOutcomeWords = {"equal", "counts equal", "not comparable", "refused",
                                      "different"};

struct Tally {
  std::array<std::size_t, kOutcomeWords.size()> objects = {};
  std::size_t with_weak_externs = 0;
  std::size_t linked = 0;    // parts compared in what they are linked into
  std::size_t programs = 0;  // compared with libbpf's
  std::size_t instructions = 0;
  std::size_t maps = 0;
  std::size_t counts_equal = 0;  // programs whose count is that of VERDICTS
  std::size_t counts_different = 0;
};

struct Verdict {
  Outcome outcome;
  std::vector<std::string> reasons;
};

std::size_t entry_size(const lmn::ProgramSpec& program) {
  const auto& functions = program.functions;
  return functions.size() > 1 ? functions[1].insn.value : program.insns.size();
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

class Comparer {
 public:
  Comparer(Counts counts, std::shared_ptr<const lmn::Btf> kernel)
      : counts_(std::move(counts)), kernel_(std::move(kernel)) {}

  // False: the file itself cannot be read.
  bool compare(const std::string& path);
  bool compare_linked(const std::string& linked, const std::string& parts);
  const Tally& tally() const { return tally_; }

 private:
  Verdict judge(const std::string& path, const Bytes& bytes);
  lmn::testing::OracleResult ask_libbpf(const std::string& path, const Bytes& bytes,
                                        const lmn::ObjectSpec& object);
  // Adds what differs to `reasons`. True: every program has a count, and it is the kernel's.
  bool compare_counts(const std::string& path, const lmn::ObjectSpec& object,
                      std::vector<std::string>& reasons);

  Counts counts_;
  std::shared_ptr<const lmn::Btf> kernel_;
  Tally tally_;
};

lmn::testing::OracleResult Comparer::ask_libbpf(const std::string& path, const Bytes& bytes,
                                                const lmn::ObjectSpec& object) {
  auto result = lmn::testing::compare_with_libbpf(path, object);
  if (!result.was_opened || result.was_loaded) return result;
  const TemporaryCopy copy(path, with_weak_externs(bytes));
  auto weak = lmn::testing::compare_with_libbpf(copy.path(), object);
  if (!weak.was_loaded) return result;
  ++tally_.with_weak_externs;
  return weak;
}

bool Comparer::compare_counts(const std::string& path, const lmn::ObjectSpec& object,
                              std::vector<std::string>& reasons) {
  const auto rows = counts_.find(std::filesystem::path(path).filename());
  if (rows == counts_.end()) return false;
  bool is_complete = true;
  for (const lmn::ProgramSpec& program : object.programs) {
    const auto row = rows->second.find(program.name);
    if (row == rows->second.end()) {
      is_complete = false;
    } else if (row->second == entry_size(program)) {
      ++tally_.counts_equal;
    } else {
      ++tally_.counts_different;
      is_complete = false;
      reasons.push_back(fmt::format("program '{}': entry of {} instructions, the table's {}",
                                    program.name, entry_size(program), row->second));
    }
  }
  return is_complete && !object.programs.empty();
}

Verdict Comparer::judge(const std::string& path, const Bytes& bytes) {
  lmn::ReadOptions options;
  options.object_name = lmn::object_name_of(path);
  options.target_btf = kernel_;
  const auto object = lmn::read_object(bytes, options);
  if (!object) return {Outcome::kRefused, {object.error().to_string()}};
  const auto theirs = ask_libbpf(path, bytes, *object);
  tally_.programs += theirs.programs;
  tally_.instructions += theirs.instructions;
  tally_.maps += theirs.maps;
  auto reasons = theirs.differences;
  const bool has_counts = compare_counts(path, *object, reasons);
  if (!reasons.empty()) return {Outcome::kDifferent, std::move(reasons)};
  if (theirs.was_loaded) return {Outcome::kEqual, {}};
  reasons.push_back(fmt::format("libbpf cannot {} it: {}", theirs.was_opened ? "load" : "open",
                                first_line(theirs.log)));
  return {has_counts ? Outcome::kCountsEqual : Outcome::kNotComparable, std::move(reasons)};
}

void print_verdict(const std::string& path, const Verdict& verdict) {
  if (verdict.outcome == Outcome::kEqual) return;
  fmt::print("{}: {}\n", kOutcomeWords[static_cast<std::size_t>(verdict.outcome)], path);
  for (const std::string& reason : verdict.reasons) fmt::print("    {}\n", reason);
}

std::optional<Bytes> read_or_say(const std::string& path) {
  auto bytes = lmn::read_file(path, kFileBytesMax);
  if (bytes) return std::move(*bytes);
  fmt::print("{}\n", bytes.error().to_string());
  return std::nullopt;
}

bool Comparer::compare(const std::string& path) {
  const auto bytes = read_or_say(path);
  if (!bytes) return false;
  const Verdict verdict = judge(path, *bytes);
  ++tally_.objects[static_cast<std::size_t>(verdict.outcome)];
  print_verdict(path, verdict);
  return true;
}

bool Comparer::compare_linked(const std::string& linked, const std::string& parts) {
  const auto whole = read_or_say(linked);
  if (!whole) return false;
  const Verdict verdict = judge(linked, *whole);
  print_verdict(linked, verdict);
  std::istringstream list(parts);
  for (std::string part; std::getline(list, part, '+');) {
    const auto bytes = read_or_say(part);
    if (!bytes) return false;
    const auto object = lmn::read_object(*bytes);
    if (!object) print_verdict(part, {Outcome::kRefused, {object.error().to_string()}});
    const Outcome outcome = object ? verdict.outcome : Outcome::kRefused;
    ++tally_.objects[static_cast<std::size_t>(outcome)];
    ++tally_.linked;
  }
  return true;
}

// The running kernel's types, or null.
std::shared_ptr<const lmn::Btf> kernel_btf() {
  const auto bytes = lmn::read_file("/sys/kernel/btf/vmlinux", kFileBytesMax);
  if (!bytes) return nullptr;
  auto btf = lmn::parse_btf(*bytes);
  return btf ? *btf : nullptr;
}

void print_tally(const std::string& label, const Tally& tally) {
  std::size_t total = 0;
  std::string parts;
  for (std::size_t i = 0; i < tally.objects.size(); ++i) {
    total += tally.objects[i];
    parts += fmt::format("{}{} {}", i == 0 ? "" : ", ", tally.objects[i], kOutcomeWords[i]);
  }
  fmt::print("{}: {} objects: {} ({} with weak externs, {} linked)\n", label, total, parts,
             tally.with_weak_externs, tally.linked);
  fmt::print("{}: compared with libbpf: {} programs, {} instructions, {} maps\n", label,
             tally.programs, tally.instructions, tally.maps);
  if (tally.counts_equal + tally.counts_different != 0) {
    fmt::print("{}: programs with the table's count: {}, with another: {}\n", label,
               tally.counts_equal, tally.counts_different);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  if (words.size() < 4) {
    fmt::print(stderr,
               "usage: lmn_compare_objects LABEL VERDICTS|- EQUAL_MIN "
               "OBJECT|LINKED=PART+PART...\n");
    return 2;
  }
  const std::string& label = words[0];
  const std::size_t equal_min = std::strtoull(words[2].c_str(), nullptr, 10);
  Comparer comparer(words[1] == "-" ? Counts{} : read_counts(words[1]), kernel_btf());
  bool were_readable = true;
  for (std::size_t i = 3; i < words.size(); ++i) {
    const auto equals = words[i].find('=');
    were_readable &=
        equals == std::string::npos
            ? comparer.compare(words[i])
            : comparer.compare_linked(words[i].substr(0, equals), words[i].substr(equals + 1));
  }
  print_tally(label, comparer.tally());
  const auto& objects = comparer.tally().objects;
  const std::size_t equal = objects[static_cast<std::size_t>(Outcome::kEqual)] +
                            objects[static_cast<std::size_t>(Outcome::kCountsEqual)];
  const bool holds = were_readable && equal >= equal_min;
  fmt::print("{}: {}: {} equal, wanted {}\n", label, holds ? "holds" : "FAILS", equal, equal_min);
  return holds ? 0 : 1;
}
