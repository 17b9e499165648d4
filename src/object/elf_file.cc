// SPDX-License-Identifier: Apache-2.0
//
// Parsing of ELF: header, section headers, their names, symbols; relocations on request. See
// elf_file.h for what holds afterwards. Tested by elf_file_test.cc.
#include "object/elf_file.h"

#include <fmt/format.h>

#include <algorithm>

#include "abi/limits.h"
#include "base/assert.h"
#include "object/elf_numbers.h"
#include "object/file_kind.h"

namespace lmn {
namespace {

std::unexpected<Error> malformed(std::string message) {
  return make_error(ErrorCode::kMalformed, "elf: " + std::move(message),
                    "compile it again; the file is damaged or cut off");
}

struct Header {
  std::uint64_t sections_at = 0;
  std::uint16_t section_header_bytes = 0;
  std::uint16_t section_count = 0;
  std::uint16_t names_index = 0;
};

Result<void> check_identity(ByteSpan bytes) {
  if (bytes.size() < elf::kHeaderBytes) {
    return malformed(
        fmt::format("{} bytes, the header alone takes {}", bytes.size(), elf::kHeaderBytes));
  }
  if (bytes[4] != elf::kClass64 && bytes[5] != elf::kDataBig) {
    return make_error(ErrorCode::kNotSupported,
                      fmt::format("this is {}: no BPF object", describe_file(bytes)),
                      "compile with clang -target bpf");
  }
  if (bytes[5] == elf::kDataBig) {
    return make_error(
        ErrorCode::kNotSupported,
        fmt::format("big-endian object ({}): this machine runs little-endian BPF only",
                    describe_file(bytes)),
        "compile with -target bpfel (or bpf on a little-endian machine)");
  }
  if (bytes[5] != elf::kDataLittle) return malformed(fmt::format("data encoding {}", bytes[5]));
  return {};
}

Result<Header> parse_header(ByteSpan bytes) {
  LMN_CHECK_OK(check_identity(bytes));
  ByteReader reader(bytes);
  reader.skip(16);
  const std::uint16_t type = *reader.u16();
  const std::uint16_t machine = *reader.u16();
  if (machine != elf::kMachineBpf && machine != elf::kMachineNone) {
    return make_error(ErrorCode::kNotSupported,
                      fmt::format("this is {}: not compiled for BPF", describe_file(bytes)),
                      "compile with clang -target bpf");
  }
  if (type != elf::kTypeRelocatable) {
    return make_error(ErrorCode::kNotSupported,
                      fmt::format("elf type {}: only relocatable objects hold BPF programs", type),
                      "compile with -c, and link with 'bpftool gen object' if at all");
  }
  reader.skip(4 + 8 + 8);  // version, entry, program headers
  Header header;
  header.sections_at = *reader.u64();
  reader.skip(4 + 2 + 2 + 2);  // flags, header size, program header size and count
  header.section_header_bytes = *reader.u16();
  header.section_count = *reader.u16();
  header.names_index = *reader.u16();
  if (header.sections_at == 0) return malformed("no section headers");
  if (header.section_header_bytes != elf::kSectionHeaderBytes) {
    return malformed(fmt::format("section headers of {} bytes", header.section_header_bytes));
  }
  return header;
}

// One section header; its name is still an offset.
struct RawSection {
  std::uint32_t name_off = 0;
  ElfSection section;
  std::uint64_t offset = 0;
};

RawSection parse_section_header(ByteReader reader) {
  RawSection out;
  out.name_off = *reader.u32();
  out.section.type = *reader.u32();
  out.section.flags = *reader.u64();
  reader.skip(8);  // address
  out.offset = *reader.u64();
  out.section.size = *reader.u64();
  out.section.link = *reader.u32();
  out.section.info = *reader.u32();
  reader.skip(8);  // alignment
  out.section.entry_size = *reader.u64();
  return out;
}

}  // namespace

bool ElfSection::is_code() const { return type == elf::kProgbits && (flags & elf::kFlagExec) != 0; }

bool ElfSymbol::is_global() const { return bind == elf::kGlobal || bind == elf::kWeak; }

bool ElfSymbol::is_undefined() const {
  return section == elf::kSectionUndefined && is_global() && type == elf::kNotype;
}

bool ElfSymbol::is_hidden() const {
  return visibility == elf::kHidden || visibility == elf::kInternal;
}

Result<ElfFile> ElfFile::parse(ByteSpan bytes) {
  ElfFile file;
  LMN_CHECK_OK(file.parse_sections(bytes));
  LMN_CHECK_OK(file.parse_symbols());
  return file;
}

Result<void> ElfFile::parse_sections(ByteSpan bytes) {
  LMN_TRY(const Header header, parse_header(bytes));
  ByteReader reader(bytes);
  std::uint64_t count = header.section_count;
  std::uint64_t names_index = header.names_index;
  const auto first = reader.sub(header.sections_at, elf::kSectionHeaderBytes);
  if (!first)
    return malformed(
        fmt::format("section headers at {} of {} bytes", header.sections_at, bytes.size()));
  const RawSection null_section = parse_section_header(ByteReader(*first));
  // Counts that do not fit 16 bits are kept in the otherwise empty first header.
  if (count == 0) count = null_section.section.size;
  if (names_index == elf::kSectionExtended) names_index = null_section.section.link;
  if (count > limits::kSectionsMax) {
    return make_error(ErrorCode::kLimitExceeded,
                      fmt::format("elf: {} sections, {} are read", count, limits::kSectionsMax));
  }
  const auto table = reader.sub(header.sections_at, count * elf::kSectionHeaderBytes);
  if (!table) {
    return malformed(fmt::format("{} section headers at {} reach past the end at {}", count,
                                 header.sections_at, bytes.size()));
  }
  if (names_index >= count)
    return malformed(fmt::format("section names in section {} of {}", names_index, count));
  std::uint64_t bytes_total = 0;
  std::vector<std::uint32_t> name_offs;
  ByteReader headers(*table);
  for (std::uint32_t i = 0; i < count; ++i) {
    RawSection raw = parse_section_header(ByteReader(*headers.bytes(elf::kSectionHeaderBytes)));
    raw.section.index = i;
    if (i != 0 && raw.section.type != elf::kNobits && raw.section.type != elf::kNull) {
      const auto data = reader.sub(raw.offset, raw.section.size);
      if (!data) {
        return malformed(fmt::format("section {} at {}+{} reaches past the end at {}", i,
                                     raw.offset, raw.section.size, bytes.size()));
      }
      raw.section.data = *data;
      bytes_total += data->size();
    }
    name_offs.push_back(raw.name_off);
    sections_.push_back(raw.section);
  }
  if (bytes_total > bytes.size()) {
    return malformed(fmt::format("sections overlap: {} bytes of contents in {} bytes", bytes_total,
                                 bytes.size()));
  }
  for (std::uint32_t i = 0; i < count; ++i) {
    const auto name = string_at(sections_[names_index].data, name_offs[i]);
    if (!name && i != 0)
      return malformed(
          fmt::format("section {}: its name at {} is outside the names", i, name_offs[i]));
    sections_[i].name = name.value_or("");
    if (sections_[i].name.size() > limits::kNameBytesMax) {
      return malformed(fmt::format("section {}: a name of {} bytes", i, sections_[i].name.size()));
    }
  }
  return {};
}

Result<void> ElfFile::parse_symbols() {
  const ElfSection* table = nullptr;
  for (const ElfSection& section : sections_) {
    if (section.type != elf::kSymtab) continue;
    if (table != nullptr)
      return malformed(
          fmt::format("two symbol tables, sections {} and {}", table->index, section.index));
    table = &section;
  }
  if (table == nullptr) {
    return make_error(ErrorCode::kMalformed, "elf: no symbol table",
                      "do not strip the object ('strip -g' keeps what is needed)");
  }
  if (table->link == 0 || table->link >= sections_.size() ||
      sections_[table->link].type != elf::kStrtab) {
    return malformed(
        fmt::format("symbol table: names in section {}, which is no string table", table->link));
  }
  if (table->data.size() % elf::kSymbolBytes != 0) {
    return malformed(fmt::format("symbol table of {} bytes", table->data.size()));
  }
  const ByteSpan names = sections_[table->link].data;
  ByteReader reader(table->data);
  symbols_.reserve(table->data.size() / elf::kSymbolBytes);
  while (reader.remaining() > 0) {
    const std::size_t index = symbols_.size();
    ElfSymbol symbol;
    const std::uint32_t name_off = *reader.u32();
    const std::uint8_t info = *reader.u8();
    symbol.visibility = *reader.u8() & 3;
    symbol.section = *reader.u16();
    symbol.value = *reader.u64();
    symbol.size = *reader.u64();
    symbol.bind = info >> 4;
    symbol.type = info & 15;
    const auto name = string_at(names, name_off);
    if (!name)
      return malformed(
          fmt::format("symbol {}: its name at {} is outside the names", index, name_off));
    if (name->size() > limits::kNameBytesMax) {
      return malformed(fmt::format("symbol {}: a name of {} bytes", index, name->size()));
    }
    symbol.name = *name;
    if (symbol.section >= sections_.size() && symbol.section < elf::kSectionReservedFirst) {
      return malformed(fmt::format("symbol {} '{}': in section {} of {}", index, symbol.name,
                                   symbol.section, sections_.size()));
    }
    symbols_.push_back(symbol);
  }
  return {};
}

const ElfSection* ElfFile::find_section(std::string_view name) const {
  auto found = std::ranges::find(sections_, name, &ElfSection::name);
  return found == sections_.end() ? nullptr : &*found;
}

std::string_view ElfFile::symbol_label(const ElfSymbol& symbol) const {
  if (!symbol.name.empty() || symbol.section >= sections_.size()) return symbol.name;
  return sections_[symbol.section].name;
}

Result<std::vector<ElfRelocation>> ElfFile::relocations(const ElfSection& section) const {
  LMN_ASSERT(section.type == elf::kRel);
  if (section.data.size() % elf::kRelBytes != 0 || section.entry_size != elf::kRelBytes) {
    return malformed(fmt::format("section '{}': {} bytes in relocations of {}", section.name,
                                 section.data.size(), section.entry_size));
  }
  std::vector<ElfRelocation> out;
  out.reserve(section.data.size() / elf::kRelBytes);
  ByteReader reader(section.data);
  while (reader.remaining() > 0) {
    ElfRelocation relocation;
    relocation.offset = *reader.u64();
    const std::uint64_t info = *reader.u64();
    relocation.symbol = static_cast<std::uint32_t>(info >> 32);
    relocation.type = static_cast<std::uint32_t>(info);
    if (relocation.symbol >= symbols_.size()) {
      return malformed(fmt::format("section '{}': relocation {} against symbol {} of {}",
                                   section.name, out.size(), relocation.symbol, symbols_.size()));
    }
    out.push_back(relocation);
  }
  return out;
}

}  // namespace lmn
