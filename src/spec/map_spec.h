// SPDX-License-Identifier: Apache-2.0
//
// MapSpec: the blueprint of one map, as an object file or a caller states it; a value.
//
// Made by object::read_object or by hand; maps/ makes live maps of it. Fields have the meaning of
// union bpf_attr's map creation part (linux/bpf.h), with libbpf's additions (pinning, initial
// contents).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace lmn {

class Btf;  // btf/btf.h

// How a map stood in its object file.
enum class MapOrigin : std::uint8_t {
  kCaller,      // no object file
  kBtfMaps,     // SEC(".maps")
  kLegacyMaps,  // SEC("maps"), see MapSpec::legacy_layout
  kGlobalData,  // .data*, .rodata*, .bss*
  kKconfig,     // .kconfig
};

// One entry to be filled at load time with another object: a program in a PROG_ARRAY, a map in a
// map-in-map.
struct MapInitialSlot {
  std::uint32_t index = 0;
  std::string name;  // of a program or map of the same object
};

struct MapSpec {
  std::string name;              // as in the source: symbol, or section for global data
  std::uint32_t type = 0;        // BPF_MAP_TYPE_*
  std::uint32_t key_size = 0;    // bytes
  std::uint32_t value_size = 0;  // bytes
  std::uint32_t max_entries = 0;
  std::uint32_t map_flags = 0;  // BPF_F_*
  std::uint32_t numa_node = 0;
  std::uint64_t map_extra = 0;
  std::uint32_t pinning = 0;          // LIBBPF_PIN_*: 0 none, 1 by name; other values are kept
  std::uint32_t btf_key_type_id = 0;  // 0: not described
  std::uint32_t btf_value_type_id = 0;
  // What these two are ids of; null: nobody looks at them, and values are bytes.
  std::shared_ptr<const Btf> btf;
  MapOrigin origin = MapOrigin::kCaller;
  std::string section;        // where it stood
  std::string legacy_layout;  // "libbpf", "iproute2", ...: which struct of SEC("maps") this was
  bool is_frozen_at_load = false;  // .rodata: frozen after the contents are written
  std::vector<std::uint8_t>
      contents;  // initial bytes of a one-entry array (global data); empty: zeros
  std::vector<MapInitialSlot> slots;  // initial programs or maps
  std::shared_ptr<const MapSpec>
      inner;  // template of a map-in-map (shared: specs are copied freely)
};

}  // namespace lmn
