// SPDX-License-Identifier: Apache-2.0
//
// Depth first through the graph; a type is queued when all that it needs has been.
// Tested by btf_text_test.cc and tests/inspect/btf_dump_test.cc.
#include "btf/btf_c_order.h"

#include <fmt/format.h>

#include <utility>

#include "abi/limits.h"

namespace lmn {

BtfCOrder::BtfCOrder(const Btf& btf)
    : btf_(btf), states_(btf.type_count(), State::kNew), is_referenced_(btf.type_count(), false) {
  states_[0] = State::kDone;
  mark_referenced();
}

void BtfCOrder::mark_referenced() {
  for (std::uint32_t id = 1; id < btf_.type_count(); ++id) {
    const BtfType& type = btf_.type(id);
    // What a function returns does not count: so libbpf, and it decides which enums are shown.
    const bool names_one = type.kind != BtfKind::kFuncProto && type.kind != BtfKind::kFwd;
    if (names_one) is_referenced_[type.type] = true;
    if (type.kind == BtfKind::kArray) is_referenced_[type.array().index_type] = true;
    if (type.is_composite()) {
      for (const BtfMember& member : btf_.members(type)) is_referenced_[member.type] = true;
    } else if (type.kind == BtfKind::kFuncProto) {
      for (const BtfParam& param : btf_.params(type)) is_referenced_[param.type] = true;
    } else if (type.kind == BtfKind::kDatasec) {
      for (const BtfVariable& variable : btf_.variables(type)) is_referenced_[variable.type] = true;
    }
  }
}

Result<std::vector<std::uint32_t>> BtfCOrder::definitions_for(std::uint32_t root) {
  queue_.clear();
  const Result<Need> need = visit(root, false);
  if (!need) return make_error(need.error());
  return std::exchange(queue_, {});
}

BtfCOrder::Need BtfCOrder::define(std::uint32_t id) {
  queue_.push_back(id);
  states_[id] = State::kDone;
  return Need::kFully;
}

Result<BtfCOrder::Need> BtfCOrder::visit(std::uint32_t id, bool through_pointer) {
  if (states_[id] == State::kDone) return Need::kFully;
  const BtfType& type = btf_.type(id);
  if (states_[id] == State::kOpen) {
    if (through_pointer && !type.name.empty()) return Need::kName;
    return make_error(ErrorCode::kMalformed,
                      fmt::format("btf type [{}]: {} '{}' contains itself, which C cannot say", id,
                                  btf_kind_word(type.kind), type.name));
  }
  if (depth_ >= limits::kBtfTextDepthMax || ++visits_ > limits::kBtfTextVisitsMax) {
    return make_error(
        ErrorCode::kLimitExceeded,
        fmt::format("btf type [{}]: {} types deep, {} types met on the way", id, depth_, visits_));
  }
  ++depth_;
  Result<Need> need = Need::kName;
  switch (type.kind) {
    case BtfKind::kPtr:
      need = visit(type.type, true);
      states_[id] = State::kDone;
      break;
    case BtfKind::kArray:  // its length makes the element's size needed, pointer or not
      need = visit(type.type, false);
      break;
    case BtfKind::kVolatile:
    case BtfKind::kConst:
    case BtfKind::kRestrict:
    case BtfKind::kTypeTag:
      need = visit(type.type, through_pointer);
      break;
    case BtfKind::kStruct:
    case BtfKind::kUnion:
      need = visit_composite(id, through_pointer);
      break;
    case BtfKind::kEnum:
    case BtfKind::kEnum64:
    case BtfKind::kFwd:
      states_[id] = State::kDone;
      need = Need::kFully;
      if (!type.name.empty() || !is_referenced_[id]) define(id);
      break;
    case BtfKind::kTypedef:
      need = visit_typedef(id, through_pointer);
      break;
    case BtfKind::kFuncProto:
      need = visit_signature(id, through_pointer);
      break;
    case BtfKind::kVoid:
    case BtfKind::kInt:
    case BtfKind::kFloat:
    case BtfKind::kFunc:
    case BtfKind::kVar:
    case BtfKind::kDatasec:
    case BtfKind::kDeclTag:
      states_[id] = State::kDone;
      break;
  }
  --depth_;
  return need;
}

Result<BtfCOrder::Need> BtfCOrder::visit_composite(std::uint32_t id, bool through_pointer) {
  const BtfType& type = btf_.type(id);
  if (through_pointer && !type.name.empty()) return Need::kName;
  states_[id] = State::kOpen;
  for (const BtfMember& member : btf_.members(type)) {
    const Result<Need> need = visit(member.type, false);
    if (!need) return need;
  }
  if (!type.name.empty()) return define(id);
  states_[id] = State::kDone;
  return Need::kFully;
}

Result<BtfCOrder::Need> BtfCOrder::visit_typedef(std::uint32_t id, bool through_pointer) {
  const Result<Need> need = visit(btf_.type(id).type, through_pointer);
  if (!need) return need;
  if (through_pointer && *need == Need::kName) return Need::kName;
  return define(id);
}

Result<BtfCOrder::Need> BtfCOrder::visit_signature(std::uint32_t id, bool through_pointer) {
  const BtfType& proto = btf_.type(id);
  Result<Need> all = visit(proto.type, through_pointer);
  if (!all) return all;
  for (const BtfParam& param : btf_.params(proto)) {
    const Result<Need> need = visit(param.type, through_pointer);
    if (!need) return need;
    if (*need == Need::kFully) all = Need::kFully;
  }
  return all;
}

}  // namespace lmn
