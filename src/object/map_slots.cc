// SPDX-License-Identifier: Apache-2.0
//
// Initial entries of maps: relocations in the section that holds the definitions, each a pointer to
// a map (map-in-map), to a program (PROG_ARRAY) or to a function of a struct_ops table. Tested by
// object_reader_test.cc.
#include <fmt/format.h>
#include <linux/bpf.h>

#include "object/elf_numbers.h"
#include "object/object_draft.h"

namespace lmn {
namespace {

constexpr std::uint64_t kPointerBytes = 8;

// The map whose definition covers an offset, or nullopt.
std::optional<std::uint32_t> map_covering(const ObjectDraft& draft, std::uint32_t section,
                                          std::uint64_t offset) {
  auto after = draft.map_at.upper_bound({section, offset});
  if (after == draft.map_at.begin()) return std::nullopt;
  --after;
  const MapPlace& place = draft.places[after->second];
  if (after->first.first != section) return std::nullopt;
  if (place.size < kPointerBytes || offset - place.offset > place.size - kPointerBytes)
    return std::nullopt;
  return after->second;
}

// Where the pointers start in each definition of a section, by its offset: at its last member,
// which must be `values`.
std::unordered_map<std::uint64_t, std::uint64_t> values_offsets(const ObjectDraft& draft,
                                                                const ElfSection& section) {
  std::unordered_map<std::uint64_t, std::uint64_t> out;
  const auto datasec = draft.btf->find_by_name(section.name, BtfKind::kDatasec);
  if (!datasec) return out;
  for (const BtfVariable& variable : draft.btf->variables(draft.btf->type(*datasec))) {
    const BtfType& var = draft.btf->type(variable.type);
    const BtfType& definition = draft.btf->type(draft.btf->skip_modifiers_and_typedefs(var.type));
    if (definition.kind != BtfKind::kStruct || definition.vlen == 0) continue;
    const BtfMember& last = draft.btf->members(definition).back();
    if (last.name == "values") out.try_emplace(variable.offset, last.bit_offset / 8);
  }
  return out;
}

class SlotReader {
 public:
  SlotReader(ObjectDraft& draft, const ElfSection& section)
      : draft_(draft), section_(section), values_(values_offsets(draft, section)) {}

  Result<void> read(const ElfRelocation& relocation) {
    if (draft_.slots_left == 0) {
      return make_error(
          ErrorCode::kLimitExceeded,
          fmt::format("more than {} initial entries of maps", limits::kObjectMapSlotsMax));
    }
    --draft_.slots_left;
    const auto found = map_covering(draft_, section_.index, relocation.offset);
    const ElfSymbol& symbol = draft_.elf.symbols()[relocation.symbol];
    const std::string_view label = draft_.elf.symbol_label(symbol);
    if (!found) {
      return error_at(section_.name, relocation.offset,
                      fmt::format("pointer to '{}' outside any definition", label));
    }
    MapSpec& map = draft_.spec.maps[*found];
    const MapPlace& place = draft_.places[*found];
    if (map.type == BPF_MAP_TYPE_STRUCT_OPS) return add_function(map, place, relocation, symbol);
    const auto values = values_.find(place.offset);
    const std::uint64_t in_definition = relocation.offset - place.offset;
    if (values == values_.end() || in_definition < values->second ||
        (in_definition - values->second) % kPointerBytes != 0) {
      return refuse(map, relocation, fmt::format("pointer to '{}' outside its 'values'", label));
    }
    MapInitialSlot slot;
    slot.index = static_cast<std::uint32_t>((in_definition - values->second) / kPointerBytes);
    if (map.type == BPF_MAP_TYPE_PROG_ARRAY) {
      const auto code = draft_.code_of_section(symbol.section);
      const auto function =
          code ? draft_.function_at(*code, symbol.value / kSlotBytes) : std::nullopt;
      if (!function || !draft_.functions[*function].is_entry ||
          draft_.functions[*function].first * kSlotBytes != symbol.value) {
        return refuse(map, relocation, fmt::format("'{}' is no program of this object", label));
      }
      slot.name = draft_.functions[*function].name;
    } else {
      auto target = draft_.map_at.find({symbol.section, symbol.value});
      if (target == draft_.map_at.end()) {
        return refuse(map, relocation, fmt::format("'{}' is no map of this object", label));
      }
      if (map.type == BPF_MAP_TYPE_HASH_OF_MAPS && map.key_size != 4) {
        return refuse(map, relocation,
                      fmt::format("initial entries need keys of 4 bytes, not {}", map.key_size));
      }
      slot.name = draft_.spec.maps[target->second].name;
    }
    map.slots.push_back(std::move(slot));
    return {};
  }

 private:
  // A struct_ops slot's index is that of the member.
  Result<void> add_function(MapSpec& map, const MapPlace& place, const ElfRelocation& relocation,
                            const ElfSymbol& symbol) {
    const auto code = draft_.code_of_section(symbol.section);
    const auto function =
        code ? draft_.function_at(*code, symbol.value / kSlotBytes) : std::nullopt;
    if (!function) {
      return refuse(
          map, relocation,
          fmt::format("'{}' is no function of this object", draft_.elf.symbol_label(symbol)));
    }
    const std::uint64_t offset = relocation.offset - place.offset;
    map.slots.push_back({static_cast<std::uint32_t>(offset / kPointerBytes),
                         std::string(draft_.functions[*function].name)});
    return {};
  }

  std::unexpected<Error> refuse(const MapSpec& map, const ElfRelocation& relocation,
                                std::string message) const {
    return error_at(section_.name, relocation.offset,
                    fmt::format("map '{}': {}", map.name, message));
  }

  ObjectDraft& draft_;
  const ElfSection& section_;
  std::unordered_map<std::uint64_t, std::uint64_t> values_;
};

}  // namespace

Result<void> collect_map_slots(ObjectDraft& draft) {
  if (draft.btf == nullptr) return {};
  for (const ElfSection& section : draft.elf.sections()) {
    if (section.type != elf::kRel || section.info == 0 ||
        section.info >= draft.elf.sections().size())
      continue;
    const ElfSection& target = draft.elf.section(section.info);
    std::string_view name = target.name;
    if (name.starts_with('?')) name.remove_prefix(1);
    if (name != ".maps" && name != ".struct_ops" && name != ".struct_ops.link") continue;
    LMN_TRY(const auto relocations, draft.elf.relocations(section));
    SlotReader reader(draft, target);
    for (const ElfRelocation& relocation : relocations) LMN_CHECK_OK(reader.read(relocation));
  }
  return {};
}

}  // namespace lmn
