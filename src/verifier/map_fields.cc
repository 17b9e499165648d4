// SPDX-License-Identifier: Apache-2.0
//
// Finding the special fields of a map's value in BTF. Tested by paths_test.cc.
#include "verifier/map_fields.h"

#include <algorithm>
#include <utility>

#include "abi/limits.h"

namespace lmn {
namespace {

struct Row {
  MapFieldKind kind;
  std::string_view name;
};
constexpr Row kRows[] = {
    {MapFieldKind::kSpinLock, "bpf_spin_lock"},
    {MapFieldKind::kResilientSpinLock, "bpf_res_spin_lock"},
    {MapFieldKind::kTimer, "bpf_timer"},
    {MapFieldKind::kWorkqueue, "bpf_wq"},
    {MapFieldKind::kTaskWork, "bpf_task_work"},
    {MapFieldKind::kKptr, "kptr"},
    {MapFieldKind::kListHead, "bpf_list_head"},
    {MapFieldKind::kListNode, "bpf_list_node"},
    {MapFieldKind::kTreeRoot, "bpf_rb_root"},
    {MapFieldKind::kTreeNode, "bpf_rb_node"},
    {MapFieldKind::kRefcount, "bpf_refcount"},
};

bool is_kptr_tag(std::string_view name) {
  return name == "kptr" || name == "kptr_untrusted" || name == "percpu_kptr" || name == "uptr";
}

class FieldFinder {
 public:
  FieldFinder(const Btf& btf, MapFields& out) : btf_(btf), out_(out) {}

  void walk(std::uint32_t id, std::uint32_t offset, std::size_t depth) {
    if (depth > limits::kBtfNestingMax || ++visits_ > limits::kBtfVisitsMax) return;
    const std::uint32_t bare = btf_.skip_modifiers_and_typedefs(id);
    const BtfType& type = btf_.type(bare);
    switch (type.kind) {
      case BtfKind::kStruct:
        if (add_named(type, offset)) return;
        for (const BtfMember& member : btf_.members(type)) {
          if (member.bitfield_size == 0)
            walk(member.type, offset + member.bit_offset / 8, depth + 1);
        }
        return;
      case BtfKind::kDatasec:
        for (const BtfVariable& variable : btf_.variables(type)) {
          walk(btf_.type(variable.type).type, offset + variable.offset, depth + 1);
        }
        return;
      case BtfKind::kArray:
        walk_array(type, offset, depth);
        return;
      case BtfKind::kPtr:
        add_kptr(type, offset);
        return;
      default:
        return;
    }
  }

 private:
  bool add_named(const BtfType& type, std::uint32_t offset) {
    for (const Row& row : kRows) {
      if (row.name != type.name || row.kind == MapFieldKind::kKptr) continue;
      out_.fields.push_back({row.kind, offset, type.size, 0});
      return true;
    }
    return false;
  }

  void walk_array(const BtfType& type, std::uint32_t offset, std::size_t depth) {
    const BtfArray array = type.array();
    const std::size_t before = out_.fields.size();
    const auto size = btf_.resolve_size(array.element_type);
    if (!size) return;
    for (std::uint32_t i = 0; i < array.count; ++i) {
      walk(array.element_type, offset + i * *size, depth + 1);
      if (out_.fields.size() == before) return;  // an element without fields: so are all
    }
  }

  void add_kptr(const BtfType& type, std::uint32_t offset) {
    // A chain of tags stands directly after the pointer.
    for (std::uint32_t id = type.type; btf_.type(id).is_modifier(); id = btf_.type(id).type) {
      const BtfType& tag = btf_.type(id);
      if (tag.kind != BtfKind::kTypeTag || !is_kptr_tag(tag.name)) continue;
      out_.fields.push_back({MapFieldKind::kKptr, offset, 8, btf_.skip_modifiers(tag.type)});
      return;
    }
  }

  const Btf& btf_;
  MapFields& out_;
  std::size_t visits_ = 0;
};

}  // namespace

std::string_view map_field_name(MapFieldKind kind) {
  return kRows[static_cast<std::size_t>(kind)].name;
}

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
  MapFields out;
  if (btf == nullptr || id == 0 || btf->find(id) == nullptr) return out;
  FieldFinder(*btf, out).walk(id, 0, 0);
  std::ranges::sort(out.fields, {}, &MapField::offset);
  return out;
}

}  // namespace lmn
