// SPDX-License-Identifier: Apache-2.0
//
// ElfFile: the sections, symbols and relocations of one relocatable ELF64 object, as checked
// values.
//
// This is the ELF half of reading an object; it knows nothing of BPF beyond the machine number. The
// bytes are walked with ByteReader, every offset and size is compared in 64 bits, and what comes
// out are views into the caller's bytes that no later stage has to check again.
//
// Invariants after parse(): (1) each section's data lies in the file, and all of them together are
// no larger than it (so nothing downstream can be made to look at the same bytes over and over);
// (2) each name ends inside its string table; (3) each symbol's section is one of ours or one of
// the reserved numbers; (4) relocations() gives symbols that exist. Threads: a plain value of
// views; the bytes must outlive it. Tested by elf_file_test.cc and fuzz/object_fuzz.cc. Source:
// System V ABI, ELF-64 object file format; Linux 6.18, Documentation/bpf/llvm_reloc.rst.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/byte_reader.h"
#include "base/result.h"

namespace lmn {

struct ElfSection {
  std::uint32_t index = 0;
  std::string_view name;
  std::uint32_t type = 0;   // SHT_*
  std::uint64_t flags = 0;  // SHF_*
  std::uint64_t size = 0;   // of NOBITS sections too
  std::uint32_t link = 0;
  std::uint32_t info = 0;
  std::uint64_t entry_size = 0;
  ByteSpan data;  // empty for NOBITS

  bool is_code() const;
};

struct ElfSymbol {
  std::string_view name;
  std::uint64_t value = 0;
  std::uint64_t size = 0;
  std::uint32_t section = 0;    // index, or SHN_*
  std::uint8_t type = 0;        // STT_*
  std::uint8_t bind = 0;        // STB_*
  std::uint8_t visibility = 0;  // STV_*

  bool is_undefined() const;  // an extern: no section, no type, global or weak
  bool is_global() const;     // STB_GLOBAL or STB_WEAK
  bool is_hidden() const;     // STV_HIDDEN or STV_INTERNAL
};

struct ElfRelocation {
  std::uint64_t offset = 0;  // in the section it changes
  std::uint32_t symbol = 0;  // index into symbols()
  std::uint32_t type = 0;    // R_BPF_*
};

class ElfFile {
 public:
  // Errors: kMalformed with the section or symbol; kNotSupported for big-endian or 32-bit files,
  // executables, other machines. REQUIRES: `bytes` start with the ELF magic (file_kind.h says what
  // other files are).
  static Result<ElfFile> parse(ByteSpan bytes);

  const std::vector<ElfSection>& sections() const { return sections_; }
  const std::vector<ElfSymbol>& symbols() const {
    return symbols_;
  }  // the first is the null symbol

  // The first section of that name, or null.
  const ElfSection* find_section(std::string_view name) const;
  // REQUIRES: index < sections().size().
  const ElfSection& section(std::uint32_t index) const { return sections_[index]; }
  // The name for messages: that of the symbol, or of its section for a section symbol.
  std::string_view symbol_label(const ElfSymbol& symbol) const;

  // The entries of one SHT_REL section.
  Result<std::vector<ElfRelocation>> relocations(const ElfSection& section) const;

 private:
  Result<void> parse_sections(ByteSpan bytes);
  Result<void> name_sections(std::uint32_t names_index);
  Result<void> parse_symbols();

  std::vector<ElfSection> sections_;
  std::vector<ElfSymbol> symbols_;
};

}  // namespace lmn
