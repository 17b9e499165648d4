// SPDX-License-Identifier: Apache-2.0
//
// Maps of section "maps" (and "maps/NAME"): definitions that are data, from before there was BTF.
//
// Every loader had its own struct; all begin with type, key size, value size and number of entries,
// and differ behind. If the object has BTF, the names of the struct's members say which it is.
// Without it, its size does, which is the size of the symbol or else the distance to the next one:
//
//   16  samples of Linux 4.x          type key value entries
//   20  libbpf before 1.0             ... flags
//   28  samples/bpf/bpf_load.h        ... flags inner_map_idx numa_node
//   28  Cilium, aya                   ... flags id pinning                      (told apart by what
//   can be meant) 36  iproute2 (tc), bpf_elf.h      ... flags id pinning inner_id inner_idx 280
//   gobpf, bcc's examples         ... flags pinning namespace[256]
//
// A longer struct whose rest is zero is read as libbpf's, as libbpf did. Everything else is an
// error that names the size: guessing a layout would make a wrong map silently. The layout found is
// in MapSpec::legacy_layout. Tested by tests/objects/objects_test.cc. Source: libbpf 0.8
// bpf_helpers.h; Linux 4.14 and 5.10, samples/bpf/bpf_load.h; iproute2 6.1, include/bpf_elf.h and
// lib/bpf_legacy.c; gobpf 0.2 and bcc's examples.
#include <fmt/format.h>
#include <linux/bpf.h>

#include <algorithm>
#include <array>

#include "object/elf_numbers.h"
#include "object/object_draft.h"

namespace lmn {
namespace {

constexpr std::size_t kWordBytes = 4;
constexpr std::int32_t kNotPrepopulated = -1;
constexpr std::uint32_t kNotSaid = UINT32_MAX;

// The union of what the layouts can say.
struct Definition {
  std::uint32_t type = 0;
  std::uint32_t key_size = 0;
  std::uint32_t value_size = 0;
  std::uint32_t max_entries = 0;
  std::uint32_t flags = 0;
  std::uint32_t id = 0;
  std::uint32_t pinning = 0;
  std::uint32_t inner_id = 0;
  std::uint32_t inner_idx = static_cast<std::uint32_t>(kNotPrepopulated);
  std::uint32_t inner_map_idx = kNotSaid;
  std::uint32_t numa_node = 0;
};

using Field = std::uint32_t Definition::*;

struct NamedField {
  std::string_view name;
  Field field;
};

constexpr std::array kFieldNames = {
    NamedField{"type", &Definition::type},
    NamedField{"key_size", &Definition::key_size},
    NamedField{"size_key", &Definition::key_size},
    NamedField{"value_size", &Definition::value_size},
    NamedField{"size_value", &Definition::value_size},
    NamedField{"max_entries", &Definition::max_entries},
    NamedField{"max_elem", &Definition::max_entries},
    NamedField{"map_flags", &Definition::flags},
    NamedField{"flags", &Definition::flags},
    NamedField{"id", &Definition::id},
    NamedField{"pinning", &Definition::pinning},
    NamedField{"inner_id", &Definition::inner_id},
    NamedField{"inner_idx", &Definition::inner_idx},
    NamedField{"inner_map_idx", &Definition::inner_map_idx},
    NamedField{"numa_node", &Definition::numa_node},
};

struct Layout {
  std::string_view name;
  std::size_t bytes;
  std::array<Field, 4> tail;  // what follows the five words that all have, as far as they go
};

constexpr Layout kOldSamples = {"samples/bpf of Linux 4", 16, {}};
constexpr Layout kLibbpf = {"libbpf", 20, {}};
constexpr Layout kSamples = {
    "samples/bpf", 28, {&Definition::inner_map_idx, &Definition::numa_node}};
constexpr Layout kShortIproute2 = {
    "iproute2 without inner maps", 28, {&Definition::id, &Definition::pinning}};
constexpr Layout kIproute2 = {
    "iproute2",
    36,
    {&Definition::id, &Definition::pinning, &Definition::inner_id, &Definition::inner_idx}};
constexpr Layout kGobpf = {"gobpf", 280, {&Definition::pinning}};

struct LegacyMap {
  std::string name;
  Definition definition;
  std::string_view layout;
  std::uint32_t index = 0;  // in ObjectSpec::maps
};

bool holds_maps(std::uint32_t type) {
  return type == BPF_MAP_TYPE_ARRAY_OF_MAPS || type == BPF_MAP_TYPE_HASH_OF_MAPS;
}

std::uint32_t word_at(ByteSpan bytes, std::size_t word) {
  return load_unaligned<std::uint32_t>(bytes.data() + word * kWordBytes, std::endian::little);
}

// Two structs have seven words. A NUMA node needs its flag, and an inner map needs a map of maps;
// what is set without them is an id or a pinning.
const Layout& seven_words(ByteSpan bytes) {
  const bool has_inner = holds_maps(word_at(bytes, 0));
  const bool has_node = (word_at(bytes, 4) & BPF_F_NUMA_NODE) != 0;
  const bool is_tail_meant =
      (word_at(bytes, 5) == 0 || has_inner) && (word_at(bytes, 6) == 0 || has_node);
  return is_tail_meant ? kSamples : kShortIproute2;
}

const Layout* layout_by_size(ByteSpan bytes) {
  switch (bytes.size()) {
    case kOldSamples.bytes:
      return &kOldSamples;
    case kLibbpf.bytes:
      return &kLibbpf;
    case kSamples.bytes:
      return &seven_words(bytes);
    case kIproute2.bytes:
      return &kIproute2;
    case kGobpf.bytes:
      return &kGobpf;
    default:
      break;
  }
  if (bytes.size() < kLibbpf.bytes) return nullptr;
  const ByteSpan rest = bytes.subspan(kLibbpf.bytes);
  return std::ranges::all_of(rest, [](std::uint8_t byte) { return byte == 0; }) ? &kLibbpf
                                                                                : nullptr;
}

Definition read_layout(ByteSpan bytes, const Layout& layout) {
  Definition out;
  out.type = word_at(bytes, 0);
  out.key_size = word_at(bytes, 1);
  out.value_size = word_at(bytes, 2);
  out.max_entries = word_at(bytes, 3);
  if (layout.bytes >= kLibbpf.bytes) out.flags = word_at(bytes, 4);
  for (std::size_t i = 0; i < layout.tail.size() && layout.tail[i] != nullptr; ++i) {
    out.*layout.tail[i] = word_at(bytes, 5 + i);
  }
  return out;
}

// By the names of the members, if BTF has them all and knows them all.
std::optional<Definition> read_by_names(const ObjectDraft& draft, std::string_view name,
                                        ByteSpan bytes) {
  if (draft.btf == nullptr) return std::nullopt;
  const auto var = draft.btf->find_by_name(name, BtfKind::kVar);
  if (!var) return std::nullopt;
  const std::uint32_t type = draft.btf->type(*var).type;
  const BtfType& record = draft.btf->type(draft.btf->skip_modifiers_and_typedefs(type));
  if (record.kind != BtfKind::kStruct || record.vlen == 0 || record.size > bytes.size())
    return std::nullopt;
  if (record.vlen > std::size(kFieldNames)) return std::nullopt;  // none of the structs we know
  Definition out;
  for (const BtfMember& member : draft.btf->members(record)) {
    if (member.name == "namespace") continue;
    const auto known = std::ranges::find(kFieldNames, member.name, &NamedField::name);
    const auto size = draft.btf->resolve_size(member.type);
    const bool is_word =
        size && *size == kWordBytes && member.bit_offset % 32 == 0 && member.bitfield_size == 0;
    if (known == kFieldNames.end() || !is_word) return std::nullopt;
    out.*known->field = word_at(bytes, member.bit_offset / 32);
  }
  return out;
}

bool is_legacy_section(std::string_view name) {
  return name == "maps" || name.starts_with("maps/");
}

class LegacyReader {
 public:
  explicit LegacyReader(ObjectDraft& draft) : draft_(draft) {}

  Result<void> read(const ElfSection& section);
  // Inner maps may stand before or after their outer ones, so they are tied together at the end.
  Result<void> tie_inner_maps();

 private:
  Result<void> add(const ElfSection& section, const ElfSymbol& symbol, std::uint64_t end);
  Result<LegacyMap> define(const ElfSection& section, const ElfSymbol& symbol,
                           ByteSpan bytes) const;
  void describe_pair(MapSpec& map) const;
  Result<const LegacyMap*> inner_of(const LegacyMap& outer) const;

  ObjectDraft& draft_;
  std::vector<LegacyMap> maps_;
  std::unordered_map<std::uint32_t, std::size_t>
      by_id_;  // iproute2's ids; the first of an id counts
};

Result<void> LegacyReader::read(const ElfSection& section) {
  std::vector<const ElfSymbol*> symbols;
  for (const ElfSymbol& symbol : draft_.elf.symbols()) {
    const bool is_data = symbol.type == elf::kObject || symbol.type == elf::kNotype;
    if (symbol.section == section.index && is_data && !symbol.name.empty())
      symbols.push_back(&symbol);
  }
  if (symbols.empty() && !section.data.empty()) {
    return error_at(section.name, 0, "map definitions without symbols, so without names",
                    "do not strip the object");
  }
  sort_keeping_order(symbols, [](const ElfSymbol* symbol) { return symbol->value; });
  for (std::size_t i = 0; i < symbols.size(); ++i) {
    const std::uint64_t end = i + 1 < symbols.size() ? symbols[i + 1]->value : section.data.size();
    LMN_CHECK_OK(add(section, *symbols[i], end));
  }
  return {};
}

Result<LegacyMap> LegacyReader::define(const ElfSection& section, const ElfSymbol& symbol,
                                       ByteSpan bytes) const {
  LegacyMap out;
  out.name = symbol.name;
  if (auto named = read_by_names(draft_, symbol.name, bytes)) {
    out.definition = *named;
    const Layout* layout = layout_by_size(bytes);
    out.layout = layout != nullptr ? layout->name : "described by BTF";
    return out;
  }
  const Layout* layout = layout_by_size(bytes);
  if (layout == nullptr) {
    return error_at(section.name, symbol.value,
                    fmt::format("map '{}': an entry of {} bytes: not a known layout", symbol.name,
                                bytes.size()),
                    "compile with -g, or define it in SEC(\".maps\")");
  }
  out.definition = read_layout(bytes, *layout);
  out.layout = layout->name;
  return out;
}

// BPF_ANNOTATE_KV_PAIR of old libbpf: a struct "____btf_map_NAME" whose two members are key and
// value.
void LegacyReader::describe_pair(MapSpec& map) const {
  if (draft_.btf == nullptr) return;
  const auto id = draft_.btf->find_by_name("____btf_map_" + map.name, BtfKind::kStruct);
  if (!id || draft_.btf->type(*id).vlen < 2) return;
  const auto members = draft_.btf->members(draft_.btf->type(*id));
  const auto key = draft_.btf->resolve_size(members[0].type);
  const auto value = draft_.btf->resolve_size(members[1].type);
  if (!key || !value || *key != map.key_size || *value != map.value_size) return;
  map.btf_key_type_id = members[0].type;
  map.btf_value_type_id = members[1].type;
}

Result<void> LegacyReader::add(const ElfSection& section, const ElfSymbol& symbol,
                               std::uint64_t end) {
  if (symbol.value > section.data.size() || end < symbol.value) {
    return error_at(section.name, symbol.value,
                    fmt::format("map '{}' lies outside its section", symbol.name));
  }
  const std::uint64_t room = end - symbol.value;
  const std::uint64_t size = symbol.size != 0 ? symbol.size : room;
  if (size > section.data.size() - symbol.value) {
    return error_at(
        section.name, symbol.value,
        fmt::format("map '{}': {} bytes reach past the end of the section", symbol.name, size));
  }
  if (draft_.map_at.contains({section.index, symbol.value}))
    return {};  // a second name for the same map
  const ByteSpan bytes = section.data.subspan(symbol.value, size);
  LMN_TRY(LegacyMap legacy, define(section, symbol, bytes));
  MapSpec map;
  map.name = legacy.name;
  map.type = legacy.definition.type;
  map.key_size = legacy.definition.key_size;
  map.value_size = legacy.definition.value_size;
  map.max_entries = legacy.definition.max_entries;
  map.map_flags = legacy.definition.flags;
  map.numa_node = legacy.definition.numa_node;
  map.pinning = legacy.definition.pinning;
  map.origin = MapOrigin::kLegacyMaps;
  map.section = section.name;
  map.legacy_layout = legacy.layout;
  describe_pair(map);
  draft_.note(fmt::format("section '{}': map '{}' is in the layout of {} ({} bytes)", section.name,
                          map.name, legacy.layout, size));
  LMN_TRY(legacy.index, draft_.add_map(std::move(map), {section.index, symbol.value, size, false}));
  by_id_.try_emplace(legacy.definition.id, maps_.size());
  maps_.push_back(std::move(legacy));
  return {};
}

Result<const LegacyMap*> LegacyReader::inner_of(const LegacyMap& outer) const {
  if (outer.definition.inner_id != 0) {
    auto found = by_id_.find(outer.definition.inner_id);
    if (found != by_id_.end() && &maps_[found->second] != &outer) return &maps_[found->second];
    return make_error(ErrorCode::kMalformed,
                      fmt::format("map '{}': no map has the id {} of its inner one", outer.name,
                                  outer.definition.inner_id));
  }
  if (outer.definition.inner_map_idx == kNotSaid) return nullptr;
  if (outer.definition.inner_map_idx >= maps_.size()) {
    return make_error(ErrorCode::kMalformed,
                      fmt::format("map '{}': its inner map is number {} of {}", outer.name,
                                  outer.definition.inner_map_idx, maps_.size()));
  }
  return &maps_[outer.definition.inner_map_idx];
}

Result<void> LegacyReader::tie_inner_maps() {
  for (const LegacyMap& outer : maps_) {
    if (!holds_maps(outer.definition.type)) continue;
    LMN_TRY(const LegacyMap* inner, inner_of(outer));
    if (inner == nullptr) continue;
    if (holds_maps(inner->definition.type)) {
      return make_error(
          ErrorCode::kMalformed,
          fmt::format("map '{}': its inner map '{}' holds maps itself", outer.name, inner->name));
    }
    MapSpec& map = draft_.spec.maps[outer.index];
    map.inner = std::make_shared<const MapSpec>(draft_.spec.maps[inner->index]);
    if (outer.definition.inner_id != 0 &&
        static_cast<std::int32_t>(outer.definition.inner_idx) != kNotPrepopulated) {
      map.slots.push_back({outer.definition.inner_idx, inner->name});
    }
  }
  return {};
}

}  // namespace

Result<void> collect_legacy_maps(ObjectDraft& draft) {
  LegacyReader reader(draft);
  for (const ElfSection& section : draft.elf.sections()) {
    if (section.type != elf::kProgbits || !is_legacy_section(section.name)) continue;
    LMN_CHECK_OK(reader.read(section));
  }
  return reader.tie_inner_maps();
}

}  // namespace lmn
