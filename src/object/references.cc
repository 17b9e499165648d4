// SPDX-License-Identifier: Apache-2.0
//
// Relocations of code, whatever their kind, to References: this slot means that map, value,
// function or extern.
//
// The compiler writes a relocation against a symbol, or, for static things, against their section
// with the offset in the instruction: after this file that difference is gone. A relocation that
// makes no sense becomes a broken reference with its reason, and spoils only the programs that
// contain it. Tested by object_reader_test.cc and tests/objects/objects_test.cc. Source:
// Linux 6.18, Documentation/bpf/llvm_reloc.rst.
#include <fmt/format.h>

#include <algorithm>

#include "object/elf_numbers.h"
#include "object/object_draft.h"

namespace lmn {
namespace {

class ReferenceReader {
 public:
  ReferenceReader(ObjectDraft& draft, std::uint32_t code_index)
      : draft_(draft), code_(draft.code[code_index]) {}

  Result<void> read(const ElfSection& relocations);

 private:
  Result<SlotReference> resolve(const RawInsn& insn, const ElfRelocation& relocation);
  Result<SlotReference> resolve_extern(const RawInsn& insn, std::uint32_t symbol_index);
  Result<SlotReference> resolve_function(const ElfSymbol& symbol, std::int64_t offset,
                                         ReferenceKind kind);
  Result<SlotReference> resolve_data(const RawInsn& insn, const ElfSymbol& symbol);
  std::unexpected<Error> refuse(std::string message, std::string remedy = {}) const {
    return error_at(code_.name, offset_, std::move(message), std::move(remedy));
  }

  ObjectDraft& draft_;
  CodeSection& code_;
  std::uint64_t offset_ = 0;  // of the relocation at hand
};

Result<void> ReferenceReader::read(const ElfSection& section) {
  LMN_TRY(const auto relocations, draft_.elf.relocations(section));
  for (const ElfRelocation& relocation : relocations) {
    offset_ = relocation.offset;
    const std::uint64_t slot = relocation.offset / kSlotBytes;
    if (relocation.offset % kSlotBytes != 0 || slot >= code_.slots.size()) {
      return refuse(fmt::format("relocation {} is at no instruction of {}", relocation.symbol,
                                code_.slots.size()));
    }
    auto reference = resolve(code_.slots[slot], relocation);
    if (!reference) {
      LMN_TRY(const std::uint32_t index, draft_.add_error(std::move(reference).error()));
      reference = SlotReference{0, ReferenceKind::kBroken, index, 0};
    }
    reference->slot = static_cast<std::uint32_t>(slot);
    code_.references.push_back(*reference);
  }
  return {};
}

Result<SlotReference> ReferenceReader::resolve(const RawInsn& insn,
                                               const ElfRelocation& relocation) {
  const ElfSymbol& symbol = draft_.elf.symbols()[relocation.symbol];
  const std::string_view label = draft_.elf.symbol_label(symbol);
  if (!insn.is_call() && !insn.is_lddw()) {
    return refuse(fmt::format(
        "relocation against '{}' on opcode 0x{:02x}, which is neither a call nor a 64-bit load",
        label, insn.code));
  }
  if (symbol.is_undefined()) return resolve_extern(insn, relocation.symbol);
  if (insn.is_call()) {
    if (insn.src != BPF_PSEUDO_CALL) {
      return refuse(
          fmt::format("relocation against '{}' on a call that is none of a function", label));
    }
    const std::int64_t slot = std::int64_t{insn.imm} + 1;
    return resolve_function(symbol, slot * static_cast<std::int64_t>(kSlotBytes),
                            ReferenceKind::kCall);
  }
  if (symbol.section >= elf::kSectionReservedFirst || symbol.section == elf::kSectionUndefined) {
    const bool is_common = symbol.section == elf::kSectionCommon;
    return refuse(fmt::format("'{}' lies in no section ({})", label,
                              is_common ? "common" : "absolute or undefined"),
                  is_common ? "give the variable a value, or compile with -fno-common" : "");
  }
  if (draft_.code_of_section(symbol.section)) {
    return resolve_function(symbol, insn.imm, ReferenceKind::kFunctionAddress);
  }
  return resolve_data(insn, symbol);
}

Result<SlotReference> ReferenceReader::resolve_extern(const RawInsn& insn,
                                                      std::uint32_t symbol_index) {
  const std::string_view name = draft_.elf.symbols()[symbol_index].name;
  auto found = draft_.extern_of_symbol.find(symbol_index);
  if (found == draft_.extern_of_symbol.end()) {
    return refuse(fmt::format("'{}' is declared but not defined in this object", name),
                  draft_.btf == nullptr
                      ? "compile with -g if it is a kernel function or variable"
                      : "define it, link the object that does (bpftool gen object), or declare it "
                        "__ksym if it is the kernel's");
  }
  const Extern& target = draft_.externs[found->second];
  SlotReference reference{0, ReferenceKind::kKsym, found->second, 0};
  switch (target.kind) {
    case ExternKind::kKconfig:
      reference.kind = ReferenceKind::kKconfig;
      break;
    case ExternKind::kKsym:
      break;
    case ExternKind::kKfunc:
      // A weak one may be asked for by address ("if (bpf_foo) bpf_foo()"): that is a load.
      if (insn.is_call()) reference.kind = ReferenceKind::kKfunc;
      return reference;
  }
  if (insn.is_call()) return refuse(fmt::format("call of '{}', which is a variable", name));
  return reference;
}

Result<SlotReference> ReferenceReader::resolve_function(const ElfSymbol& symbol,
                                                        std::int64_t offset, ReferenceKind kind) {
  const std::string_view label = draft_.elf.symbol_label(symbol);
  const auto code = draft_.code_of_section(symbol.section);
  if (!code) {
    return refuse(fmt::format("call of '{}', which is in no code section", label));
  }
  // Both parts are untrusted and the sum may wrap; what counts is that a function starts exactly
  // there.
  const std::uint64_t start = symbol.value + static_cast<std::uint64_t>(offset);
  const auto function = draft_.function_at(*code, start / kSlotBytes);
  if (!function || draft_.functions[*function].first * kSlotBytes != start) {
    return refuse(fmt::format("no function starts at {} of section '{}' ('{}'{:+d})", start,
                              draft_.code[*code].name, label, offset));
  }
  return SlotReference{0, kind, *function, 0};
}

Result<SlotReference> ReferenceReader::resolve_data(const RawInsn& insn, const ElfSymbol& symbol) {
  const std::string_view label = draft_.elf.symbol_label(symbol);
  const bool is_section = symbol.type == elf::kSection;
  if (symbol.value > UINT32_MAX)
    return refuse(fmt::format("'{}' at offset {}", label, symbol.value));
  const auto value = static_cast<std::uint32_t>(symbol.value);
  if (draft_.arena_map && symbol.section == draft_.arena_section) {
    return SlotReference{0, ReferenceKind::kMapValue, *draft_.arena_map, value};
  }
  if (auto data = draft_.data_map_of_section.find(symbol.section);
      data != draft_.data_map_of_section.end()) {
    return SlotReference{0, ReferenceKind::kMapValue, data->second, value};
  }
  const std::uint64_t offset =
      symbol.value + (is_section ? static_cast<std::uint32_t>(insn.imm) : 0);
  if (auto map = draft_.map_at.find({symbol.section, offset}); map != draft_.map_at.end()) {
    return SlotReference{0, ReferenceKind::kMap, map->second, 0};
  }
  const std::string_view section = draft_.elf.section(symbol.section).name;
  return refuse(fmt::format("'{}' at offset {} of section '{}' is neither a map nor a variable",
                            label, offset, section),
                "put maps into SEC(\".maps\"), variables into .data, .rodata or .bss");
}

}  // namespace

Result<void> collect_references(ObjectDraft& draft) {
  for (const ElfSection& section : draft.elf.sections()) {
    const auto code = draft.code_of_section(section.info);
    if (!code) continue;
    if (section.type == elf::kRela) {
      return make_error(
          ErrorCode::kNotSupported,
          fmt::format("section '{}': relocations with addends, which BPF does not use",
                      section.name));
    }
    if (section.type != elf::kRel) continue;
    LMN_CHECK_OK(ReferenceReader(draft, *code).read(section));
  }
  for (CodeSection& code : draft.code) {
    sort_keeping_order(code.references, &SlotReference::slot);
    auto twice = std::ranges::adjacent_find(code.references, {}, &SlotReference::slot);
    if (twice != code.references.end()) {
      return error_at(code.name, std::uint64_t{twice->slot} * kSlotBytes,
                      "two relocations for one instruction");
    }
  }
  return {};
}

}  // namespace lmn
