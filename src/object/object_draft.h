// SPDX-License-Identifier: Apache-2.0
//
// ObjectDraft: an object while it is read; internal to src/object, the public API is
// object_reader.h.
//
// Each step (one file each) reads what the steps before left here and adds its own:
// collect_functions, collect_maps, collect_externs, collect_references, relocate_core,
// link_programs. References bring all kinds of relocations to one form: this slot of this code
// section means that thing.
//
// Invariants: (1) functions are sorted by code section and first slot; (2) each function lies in
// its section; (3) references of a code section are sorted by slot, one per slot, and their targets
// exist; (4) maps and places have the same length. Threads: one reader, one draft.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "abi/limits.h"
#include "base/result.h"
#include "btf/btf.h"
#include "btf/btf_ext.h"
#include "object/elf_file.h"
#include "object/object_reader.h"
#include "object/raw_insn.h"
#include "spec/object_spec.h"

namespace lmn {

enum class ReferenceKind : std::uint8_t {
  kMap,              // target: map
  kMapValue,         // target: map, offset: added to the slot's own
  kKsym,             // target: extern, a kernel variable's address
  kKfunc,            // target: extern, a kernel function to call
  kKconfig,          // target: extern, in the .kconfig map
  kCall,             // target: function
  kFunctionAddress,  // target: function
  kBroken,           // target: ObjectDraft::errors; whoever runs this slot cannot be loaded
};

// Not just Reference: the verifier has a type of that name, and to the linker the vectors of both
// would be one.
struct SlotReference {
  std::uint32_t slot = 0;  // in its code section
  ReferenceKind kind = ReferenceKind::kBroken;
  std::uint32_t target = 0;
  std::uint32_t offset = 0;
};

struct CodeSection {
  std::uint32_t section = 0;  // ELF index
  std::string_view name;      // without a leading '?'
  bool is_autoload = true;
  std::vector<RawInsn> slots;
  std::vector<SlotReference> references;
  std::vector<BtfLineRecord> lines;                                 // sorted by offset
  std::unordered_map<std::uint32_t, std::uint32_t> function_types;  // slot -> FUNC
};

struct Function {
  std::string_view name;
  std::uint32_t code = 0;   // index into ObjectDraft::code
  std::uint32_t first = 0;  // slot in the section
  std::uint32_t count = 0;
  bool is_global = false;  // to be verified on its own: global, and not hidden
  bool is_entry = false;   // a program, not a subprogram
  std::uint32_t btf_type_id = 0;
};

enum class ExternKind : std::uint8_t { kKconfig, kKsym, kKfunc };

struct Extern {
  std::string_view name;
  ExternKind kind = ExternKind::kKsym;
  std::uint32_t btf_type_id = 0;  // VAR or FUNC
  bool is_weak = false;
  std::uint32_t kconfig = 0;  // index into ObjectSpec::kconfig
};

// Where a map's definition or data stands, to find it from a symbol.
struct MapPlace {
  std::uint32_t section = 0;
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
  bool is_whole_section = false;  // global data: any offset in the section is in its value
};

struct ObjectDraft {
  ObjectDraft(const ReadOptions& read_options, ElfFile elf_file)
      : options(read_options), elf(std::move(elf_file)) {}

  const ReadOptions& options;
  ElfFile elf;
  std::shared_ptr<Btf> btf;  // null: the object has none
  BtfExt ext;
  std::vector<CodeSection> code;
  std::vector<Function> functions;
  std::vector<Extern> externs;
  std::unordered_map<std::uint32_t, std::uint32_t> extern_of_symbol;
  std::vector<MapPlace> places;
  std::map<std::pair<std::uint32_t, std::uint64_t>, std::uint32_t> map_at;  // (section, offset)
  std::unordered_map<std::uint32_t, std::uint32_t> data_map_of_section;
  std::optional<std::uint32_t> kconfig_map;
  std::optional<std::uint32_t> arena_map;
  std::uint32_t arena_section = 0;
  // Global and weak data symbols by name; the first of a name counts.
  std::unordered_map<std::string_view, std::uint32_t> data_symbols;
  std::vector<Error> errors;
  std::size_t members_left = limits::kObjectMapMembersMax;
  std::size_t slots_left = limits::kObjectMapSlotsMax;
  ObjectSpec spec;

  std::optional<std::uint32_t> code_of_section(std::uint32_t section) const;
  // The function that contains a slot, or nullopt.
  std::optional<std::uint32_t> function_at(std::uint32_t code_index, std::uint64_t slot) const;
  // Adds a map; an error when there are too many.
  Result<std::uint32_t> add_map(MapSpec map, MapPlace place);
  // Keeps a defect for those who run into it; an error when there are too many.
  Result<std::uint32_t> add_error(Error error);
  bool takes_notes() const { return spec.notes.size() < kNotesMax; }
  void note(std::string text);

  static constexpr std::size_t kNotesMax = 1000;  // a hostile object may give reason for millions
};

// Sorts by a key, rows of equal keys in their old order. (std::stable_sort of libstdc++ 12 does not
// compile without a warning under clang 19.)
template <typename Row, typename Key>
void sort_keeping_order(std::vector<Row>& rows, Key key) {
  if (std::ranges::is_sorted(rows, {}, key)) return;
  std::vector<std::uint32_t> order(rows.size());
  for (std::uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  std::ranges::sort(order, {},
                    [&](std::uint32_t i) { return std::pair(std::invoke(key, rows[i]), i); });
  std::vector<Row> sorted;
  sorted.reserve(rows.size());
  for (const std::uint32_t i : order) sorted.push_back(std::move(rows[i]));
  rows = std::move(sorted);
}

// The steps, in order.
Result<void> read_type_information(ObjectDraft& draft);    // type_information.cc
Result<void> collect_functions(ObjectDraft& draft);        // functions.cc
Result<void> collect_legacy_maps(ObjectDraft& draft);      // legacy_maps.cc
Result<void> collect_btf_maps(ObjectDraft& draft);         // btf_maps.cc
Result<void> collect_global_data(ObjectDraft& draft);      // global_data.cc
Result<void> collect_struct_ops_maps(ObjectDraft& draft);  // global_data.cc
Result<void> collect_externs(ObjectDraft& draft);          // externs.cc
Result<void> collect_references(ObjectDraft& draft);       // references.cc
Result<void> collect_map_slots(ObjectDraft& draft);        // map_slots.cc
Result<void> relocate_core(ObjectDraft& draft);            // core_relocate.cc
Result<void> link_programs(ObjectDraft& draft);            // link_programs.cc

// An error at a place in a section: "section 'xdp', offset 24".
std::unexpected<Error> error_at(std::string_view section, std::uint64_t offset, std::string message,
                                std::string remedy = {});
std::string place_in(std::string_view section, std::uint64_t offset);

}  // namespace lmn
