// SPDX-License-Identifier: Apache-2.0
//
// Writes bytes as the value of a BTF type, as bpftool does: structs as objects, char arrays as
// strings, enums by name, bitfields and 128-bit numbers in hexadecimal.
//
// Bytes and types come from different places (a map's memory, an object's BTF): every read is
// checked against the span, and a type that does not fit ends the dump of that value instead of
// reading on. Threads: any. Tested by map_dump_test.cc and tests/contract/maps_dump_test.cc.
// Source: bpftool 7.1, btf_dumper.c (behaviour, observed).
#pragma once

#include <cstdint>

#include "base/byte_reader.h"
#include "btf/btf.h"
#include "maps/bpftool_json.h"

namespace lmn {

// False when the type cannot be shown or does not fit `bytes`; what was written until then stays.
bool dump_typed_value(BpftoolJson& json, const Btf& btf, std::uint32_t type_id, ByteSpan bytes);

}  // namespace lmn
