// SPDX-License-Identifier: Apache-2.0
//
// ProgramEntry: a program as maps see it: something to hold, compare and hand back, never to look
// into.
//
// A PROG_ARRAY or devmap stores these; the execution engine that put its image there takes it out
// again. The traits are what the kernel compares when a program is put into a PROG_ARRAY (struct
// bpf_map_owner, Linux 6.18, kernel/bpf/core.c). Owner: the engine's Program. Threads: immutable
// while published.
#pragma once

#include <cstdint>

namespace lmn {

class CompiledProgram;  // exec/compiled_program.h; opaque here

struct ProgramEntry {
  std::uint32_t id = 0;
  std::uint32_t type = 0;  // BPF_PROG_TYPE_*
  std::uint32_t expected_attach_type = 0;
  bool has_frags = false;                   // BPF_F_XDP_HAS_FRAGS
  const void* interpreter_image = nullptr;  // exec/interp's, for tail calls
  CompiledProgram* program = nullptr;       // for the data plane: devmap and cpumap entry programs
};

}  // namespace lmn
