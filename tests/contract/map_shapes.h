// SPDX-License-Identifier: Apache-2.0
//
// The shapes of maps that the contract suite runs on: for each type the sizes, counts and flags
// that take different ways through it, and what the values hold besides bytes. Test code only.
// Threads: values.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "contract/value_types.h"

namespace lmn {

// What a value holds besides bytes; its size follows.
enum class Fields : std::uint8_t { kNone, kLock, kTimer, kPointers, kAll, kGraphs, kOthers };

struct Shape {
  std::uint32_t key_size;
  std::uint32_t value_size;
  std::uint32_t max_entries;
  std::uint32_t flags = 0;
  std::uint32_t universe = 0;  // keys to draw from; 0: half as many again as the map has entries
  std::uint64_t extra = 0;
  Fields fields = Fields::kNone;
};

// The types of a key of 4 bytes and of a value with fields.
class TypedValues {
 public:
  static Result<TypedValues> create() {
    TypedValues made;
    BtfBuilder btf;
    const FieldTypes f(btf);
    made.key_ = f.u32;
    for (const Fields fields : {Fields::kLock, Fields::kTimer, Fields::kPointers, Fields::kAll,
                                Fields::kGraphs, Fields::kOthers}) {
      StructBuilder value(btf, "value" + std::to_string(static_cast<int>(fields)));
      const bool is_all = fields == Fields::kAll;
      const bool has_graphs = fields == Fields::kGraphs;
      const bool has_others = fields == Fields::kOthers;
      value.add(f.u32, 4, 4);
      if (fields == Fields::kLock || is_all || has_graphs) value.add(f.spin_lock, 4, 4);
      if (has_others) value.add(f.resilient_lock, 4, 4);
      value.add(f.u8, 1, 1);
      value.add(f.u8, 1, 1);
      if (fields == Fields::kTimer || is_all) value.add(f.timer, 16, 8);
      if (is_all) value.add(f.work, 16, 8);
      if (has_others) value.add(f.task_work, 8, 8);
      if (has_graphs) made.list_offset_ = (value.size() + 7) / 8 * 8;
      const std::int32_t list = has_graphs ? value.add(f.list_head, 16, 8) : 0;
      value.add(f.u32, 4, 4);
      const std::int32_t tree = has_graphs ? value.add(f.tree_root, 16, 8) : 0;
      if (fields == Fields::kPointers || is_all) value.add(f.kptr, 8, 8);
      if (fields == Fields::kPointers || is_all) value.add(f.kptr_untrusted, 8, 8);
      value.add(f.u64, 8, 8);
      value.add(f.u8, 1, 1);
      const std::uint32_t id = value.finish();
      if (has_graphs) {
        btf.declaration_tag("contains:lmn_object:node", id, list);
        btf.declaration_tag("contains:lmn_object:tree", id, tree);
      }
      made.values_[static_cast<std::size_t>(fields)] = {id, value.size()};
    }
    LMN_TRY(made.types_, ValueTypes::load(btf.bytes()));
    return made;
  }

  void describe(MapSpec& spec, Fields fields) const {
    if (fields == Fields::kNone) return;
    const auto& [id, size] = values_[static_cast<std::size_t>(fields)];
    spec.value_size = size;
    types_->describe(spec, key_, id);
  }
  int fd() const { return types_->fd(); }
  // Where a value with graphs has its list: the kernel shows addresses of a copy there
  // (docs/kernel-differences.md, maps-6).
  static constexpr std::uint32_t kListBytes = 16;
  std::uint32_t list_offset() const { return list_offset_; }

 private:
  std::optional<ValueTypes> types_;
  std::uint32_t key_ = 0;
  std::uint32_t list_offset_ = 0;
  std::array<std::pair<std::uint32_t, std::uint32_t>, 7> values_{};
};

// Of a type; empty for a new row of map_types.def, which fails the suite.
std::vector<Shape> shapes_of(std::uint32_t type);

// Whether get_next_key follows an order that both sides share.
bool has_key_order(std::uint32_t type);

}  // namespace lmn
