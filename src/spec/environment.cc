// SPDX-License-Identifier: Apache-2.0
//
// Look-ups in an Environment's tables: binary search where they are sorted by a sparse key.
#include "spec/environment.h"

#include <algorithm>

namespace lmn {

const HelperProto* Environment::find_helper(std::uint32_t id) const {
  auto found = std::ranges::lower_bound(helpers, id, {}, &HelperProto::id);
  return found != helpers.end() && found->id == id ? &*found : nullptr;
}

const KfuncProto* Environment::find_known_kfunc(std::string_view name) const {
  auto found = std::ranges::lower_bound(kfuncs, name, {}, &KfuncProto::name);
  return found != kfuncs.end() && found->name == name ? &*found : nullptr;
}

const KfuncProto* Environment::find_kfunc(std::string_view name) const {
  const KfuncProto* proto = find_known_kfunc(name);
  return proto != nullptr && proto->refusal.empty() ? proto : nullptr;
}

const MapTypeInfo* Environment::find_map_type(std::uint32_t type) const {
  auto found = std::ranges::lower_bound(map_types, type, {}, &MapTypeInfo::type);
  return found != map_types.end() && found->type == type ? &*found : nullptr;
}

const ContextField* Environment::find_field(std::uint32_t offset, std::uint32_t size_bytes) const {
  for (const ContextField& field : context) {
    if (field.offset == offset && field.size_bytes == size_bytes) return &field;
  }
  return nullptr;
}

}  // namespace lmn
