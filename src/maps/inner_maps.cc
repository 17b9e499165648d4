// SPDX-License-Identifier: Apache-2.0
//
// InnerMaps. Tested by maps_test.cc and tests/contract/maps_contract_test.cc.
// Source: Linux 6.18, kernel/bpf/map_in_map.c.
#include "maps/inner_maps.h"

#include <linux/bpf.h>

#include <cerrno>

#include "abi/map_type_info.h"
#include "maps/map_checks.h"

namespace lmn {

Result<InnerMaps> InnerMaps::create(const MapSpec& spec, const MapOptions& options, MapHost& host) {
  if (spec.inner == nullptr) return map_error(spec, EBADF, "no template of its inner maps");
  const MapTypeInfo* info = find_map_type_info(spec.inner->type);
  if (info != nullptr && (info->flags & kMapHoldsMaps) != 0) {
    return map_error(spec, EINVAL, "a map of maps cannot hold maps of maps");
  }
  if (spec.inner->type == BPF_MAP_TYPE_PROG_ARRAY) {
    return map_error(spec, kErrnoNotSupp, "a program array cannot be an inner map");
  }
  // Made once, so that a template is judged as any map, and its flags are the ones real maps get.
  LMN_TRY(const std::unique_ptr<Map> made, create_map(*spec.inner, options, host));
  return InnerMaps(*spec.inner, made->spec(),
                   made->fields() == nullptr ? MapFields{} : made->fields()->fields(), host);
}

bool InnerMaps::fits(const Map& map) const noexcept {
  const MapSpec& spec = map.spec();
  if (map.fields() == nullptr ? !fields_.fields.empty() : map.fields()->fields() != fields_) {
    return false;
  }
  if (spec.type != shape_.type) return false;
  if (spec.key_size != shape_.key_size) return false;
  if (spec.value_size != shape_.value_size) return false;
  if (spec.map_flags != shape_.map_flags) return false;
  const bool is_counted =
      (spec.type == BPF_MAP_TYPE_ARRAY && (spec.map_flags & BPF_F_INNER_MAP) == 0) ||
      spec.type == BPF_MAP_TYPE_XSKMAP;
  return !is_counted || spec.max_entries == shape_.max_entries;
}

Map* InnerMaps::acquire(std::uint32_t handle, int& error) const noexcept {
  Map* map = host_->acquire_map(handle);
  if (map == nullptr) {
    error = host_->map_error(handle);
    return nullptr;
  }
  if (fits(*map)) return map;
  host_->release_map(map);
  error = -EINVAL;
  return nullptr;
}

}  // namespace lmn
