// SPDX-License-Identifier: Apache-2.0
//
// Maps of object files. Tested by engine_test.cc and tests/contract/.
#include "engine/object_maps.h"

#include <fmt/format.h>
#include <linux/bpf.h>

#include "abi/map_type_info.h"

namespace lmn {
namespace {

MapSpec without_types(const MapSpec& spec) {
  MapSpec bare = spec;
  bare.btf = nullptr;
  bare.btf_key_type_id = 0;
  bare.btf_value_type_id = 0;
  return bare;
}

// The spec of a map and of the maps in it with the types of its object, where libbpf gives them.
MapSpec with_types(const MapSpec& spec, const std::shared_ptr<const Btf>& btf,
                   std::uint32_t cpu_count) {
  const MapTypeInfo* info = find_map_type_info(spec.type);
  const bool takes_none = btf == nullptr || info == nullptr || (info->flags & kMapNoBtf) != 0;
  MapSpec typed = takes_none ? without_types(spec) : spec;
  if (!takes_none) typed.btf = btf;
  if (spec.type == BPF_MAP_TYPE_PERF_EVENT_ARRAY && spec.max_entries == 0) {
    typed.max_entries = cpu_count;  // one per CPU, as libbpf has it
  }
  if (spec.inner != nullptr) {
    typed.inner = std::make_shared<const MapSpec>(with_types(*spec.inner, btf, cpu_count));
  }
  return typed;
}

}  // namespace

Result<std::unique_ptr<Map>> create_object_map(const MapSpec& spec,
                                               const std::shared_ptr<const Btf>& types,
                                               const MapOptions& options, MapHost& host,
                                               std::string& note) {
  auto map = create_map(with_types(spec, types, options.cpu_count), options, host);
  if (!map && spec.btf_value_type_id != 0) {
    auto again = create_map(with_types(spec, nullptr, options.cpu_count), options, host);
    if (again) {
      note = map.error().to_string() + "; made without its types";
      map = std::move(again);
    }
  }
  if (map) return map;
  return make_error(std::move(map).error().with_context(fmt::format("map '{}'", spec.name)));
}

}  // namespace lmn
