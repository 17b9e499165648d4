// SPDX-License-Identifier: Apache-2.0
//
// ProgramSpec: the blueprint of one program, relocated as far as that needs no running system; a
// value.
//
// `insns` is what the kernel would be given: the entry program followed by the subprograms it
// reaches, in libbpf's order, so that instruction numbers and the tag equal the kernel's.
// References that need live objects stay symbolic:
//
// clang-format off: the table is one row per line
//
//   lddw, src = BPF_PSEUDO_MAP_IDX        imm = index into `maps`
//   lddw, src = BPF_PSEUDO_MAP_IDX_VALUE  imm = index into `maps` | byte offset in the value << 32
//   lddw, src = BPF_PSEUDO_FUNC           imm = slots from the next one on, as for calls
//   lddw, src = BPF_PSEUDO_BTF_ID         imm = index into `externs`
//   call, src = BPF_PSEUDO_CALL           imm = slots from the next one on
//   call, src = BPF_PSEUDO_KFUNC_CALL     imm = index into `kfuncs`
//   call, src = 0                         imm = helper id
//
// clang-format on
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "insn/insn.h"

namespace lmn {

// One line record: from `insn` up to the next record the code belongs to this source line.
struct LineInfo {
  InsnIndex insn;
  std::uint32_t line = 0;    // 1-based
  std::uint32_t column = 0;  // 1-based
  std::string file;
  std::string text;  // the source line itself, if the object carries it
};

struct FunctionInfo {
  InsnIndex insn;  // first instruction
  std::string name;
  std::uint32_t btf_type_id = 0;  // BTF_KIND_FUNC, or 0
  bool is_global = false;         // verified on its own, by its BTF signature
};

// A kernel function called by name; resolved against Environment::kfuncs.
struct KfuncRef {
  std::string name;
  bool is_weak = false;
  std::uint32_t btf_type_id = 0;  // FUNC in the object's BTF
};

// A kernel variable (ksym) referred to by address.
struct ExternRef {
  std::string name;
  bool is_weak = false;
  std::uint32_t btf_type_id = 0;
};

struct ProgramSpec {
  std::string name;                        // the function: "xdp_prog"
  std::string section;                     // "xdp.frags/devmap"
  std::uint32_t type = 0;                  // BPF_PROG_TYPE_*; 0: the section does not say
  std::uint32_t expected_attach_type = 0;  // BPF_XDP, BPF_XDP_DEVMAP, BPF_XDP_CPUMAP
  std::uint32_t prog_flags = 0;            // BPF_F_XDP_HAS_FRAGS, BPF_F_SLEEPABLE ...
  std::string attach_target;               // freplace/NAME and friends
  std::string license;
  std::vector<Insn> insns;
  std::vector<FunctionInfo> functions;  // sorted by insn; the first is the entry at 0
  // The function that gets what bpf_throw throws, if the program names one.
  std::optional<InsnIndex> exception_callback;
  std::vector<LineInfo> lines;      // sorted by insn
  std::vector<std::uint32_t> maps;  // what map references index: positions in ObjectSpec::maps
  std::vector<KfuncRef> kfuncs;
  std::vector<ExternRef> externs;
  bool is_autoload = true;  // false for SEC("?..."): only loaded when asked for by name
  // Why this program cannot be loaded although its object can be read (an instruction that does not
  // decode, a reference to nothing). insns are then for looking at, or empty. The engine gives it
  // as the answer to a load.
  std::optional<Error> defect;

  // The record that covers `insn`, or null when the object carries no line info for it.
  const LineInfo* line_of(InsnIndex insn) const;
  // The function that holds `insn`, or null when `functions` is empty.
  const FunctionInfo* function_of(InsnIndex insn) const;
  bool is_gpl_compatible() const;  // licence strings of Linux 6.18, include/linux/license.h
};

}  // namespace lmn
