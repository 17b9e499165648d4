// SPDX-License-Identifier: Apache-2.0
//
// The kernel's map_check_btf, in its order. Tested by tests/contract/map_fields_test.cc.
// Source: Linux 6.18, kernel/bpf/syscall.c.
#include "maps/map_btf.h"

#include <fmt/format.h>
#include <linux/bpf.h>

#include <cerrno>
#include <utility>

#include "maps/map.h"
#include "maps/map_checks.h"

namespace lmn {
namespace {

// What a map type says to types at all.
enum class BtfUse : std::uint8_t {
  kAny,      // needs a key type
  kNone,     // takes none
  kArray,    // the key a 32-bit integer; or none, and the value a section of global data
  kTrie,     // the key a struct
  kKeyless,  // no key type
  kIgnored,  // whatever the types are
};

BtfUse btf_use_of(std::uint32_t type) {
  switch (type) {
    case BPF_MAP_TYPE_ARRAY:
    case BPF_MAP_TYPE_PERCPU_ARRAY:
      return BtfUse::kArray;
    case BPF_MAP_TYPE_LPM_TRIE:
      return BtfUse::kTrie;
    case BPF_MAP_TYPE_BLOOM_FILTER:
      return BtfUse::kKeyless;
    case BPF_MAP_TYPE_ARENA:
      return BtfUse::kIgnored;
    case BPF_MAP_TYPE_DEVMAP:
    case BPF_MAP_TYPE_DEVMAP_HASH:
    case BPF_MAP_TYPE_CPUMAP:
    case BPF_MAP_TYPE_XSKMAP:
    case BPF_MAP_TYPE_ARRAY_OF_MAPS:
    case BPF_MAP_TYPE_HASH_OF_MAPS:
    case BPF_MAP_TYPE_PERF_EVENT_ARRAY:
      return BtfUse::kNone;
    default:
      return BtfUse::kAny;
  }
}

bool is_one_of(std::uint32_t type, std::initializer_list<std::uint32_t> types) {
  for (const std::uint32_t one : types) {
    if (one == type) return true;
  }
  return false;
}

bool can_keep(std::uint32_t type, const MapField& field) {
  switch (field.kind) {
    case MapFieldKind::kSpinLock:
    case MapFieldKind::kResilientSpinLock:
      return is_one_of(type, {BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_ARRAY});
    case MapFieldKind::kTimer:
    case MapFieldKind::kWorkqueue:
    case MapFieldKind::kTaskWork:
    case MapFieldKind::kListHead:
    case MapFieldKind::kTreeRoot:
      return is_one_of(type, {BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_LRU_HASH, BPF_MAP_TYPE_ARRAY});
    case MapFieldKind::kKptr:
      if (field.kptr == KptrKind::kUser) return false;
      [[fallthrough]];
    case MapFieldKind::kRefcount:
      return is_one_of(
          type, {BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_PERCPU_HASH, BPF_MAP_TYPE_LRU_HASH,
                 BPF_MAP_TYPE_LRU_PERCPU_HASH, BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_PERCPU_ARRAY});
    case MapFieldKind::kListNode:
    case MapFieldKind::kTreeNode:
      return false;
  }
  return false;
}

// The size of a type that the kernel takes for a key or value: a description of bytes.
std::optional<std::uint32_t> size_of(const Btf& btf, std::uint32_t id) {
  const BtfType* type = btf.find(id);
  if (type == nullptr) return std::nullopt;
  if (type->kind == BtfKind::kDatasec) return type->size;
  auto size = btf.resolve_size(id);
  if (!size) return std::nullopt;
  return *size;
}

bool is_index(const BtfType& type) {
  if (type.kind != BtfKind::kInt) return false;
  const BtfInt info = type.int_info();
  return info.bits == 32 && info.offset_bits == 0;
}

Result<void> check_key_and_value(const MapSpec& spec) {
  const Btf& btf = *spec.btf;
  const BtfUse use = btf_use_of(spec.type);
  if (spec.btf_key_type_id != 0) {
    const auto size = size_of(btf, spec.btf_key_type_id);
    if (size != spec.key_size) {
      return map_error(spec, EINVAL,
                       fmt::format("the key's type {} has not the key_size of {} bytes",
                                   spec.btf_key_type_id, spec.key_size));
    }
  } else if (use == BtfUse::kAny) {
    return map_error(spec, EINVAL, "a value type without a key type");
  }
  if (size_of(btf, spec.btf_value_type_id) != spec.value_size) {
    return map_error(spec, EINVAL,
                     fmt::format("the value's type {} has not the value_size of {} bytes",
                                 spec.btf_value_type_id, spec.value_size));
  }
  return {};
}

Result<void> check_use(const MapSpec& spec) {
  const Btf& btf = *spec.btf;
  const BtfType& key = btf.type(btf.skip_modifiers_and_typedefs(spec.btf_key_type_id));
  const BtfType& value = btf.type(btf.skip_modifiers_and_typedefs(spec.btf_value_type_id));
  switch (btf_use_of(spec.type)) {
    case BtfUse::kAny:
    case BtfUse::kIgnored:
      return {};
    case BtfUse::kNone:
      return map_error(spec, kErrnoNotSupp, "this map type takes no types of key and value");
    case BtfUse::kKeyless:
      if (key.kind == BtfKind::kVoid) return {};
      return map_error(spec, EINVAL, "this map type has no key: it takes no key type");
    case BtfUse::kTrie:
      if (key.kind == BtfKind::kStruct) return {};
      return map_error(spec, EINVAL, "the key's type is no struct");
    case BtfUse::kArray:
      break;
  }
  if (key.kind != BtfKind::kVoid) {
    return is_index(key) ? Result<void>{}
                         : map_error(spec, EINVAL, "the key's type is no 32-bit integer");
  }
  const bool is_global = spec.type == BPF_MAP_TYPE_ARRAY && spec.max_entries == 1;
  if (is_global && value.kind == BtfKind::kDatasec) return {};
  return map_error(spec, EINVAL, "no key type, but it is no section of global data");
}

}  // namespace

Result<MapFields> check_map_btf(const MapSpec& spec) {
  if (spec.btf == nullptr || spec.btf_value_type_id == 0) return MapFields{};
  LMN_CHECK_OK(check_key_and_value(spec));
  auto parsed = parse_map_fields(*spec.btf, spec.btf_value_type_id, spec.value_size);
  // Where the fields are not as they must be, the values are bytes, as in the kernel.
  MapFields fields = parsed ? std::move(*parsed) : MapFields{};
  if (!fields.fields.empty() && (spec.map_flags & (BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG)) != 0) {
    return map_error(spec, EACCES,
                     fmt::format("a value with a {} in a map that programs may not read and write",
                                 map_field_name(fields.fields[0].kind)));
  }
  for (const MapField& field : fields.fields) {
    if (can_keep(spec.type, field)) continue;
    return map_error(spec, EOPNOTSUPP,
                     fmt::format("maps of this type cannot keep a {}", map_field_name(field.kind)));
  }
  LMN_CHECK_OK(check_use(spec));
  return fields;
}

}  // namespace lmn
