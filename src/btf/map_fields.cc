// SPDX-License-Identifier: Apache-2.0
//
// Finding the special fields of a struct in BTF: one walk, in the kernel's order, with its limits.
// Tested by tests/contract/map_fields_test.cc.
// Source: Linux 6.18, kernel/bpf/btf.c.
#include "btf/map_fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <utility>

namespace lmn {
namespace {

constexpr std::size_t kFieldsMax = 11;   // BTF_FIELDS_MAX
constexpr std::size_t kDepthMax = 32;    // MAX_RESOLVE_DEPTH
constexpr std::uint32_t kKptrBytes = 8;  // an address

struct Row {
  MapFieldKind kind;
  std::string_view name;
  std::uint32_t size;
  std::uint32_t align;
  bool is_once;      // at most one in a struct
  bool is_of_value;  // a map's value may hold it
};
constexpr Row kRows[] = {
    {MapFieldKind::kSpinLock, "bpf_spin_lock", 4, 4, true, true},
    {MapFieldKind::kResilientSpinLock, "bpf_res_spin_lock", 4, 4, true, true},
    {MapFieldKind::kTimer, "bpf_timer", 16, 8, true, true},
    {MapFieldKind::kWorkqueue, "bpf_wq", 16, 8, true, true},
    {MapFieldKind::kTaskWork, "bpf_task_work", 8, 8, true, true},
    {MapFieldKind::kKptr, "kptr", kKptrBytes, 8, false, true},
    {MapFieldKind::kListHead, "bpf_list_head", 16, 8, false, true},
    {MapFieldKind::kListNode, "bpf_list_node", 24, 8, false, false},
    {MapFieldKind::kTreeRoot, "bpf_rb_root", 16, 8, false, true},
    {MapFieldKind::kTreeNode, "bpf_rb_node", 32, 8, false, false},
    {MapFieldKind::kRefcount, "bpf_refcount", 4, 4, true, true},
};

const Row& row_of(MapFieldKind kind) { return kRows[static_cast<std::size_t>(kind)]; }

bool may_repeat(MapFieldKind kind) {
  return kind == MapFieldKind::kKptr || kind == MapFieldKind::kListHead ||
         kind == MapFieldKind::kTreeRoot;
}

std::optional<KptrKind> kptr_of_tag(std::string_view tag) {
  if (tag == "kptr") return KptrKind::kReferenced;
  if (tag == "kptr_untrusted") return KptrKind::kUntrusted;
  if (tag == "percpu_kptr") return KptrKind::kPercpu;
  if (tag == "uptr") return KptrKind::kUser;
  return std::nullopt;
}

// Walks a struct or section and gathers fields until one is wrong. An errno, not an Error, because
// that is what Linux keeps of it.
class FieldFinder {
 public:
  FieldFinder(const Btf& btf, bool is_value) : btf_(btf), is_value_(is_value) {}

  // 0 or a positive errno. Fields found before the wrong one are in `fields`.
  int find(std::uint32_t id) {
    const BtfType& type = btf_.type(id);
    if (type.kind == BtfKind::kStruct) return find_in_struct(id, 0, 0);
    if (type.kind != BtfKind::kDatasec) return EINVAL;
    Seen seen = 0;
    for (const BtfVariable& variable : btf_.variables(type)) {
      const int error = find_one({.parent = variable.type,
                                  .member = -1,
                                  .type = btf_.type(variable.type).type,
                                  .offset = variable.offset,
                                  .wanted_bytes = variable.size},
                                 seen, 0);
      if (error != 0) return error;
    }
    return 0;
  }

  std::vector<MapField> fields;

 private:
  using Seen = std::uint32_t;  // one bit per kind that may stand once

  struct Place {
    std::uint32_t parent;        // the struct or variable that carries the tags
    std::int32_t member;         // which member of it, -1: itself
    std::uint32_t type;          // of the member
    std::uint64_t offset;        // in the whole
    std::uint32_t wanted_bytes;  // that the section gives it, 0: not asked
  };

  int find_in_struct(std::uint32_t id, std::uint64_t offset, std::size_t depth) {
    Seen seen = 0;
    std::int32_t index = 0;
    for (const BtfMember& member : btf_.members(btf_.type(id))) {
      // Also a bitfield that begins within a byte leaves the map without a record.
      if (member.bit_offset % 8 != 0) return EINVAL;
      const int error = find_one({.parent = id,
                                  .member = index++,
                                  .type = member.type,
                                  .offset = offset + member.bit_offset / 8,
                                  .wanted_bytes = 0},
                                 seen, depth);
      if (error != 0) return error;
    }
    return 0;
  }

  int find_one(const Place& place, Seen& seen, std::size_t depth) {
    std::uint32_t id = place.type;
    std::uint64_t count = 1;
    std::size_t arrays = 0;
    for (; btf_.type(id).kind == BtfKind::kArray && arrays < kDepthMax; ++arrays) {
      count *= btf_.type(id).array().count;
      if (count > UINT32_MAX) return E2BIG;
      id = btf_.type(id).array().element_type;
    }
    if (arrays == kDepthMax) return E2BIG;
    if (count == 0) return 0;
    const BtfType& type = btf_.type(id);
    const Row* row = nullptr;
    if (const int error = kind_of(type, seen, row); error != 0) return error;
    if (row == nullptr) {
      if (type.kind != BtfKind::kStruct) return 0;
      if (place.wanted_bytes != 0 && place.wanted_bytes != type.size * count) return 0;
      return find_nested(id, place.offset, count, depth);
    }
    if (place.wanted_bytes != 0 && place.wanted_bytes != row->size * count) return 0;
    if (place.offset % row->align != 0) return 0;
    return add(*row, id, place, count);
  }

  // The row that a member's type names, or a kptr for whatever is no struct.
  int kind_of(const BtfType& type, Seen& seen, const Row*& found) const {
    for (const Row& row : kRows) {
      if (row.kind == MapFieldKind::kKptr || row.name != type.name) continue;
      if (is_value_ && !row.is_of_value) continue;
      const Seen bit = 1u << static_cast<unsigned>(row.kind);
      if (row.is_once && (seen & bit) != 0) return E2BIG;
      if (row.is_once) seen |= bit;
      found = &row;
      return 0;
    }
    if (type.kind != BtfKind::kStruct) found = &row_of(MapFieldKind::kKptr);
    return 0;
  }

  int find_nested(std::uint32_t id, std::uint64_t offset, std::uint64_t count, std::size_t depth) {
    if (depth + 1 >= kDepthMax) return E2BIG;
    const std::size_t before = fields.size();
    const int error = find_in_struct(id, offset, depth + 1);
    if (error != 0 || fields.size() == before || count == 1) return error;
    return repeat(before, count, btf_.type(id).size);
  }

  // The fields from `first` on again for each further element of an array.
  int repeat(std::size_t first, std::uint64_t count, std::uint32_t stride) {
    const std::size_t end = fields.size();
    for (std::size_t i = first; i < end; ++i) {
      if (!may_repeat(fields[i].kind)) return EINVAL;
    }
    if ((end - first) * count > kFieldsMax - first) return E2BIG;
    for (std::uint64_t element = 1; element < count; ++element) {
      for (std::size_t i = first; i < end; ++i) {
        MapField field = fields[i];
        field.offset += static_cast<std::uint32_t>(element * stride);
        fields.push_back(field);
      }
    }
    return 0;
  }

  int add(const Row& row, std::uint32_t id, const Place& place, std::uint64_t count) {
    MapField field{
        .kind = row.kind, .offset = static_cast<std::uint32_t>(place.offset), .size = row.size};
    bool is_one = true;
    int error = 0;
    if (row.kind == MapFieldKind::kKptr) {
      error = describe_kptr(id, field, is_one);
    } else if (btf_.type(id).kind != BtfKind::kStruct || btf_.type(id).size != row.size) {
      is_one = false;
    } else if (row.kind == MapFieldKind::kListHead || row.kind == MapFieldKind::kTreeRoot) {
      error = describe_graph(place, field);
    }
    if (error != 0) return error;
    if (!is_one) return 0;
    if (fields.size() == kFieldsMax) return E2BIG;
    fields.push_back(field);
    return count > 1 ? repeat(fields.size() - 1, count, row.size) : 0;
  }

  int describe_kptr(std::uint32_t id, MapField& field, bool& is_one) const {
    is_one = false;
    if (btf_.type(id).kind == BtfKind::kVolatile) id = btf_.type(id).type;
    if (btf_.type(id).kind != BtfKind::kPtr) return 0;
    const BtfType& tag = btf_.type(btf_.type(id).type);
    if (tag.kind != BtfKind::kTypeTag || tag.kind_flag) return 0;
    if (btf_.type(tag.type).kind == BtfKind::kTypeTag) return EINVAL;
    const auto kind = kptr_of_tag(tag.name);
    if (!kind) return EINVAL;
    field.type = btf_.skip_modifiers(tag.type);
    if (btf_.type(field.type).kind != BtfKind::kStruct) return EINVAL;
    field.kptr = *kind;
    is_one = true;
    return 0;
  }

  // "contains:struct:node", the tag of a head.
  std::string_view contents_tag(const Place& place) const {
    constexpr std::string_view kPrefix = "contains:";
    for (std::uint32_t id = btf_.first_id() == 0 ? 1 : btf_.first_id(); id < btf_.type_count();
         ++id) {
      const BtfType& tag = btf_.type(id);
      if (tag.kind != BtfKind::kDeclTag || tag.type != place.parent) continue;
      if (tag.component_index() != place.member || !tag.name.starts_with(kPrefix)) continue;
      return tag.name.substr(kPrefix.size());
    }
    return {};
  }

  int describe_graph(const Place& place, MapField& field) const {
    const std::string_view tag = contents_tag(place);
    const std::size_t colon = tag.find(':');
    if (colon == std::string_view::npos) return EINVAL;
    const auto held = btf_.find_by_name(tag.substr(0, colon), BtfKind::kStruct);
    if (!held) return ENOENT;
    const std::string_view node_name = tag.substr(colon + 1);
    if (node_name.empty()) return EINVAL;
    const MapFieldKind node_kind =
        field.kind == MapFieldKind::kListHead ? MapFieldKind::kListNode : MapFieldKind::kTreeNode;
    for (const BtfMember& member : btf_.members(btf_.type(*held))) {
      if (member.name != node_name) continue;
      const BtfType& node = btf_.type(member.type);
      if (node.kind != BtfKind::kStruct || node.name != row_of(node_kind).name) return EINVAL;
      field.node_offset = member.bit_offset / 8;
      if (field.node_offset % row_of(node_kind).align != 0) return EINVAL;
      field.type = *held;
      return 0;
    }
    return ENOENT;
  }

  const Btf& btf_;
  bool is_value_;
};

// The fields in the order of the walk must not lie over each other or beyond the value.
int check_places(const std::vector<MapField>& fields, std::uint32_t value_size) {
  std::uint64_t next = 0;
  for (const MapField& field : fields) {
    const std::uint64_t end = std::uint64_t{field.offset} + field.size;
    if (end > value_size) return EFAULT;
    if (field.offset < next) return EEXIST;
    next = end;
  }
  return 0;
}

int check_company(const MapFields& found) {
  const bool has_lock = found.find(MapFieldKind::kSpinLock) != nullptr;
  const bool has_resilient = found.find(MapFieldKind::kResilientSpinLock) != nullptr;
  if (has_lock && has_resilient) return EINVAL;
  const bool has_graph = found.find(MapFieldKind::kListHead) != nullptr ||
                         found.find(MapFieldKind::kTreeRoot) != nullptr;
  return has_graph && !has_lock && !has_resilient ? EINVAL : 0;
}

}  // namespace

std::string_view map_field_name(MapFieldKind kind) { return row_of(kind).name; }

const MapField* MapFields::find(MapFieldKind kind) const {
  const auto found = std::ranges::find(fields, kind, &MapField::kind);
  return found == fields.end() ? nullptr : &*found;
}

const MapField* MapFields::overlapping(std::int64_t offset, std::uint64_t size) const {
  for (const MapField& field : fields) {
    const std::int64_t from = field.offset;
    const std::int64_t end = from + field.size;
    if (offset < end && offset + static_cast<std::int64_t>(size) > from) return &field;
  }
  return nullptr;
}

MapFields read_map_fields(const Btf* btf, std::uint32_t id) {
  if (btf == nullptr || id == 0 || btf->find(id) == nullptr) return {};
  FieldFinder finder(*btf, false);
  finder.find(btf->skip_modifiers_and_typedefs(id));
  MapFields out{std::move(finder.fields)};
  std::ranges::sort(out.fields, {}, &MapField::offset);
  return out;
}

Result<MapFields> parse_map_fields(const Btf& btf, std::uint32_t id, std::uint32_t value_size) {
  FieldFinder finder(btf, true);
  int error = finder.find(btf.skip_modifiers_and_typedefs(id));
  if (error == 0) error = check_places(finder.fields, value_size);
  MapFields out{std::move(finder.fields)};
  if (error == 0) error = check_company(out);
  if (error != 0) {
    return make_errno_error(
        ErrorCode::kInvalidArgument, error,
        fmt::format("type {}: a lock, timer, pointer or list in it is not as it must be", id));
  }
  std::ranges::sort(out.fields, {}, &MapField::offset);
  return out;
}

}  // namespace lmn
