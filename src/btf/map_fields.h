// SPDX-License-Identifier: Apache-2.0
//
// MapFields: the parts of a map's value that are not plain bytes: locks, timers, kptrs, lists,
// trees.
//
// A program must not read or write them like bytes: overwriting a lock's word would open it; and a
// map that copies a value must leave them out. Which bytes they are is known from the BTF of the
// value, and from nothing else: verifier, maps and interpreter all ask here.
//
// There are two questions. parse_map_fields is the kernel's record of a map: only what a map's
// value may hold, and an error where Linux keeps no record (such a value is plain bytes to it).
// read_map_fields takes any struct, one that programs allocate too, with the nodes by which it
// hangs in lists and trees; what is wrong in it is passed over.
//
//   struct value { struct bpf_spin_lock lock; int count; struct node __kptr *node; };
//   -> {kSpinLock, 0, 4}, {kKptr, 8, 8, type of node, kReferenced}
//
// Threads: values. Tested by tests/contract/map_fields_test.cc.
// Source: Linux 6.18, kernel/bpf/btf.c (btf_parse_fields and the functions it calls),
// include/linux/bpf.h (btf_field_type).
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

// The tag behind a kptr's pointer.
enum class KptrKind : std::uint8_t {
  kReferenced,  // __kptr: owns what it points to
  kUntrusted,   // __kptr_untrusted
  kPercpu,      // __percpu_kptr
  kUser,        // __uptr: memory of a process
};

struct MapField {
  MapFieldKind kind{};
  std::uint32_t offset = 0;
  std::uint32_t size = 0;
  std::uint32_t type = 0;  // kKptr: the pointee; kListHead, kTreeRoot: the struct that it holds
  KptrKind kptr = KptrKind::kReferenced;  // kKptr
  std::uint32_t node_offset = 0;          // kListHead, kTreeRoot: of the node in that struct

  bool operator==(const MapField&) const = default;
};

struct MapFields {
  std::vector<MapField> fields;  // sorted by offset

  const MapField* find(MapFieldKind kind) const;
  // The first field that [offset, offset + size) touches, or null.
  const MapField* overlapping(std::int64_t offset, std::uint64_t size) const;
  bool operator==(const MapFields&) const = default;
};

// The fields of type `id` (a map's value, or the section of global data); none without BTF.
MapFields read_map_fields(const Btf* btf, std::uint32_t id);

// What Linux records of a map whose value is of type `id` and has `value_size` bytes. Errors:
// kInvalidArgument with the errno that stands in place of the record: E2BIG (twice the same, too
// many), EEXIST (over each other), EINVAL (unknown tag, a graph without a lock ...), ENOENT (a
// graph of an unknown struct or node). REQUIRES: `id` is a type of `btf`.
Result<MapFields> parse_map_fields(const Btf& btf, std::uint32_t id, std::uint32_t value_size);

}  // namespace lmn
