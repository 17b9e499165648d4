// SPDX-License-Identifier: Apache-2.0
//
// CO-RE on the kernel's own relocation tests (scripts/conformance/core.sh): every program of
// test_core_reloc_*.bpf.o against the types of every btf__core_reloc_*.bpf.o, by read_object and by
// libbpf.
//
//   lmn_compare_core FOLDER
//
// A pair counts as equal when libbpf loads the program and every instruction is the same, as
// refused when both readers refuse. Of the pairs that belong together by name (and are the rows of
// the kernel's table, prog_tests/core_reloc.c) the table says more: targets with `__err_` in their
// names must fail, which is either a refusal or a poisoned instruction that the verifier will meet;
// the others must succeed without poison, unless the program asks whether a field exists before it
// reads it. Exit status 0: no pair is different, and the table holds.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "base/file.h"
#include "libbpf_oracle.h"
#include "object/core_patch.h"
#include "object/object_reader.h"
#include "object_types.h"

namespace {

constexpr std::size_t kObjectBytesMax = 64u << 20;
constexpr std::string_view kProgramPrefix = "test_core_reloc_";
constexpr std::string_view kTargetPrefix = "btf__core_reloc_";
constexpr std::string_view kSuffix = ".bpf.o";

struct Tally {
  std::size_t equal = 0;
  std::size_t refused_by_both = 0;
  std::size_t different = 0;
  std::size_t instructions = 0;
  std::size_t table_succeed = 0;  // rows of the kernel's table that hold
  std::size_t table_fail = 0;
  std::size_t table_broken = 0;
};

// The part of a file name that names the test: "nesting___err_too_deep".
std::string test_name(const std::string& path, std::string_view prefix) {
  const std::string name = std::filesystem::path(path).filename().string();
  return name.substr(prefix.size(), name.size() - prefix.size() - kSuffix.size());
}

std::vector<std::string> find_objects(const std::string& folder, std::string_view prefix) {
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(prefix) && name.ends_with(kSuffix)) paths.push_back(entry.path());
  }
  std::ranges::sort(paths);
  return paths;
}

// "bitfields_direct" and "bitfields_probed" are two programs for the targets "bitfields...".
bool belongs_to(const std::string& target, std::string program) {
  for (const std::string_view access : {"_direct", "_probed"}) {
    if (program.ends_with(access)) program.resize(program.size() - access.size());
  }
  return target == program || target.starts_with(program + "__");
}

const lmn::Error* first_defect(const lmn::ObjectSpec& object) {
  for (const lmn::ProgramSpec& program : object.programs) {
    if (program.defect) return &*program.defect;
  }
  return nullptr;
}

bool has_poison(const lmn::ObjectSpec& object) {
  return std::ranges::any_of(object.programs, [](const lmn::ProgramSpec& program) {
    return std::ranges::any_of(program.insns,
                               [](const lmn::Insn& insn) { return insn.imm == lmn::kCorePoison; });
  });
}

void check_table(const std::string& target, bool is_failure, const std::string& pair,
                 Tally& tally) {
  const bool must_fail = target.find("__err_") != std::string::npos;
  if (must_fail == is_failure) {
    ++(must_fail ? tally.table_fail : tally.table_succeed);
    return;
  }
  ++tally.table_broken;
  fmt::print("against the kernel's table: {}: {}\n", pair,
             must_fail ? "succeeds, must fail" : "fails, must succeed");
}

void compare_pair(const std::string& program_path, const std::string& target_path, Tally& tally) {
  const std::string program = test_name(program_path, kProgramPrefix);
  const std::string target = test_name(target_path, kTargetPrefix);
  const std::string pair = program + " on " + target;
  const auto program_bytes = lmn::read_file(program_path, kObjectBytesMax);
  const auto target_bytes = lmn::read_file(target_path, kObjectBytesMax);
  lmn::ReadOptions options;
  options.object_name = lmn::object_name_of(program_path);
  if (target_bytes) options.target_btf = lmn::testing::types_of_object(*target_bytes);
  if (!program_bytes || options.target_btf == nullptr) {
    ++tally.different;
    return fmt::print("unreadable: {}\n", pair);
  }
  const auto object = lmn::read_object(*program_bytes, options);
  if (!object) {
    ++tally.different;
    return fmt::print("refused as a whole: {}: {}\n", pair, object.error().to_string());
  }
  const lmn::Error* defect = first_defect(*object);
  const auto theirs = lmn::testing::compare_with_libbpf(program_path, *object, target_path);
  tally.instructions += theirs.instructions;
  if (theirs.was_loaded && theirs.differences.empty()) {
    ++tally.equal;
  } else if (theirs.was_opened && !theirs.was_loaded && defect != nullptr) {
    ++tally.refused_by_both;
    fmt::print("refused by both: {}: {}\n", pair, defect->to_string());
  } else {
    ++tally.different;
    fmt::print("different: {}: {}\n", pair,
               theirs.differences.empty() ? theirs.log : theirs.differences.front());
  }
  if (belongs_to(target, program)) {
    const bool asks_first = program == "existence";
    check_table(target, defect != nullptr || (has_poison(*object) && !asks_first), pair, tally);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    fmt::print(stderr, "usage: lmn_compare_core FOLDER\n");
    return 2;
  }
  const auto programs = find_objects(argv[1], kProgramPrefix);
  const auto targets = find_objects(argv[1], kTargetPrefix);
  Tally tally;
  for (const std::string& program : programs) {
    for (const std::string& target : targets) compare_pair(program, target, tally);
  }
  fmt::print("core: {} programs, {} targets: {} pairs equal to libbpf in {} instructions, ",
             programs.size(), targets.size(), tally.equal, tally.instructions);
  fmt::print("{} refused by both, {} different\n", tally.refused_by_both, tally.different);
  fmt::print("core: the kernel's table: {} succeed as expected, {} fail as expected, {} do not\n",
             tally.table_succeed, tally.table_fail, tally.table_broken);
  const bool holds = tally.different == 0 && tally.table_broken == 0 && tally.equal > 0;
  return holds ? 0 : 1;
}
