// SPDX-License-Identifier: Apache-2.0
//
// A map's entries as `bpftool map dump` prints them, byte for byte (bpftool 7.1, Debian 12).
//
//   dump_map_text(*map, nullptr)     key: 01 00 00 00  value: 02 00 00 00 00 00 00 00
//                                    Found 1 element
//   dump_map_json(*map, btf) [{"key":["0x01",...],"value":[...],"formatted":{"key":1,"value":2}}]
//
// With BTF and a map that has BTF ids, text becomes bpftool's indented JSON, and JSON gains
// "formatted". Types whose BTF libbpf keeps from the kernel (kMapNoBtf) are shown raw, as there.
// At most max_entries entries are walked: a map that changes meanwhile cannot keep the walk going.
// Threads: any control thread. Tested by map_dump_test.cc and tests/contract/maps_dump_test.cc.
// Source: bpftool 7.1, map.c (behaviour, observed).
#pragma once

#include <string>

#include "btf/btf.h"
#include "maps/map.h"

namespace lmn {

// `bpftool map dump`: whole lines. `btf` may be null: bytes only.
std::string dump_map_text(Map& map, const Btf* btf);
// `bpftool -j map dump`, without the line's end, so that it can stand inside other JSON.
std::string dump_map_json(Map& map, const Btf* btf);

}  // namespace lmn
