// SPDX-License-Identifier: Apache-2.0
//
// MapTypeInfo: what the verifier and the tools must know of a map type, as data. Rows:
// maps/map_types.def.
#pragma once

#include <cstdint>
#include <string_view>

namespace lmn {

enum : std::uint16_t {
  kMapPerCpu = 1u << 0,  // one value per CPU; user space sees them all, each rounded up to 8 bytes
  kMapHoldsPrograms = 1u << 1,    // values are programs (PROG_ARRAY)
  kMapHoldsMaps = 1u << 2,        // values are maps
  kMapRedirectTarget = 1u << 3,   // bpf_redirect_map takes it
  kMapProgramReadOnly = 1u << 4,  // programs may look up but not change (DEVMAP ...)
  kMapNoProgramLookup = 1u << 5,  // programs may not look up (PROG_ARRAY)
  kMapDirectValue = 1u << 6,      // a program may hold the address of a value (global data)
  kMapNoBtf = 1u << 7,            // libbpf gives the kernel no BTF of its key and value
};

struct MapTypeInfo {
  std::uint32_t type = 0;  // BPF_MAP_TYPE_*
  std::string_view name;   // bpftool's word: "hash", "percpu_array"
  std::uint16_t flags = 0;
};

}  // namespace lmn
