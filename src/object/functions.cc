// SPDX-License-Identifier: Apache-2.0
//
// The functions of an object: which code sections there are, and which symbols name functions in
// them.
//
// A function outside .text is a program; one in .text is a subprogram, appended to the programs
// that reach it. That is libbpf's rule, with two things it refuses: static functions in a program
// section are programs too (old Cilium objects mark their tail calls so), and with
// ReadOptions::text_programs the global functions of .text are. Tested by object_reader_test.cc and
// tests/objects/objects_test.cc.
#include <fmt/format.h>

#include <algorithm>

#include "abi/limits.h"
#include "object/elf_numbers.h"
#include "object/object_draft.h"

namespace lmn {
namespace {

Result<void> collect_code(ObjectDraft& draft) {
  for (const ElfSection& section : draft.elf.sections()) {
    if (!section.is_code() || section.data.empty()) continue;
    if (section.data.size() % kSlotBytes != 0) {
      return make_error(ErrorCode::kMalformed,
                        fmt::format("section '{}': {} bytes of code, not a multiple of {}",
                                    section.name, section.data.size(), kSlotBytes));
    }
    CodeSection code;
    code.section = section.index;
    code.name = section.name;
    if (code.name.starts_with('?')) {
      code.name.remove_prefix(1);
      code.is_autoload = false;
    }
    code.slots = load_slots(section.data);
    draft.code.push_back(std::move(code));
  }
  return {};
}

Result<void> add_function(ObjectDraft& draft, std::uint32_t code_index, const ElfSymbol& symbol) {
  const CodeSection& code = draft.code[code_index];
  const std::uint64_t bytes = code.slots.size() * kSlotBytes;
  if (symbol.size == 0 || symbol.size % kSlotBytes != 0 || symbol.value % kSlotBytes != 0) {
    return error_at(code.name, symbol.value,
                    fmt::format("function '{}': {} bytes at {}, not whole instructions",
                                symbol.name, symbol.size, symbol.value));
  }
  if (symbol.value > bytes || symbol.size > bytes - symbol.value) {
    return error_at(code.name, symbol.value,
                    fmt::format("function '{}': {} bytes reach past the end of the section at {}",
                                symbol.name, symbol.size, bytes));
  }
  const bool is_text = code.name == ".text";
  Function function;
  function.name = symbol.name;
  function.code = code_index;
  function.first = static_cast<std::uint32_t>(symbol.value / kSlotBytes);
  function.count = static_cast<std::uint32_t>(symbol.size / kSlotBytes);
  function.is_global = symbol.is_global() && !symbol.is_hidden();
  function.is_entry = !is_text || (draft.options.text_programs && symbol.is_global());
  if (function.is_entry && !is_text && !symbol.is_global()) {
    draft.note(fmt::format("section '{}': static function '{}' taken as a program", code.name,
                           symbol.name));
  }
  draft.functions.push_back(function);
  return {};
}

// Records that BTF.ext has for a section come in groups by the section's name, perhaps in several
// of one name.
void attach_records(ObjectDraft& draft) {
  std::unordered_map<std::string_view, CodeSection*> by_name;
  for (CodeSection& code : draft.code) {
    by_name.try_emplace(draft.elf.section(code.section).name, &code);
  }
  for (const auto& group : draft.ext.lines) {
    auto found = by_name.find(group.name);
    if (found == by_name.end()) continue;
    auto& lines = found->second->lines;
    lines.insert(lines.end(), group.records.begin(), group.records.end());
  }
  for (const auto& group : draft.ext.functions) {
    auto found = by_name.find(group.name);
    if (found == by_name.end()) continue;
    for (const BtfFuncRecord& record : group.records) {
      found->second->function_types.try_emplace(record.offset / kSlotBytes, record.type_id);
    }
  }
  for (CodeSection& code : draft.code) sort_keeping_order(code.lines, &BtfLineRecord::offset);
}

void attach_types(ObjectDraft& draft) {
  for (Function& function : draft.functions) {
    const CodeSection& code = draft.code[function.code];
    auto found = code.function_types.find(function.first);
    if (found == code.function_types.end()) continue;
    function.btf_type_id = found->second;
    // Hidden: global for the linker, static for the verifier.
    if (!function.is_global && draft.btf->type(found->second).linkage() == BtfLinkage::kGlobal) {
      draft.btf->set_linkage(found->second, BtfLinkage::kStatic);
    }
  }
}

}  // namespace

Result<void> collect_functions(ObjectDraft& draft) {
  LMN_CHECK_OK(collect_code(draft));
  for (const ElfSymbol& symbol : draft.elf.symbols()) {
    if (symbol.type != elf::kFunc) continue;
    const auto code_index = draft.code_of_section(symbol.section);
    if (!code_index) continue;
    LMN_CHECK_OK(add_function(draft, *code_index, symbol));
  }
  sort_keeping_order(draft.functions, [](const Function& function) {
    return std::pair(function.code, function.first);
  });
  const auto entries = std::ranges::count_if(draft.functions, &Function::is_entry);
  if (static_cast<std::size_t>(entries) > limits::kProgramsMax) {
    return make_error(
        ErrorCode::kLimitExceeded,
        fmt::format("{} programs, {} are read from one object", entries, limits::kProgramsMax));
  }
  attach_records(draft);
  attach_types(draft);
  return {};
}

}  // namespace lmn
