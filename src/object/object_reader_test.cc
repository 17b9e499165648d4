// SPDX-License-Identifier: Apache-2.0
//
// Goal: each defect an object can have is named with section, offset and remedy; what spoils one
// program leaves the others; limits hold at the limit and one past it. Method: small objects
// written byte by byte, with one thing wrong. What compilers write is compared with libbpf in
// tests/objects.
#include "object/object_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <functional>

#include "abi/limits.h"
#include "object/elf_for_tests.h"
#include "object/raw_insn.h"

namespace lmn {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

using Bytes = std::vector<std::uint8_t>;

Bytes code_of(const std::vector<RawInsn>& slots) { return store_slots(slots); }

constexpr RawInsn kExit = {BPF_JMP | BPF_EXIT, 0, 0, 0, 0};
constexpr RawInsn kReturnZero = {BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0};
constexpr RawInsn kWideLow = {BPF_LD | BPF_IMM | BPF_DW, 1, 0, 0, 0};
constexpr RawInsn kWideHigh = {0, 0, 0, 0, 0};

RawInsn call_of(std::int32_t distance) {
  return {BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_CALL, 0, distance};
}

// One program of two instructions.
ElfForTests minimal() {
  ElfForTests elf;
  const auto code = elf.add_code("xdp", code_of({kReturnZero, kExit}));
  elf.add_function("prog", code, 0, 16);
  return elf;
}

std::string error_of(const Bytes& bytes) {
  auto object = read_object(bytes);
  return object ? "no error" : object.error().to_string();
}

TEST(ObjectReaderTest, TheSmallestObject) {
  ElfForTests elf = minimal();
  elf.add_data("license", {'G', 'P', 'L', 0});
  elf.add_data("version", {1, 2, 6, 0});
  auto object = read_object(elf.bytes());
  ASSERT_TRUE(object) << object.error().to_string();
  ASSERT_EQ(object->programs.size(), 1u);
  const ProgramSpec& program = object->programs[0];
  EXPECT_EQ(program.name, "prog");
  EXPECT_EQ(program.type, BPF_PROG_TYPE_XDP);
  EXPECT_EQ(program.insns.size(), 2u);
  EXPECT_EQ(program.license, "GPL");
  EXPECT_EQ(object->kernel_version, 0x060201u);
  EXPECT_EQ(object->btf, nullptr);
  ASSERT_EQ(program.functions.size(), 1u);
  EXPECT_THAT(program.lines, IsEmpty());
  EXPECT_THAT(object->notes, IsEmpty());
}

TEST(ObjectReaderTest, NoObjectAtAll) {
  EXPECT_THAT(error_of({}), HasSubstr("this is an empty file"));
  EXPECT_THAT(error_of({0x89, 'P', 'N', 'G', 0, 0}),
              HasSubstr("this is a PNG image: no BPF object"));
  EXPECT_THAT(error_of({'B', 'C', 0xc0, 0xde, 1}), HasSubstr("this is LLVM bitcode"));
  EXPECT_THAT(error_of({'B', 'C', 0xc0, 0xde, 1}), HasSubstr("-emit-llvm"));
}

TEST(ObjectReaderTest, FunctionsMustLieInTheirSections) {
  struct Case {
    std::uint64_t value;
    std::uint64_t size;
    const char* message;
  };
  for (const Case& c : {Case{0, 0, "not whole instructions"}, Case{4, 8, "not whole instructions"},
                        Case{0, 12, "not whole instructions"},
                        Case{8, 16, "reach past the end of the section at 16"},
                        Case{~std::uint64_t{7}, 16, "reach past the end"}}) {
    ElfForTests elf;
    const auto code = elf.add_code("xdp", code_of({kReturnZero, kExit}));
    elf.add_function("prog", code, c.value, c.size);
    EXPECT_THAT(error_of(elf.bytes()), HasSubstr(c.message));
    EXPECT_THAT(error_of(elf.bytes()), HasSubstr("section 'xdp', offset"));
  }
  ElfForTests odd;
  odd.add_code("xdp", Bytes(12));
  EXPECT_THAT(error_of(odd.bytes()), HasSubstr("12 bytes of code"));
}

TEST(ObjectReaderTest, ADefectSpoilsOneProgramOnly) {
  ElfForTests elf;
  const auto code = elf.add_code("xdp", code_of({kReturnZero, kExit, {0x8f, 0, 0, 0, 0}, kExit}));
  elf.add_function("good", code, 0, 16);
  elf.add_function("bad", code, 16, 16);
  auto object = read_object(elf.bytes());
  ASSERT_TRUE(object) << object.error().to_string();
  ASSERT_EQ(object->programs.size(), 2u);
  EXPECT_FALSE(object->programs[0].defect);
  ASSERT_TRUE(object->programs[1].defect);
  EXPECT_THAT(object->programs[1].defect->to_string(), HasSubstr("program 'bad'"));
  EXPECT_THAT(object->programs[1].defect->to_string(), HasSubstr("insn 0"));
  EXPECT_THAT(object->programs[1].insns, IsEmpty());
}

// One program whose first instructions are `slots`, with a relocation at `offset` against what
// `define` makes.
std::string defect_of(std::vector<RawInsn> slots, std::uint64_t offset,
                      const std::function<std::uint32_t(ElfForTests&)>& define) {
  ElfForTests elf;
  slots.push_back(kReturnZero);
  slots.push_back(kExit);
  const auto code = elf.add_code("xdp", code_of(slots));
  elf.add_function("prog", code, 0, slots.size() * kSlotBytes);
  const std::uint32_t symbol = define(elf);
  elf.add_relocations(code, {{offset, symbol}});
  auto object = read_object(elf.bytes());
  if (!object) return object.error().to_string();
  const auto& defect = object->programs.at(0).defect;
  return defect ? defect->to_string() : "no defect";
}

TEST(ObjectReaderTest, RelocationsThatMeanNothing) {
  const std::vector<RawInsn> load = {kWideLow, kWideHigh};
  const auto in = [](std::uint32_t section, std::uint8_t type) {
    return [=](ElfForTests& elf) {
      return elf.add_symbol("thing", section, 0, 8, type, elf::kGlobal);
    };
  };
  const auto in_data = [](const char* name) {
    return [=](ElfForTests& elf) {
      const auto section = elf.add_data(name, Bytes(8));
      return elf.add_symbol("thing", section, 0, 8, elf::kObject, elf::kGlobal);
    };
  };
  EXPECT_EQ(defect_of(load, 0, in_data(".data")), "no defect");
  EXPECT_THAT(defect_of(load, 0, in_data("elsewhere")), HasSubstr("neither a map nor a variable"));
  EXPECT_THAT(defect_of(load, 0, in(elf::kSectionCommon, elf::kObject)), HasSubstr("-fno-common"));
  EXPECT_THAT(defect_of(load, 0, in(elf::kSectionAbsolute, elf::kObject)),
              HasSubstr("lies in no section"));
  EXPECT_THAT(defect_of(load, 0, in(0, elf::kNotype)),
              HasSubstr("'thing' is declared but not defined"));
  EXPECT_THAT(defect_of(load, 0, in(0, elf::kNotype)), HasSubstr("compile with -g"));
  EXPECT_THAT(defect_of(load, 8, in_data(".data")), HasSubstr("neither a call nor a 64-bit load"));
  EXPECT_THAT(defect_of(load, 4, in_data(".data")), HasSubstr("at no instruction"));
  EXPECT_THAT(defect_of(load, 800, in_data(".data")), HasSubstr("at no instruction"));
  EXPECT_THAT(defect_of({call_of(-1)}, 0, in_data(".data")), HasSubstr("in no code section"));
  EXPECT_THAT(defect_of({{BPF_JMP | BPF_CALL, 0, 0, 0, 1}}, 0, in_data(".data")),
              HasSubstr("none of a function"));
  EXPECT_THAT(defect_of({call_of(3)}, 0, in(1, elf::kFunc)), HasSubstr("no function starts at 32"));
}

TEST(ObjectReaderTest, LoadsThatOnlyARelocationCouldMean) {
  const auto nothing = [](ElfForTests& elf) {
    const auto section = elf.add_data(".data", Bytes(8));
    return elf.add_symbol("x", section, 0, 8, elf::kObject, elf::kGlobal);
  };
  // The relocation is at the second load; the first has none.
  for (const int kind : {BPF_PSEUDO_MAP_FD, BPF_PSEUDO_MAP_VALUE, BPF_PSEUDO_BTF_ID,
                         BPF_PSEUDO_FUNC, BPF_PSEUDO_MAP_IDX, BPF_PSEUDO_MAP_IDX_VALUE}) {
    RawInsn first = kWideLow;
    first.src = static_cast<std::uint8_t>(kind);
    EXPECT_THAT(defect_of({first, kWideHigh, kWideLow, kWideHigh}, 16, nothing),
                HasSubstr("without a relocation"));
  }
  const RawInsn kfunc = {BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_KFUNC_CALL, 0, 12};
  EXPECT_THAT(defect_of({kfunc, kWideLow, kWideHigh}, 8, nothing),
              HasSubstr("call of kernel function number 12"));
  EXPECT_THAT(defect_of({call_of(1), kWideLow, kWideHigh}, 8, nothing),
              HasSubstr("call to slot 2, where no function starts"));
}

TEST(ObjectReaderTest, TwoRelocationsForOneInstruction) {
  ElfForTests elf;
  const auto code = elf.add_code("xdp", code_of({kWideLow, kWideHigh, kReturnZero, kExit}));
  elf.add_function("prog", code, 0, 32);
  const auto data = elf.add_data(".data", Bytes(8));
  const auto symbol = elf.add_symbol("x", data, 0, 8, elf::kObject, elf::kGlobal);
  elf.add_relocations(code, {{0, symbol}, {0, symbol}});
  EXPECT_THAT(error_of(elf.bytes()), HasSubstr("two relocations for one instruction"));
}

TEST(ObjectReaderTest, MapsNeedBtf) {
  ElfForTests elf = minimal();
  elf.add_data(".maps", Bytes(32));
  EXPECT_THAT(error_of(elf.bytes()), HasSubstr("no BTF"));
  EXPECT_THAT(error_of(elf.bytes()), HasSubstr("compile with -g"));
  ElfForTests broken = minimal();
  broken.add_data(".BTF", {1, 2, 3});
  EXPECT_THAT(error_of(broken.bytes()), HasSubstr("section '.BTF'"));
  ElfForTests legacy = minimal();
  legacy.add_data("maps", Bytes(20));
  EXPECT_THAT(error_of(legacy.bytes()), HasSubstr("without symbols"));
}

TEST(ObjectReaderTest, GlobalDataIsNamedAsLibbpfNamesIt) {
  struct Case {
    const char* object;
    const char* section;
    const char* name;
  };
  for (const Case& c :
       {Case{"xdp_prot", ".rodata", "xdp_prot.rodata"},
        Case{"my_object_name", ".rodata", "my_objec.rodata"},
        Case{"my_object_name", ".bss", "my_objec.bss"}, Case{"ab", ".data", "ab.data"},
        Case{"xdp", ".rodata.str1.1", ".rodata.str1.1"},
        Case{"xdp", ".data.a_very_long_name", ".data.a_very_lo"},
        Case{"we-ird", ".data", "we_ird.data"}}) {
    ElfForTests elf = minimal();
    if (std::string_view(c.section) == ".bss") {
      elf.add({c.section, elf::kNobits, 3, {}, 0, 0, 0, 24});
    } else {
      elf.add_data(c.section, Bytes(24, 7));
    }
    ReadOptions options;
    options.object_name = c.object;
    auto object = read_object(elf.bytes(), options);
    ASSERT_TRUE(object) << object.error().to_string();
    ASSERT_EQ(object->maps.size(), 1u);
    EXPECT_EQ(object->maps[0].name, c.name);
    EXPECT_EQ(object->maps[0].section, c.section);
    EXPECT_EQ(object->maps[0].value_size, 24u);
  }
}

TEST(ObjectReaderTest, ObjectNamesFromPaths) {
  EXPECT_EQ(object_name_of("build/xdp_fw.bpf.o"), "xdp_fw");
  EXPECT_EQ(object_name_of("a.o"), "a");
  EXPECT_EQ(object_name_of("/x/a_name_of_sixteen_and_more.o"), "a_name_of_sixte");
  EXPECT_EQ(object_name_of("noext"), "noext");
}

TEST(ObjectReaderTest, TextFunctionsArePrograms) {
  ElfForTests elf;
  const auto code = elf.add_code(".text", code_of({kReturnZero, kExit}));
  elf.add_function("prog", code, 0, 16);
  auto object = read_object(elf.bytes());
  ASSERT_TRUE(object);
  EXPECT_THAT(object->programs, IsEmpty());
  ReadOptions options;
  options.text_programs = true;
  object = read_object(elf.bytes(), options);
  ASSERT_TRUE(object);
  ASSERT_EQ(object->programs.size(), 1u);
  EXPECT_EQ(object->programs[0].type, 0u);
}

TEST(ObjectReaderTest, UnknownDataIsNoted) {
  ElfForTests elf = minimal();
  elf.add_data(".maps_misspelt", Bytes(8));
  auto object = read_object(elf.bytes());
  ASSERT_TRUE(object);
  EXPECT_THAT(object->notes, ElementsAre(HasSubstr("'.maps_misspelt'")));
}

// --- what a small hostile object can ask for

TEST(ObjectReaderTest, ManyNamesForOneLargeFunctionStayBounded) {
  // 2000 programs of 1000 instructions each are 2 million; what is over the budget is a defect, not
  // memory.
  ElfForTests elf;
  std::vector<RawInsn> slots(1000, kReturnZero);
  slots.back() = kExit;
  const auto code = elf.add_code("xdp", code_of(slots));
  for (int i = 0; i < 2000; ++i)
    elf.add_function("p" + std::to_string(i), code, 0, slots.size() * kSlotBytes);
  auto object = read_object(elf.bytes());
  ASSERT_TRUE(object) << object.error().to_string();
  std::size_t slots_total = 0;
  std::size_t defects = 0;
  for (const ProgramSpec& program : object->programs) {
    slots_total += program.insns.size();
    defects += program.defect.has_value();
  }
  EXPECT_EQ(slots_total, limits::kObjectSlotsMax);
  EXPECT_EQ(defects, 1000u);
}

TEST(ObjectReaderTest, SubprogramsAtTheLimitAndOnePast) {
  for (const std::size_t over : {0u, 1u}) {
    // A chain: each function calls the next.
    const std::size_t count = limits::kSubprogramsMax + over;
    std::vector<RawInsn> slots;
    for (std::size_t i = 0; i + 1 < count; ++i) slots.insert(slots.end(), {call_of(1), kExit});
    slots.insert(slots.end(), {kReturnZero, kExit});
    ElfForTests elf;
    const auto code = elf.add_code("xdp", code_of(slots));
    for (std::size_t i = 0; i < count; ++i)
      elf.add_function("f" + std::to_string(i), code, i * 16, 16);
    auto object = read_object(elf.bytes());
    ASSERT_TRUE(object) << object.error().to_string();
    EXPECT_EQ(object->programs[0].defect.has_value(), over == 1);
    if (over == 1) {
      EXPECT_THAT(object->programs[0].defect->message, HasSubstr("more than 256 functions"));
    } else {
      EXPECT_EQ(object->programs[0].functions.size(), limits::kSubprogramsMax);
    }
  }
}

TEST(ObjectReaderTest, MeaninglessRelocationsAtTheLimitAndOnePast) {
  for (const std::size_t over : {0u, 1u}) {
    const std::size_t count = limits::kObjectDefectsMax + over;
    ElfForTests elf;
    std::vector<RawInsn> slots(count, kReturnZero);  // moves take no relocation
    slots.push_back(kExit);
    const auto code = elf.add_code("xdp", code_of(slots));
    elf.add_function("prog", code, 0, slots.size() * kSlotBytes);
    const auto symbol =
        elf.add_symbol("thing", elf::kSectionAbsolute, 0, 8, elf::kObject, elf::kGlobal);
    std::vector<std::pair<std::uint64_t, std::uint32_t>> entries;
    for (std::size_t i = 0; i < count; ++i) entries.emplace_back(i * kSlotBytes, symbol);
    elf.add_relocations(code, entries);
    auto object = read_object(elf.bytes());
    EXPECT_EQ(object.has_value(), over == 0);
    if (object) {
      EXPECT_TRUE(object->programs[0].defect);
      EXPECT_EQ(object->programs[0].insns.size(), slots.size()) << "to be looked at";
    } else {
      EXPECT_EQ(object.error().code, ErrorCode::kLimitExceeded);
    }
  }
}

TEST(ObjectReaderTest, LongNamesTogetherStayBounded) {
  // Each function has the longest name; programs that go over the budget have a defect instead of
  // memory.
  ElfForTests elf;
  const auto code = elf.add_code("xdp", code_of({kReturnZero, kExit}));
  const std::string name(limits::kNameBytesMax, 'n');
  const std::size_t fitting = limits::kObjectNamesBytesMax / name.size();
  for (std::size_t i = 0; i < fitting + 1; ++i) elf.add_function(name, code, 0, 16);
  auto object = read_object(elf.bytes());
  ASSERT_TRUE(object) << object.error().to_string();
  EXPECT_FALSE(object->programs[fitting - 1].defect);
  ASSERT_TRUE(object->programs[fitting].defect);
  EXPECT_EQ(object->programs[fitting].defect->code, ErrorCode::kLimitExceeded);
}

TEST(ObjectReaderTest, RecursionIsLinkedOnce) {
  ElfForTests elf;
  const auto code = elf.add_code("xdp", code_of({call_of(-1), kExit}));
  elf.add_function("self", code, 0, 16);
  auto object = read_object(elf.bytes());
  ASSERT_TRUE(object);
  ASSERT_FALSE(object->programs[0].defect) << object->programs[0].defect->to_string();
  EXPECT_EQ(object->programs[0].insns[0].imm, -1);
}

}  // namespace
}  // namespace lmn
