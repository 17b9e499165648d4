// SPDX-License-Identifier: Apache-2.0
//
// Maps of section .maps: definitions that are types.
//
// A definition is a variable of struct type whose members say everything by their types: a number N
// is a pointer to an array of N ints (`int (*type)[BPF_MAP_TYPE_HASH]`), a key or value is a
// pointer to its type, initial contents are an array of pointers at the end. The bytes of the
// section matter only for that array (map_slots.cc). Unlike libbpf, pinning values that it does not
// know are kept (Cilium writes 16), and unknown members are noted and passed over. Tested by
// object_reader_test.cc. Source: Linux 6.18, tools/lib/bpf/bpf_helpers.h (__uint, __type, __array,
// __ulong) and libbpf 1.5's messages for what is refused.
#include <fmt/format.h>
#include <linux/bpf.h>

#include <bit>

#include "object/object_draft.h"

namespace lmn {
namespace {

// Ring buffers must be a power of two of pages; libbpf rounds up. The page is that of the ABI we
// present, not the machine's, so that an object reads the same everywhere.
constexpr std::uint32_t kPageBytes = 4096;

std::uint32_t ring_bytes(std::uint32_t wanted) {
  if (wanted == 0 || (wanted % kPageBytes == 0 && std::has_single_bit(wanted / kPageBytes)))
    return wanted;
  for (std::uint64_t bytes = kPageBytes; bytes <= UINT32_MAX; bytes *= 2) {
    if (bytes > wanted) return static_cast<std::uint32_t>(bytes);
  }
  return wanted;  // too large for any power of two: map creation will refuse it
}

// Reads one definition. `owner` is null for the template of a map-in-map.
class DefinitionReader {
 public:
  DefinitionReader(ObjectDraft& draft, MapSpec& map, bool is_inner)
      : draft_(draft), btf_(*draft.btf), map_(map), is_inner_(is_inner) {}

  Result<void> read(const BtfType& definition);

 private:
  Result<void> read_member(const BtfMember& member, bool is_last);
  Result<std::uint32_t> number(const BtfMember& member) const;
  Result<std::uint64_t> wide_number(const BtfMember& member) const;
  Result<void> size(const BtfMember& member, std::string_view what,
                    std::uint32_t& size_bytes) const;
  Result<void> described(const BtfMember& member, std::string_view what, std::uint32_t& size_bytes,
                         std::uint32_t& type_id) const;
  Result<void> values(const BtfMember& member, bool is_last);

  std::unexpected<Error> refuse(std::string message, std::string remedy = {}) const {
    return make_error(ErrorCode::kMalformed, fmt::format("map '{}': {}", map_.name, message),
                      std::move(remedy));
  }

  ObjectDraft& draft_;
  const Btf& btf_;
  MapSpec& map_;
  bool is_inner_;
};

Result<void> DefinitionReader::read(const BtfType& definition) {
  const auto members = btf_.members(definition);
  if (members.size() > draft_.members_left) {
    return make_error(ErrorCode::kLimitExceeded,
                      fmt::format("map '{}': definitions of more than {} members together",
                                  map_.name, limits::kObjectMapMembersMax));
  }
  draft_.members_left -= members.size();
  for (std::size_t i = 0; i < members.size(); ++i) {
    LMN_CHECK_OK(read_member(members[i], i + 1 == members.size()));
  }
  if (map_.type == BPF_MAP_TYPE_UNSPEC) {
    return refuse("its type is missing", "add __uint(type, BPF_MAP_TYPE_...)");
  }
  if (map_.type == BPF_MAP_TYPE_RINGBUF || map_.type == BPF_MAP_TYPE_USER_RINGBUF) {
    map_.max_entries = ring_bytes(map_.max_entries);
  }
  return {};
}

Result<void> DefinitionReader::read_member(const BtfMember& member, bool is_last) {
  const auto set = [&](std::uint32_t& field) -> Result<void> {
    LMN_TRY(field, number(member));
    return {};
  };
  const std::string_view name = member.name;
  if (name == "type") return set(map_.type);
  if (name == "max_entries") return set(map_.max_entries);
  if (name == "map_flags") return set(map_.map_flags);
  if (name == "numa_node") return set(map_.numa_node);
  if (name == "key_size") return size(member, "key", map_.key_size);
  if (name == "value_size") return size(member, "value", map_.value_size);
  if (name == "key") return described(member, "key", map_.key_size, map_.btf_key_type_id);
  if (name == "value") return described(member, "value", map_.value_size, map_.btf_value_type_id);
  if (name == "values") return values(member, is_last);
  if (name == "pinning") {
    if (is_inner_) return refuse("a template of an inner map cannot be pinned");
    return set(map_.pinning);
  }
  if (name == "map_extra") {
    LMN_TRY(map_.map_extra, wide_number(member));
    return {};
  }
  if (!draft_.takes_notes()) return {};
  draft_.note(fmt::format("map '{}': unknown member '{}' passed over", map_.name, name));
  return {};
}

Result<std::uint32_t> DefinitionReader::number(const BtfMember& member) const {
  const BtfType& pointer = btf_.type(btf_.skip_modifiers_and_typedefs(member.type));
  if (pointer.kind != BtfKind::kPtr) {
    return refuse(fmt::format("member '{}' is a {}, not a pointer to an array", member.name,
                              btf_kind_word(pointer.kind)),
                  fmt::format("write __uint({}, N)", member.name));
  }
  const BtfType& array = btf_.type(pointer.type);
  if (array.kind != BtfKind::kArray) {
    return refuse(fmt::format("member '{}' points to a {}, not an array", member.name,
                              btf_kind_word(array.kind)),
                  fmt::format("write __uint({}, N)", member.name));
  }
  return array.array().count;
}

Result<std::uint64_t> DefinitionReader::wide_number(const BtfMember& member) const {
  const BtfType& type = btf_.type(btf_.skip_modifiers_and_typedefs(member.type));
  if (!type.is_enumeration()) {
    LMN_TRY(const std::uint32_t value, number(member));
    return value;
  }
  if (type.vlen != 1)
    return refuse(fmt::format("member '{}' is an enum of {} values", member.name, type.vlen));
  return static_cast<std::uint64_t>(btf_.enumerators(type)[0].value);
}

Result<void> DefinitionReader::size(const BtfMember& member, std::string_view what,
                                    std::uint32_t& size_bytes) const {
  LMN_TRY(const std::uint32_t value, number(member));
  if (size_bytes != 0 && size_bytes != value) {
    return refuse(fmt::format("{}_size is {}, its type has {} bytes", what, value, size_bytes));
  }
  size_bytes = value;
  return {};
}

Result<void> DefinitionReader::described(const BtfMember& member, std::string_view what,
                                         std::uint32_t& size_bytes, std::uint32_t& type_id) const {
  const BtfType& pointer = btf_.type(member.type);
  if (pointer.kind != BtfKind::kPtr) {
    return refuse(
        fmt::format("member '{}' is a {}, not a pointer", what, btf_kind_word(pointer.kind)),
        fmt::format("write __type({}, TYPE)", what));
  }
  auto bytes = btf_.resolve_size(pointer.type);
  if (!bytes) return refuse(fmt::format("size of its {}: {}", what, bytes.error().message));
  if (size_bytes != 0 && size_bytes != *bytes) {
    return refuse(fmt::format("{}_size is {}, its type has {} bytes", what, size_bytes, *bytes));
  }
  size_bytes = *bytes;
  type_id = pointer.type;
  return {};
}

Result<void> DefinitionReader::values(const BtfMember& member, bool is_last) {
  if (is_inner_) return refuse("a template of an inner map holds maps itself");
  if (!is_last) return refuse("'values' is not the last member");
  const bool holds_maps =
      map_.type == BPF_MAP_TYPE_ARRAY_OF_MAPS || map_.type == BPF_MAP_TYPE_HASH_OF_MAPS;
  if (!holds_maps && map_.type != BPF_MAP_TYPE_PROG_ARRAY) {
    return refuse(fmt::format("'values' on a map of type {}", map_.type),
                  "only maps of maps and of programs have them; 'type' must come before 'values'");
  }
  if (map_.value_size != 0 && map_.value_size != 4) {
    return refuse(
        fmt::format("value_size is {}, values of this type have 4 bytes", map_.value_size));
  }
  map_.value_size = 4;
  const BtfType& array = btf_.type(member.type);
  if (array.kind != BtfKind::kArray || array.array().count != 0) {
    return refuse("'values' is no array of size 0", "write __array(values, TYPE)");
  }
  const BtfType& pointer = btf_.type(btf_.skip_modifiers_and_typedefs(array.type));
  if (pointer.kind != BtfKind::kPtr) {
    return refuse(fmt::format("'values' are {}s, not pointers", btf_kind_word(pointer.kind)));
  }
  const BtfType& target = btf_.type(btf_.skip_modifiers_and_typedefs(pointer.type));
  const BtfKind wanted = holds_maps ? BtfKind::kStruct : BtfKind::kFuncProto;
  if (target.kind != wanted) {
    return refuse(fmt::format("'values' point to a {}, not a {}", btf_kind_word(target.kind),
                              btf_kind_word(wanted)));
  }
  if (!holds_maps) return {};
  MapSpec inner;
  inner.name = map_.name + ".inner";
  inner.origin = MapOrigin::kBtfMaps;
  inner.section = map_.section;
  LMN_CHECK_OK(DefinitionReader(draft_, inner, true).read(target));
  map_.inner = std::make_shared<const MapSpec>(std::move(inner));
  return {};
}

Result<void> add_btf_map(ObjectDraft& draft, const ElfSection& section, const BtfVariable& place) {
  const BtfType& var = draft.btf->type(place.type);
  if (var.kind != BtfKind::kVar || var.name.empty()) {
    return error_at(section.name, place.offset,
                    fmt::format("type [{}] is no variable with a name", place.type));
  }
  const auto refuse = [&](std::string message, std::string remedy = {}) {
    return error_at(section.name, place.offset, fmt::format("map '{}': {}", var.name, message),
                    std::move(remedy));
  };
  if (std::uint64_t{place.offset} + place.size > section.data.size()) {
    return refuse(fmt::format("{} bytes at {} reach past the end of the section at {}", place.size,
                              place.offset, section.data.size()));
  }
  if (var.linkage() ==
      BtfLinkage::kExtern) {  // what refers to it has a defect that says how to mend it
    draft.note(
        fmt::format("section '{}': map '{}' is defined in another object", section.name, var.name));
    return {};
  }
  const BtfType& definition = draft.btf->type(draft.btf->skip_modifiers_and_typedefs(var.type));
  if (definition.kind != BtfKind::kStruct) {
    return refuse(fmt::format("is a {}, not a struct", btf_kind_word(definition.kind)));
  }
  if (definition.size > place.size) {
    return refuse(fmt::format("a definition of {} bytes in {}", definition.size, place.size));
  }
  MapSpec map;
  map.name = var.name;
  map.origin = MapOrigin::kBtfMaps;
  map.section = section.name;
  auto read = DefinitionReader(draft, map, false).read(definition);
  if (!read) {
    Error error = std::move(read).error();
    error.location = place_in(section.name, place.offset);
    return make_error(std::move(error));
  }
  const bool is_arena = map.type == BPF_MAP_TYPE_ARENA;
  LMN_TRY(const std::uint32_t index,
          draft.add_map(std::move(map), {section.index, place.offset, place.size, false}));
  if (is_arena && draft.arena_map)
    return refuse("is the second arena of the object; one is allowed");
  if (is_arena) draft.arena_map = index;
  return {};
}

}  // namespace

Result<void> collect_btf_maps(ObjectDraft& draft) {
  const ElfSection* section = draft.elf.find_section(".maps");
  if (section == nullptr) return {};
  if (draft.btf == nullptr) {
    return make_error(ErrorCode::kMalformed,
                      "section '.maps': no BTF, which is where these maps are described",
                      "compile with -g");
  }
  const auto id = draft.btf->find_by_name(".maps", BtfKind::kDatasec);
  if (!id) {
    return make_error(ErrorCode::kMalformed, "section '.maps': BTF does not describe it",
                      "compile with -g, and mark each map SEC(\".maps\")");
  }
  for (const BtfVariable& place : draft.btf->variables(draft.btf->type(*id))) {
    LMN_CHECK_OK(add_btf_map(draft, *section, place));
  }
  return {};
}

}  // namespace lmn
