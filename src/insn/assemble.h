// SPDX-License-Identifier: Apache-2.0
//
// Text to instructions: the notation of insn/disasm.h back, one instruction per line, for tests and
// small programs.
//
//   // counts packets              comments: //, ; or # begin a line; // and ; also end one
//     r1 = map[idx:0]              lddw BPF_PSEUDO_MAP_IDX
//     r1 = map[idx:0]+16           lddw BPF_PSEUDO_MAP_IDX_VALUE
//     r2 = 0x100000000             lddw: hexadecimal is a 64-bit constant (or: r2 = 5 ll)
//     r3 = 5                       mov: decimal is a 32-bit immediate
//     if r3 > 0x4 goto out         a label, or pc+1
//     call bpf_map_lookup_elem     by name, by number (call 1), or both (bpf_map_lookup_elem#1)
//     call count                   a label: a function of this program
//     call kfunc#0                 a kernel function, or a name the caller knows
//     r2 = func count              address of a function: lddw BPF_PSEUDO_FUNC
//   out:
//     exit
//
// A line may begin as bpftool's do ("12: (b7) r0 = 2"); number and opcode are passed over. The
// parser knows no instruction: it matches lines with the notation column of opcodes.def. An error
// names line, column and what was expected there.
// Not done: what the text assembles to is not checked further (jumps may leave the program): that
// is the verifier's.
// Threads: pure functions. Tested by assemble_test.cc.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "insn/insn.h"

namespace lmn {

// Numbers for the names in a text.
class AssembleNames {
 public:
  virtual ~AssembleNames() = default;
  virtual std::optional<std::uint32_t> helper(std::string_view name) const;  // linux/bpf.h's number
  virtual std::optional<std::uint32_t> map(std::string_view /*name*/) const { return std::nullopt; }
  virtual std::optional<std::uint32_t> kfunc(std::string_view /*name*/) const {
    return std::nullopt;
  }
  virtual std::optional<std::uint32_t> ksym(std::string_view /*name*/) const {
    return std::nullopt;
  }
};

// Errors: kMalformed, "line 3, column 8: 'r11' where a register r0 to r10 was expected".
Result<std::vector<Insn>> assemble(std::string_view text, const AssembleNames* names = nullptr);

}  // namespace lmn
