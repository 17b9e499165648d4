// SPDX-License-Identifier: Apache-2.0
//
// Goal: an object means to us what it means to libbpf: the same programs with the same instructions
// in the same order, the same maps. Method: read compiled objects with both and compare
// (libbpf_oracle.h); where we accept more than libbpf, or keep what it throws away (source lines),
// say what is expected.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/byte_reader.h"
#include "base/file.h"
#include "libbpf_oracle.h"
#include "object/object_reader.h"

namespace lmn {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string fixture(const std::string& name) {
  return LMN_BINARY_DIR "/bpf/object_" + name + ".bpf.o";
}

Result<ObjectSpec> read_path(const std::string& path, ReadOptions options = {}) {
  LMN_TRY(const auto bytes, read_file(path, 64u << 20));
  options.object_name = object_name_of(path);
  return read_object(bytes, options);
}

// The running kernel's types, or null.
std::shared_ptr<const Btf> kernel_btf() {
  auto bytes = read_file("/sys/kernel/btf/vmlinux", 64u << 20);
  if (!bytes) return nullptr;
  auto btf = parse_btf(*bytes);
  return btf ? *btf : nullptr;
}

std::vector<std::string> function_names(const ProgramSpec& program) {
  std::vector<std::string> names;
  for (const FunctionInfo& function : program.functions) names.push_back(function.name);
  return names;
}

void expect_equal_to_libbpf(const std::string& path) {
  static const auto kTarget = kernel_btf();
  ReadOptions options;
  options.target_btf = kTarget;
  auto object = read_path(path, options);
  ASSERT_TRUE(object) << path << ": " << object.error().to_string();
  const auto result = testing::compare_with_libbpf(path, *object);
  EXPECT_TRUE(result.was_opened) << path << ": " << result.log;
  EXPECT_TRUE(result.was_loaded) << path << ": " << result.log;
  EXPECT_THAT(result.differences, IsEmpty()) << path;
  EXPECT_EQ(result.programs, object->programs.size()) << path;
  EXPECT_EQ(result.maps, object->maps.size()) << path;
}

TEST(ObjectsTest, FixturesAreReadAsByLibbpf) {
  for (const char* name : {"programs", "maps", "externs"}) expect_equal_to_libbpf(fixture(name));
}

TEST(ObjectsTest, DebiansObjectsAreReadAsByLibbpf) {
  const std::filesystem::path folder = "/usr/lib/x86_64-linux-gnu/bpf";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "no " << folder << ": install libxdp1";
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".o") continue;
    expect_equal_to_libbpf(entry.path());
    ++count;
  }
  EXPECT_GT(count, 0);
}

// Where an ELF object for BPF starts in a file, from `from` on; npos: nowhere.
std::size_t find_object(const std::vector<std::uint8_t>& bytes, std::size_t from) {
  constexpr std::uint8_t kStart[] = {0x7f, 'E', 'L', 'F', 2, 1, 1};
  for (auto at = bytes.begin() + static_cast<std::ptrdiff_t>(from);; ++at) {
    at = std::search(at, bytes.end(), std::begin(kStart), std::end(kStart));
    if (bytes.end() - at < 64) return std::string::npos;
    if (at[18] == 247 && at[19] == 0) return static_cast<std::size_t>(at - bytes.begin());
  }
}

// Tools carry their objects in themselves ("skeletons").
int compare_embedded(const std::filesystem::path& tool) {
  const auto bytes = read_file(tool, 64u << 20);
  if (!bytes) return 0;
  int count = 0;
  for (std::size_t at = find_object(*bytes, 0); at != std::string::npos;
       at = find_object(*bytes, at + 64)) {
    // The section headers come last in what compilers and bpftool write.
    const auto table = load_unaligned<std::uint64_t>(bytes->data() + at + 40, std::endian::little);
    const auto headers =
        load_unaligned<std::uint16_t>(bytes->data() + at + 60, std::endian::little);
    const std::uint64_t size = table + std::uint64_t{headers} * 64;
    if (size > bytes->size() - at) continue;
    const std::string path =
        ::testing::TempDir() + tool.stem().string() + "_" + std::to_string(count++) + ".o";
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes->data() + at),
               static_cast<std::streamsize>(size));
    expect_equal_to_libbpf(path);
    std::filesystem::remove(path);
  }
  return count;
}

TEST(ObjectsTest, ObjectsInsideDebiansToolsAreReadAsByLibbpf) {
  int count = 0;
  for (const char* tool : {"/usr/sbin/xdp-bench", "/usr/sbin/xdp-filter", "/usr/sbin/xdp-loader",
                           "/usr/sbin/xdp-monitor", "/usr/sbin/xdp-trafficgen", "/usr/sbin/xdpdump",
                           "/usr/lib/x86_64-linux-gnu/libknot.so.13"}) {
    if (std::filesystem::exists(tool)) count += compare_embedded(tool);
  }
  if (count == 0) GTEST_SKIP() << "no tools with objects in them: install xdp-tools";
}

TEST(ObjectsTest, LinkedObjectsAreReadAsByLibbpf) {
  if (!std::filesystem::exists(fixture("linked"))) GTEST_SKIP() << "not linked: install bpftool";
  auto object = read_path(fixture("linked"));
  ASSERT_TRUE(object) << object.error().to_string();
  EXPECT_EQ(object->programs.size(), 2u);
  for (const ProgramSpec& program : object->programs) {
    EXPECT_FALSE(program.defect) << program.defect->to_string();
  }
  const ProgramSpec* first = object->find_program("first_program");
  ASSERT_NE(first, nullptr);
  EXPECT_THAT(function_names(*first), ElementsAre("first_program", "second_step", "shared"));
  EXPECT_THAT(first->maps, ::testing::SizeIs(3)) << "two maps, and .bss";
  // Each half alone says what is missing.
  auto half = read_path(fixture("linked_first"));
  ASSERT_TRUE(half) << half.error().to_string();
  ASSERT_TRUE(half->programs.at(0).defect);
  EXPECT_THAT(half->programs[0].defect->remedy, HasSubstr("bpftool gen object"));
}

TEST(ObjectsTest, RareThings) {
  auto object = read_path(fixture("rare"));
  ASSERT_TRUE(object) << object.error().to_string();
  const ProgramSpec* thrower = object->find_program("thrower");
  ASSERT_FALSE(thrower->defect) << thrower->defect->to_string();
  EXPECT_THAT(function_names(*thrower), ElementsAre("thrower", "helper", "on_exception"));
  ASSERT_TRUE(thrower->exception_callback);
  EXPECT_EQ(*thrower->exception_callback, thrower->functions[2].insn);
  const MapSpec* table = object->find_map("linked_table");
  ASSERT_NE(table, nullptr);
  EXPECT_EQ(table->type, BPF_MAP_TYPE_STRUCT_OPS);
  EXPECT_EQ(table->map_flags, BPF_F_LINK);
  ASSERT_EQ(table->slots.size(), 2u);
  EXPECT_EQ(table->slots[0].index, 1u);
  EXPECT_EQ(table->slots[0].name, "one");
  EXPECT_EQ(table->slots[1].name, "two");
  const MapSpec* arena = object->find_map("arena");
  EXPECT_EQ(arena->map_extra, 1ull << 44);
  ASSERT_EQ(arena->contents.size(), 4u);
  EXPECT_EQ(arena->contents[0], 5);
  const ProgramSpec* user = object->find_program("arena_user");
  ASSERT_FALSE(user->defect) << user->defect->to_string();
  EXPECT_THAT(object->notes, ::testing::Contains(HasSubstr("map 'open_sizes': key_size 0")));
}

TEST(ObjectsTest, SubprogramsComeInTheOrderTheyAreReached) {
  auto object = read_path(fixture("programs"));
  ASSERT_TRUE(object) << object.error().to_string();
  const ProgramSpec* first = object->find_program("first");
  ASSERT_NE(first, nullptr);
  EXPECT_THAT(function_names(*first), ElementsAre("first", "measure", "decide", "note"));
  EXPECT_FALSE(first->functions[1].is_global) << "hidden functions are verified with their callers";
  EXPECT_TRUE(first->functions[2].is_global);
  EXPECT_FALSE(first->functions[3].is_global);
  EXPECT_EQ(first->functions[0].insn.value, 0u);
  for (const FunctionInfo& function : first->functions) {
    EXPECT_EQ(object->btf->type(function.btf_type_id).name, function.name);
    EXPECT_EQ(first->function_of(function.insn), &function);
  }
  EXPECT_THAT(function_names(*object->find_program("second")), ElementsAre("second", "note"));
  EXPECT_THAT(function_names(*object->find_program("fragments")),
              ElementsAre("fragments", "each", "decide", "note"));
}

TEST(ObjectsTest, LinesFollowTheirInstructions) {
  auto object = read_path(fixture("programs"));
  ASSERT_TRUE(object) << object.error().to_string();
  for (const ProgramSpec& program : object->programs) {
    ASSERT_FALSE(program.lines.empty()) << program.name;
    EXPECT_EQ(program.lines.front().insn.value, 0u) << program.name;
    for (const LineInfo& line : program.lines) {
      EXPECT_LT(line.insn.value, program.insns.size());
      EXPECT_THAT(line.file, HasSubstr("programs.c"));
      EXPECT_GT(line.line, 0u);
    }
    // Each function has its own first line, wherever it was appended.
    for (const FunctionInfo& function : program.functions) {
      const LineInfo* line = program.line_of(function.insn);
      ASSERT_NE(line, nullptr);
      EXPECT_EQ(line->insn, function.insn) << program.name << ": " << function.name;
    }
  }
  const ProgramSpec* second = object->find_program("second");
  EXPECT_THAT(second->line_of(second->functions[1].insn)->text, HasSubstr("note(int index)"));
}

TEST(ObjectsTest, GlobalDataKeepsItsContents) {
  auto object = read_path(fixture("programs"));
  ASSERT_TRUE(object) << object.error().to_string();
  const MapSpec* data = object->find_map("object_p.data");
  ASSERT_NE(data, nullptr);
  EXPECT_EQ(data->section, ".data");
  EXPECT_EQ(data->value_size, data->contents.size());
  const MapSpec* rodata = object->find_map("object_p.rodata");
  ASSERT_NE(rodata, nullptr);
  EXPECT_TRUE(rodata->is_frozen_at_load);
  ASSERT_EQ(rodata->contents.size(), 4u);
  EXPECT_EQ(rodata->contents[0], 64);
  const MapSpec* bss = object->find_map("object_p.bss");
  ASSERT_NE(bss, nullptr);
  EXPECT_TRUE(bss->contents.empty());
  // Offsets in the section come from the ELF symbols; the compiler leaves them 0.
  const auto id = object->btf->find_by_name(".data", BtfKind::kDatasec);
  ASSERT_TRUE(id);
  EXPECT_EQ(object->btf->type(*id).size, data->value_size);
}

TEST(ObjectsTest, InitialEntriesOfMaps) {
  auto object = read_path(fixture("maps"));
  ASSERT_TRUE(object) << object.error().to_string();
  const MapSpec* outer = object->find_map("outer");
  ASSERT_NE(outer, nullptr);
  ASSERT_EQ(outer->slots.size(), 2u);
  EXPECT_EQ(outer->slots[0].index, 0u);
  EXPECT_EQ(outer->slots[0].name, "one");
  EXPECT_EQ(outer->slots[1].index, 2u);
  EXPECT_EQ(outer->slots[1].name, "two");
  ASSERT_NE(outer->inner, nullptr);
  EXPECT_EQ(outer->inner->max_entries, 2u);
  const MapSpec* jumps = object->find_map("jumps");
  ASSERT_EQ(jumps->slots.size(), 1u);
  EXPECT_EQ(jumps->slots[0].index, 1u);
  EXPECT_EQ(jumps->slots[0].name, "target");
}

TEST(ObjectsTest, ExternsStayNames) {
  auto object = read_path(fixture("externs"));
  ASSERT_TRUE(object) << object.error().to_string();
  const ProgramSpec* symbols = object->find_program("symbols");
  ASSERT_NE(symbols, nullptr);
  ASSERT_FALSE(symbols->defect) << symbols->defect->to_string();
  ASSERT_EQ(symbols->kfuncs.size(), 2u);
  EXPECT_EQ(symbols->kfuncs[0].name, "bpf_no_such_kfunc");
  EXPECT_TRUE(symbols->kfuncs[0].is_weak);
  EXPECT_EQ(symbols->externs.size(), 3u) << "two variables, and the address of a function";
}

TEST(ObjectsTest, SettingsComeFromTheCallerOnly) {
  auto object = read_path(fixture("externs"));
  ASSERT_TRUE(object) << object.error().to_string();
  const ProgramSpec* settings = object->find_program("settings");
  ASSERT_TRUE(settings->defect) << "LINUX_KERNEL_VERSION is strong and unknown";
  EXPECT_THAT(settings->defect->message, HasSubstr("LINUX_KERNEL_VERSION"));

  ReadOptions options;
  options.kernel_version = 0x06120c;
  options.kconfig =
      "CONFIG_HZ=250\nCONFIG_NET=y\nCONFIG_TUN=m\n# CONFIG_X is not "
      "set\nCONFIG_DEFAULT_HOSTNAME=\"(none)\"\n";
  object = read_path(fixture("externs"), options);
  ASSERT_TRUE(object) << object.error().to_string();
  EXPECT_FALSE(object->find_program("settings")->defect);
  const MapSpec* map = object->find_map("object_.kconfig");
  ASSERT_NE(map, nullptr);
  const auto number = [&](std::string_view name) -> std::int64_t {
    for (const KconfigExtern& variable : object->kconfig) {
      if (variable.name != name) continue;
      std::int64_t value = 0;
      for (std::uint32_t i = variable.size; i-- > 0;)
        value = value << 8 | map->contents[variable.offset + i];
      return variable.is_set ? value : -1;
    }
    return -2;
  };
  EXPECT_EQ(number("LINUX_KERNEL_VERSION"), 0x06120c);
  EXPECT_EQ(number("CONFIG_HZ"), 250);
  EXPECT_EQ(number("CONFIG_NET"), 1);
  EXPECT_EQ(number("CONFIG_TUN"), 2);
  EXPECT_EQ(number("CONFIG_NOT_THERE"), -1);
  EXPECT_EQ(number("CONFIG_DEFAULT_HOSTNAME"), 0x29656e6f6e28) << "\"(none)\"";
}

TEST(ObjectsTest, TakesWhatLibbpfRefuses) {
  auto object = read_path(fixture("refused_by_libbpf"));
  ASSERT_TRUE(object) << object.error().to_string();
  const ProgramSpec* tail = object->find_program("tail");
  ASSERT_NE(tail, nullptr);
  EXPECT_EQ(tail->section, "2/1");
  EXPECT_EQ(object->find_map("global_ns")->pinning, 16u);
  EXPECT_THAT(object->notes, ElementsAre(HasSubstr("static function 'tail'")));
}

TEST(ObjectsTest, LegacyMapsInTheLayoutsOfTheirLoaders) {
  struct Case {
    const char* layout;
    std::uint32_t flags;
    std::uint32_t pinning;
    const char* words;
  };
  for (const Case& c : {Case{"old_samples", 0, 0, "samples/bpf of Linux 4"},
                        Case{"libbpf", BPF_F_NO_PREALLOC, 0, "libbpf"},
                        Case{"samples", BPF_F_NO_PREALLOC, 0, "samples/bpf"},
                        Case{"cilium", BPF_F_NO_PREALLOC, 2, "iproute2 without inner maps"},
                        Case{"iproute2", BPF_F_NO_PREALLOC, 2, "iproute2"},
                        Case{"gobpf", BPF_F_NO_PREALLOC, 2, "gobpf"}}) {
    for (const char* suffix : {"", "_btf"}) {
      const std::string name = std::string("legacy_") + c.layout + suffix;
      auto object = read_path(fixture(name));
      ASSERT_TRUE(object) << name << ": " << object.error().to_string();
      ASSERT_GE(object->maps.size(), 2u) << name;
      const MapSpec& first = object->maps[0];
      EXPECT_EQ(first.name, "first");
      EXPECT_EQ(first.origin, MapOrigin::kLegacyMaps);
      EXPECT_EQ(first.type, BPF_MAP_TYPE_HASH);
      EXPECT_EQ(first.key_size, 4u);
      EXPECT_EQ(first.value_size, 8u);
      EXPECT_EQ(first.max_entries, 100u);
      EXPECT_EQ(first.map_flags, c.flags) << name;
      EXPECT_EQ(first.pinning, c.pinning) << name;
      EXPECT_EQ(first.legacy_layout, c.words) << name;
      EXPECT_EQ(object->maps[1].name, "second");
      EXPECT_EQ(object->maps[1].max_entries, 3u) << name;
      EXPECT_THAT(object->notes[0], HasSubstr(c.words));
      const ProgramSpec& program = object->programs.at(0);
      EXPECT_FALSE(program.defect) << name;
      EXPECT_EQ(program.type, 0u)
          << "section xdp_prog is no name of libbpf 1: the caller says the type";
      EXPECT_EQ(program.maps[0], 1u) << "the program uses `second` first";
    }
  }
}

TEST(ObjectsTest, LegacyInnerMaps) {
  auto tc = read_path(fixture("legacy_iproute2"));
  ASSERT_TRUE(tc) << tc.error().to_string();
  const MapSpec* outer = tc->find_map("outer");
  ASSERT_NE(outer, nullptr);
  ASSERT_NE(outer->inner, nullptr);
  EXPECT_EQ(outer->inner->name, "first");
  ASSERT_EQ(outer->slots.size(), 1u);
  EXPECT_EQ(outer->slots[0].index, 1u);
  EXPECT_EQ(outer->slots[0].name, "first");
  auto samples = read_path(fixture("legacy_samples"));
  ASSERT_TRUE(samples) << samples.error().to_string();
  outer = samples->find_map("outer");
  ASSERT_NE(outer->inner, nullptr);
  EXPECT_EQ(outer->inner->name, "first");
  EXPECT_EQ(outer->numa_node, 1u);
}

TEST(ObjectsTest, UnknownLegacyLayoutIsNotGuessed) {
  for (const char* name : {"legacy_unknown", "legacy_unknown_btf"}) {
    auto object = read_path(fixture(name));
    ASSERT_FALSE(object) << name;
    EXPECT_THAT(object.error().message, HasSubstr("an entry of 24 bytes: not a known layout"));
    EXPECT_EQ(object.error().location, "section 'maps', offset 0");
  }
}

}  // namespace
}  // namespace lmn
