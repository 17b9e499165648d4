// SPDX-License-Identifier: Apache-2.0
//
// MapFields: the parts of a map's value that are not plain bytes: locks, timers, kptrs, lists,
// trees.
//
// A program must not read or write them like bytes: overwriting a lock's word would open it. Which
// bytes they are is known from the BTF of the value. Threads: values. Tested by paths_test.cc.
// Source: Linux 6.18, kernel/bpf/btf.c (btf_parse_fields), include/linux/bpf.h (btf_field_type).
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "btf/btf.h"

namespace lmn {

enum class MapFieldKind : std::uint8_t {
  kSpinLock,
  kResilientSpinLock,
  kTimer,
  kWorkqueue,
  kTaskWork,
  kKptr,
  kListHead,
  kListNode,
  kTreeRoot,
  kTreeNode,
  kRefcount,
};

// "bpf_spin_lock", as the kernel's messages name it.
std::string_view map_field_name(MapFieldKind kind);

struct MapField {
  MapFieldKind kind{};
  std::uint32_t offset = 0;
  std::uint32_t size = 0;
  std::uint32_t type = 0;  // kKptr: the pointee
};

struct MapFields {
  std::vector<MapField> fields;  // sorted by offset

  const MapField* find(MapFieldKind kind) const;
  // The first field that [offset, offset + size) touches, or null.
  const MapField* overlapping(std::int64_t offset, std::uint64_t size) const;
};

// The fields of type `id` (a map's value, or the section of global data); none without BTF.
MapFields read_map_fields(const Btf* btf, std::uint32_t id);

}  // namespace lmn
