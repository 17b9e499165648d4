// SPDX-License-Identifier: Apache-2.0
//
// Type information of an object: .BTF parsed and completed, .BTF.ext parsed.
//
// Compilers do not know where the linker will put variables: clang leaves the size of a data
// section and the offsets of its global variables 0 in BTF, and loaders fill them in from the ELF
// symbols. Everything that looks into a data map by type (bpf_spin_lock in .bss, printing of
// .rodata) needs that. Hidden symbols become static, so that their functions are verified in the
// context of their callers; hidden data is not offered for mmap. Tested by object_reader_test.cc
// and tests/objects/objects_test.cc. Source: libbpf 1.5's behaviour, observed through BTF that it
// loads.
#include <fmt/format.h>

#include <algorithm>

#include "object/elf_numbers.h"
#include "object/object_draft.h"

namespace lmn {
namespace {

const ElfSymbol* data_symbol(const ObjectDraft& draft, std::string_view name) {
  auto found = draft.data_symbols.find(name);
  return found == draft.data_symbols.end() ? nullptr : &draft.elf.symbols()[found->second];
}

void index_data_symbols(ObjectDraft& draft) {
  const auto& symbols = draft.elf.symbols();
  for (std::uint32_t i = 0; i < symbols.size(); ++i) {
    if (symbols[i].type != elf::kObject || !symbols[i].is_global()) continue;
    draft.data_symbols.try_emplace(symbols[i].name, i);
  }
}

Result<void> complete_datasec(ObjectDraft& draft, std::uint32_t id,
                              const std::unordered_map<std::string_view, std::uint64_t>& sizes) {
  const BtfType& datasec = draft.btf->type(id);
  const auto rows = draft.btf->variables(datasec);
  std::vector<BtfVariable> variables(rows.begin(), rows.end());
  std::uint32_t size = datasec.size;
  if (size == 0) {
    auto found = sizes.find(datasec.name);
    if (found != sizes.end())
      size = static_cast<std::uint32_t>(std::min<std::uint64_t>(found->second, UINT32_MAX));
  }
  for (BtfVariable& variable : variables) {
    const BtfType& var = draft.btf->type(variable.type);
    if (var.kind != BtfKind::kVar || var.linkage() != BtfLinkage::kGlobal) continue;
    const ElfSymbol* symbol = data_symbol(draft, var.name);
    if (symbol == nullptr) {
      return make_error(ErrorCode::kMalformed,
                        fmt::format("section '{}': variable '{}' of its BTF has no symbol",
                                    datasec.name, var.name));
    }
    // Linked objects have offsets already, but bpftool 7.1 leaves those of former externs 0;
    // symbols are right always.
    const bool is_here = symbol->section < draft.elf.sections().size() &&
                         draft.elf.section(symbol->section).name == datasec.name;
    if (is_here) {
      variable.offset =
          static_cast<std::uint32_t>(std::min<std::uint64_t>(symbol->value, UINT32_MAX));
    }
    if (symbol->is_hidden()) draft.btf->set_linkage(variable.type, BtfLinkage::kStatic);
  }
  sort_keeping_order(variables, &BtfVariable::offset);
  draft.btf->set_datasec(id, size, variables);
  return {};
}

Result<void> complete_datasecs(ObjectDraft& draft) {
  std::unordered_map<std::string_view, std::uint64_t> sizes;
  for (const ElfSection& section : draft.elf.sections())
    sizes.try_emplace(section.name, section.size);
  for (std::uint32_t id = 1; id < draft.btf->type_count(); ++id) {
    const BtfType& type = draft.btf->type(id);
    if (type.kind != BtfKind::kDatasec) continue;
    if (type.name == ".kconfig" || type.name == ".ksyms")
      continue;  // no section stands behind these
    LMN_CHECK_OK(complete_datasec(draft, id, sizes));
  }
  return {};
}

}  // namespace

Result<void> read_type_information(ObjectDraft& draft) {
  index_data_symbols(draft);
  const ElfSection* section = draft.elf.find_section(".BTF");
  if (section == nullptr) return {};
  auto btf = parse_editable_btf(section->data);
  if (!btf) return make_error(std::move(btf).error().with_context("section '.BTF'"));
  draft.btf = std::move(*btf);
  LMN_CHECK_OK(complete_datasecs(draft));
  if (const ElfSection* ext_section = draft.elf.find_section(".BTF.ext")) {
    auto ext = parse_btf_ext(ext_section->data, *draft.btf);
    if (!ext) return make_error(std::move(ext).error().with_context("section '.BTF.ext'"));
    draft.ext = std::move(*ext);
  }
  return {};
}

}  // namespace lmn
