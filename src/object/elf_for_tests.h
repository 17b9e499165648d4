// SPDX-License-Identifier: Apache-2.0
//
// ElfForTests: writes small BPF objects, so that tests can break exactly one thing of them. For
// tests only.
//
//   ElfForTests elf;
//   const auto code = elf.add_code("xdp", {0xb7, 0, 0, 0, 2, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0});
//   elf.add_function("prog", code, 0, 16);
//   read_object(elf.bytes());
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "object/elf_numbers.h"

namespace lmn {

class ElfForTests {
 public:
  struct Section {
    std::string name;
    std::uint32_t type = elf::kProgbits;
    std::uint64_t flags = 0;
    std::vector<std::uint8_t> data;
    std::uint32_t link = 0;
    std::uint32_t info = 0;
    std::uint64_t entry_size = 0;
    std::uint64_t size = 0;  // of NOBITS; else that of data
  };

  ElfForTests() {
    sections.push_back({"", elf::kNull, 0, {}, 0, 0, 0, 0});
    add_symbol("", 0, 0, 0, 0, 0);
  }

  std::uint32_t add(Section section) {
    sections.push_back(std::move(section));
    return static_cast<std::uint32_t>(sections.size() - 1);
  }
  std::uint32_t add_code(std::string name, std::vector<std::uint8_t> data) {
    return add({std::move(name), elf::kProgbits, elf::kFlagExec, std::move(data), 0, 0, 0, 0});
  }
  std::uint32_t add_data(std::string name, std::vector<std::uint8_t> data) {
    return add({std::move(name), elf::kProgbits, 2, std::move(data), 0, 0, 0, 0});
  }
  std::uint32_t add_symbol(std::string_view name, std::uint32_t section, std::uint64_t value,
                           std::uint64_t size, std::uint8_t type, std::uint8_t bind) {
    const auto name_off = static_cast<std::uint32_t>(names_.size());
    names_ += name;
    names_.push_back('\0');
    put(symbols_, name_off, 4);
    put(symbols_, static_cast<std::uint64_t>(bind << 4 | type), 1);
    put(symbols_, 0, 1);
    put(symbols_, section, 2);
    put(symbols_, value, 8);
    put(symbols_, size, 8);
    return symbol_count_++;
  }
  std::uint32_t add_function(std::string_view name, std::uint32_t section, std::uint64_t value,
                             std::uint64_t size) {
    return add_symbol(name, section, value, size, elf::kFunc, elf::kGlobal);
  }
  void add_relocations(std::uint32_t target,
                       std::vector<std::pair<std::uint64_t, std::uint32_t>> entries) {
    std::vector<std::uint8_t> data;
    for (const auto& [offset, symbol] : entries) {
      put(data, offset, 8);
      put(data, std::uint64_t{symbol} << 32 | 1, 8);
    }
    add({".rel" + sections[target].name, elf::kRel, 0, std::move(data), 0, target, elf::kRelBytes,
         0});
  }

  std::vector<std::uint8_t> bytes() const {
    std::vector<Section> all = sections;
    std::vector<std::uint8_t> strings(names_.begin(), names_.end());
    all.push_back({".strtab", elf::kStrtab, 0, std::move(strings), 0, 0, 0, 0});
    const auto strtab = static_cast<std::uint32_t>(all.size() - 1);
    all.push_back({".symtab", elf::kSymtab, 0, symbols_, strtab, 1, elf::kSymbolBytes, 0});
    all.push_back({".shstrtab", elf::kStrtab, 0, {}, 0, 0, 0, 0});
    std::string section_names;
    std::vector<std::uint32_t> name_offs;
    for (const Section& section : all) {
      name_offs.push_back(static_cast<std::uint32_t>(section_names.size()));
      section_names += section.name;
      section_names.push_back('\0');
    }
    all.back().data.assign(section_names.begin(), section_names.end());
    std::vector<std::uint8_t> out(elf::kHeaderBytes);
    std::vector<std::uint64_t> offsets;
    for (const Section& section : all) {
      offsets.push_back(out.size());
      out.insert(out.end(), section.data.begin(), section.data.end());
    }
    const std::uint64_t headers_at = out.size();
    for (std::size_t i = 0; i < all.size(); ++i) put_header(out, all[i], name_offs[i], offsets[i]);
    write_identity(out, headers_at, all.size());
    return out;
  }

  std::vector<Section> sections;

 private:
  static void put(std::vector<std::uint8_t>& out, std::uint64_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) out.push_back(static_cast<std::uint8_t>(value >> (8 * i)));
  }
  static void put_header(std::vector<std::uint8_t>& out, const Section& section,
                         std::uint32_t name_off, std::uint64_t offset) {
    put(out, name_off, 4);
    put(out, section.type, 4);
    put(out, section.flags, 8);
    put(out, 0, 8);
    put(out, section.type == elf::kNull ? 0 : offset, 8);
    put(out, section.type == elf::kNobits ? section.size : section.data.size(), 8);
    put(out, section.link, 4);
    put(out, section.info, 4);
    put(out, 1, 8);
    put(out, section.entry_size, 8);
  }
  static void write_identity(std::vector<std::uint8_t>& out, std::uint64_t headers_at,
                             std::size_t count) {
    std::vector<std::uint8_t> head = {0x7f, 'E', 'L', 'F', elf::kClass64, elf::kDataLittle, 1};
    head.resize(16);
    put(head, elf::kTypeRelocatable, 2);
    put(head, elf::kMachineBpf, 2);
    put(head, 1, 4);
    put(head, 0, 8);
    put(head, 0, 8);
    put(head, headers_at, 8);
    put(head, 0, 4);
    put(head, elf::kHeaderBytes, 2);
    put(head, 0, 2);
    put(head, 0, 2);
    put(head, elf::kSectionHeaderBytes, 2);
    put(head, count, 2);
    put(head, count - 1, 2);
    std::copy(head.begin(), head.end(), out.begin());
  }

  std::string names_;
  std::vector<std::uint8_t> symbols_;
  std::uint32_t symbol_count_ = 0;
};

}  // namespace lmn
