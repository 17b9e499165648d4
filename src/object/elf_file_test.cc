// SPDX-License-Identifier: Apache-2.0
//
// Goal: what elf_file.h promises about sections, symbols and relocations holds for every file it
// accepts, and what it refuses it names; files that are no objects are called by their names.
// Method: objects written byte by byte, each broken in one place.
#include "object/elf_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "abi/limits.h"
#include "object/elf_for_tests.h"
#include "object/file_kind.h"

namespace lmn {
namespace {

using ::testing::HasSubstr;

using Bytes = std::vector<std::uint8_t>;

Bytes patched(Bytes bytes, std::size_t at, std::vector<std::uint8_t> with) {
  std::copy(with.begin(), with.end(), bytes.begin() + static_cast<std::ptrdiff_t>(at));
  return bytes;
}

// Where the header of section `index` stands.
std::size_t header_at(const Bytes& bytes, std::size_t index) {
  return load_unaligned<std::uint64_t>(bytes.data() + 40, std::endian::little) +
         index * elf::kSectionHeaderBytes;
}

ElfForTests small() {
  ElfForTests elf;
  const auto code = elf.add_code("xdp", Bytes(16));
  elf.add_function("prog", code, 0, 16);
  elf.add_relocations(code, {{8, 1}});
  return elf;
}

TEST(ElfFileTest, SectionsSymbolsRelocations) {
  const Bytes bytes = small().bytes();
  auto file = ElfFile::parse(bytes);
  ASSERT_TRUE(file) << file.error().to_string();
  const ElfSection* code = file->find_section("xdp");
  ASSERT_NE(code, nullptr);
  EXPECT_TRUE(code->is_code());
  EXPECT_EQ(code->data.size(), 16u);
  ASSERT_EQ(file->symbols().size(), 2u);
  EXPECT_EQ(file->symbols()[1].name, "prog");
  EXPECT_EQ(file->symbols()[1].section, code->index);
  const ElfSection* rel = file->find_section(".relxdp");
  ASSERT_NE(rel, nullptr);
  auto relocations = file->relocations(*rel);
  ASSERT_TRUE(relocations);
  ASSERT_EQ(relocations->size(), 1u);
  EXPECT_EQ((*relocations)[0].offset, 8u);
  EXPECT_EQ((*relocations)[0].symbol, 1u);
}

TEST(ElfFileTest, DamagedFilesAreRefusedByPlace) {
  const Bytes good = small().bytes();
  const std::vector<std::uint8_t> huge(8, 0xff);
  struct Case {
    Bytes bytes;
    const char* message;
  };
  const Case cases[] = {
      {Bytes(good.begin(), good.begin() + 40), "the header alone takes 64"},
      {patched(good, 40, huge), "section headers at"},
      {patched(good, 40, Bytes(8)), "no section headers"},
      {patched(good, 58, {1, 0}), "section headers of 1 bytes"},
      {patched(good, 60, {0xff, 0x7f}), "reach past the end"},
      {patched(good, 62, {0xfe, 0x7f}), "section names in section"},
      {patched(good, header_at(good, 1) + 24, huge), "section 1 at"},
      {patched(good, header_at(good, 1) + 32, huge), "section 1 at"},
      {patched(good, header_at(good, 1), {0xff, 0xff, 0xff, 0xff}), "outside the names"},
      {patched(good, header_at(good, 4) + 40, {1}), "which is no string table"},
      {patched(good, header_at(good, 4) + 32, {25}), "symbol table of 25 bytes"},
      {patched(good, header_at(good, 4) + 4, {1}), "no symbol table"},
      {patched(good, header_at(good, 2) + 4, {2}), "two symbol tables"},
      {patched(good, 5, {2}), "big-endian object"},
      {patched(good, 4, {1}), "32-bit"},
      {patched(good, 5, {9}), "data encoding 9"},
      {patched(good, 18, {62, 0}), "an x86-64 object file: not compiled for BPF"},
      {patched(good, 16, {3, 0}), "only relocatable objects"},
  };
  for (const Case& c : cases) {
    auto file = ElfFile::parse(c.bytes);
    ASSERT_FALSE(file) << c.message;
    EXPECT_THAT(file.error().message, HasSubstr(c.message));
  }
}

TEST(ElfFileTest, OverlappingSectionsAreRefused) {
  // Two headers for the same bytes: each is inside the file, together they are larger than it.
  Bytes bytes = small().bytes();
  const std::uint64_t size = bytes.size();
  for (const std::size_t index : {std::size_t{1}, std::size_t{2}}) {
    bytes = patched(bytes, header_at(bytes, index) + 24, Bytes(8));
    for (int i = 0; i < 8; ++i)
      bytes[header_at(bytes, index) + 32 + i] = static_cast<std::uint8_t>(size >> (8 * i));
  }
  auto file = ElfFile::parse(bytes);
  ASSERT_FALSE(file);
  EXPECT_THAT(file.error().message, HasSubstr("sections overlap"));
}

TEST(ElfFileTest, SymbolsAreCheckedAgainstSectionsAndNames) {
  ElfForTests elf = small();
  elf.add_symbol("lost", 77, 0, 8, elf::kObject, elf::kGlobal);
  auto file = ElfFile::parse(elf.bytes());
  ASSERT_FALSE(file);
  EXPECT_THAT(file.error().message, HasSubstr("symbol 2 'lost': in section 77"));
  ElfForTests special = small();
  special.add_symbol("shared", elf::kSectionCommon, 8, 8, elf::kObject, elf::kGlobal);
  EXPECT_TRUE(ElfFile::parse(special.bytes()));
  for (const std::size_t over : {0u, 1u}) {
    ElfForTests named = small();
    named.add_symbol(std::string(limits::kNameBytesMax + over, 'n'), 1, 0, 8, elf::kFunc,
                     elf::kGlobal);
    EXPECT_EQ(ElfFile::parse(named.bytes()).has_value(), over == 0);
  }
}

TEST(ElfFileTest, RelocationsAgainstNothing) {
  ElfForTests elf = small();
  elf.add_relocations(1, {{0, 99}});
  const Bytes bytes = elf.bytes();
  auto file = ElfFile::parse(bytes);
  ASSERT_TRUE(file) << file.error().to_string();
  auto relocations = file->relocations(file->section(3));
  ASSERT_FALSE(relocations);
  EXPECT_THAT(relocations.error().message, HasSubstr("relocation 0 against symbol 99 of 2"));
}

TEST(ElfFileTest, EveryPrefixIsRefusedOrRead) {
  const Bytes good = small().bytes();
  for (std::size_t size = 4; size < good.size(); ++size) {
    EXPECT_FALSE(ElfFile::parse(ByteSpan(good).first(size))) << size;
  }
}

TEST(FileKindTest, NamesWhatPeopleHandOver) {
  const auto kind = [](std::string_view text) {
    return describe_file(ByteSpan(reinterpret_cast<const std::uint8_t*>(text.data()), text.size()));
  };
  using namespace std::string_view_literals;
  EXPECT_EQ(kind(""), "an empty file");
  EXPECT_EQ(kind("\x89PNG\r\n\x1a\n"), "a PNG image");
  EXPECT_EQ(kind("#!/bin/sh\nexit 0\n"), "a shell script");
  EXPECT_EQ(kind("#!/usr/bin/python3\n"), "a script");
  EXPECT_EQ(kind("BC\xc0\xde\x35\x14"), "LLVM bitcode");
  EXPECT_EQ(kind("#include <linux/bpf.h>\n"), "C source");
  EXPECT_EQ(kind("just words\n"), "a text file");
  EXPECT_EQ(kind("\xd4\xc3\xb2\xa1\x02\x00"sv), "a packet capture (pcap)");
  EXPECT_EQ(kind("\x01\x02\x03\x04\x05"), "a file of unknown kind (starts 01 02 03 04)");
  EXPECT_EQ(kind("\x7f"
                 "ELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\x00\x3e\x00"sv),
            "an x86-64 executable");
  EXPECT_EQ(kind("\x7f"
                 "ELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x01\x00\xb7\x00"sv),
            "an AArch64 object file");
  EXPECT_EQ(kind("\x7f"
                 "ELF\x01\x02"),
            "the start of an ELF file");
}

}  // namespace
}  // namespace lmn
