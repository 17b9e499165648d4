// SPDX-License-Identifier: Apache-2.0
//
// A small environment, a few maps and programs from text, for the tests of the structural pass.
//
// Only for tests; nothing shipped includes it. Threads: constants and pure functions. Tested by its
// users.
#pragma once

#include <linux/bpf.h>

#include <string>
#include <string_view>

#include "insn/assemble.h"
#include "spec/environment.h"
#include "spec/map_spec.h"
#include "spec/program_spec.h"

namespace lmn::structure_tests {

inline constexpr HelperProto kHelpers[] = {
    {.id = 1, .name = "bpf_map_lookup_elem"},
    {.id = 5, .name = "bpf_ktime_get_ns"},
    {.id = 6, .name = "bpf_trace_printk", .flags = kHelperGplOnly},
    {.id = 7, .name = "bpf_get_prandom_u32"},
    {.id = 12, .name = "bpf_tail_call"},
};
inline constexpr MapTypeInfo kMapTypes[] = {
    {.type = BPF_MAP_TYPE_HASH, .name = "hash"},
    {.type = BPF_MAP_TYPE_ARRAY, .name = "array", .flags = kMapDirectValue},
    {.type = BPF_MAP_TYPE_PROG_ARRAY, .name = "prog_array", .flags = kMapHoldsPrograms},
};
inline constexpr KfuncProto kKfuncs[] = {
    {.name = "bpf_ct_release", .refusal = "no connections here"},
    {.name = "bpf_rcu_read_lock", .flags = kKfRcuLock},
    {.name = "bpf_xdp_metadata_rx_hash", .flags = kKfDeviceBound},
};
inline const Environment kEnvironment{
    .helpers = kHelpers, .map_types = kMapTypes, .context = kXdpMdFields, .kfuncs = kKfuncs};

inline MapSpec map_spec(const char* name, std::uint32_t type, std::uint32_t value_size,
                        std::uint32_t max_entries) {
  MapSpec map;
  map.name = name;
  map.type = type;
  map.key_size = 4;
  map.value_size = value_size;
  map.max_entries = max_entries;
  return map;
}

inline const MapSpec kGlobals = map_spec(".data", BPF_MAP_TYPE_ARRAY, 16, 1);
inline const MapSpec kArray = map_spec("counts", BPF_MAP_TYPE_ARRAY, 16, 4);
inline const MapSpec kHash = map_spec("flows", BPF_MAP_TYPE_HASH, 16, 1);
inline const MapSpec kJumpTable = map_spec("jumps", BPF_MAP_TYPE_PROG_ARRAY, 4, 4);
inline const MapSpec kStrange = map_spec("odd", 9999, 4, 4);

// A program "p" of `map_count` maps, four kernel functions (offered to bound programs, offered, a
// slip, refused) and one kernel variable. Text that does
// not assemble gives a program that is refused: the test then shows the assembler's message as
// defect.
inline ProgramSpec program_of(std::string_view text, std::size_t map_count = 0) {
  ProgramSpec program;
  program.name = "p";
  program.type = BPF_PROG_TYPE_XDP;
  program.license = "GPL";
  auto insns = assemble(text);
  if (insns) {
    program.insns = *std::move(insns);
  } else {
    program.defect = insns.error();
  }
  program.functions.emplace_back().name = "p";
  for (const char* name :
       {"bpf_xdp_metadata_rx_hash", "bpf_rcu_read_lock", "bpf_rcu_read_lok", "bpf_ct_release"}) {
    program.kfuncs.emplace_back().name = name;
  }
  program.externs.emplace_back().name = "bpf_prog_active";
  for (std::uint32_t i = 0; i < map_count; ++i) program.maps.push_back(i);
  return program;
}

}  // namespace lmn::structure_tests
