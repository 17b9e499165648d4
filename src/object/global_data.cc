// SPDX-License-Identifier: Apache-2.0
//
// Maps that stand for sections: global variables (.data*, .rodata*, .bss*), and struct_ops tables.
//
// All global variables of a section are one array map with one entry, as large as the section; an
// instruction refers to the address of an offset in that value. Names are the ones libbpf gives, so
// that tools show what people know from the kernel: eight bytes of the object's name, then the
// section's ("xdp_prot.rodata"), 15 in all; custom sections
// (".data.foo") keep their own name. MapSpec::section has the section in full.
// Tested by object_reader_test.cc and tests/objects/objects_test.cc. Source: libbpf 1.5's names and
// flags, observed in bpf_map_info.
#include <fmt/format.h>
#include <linux/bpf.h>

#include <algorithm>
#include <limits>

#include "abi/limits.h"
#include "object/elf_numbers.h"
#include "object/object_draft.h"

namespace lmn {
namespace {

constexpr std::size_t kSuffixBytesMin =
    7;  // room kept for the section even when ".bss" does not fill it
constexpr std::string_view kArenaSection = ".addr_space.1";

bool is_named(const ElfSection& section, std::string_view family) {
  if (!section.name.starts_with(family)) return false;
  const std::string_view rest = section.name.substr(family.size());
  return rest.empty() || rest.front() == '.';
}

std::string data_map_name(std::string_view object, std::string_view section) {
  constexpr std::size_t kNameChars = limits::kObjectNameBytes - 1;
  const std::size_t suffix = std::min(std::max(kSuffixBytesMin, section.size()), kNameChars);
  const bool is_custom = section.find('.', 1) != section.npos;
  const std::size_t prefix = is_custom ? 0 : std::min(kNameChars - suffix, object.size());
  std::string name(object.substr(0, prefix));
  name += section.substr(0, suffix);
  for (char& c : name) {
    const bool is_kept = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
                         (c >= 'A' && c <= 'Z') || c == '_' || c == '.';
    if (!is_kept) c = '_';  // what the kernel allows in names
  }
  return name;
}

// User space may map the values when a variable of the section is visible to it.
bool has_visible_variable(const Btf& btf, std::uint32_t datasec) {
  return std::ranges::any_of(btf.variables(btf.type(datasec)), [&](const BtfVariable& variable) {
    const BtfType& var = btf.type(variable.type);
    return var.kind == BtfKind::kVar && var.linkage() != BtfLinkage::kStatic;
  });
}

Result<void> add_data_map(ObjectDraft& draft, const ElfSection& section, bool is_read_only) {
  if (section.size > std::numeric_limits<std::uint32_t>::max()) {
    return make_error(ErrorCode::kLimitExceeded,
                      fmt::format("section '{}': {} bytes, a map's value holds 4 GiB", section.name,
                                  section.size));
  }
  MapSpec map;
  map.name = data_map_name(draft.options.object_name, section.name);
  map.type = BPF_MAP_TYPE_ARRAY;
  map.key_size = 4;
  map.value_size = static_cast<std::uint32_t>(section.size);
  map.max_entries = 1;
  map.map_flags = is_read_only ? BPF_F_RDONLY_PROG : 0;
  map.origin = MapOrigin::kGlobalData;
  map.section = section.name;
  map.is_frozen_at_load = is_read_only;
  map.contents.assign(section.data.begin(), section.data.end());
  if (draft.btf != nullptr) {
    if (const auto id = draft.btf->find_by_name(section.name, BtfKind::kDatasec)) {
      map.btf_value_type_id = *id;
      if (has_visible_variable(*draft.btf, *id)) map.map_flags |= BPF_F_MMAPABLE;
    }
  }
  LMN_TRY([[maybe_unused]] const std::uint32_t index,
          draft.add_map(std::move(map), {section.index, 0, section.size, true}));
  return {};
}

// Variables in the arena's address space: their section is the start of the arena.
Result<void> fill_arena(ObjectDraft& draft, const ElfSection& section) {
  if (!draft.arena_map) {
    draft.note(
        fmt::format("section '{}': arena variables, but no map of type ARENA", section.name));
    return {};
  }
  draft.arena_section = section.index;
  draft.spec.maps[*draft.arena_map].contents.assign(section.data.begin(), section.data.end());
  return {};
}

// `room`: what is left of the section when each byte belongs to one table only.
Result<void> add_struct_ops(ObjectDraft& draft, const ElfSection& section,
                            const BtfVariable& variable, std::size_t& room) {
  const BtfType& var = draft.btf->type(variable.type);
  const BtfType& table = draft.btf->type(draft.btf->skip_modifiers_and_typedefs(var.type));
  if (var.kind != BtfKind::kVar || var.name.empty() || table.kind != BtfKind::kStruct) {
    return error_at(section.name, variable.offset,
                    fmt::format("type [{}] is no variable of struct type", variable.type));
  }
  if (variable.offset > section.data.size() || table.size > section.data.size() - variable.offset) {
    return error_at(section.name, variable.offset,
                    fmt::format("struct_ops '{}': {} bytes reach past the end of the section at {}",
                                var.name, table.size, section.data.size()));
  }
  if (table.size > room) return error_at(section.name, variable.offset, "tables overlap");
  room -= table.size;
  MapSpec map;
  map.name = var.name;
  map.type = BPF_MAP_TYPE_STRUCT_OPS;
  map.key_size = 4;
  map.value_size = table.size;
  map.max_entries = 1;
  map.map_flags = section.name.ends_with(".link") ? BPF_F_LINK : 0;
  map.origin = MapOrigin::kBtfMaps;
  map.section = section.name;
  const ByteSpan contents = section.data.subspan(variable.offset, table.size);
  map.contents.assign(contents.begin(), contents.end());
  LMN_TRY([[maybe_unused]] const std::uint32_t index,
          draft.add_map(std::move(map), {section.index, variable.offset, table.size, false}));
  return {};
}

bool is_struct_ops(std::string_view name) {
  if (name.starts_with('?')) name.remove_prefix(1);
  return name == ".struct_ops" || name == ".struct_ops.link";
}

}  // namespace

Result<void> collect_global_data(ObjectDraft& draft) {
  for (const ElfSection& section : draft.elf.sections()) {
    if (section.size == 0 || section.is_code()) continue;
    if (section.type == elf::kNobits && is_named(section, ".bss")) {
      LMN_CHECK_OK(add_data_map(draft, section, false));
    } else if (section.type != elf::kProgbits) {
      continue;
    } else if (section.name == kArenaSection) {
      LMN_CHECK_OK(fill_arena(draft, section));
    } else if (is_named(section, ".data")) {
      LMN_CHECK_OK(add_data_map(draft, section, false));
    } else if (is_named(section, ".rodata")) {
      LMN_CHECK_OK(add_data_map(draft, section, true));
    }
  }
  return {};
}

Result<void> collect_struct_ops_maps(ObjectDraft& draft) {
  for (const ElfSection& section : draft.elf.sections()) {
    if (section.type != elf::kProgbits || section.data.empty() || !is_struct_ops(section.name))
      continue;
    if (draft.btf == nullptr) {
      return make_error(ErrorCode::kMalformed,
                        fmt::format("section '{}': no BTF, which describes it", section.name),
                        "compile with -g");
    }
    const auto id = draft.btf->find_by_name(section.name, BtfKind::kDatasec);
    if (!id) continue;
    std::size_t room = section.data.size();
    for (const BtfVariable& variable : draft.btf->variables(draft.btf->type(*id))) {
      LMN_CHECK_OK(add_struct_ops(draft, section, variable, room));
    }
  }
  return {};
}

}  // namespace lmn
