// SPDX-License-Identifier: Apache-2.0
//
// What Linux demands of the types that describe a map's key and value, and what it finds in them.
//
// A map can be made without types; with them they must fit: sizes, an array's key is a 32-bit
// integer, an LPM trie's a struct, some map types take none. The value's types say what it holds
// besides bytes (btf/map_fields.h), and not every map type can keep each of these: a timer needs an
// element that is freed in one place, a lock one value and not one per CPU.
// Threads: any. Tested by tests/contract/map_fields_test.cc against the kernel.
// Source: Linux 6.18, kernel/bpf/syscall.c (map_check_btf), the map_check_btf of arraymap.c,
// lpm_trie.c, bloom_filter.c.
#pragma once

#include "base/result.h"
#include "btf/map_fields.h"
#include "spec/map_spec.h"

namespace lmn {

// What the values of a map of this spec hold; nothing without spec.btf. Errors: map_error with the
// kernel's errno (EINVAL, EACCES, EOPNOTSUPP, 524).
Result<MapFields> check_map_btf(const MapSpec& spec);

}  // namespace lmn
