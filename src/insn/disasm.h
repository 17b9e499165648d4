// SPDX-License-Identifier: Apache-2.0
//
// Instructions as text, in the notation of `bpftool prog dump xlated`, so that a listing of ours
// and one of the kernel's can be laid side by side.
//
//   r1 = *(u64 *)(r6 +0)        if r1 s> 0x5 goto pc+3       call bpf_map_lookup_elem#1
//   w1 += -3                    lock *(u64 *)(r1 +0) += r2   r1 = map[id:5][0]+16
//
// Where bpftool prints a reference as a bare number, and so two instructions alike, we differ,
// because the text must read back as the same instruction (insn/assemble.h):
//
//   lddw of BPF_PSEUDO_MAP_IDX    r1 = map[idx:0]           bpftool: r1 = 0x0
//   lddw of BPF_PSEUDO_BTF_ID     r1 = btf_id[7]            bpftool: r1 = 0x7
//   call of a kfunc without name  call kfunc#7              bpftool: call kernel-function#7
//   the same, BTF object 2        call kfunc#7@2            bpftool: not shown
//
// With `names`, references carry names: call pc+5#parse_eth, map[stats], call
// bpf_xdp_metadata_rx_hash#7. Such text is for people; it reads back only where the same names are
// given to the assembler.
// Threads: pure functions.
// Tested by disasm_test.cc, and by kernel_test.cc against bpftool's text and the kernel's log.
// Source: Linux 6.18, kernel/bpf/disasm.c; tools/bpf/bpftool/xlated_dumper.c.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "insn/insn.h"

namespace lmn {

// What the owner of a program knows about the numbers in it. An empty answer means: no name, print
// the number.
class DisasmNames {
 public:
  virtual ~DisasmNames() = default;
  virtual std::string map(std::uint32_t /*index*/) const {
    return {};
  }  // of BPF_PSEUDO_MAP_IDX(_VALUE)
  virtual std::string kfunc(std::uint32_t /*index*/) const {
    return {};
  }  // of BPF_PSEUDO_KFUNC_CALL
  virtual std::string ksym(std::uint32_t /*index*/) const { return {}; }  // of BPF_PSEUDO_BTF_ID
  virtual std::string subprogram(InsnIndex /*start*/) const { return {}; }
  virtual std::string helper(std::uint32_t id) const;  // linux/bpf.h's name
};

// One instruction; empty for kLddwHigh. `at` is where it stands (names of callees depend on it).
std::string disassemble(const Insn& insn, InsnIndex at = {}, const DisasmNames* names = nullptr);

// A whole program as bpftool prints it: "   0: (b7) r0 = 2" per line, one line for both slots of
// lddw.
std::string disassemble_program(std::span<const Insn> insns, const DisasmNames* names = nullptr);

}  // namespace lmn
