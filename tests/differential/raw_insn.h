// SPDX-License-Identifier: Apache-2.0
//
// Instructions for the kernel, one function per form that hand-made test programs use. What they
// are is the UAPI's business (linux/bpf.h); nothing is checked here.
// Threads: pure.
#pragma once

#include <linux/bpf.h>

#include <cstddef>
#include <cstdint>

namespace lmn::raw {

inline struct bpf_insn insn(int code, int dst, int src, int off, std::int32_t imm) {
  struct bpf_insn out = {};
  out.code = static_cast<std::uint8_t>(code);
  out.dst_reg = static_cast<std::uint8_t>(dst & 15);
  out.src_reg = static_cast<std::uint8_t>(src & 15);
  out.off = static_cast<std::int16_t>(off);
  out.imm = imm;
  return out;
}

inline struct bpf_insn move(int dst, int src) {
  return insn(BPF_ALU64 | BPF_MOV | BPF_X, dst, src, 0, 0);
}
inline struct bpf_insn move_imm(int dst, std::int32_t imm) {
  return insn(BPF_ALU64 | BPF_MOV | BPF_K, dst, 0, 0, imm);
}
inline struct bpf_insn alu(int operation, int dst, int src) {
  return insn(BPF_ALU64 | operation | BPF_X, dst, src, 0, 0);
}
inline struct bpf_insn alu_imm(int operation, int dst, std::int32_t imm) {
  return insn(BPF_ALU64 | operation | BPF_K, dst, 0, 0, imm);
}
// 64-bit load and store at a register plus offset.
inline struct bpf_insn load_word(int dst, int src, std::size_t offset) {
  return insn(BPF_LDX | BPF_MEM | BPF_DW, dst, src, static_cast<int>(offset), 0);
}
inline struct bpf_insn store_word(int dst, std::size_t offset, int src) {
  return insn(BPF_STX | BPF_MEM | BPF_DW, dst, src, static_cast<int>(offset), 0);
}
// Jumps `off` instructions ahead when `dst` compares so with `imm`.
inline struct bpf_insn jump_imm(int operation, int dst, std::int32_t imm, int off) {
  return insn(BPF_JMP | operation | BPF_K, dst, 0, off, imm);
}
inline struct bpf_insn call(std::uint32_t helper_id) {
  return insn(BPF_JMP | BPF_CALL, 0, 0, 0, static_cast<std::int32_t>(helper_id));
}
inline struct bpf_insn exit() { return insn(BPF_JMP | BPF_EXIT, 0, 0, 0, 0); }

}  // namespace lmn::raw
