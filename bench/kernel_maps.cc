// SPDX-License-Identifier: Apache-2.0
//
// KernelLoop: the programs, instruction by instruction.
//
// Registers: r6 the state's address, r7 the state, r8 the factor, r9 the number. The key lies at
// the stack's end, the value (or record) of an update below it.
#include "kernel_maps.h"

namespace lmn::bench {
namespace {

using namespace lmn::raw;  // NOLINT(google-build-using-namespace)

constexpr int kKeyAt = -24;
constexpr int kRecordAt = -96;
constexpr int kRecordBytes = 64;

using Insns = std::vector<struct bpf_insn>;

struct bpf_insn store(int size, int offset, int source) {
  return insn(BPF_STX | BPF_MEM | size, 10, source, offset, 0);
}

void append_number(Insns& out, const LoopOptions& options) {
  if (options.is_sequential) {
    out.push_back(move(9, 7));
    out.push_back(alu_imm(BPF_ADD, 7, 1));
  } else {
    out.push_back(alu(BPF_MUL, 7, 8));
    out.push_back(alu_imm(BPF_ADD, 7, kStep));
    out.push_back(move(9, 7));
    out.push_back(alu_imm(BPF_RSH, 9, kNumberShift));
    out.push_back(alu_imm(BPF_MUL, 9, static_cast<std::int32_t>(options.count)));
    out.push_back(alu_imm(BPF_RSH, 9, 64 - kNumberShift));
  }
}

void append_key(Insns& out, KeyKind kind) {
  out.push_back(move(1, 9));
  out.push_back(alu(BPF_MUL, 1, 8));
  switch (kind) {
    case KeyKind::kIndex4:
      out.push_back(store(BPF_W, kKeyAt, 9));
      break;
    case KeyKind::kWords16:
      out.push_back(store(BPF_DW, kKeyAt, 1));
      out.push_back(store(BPF_DW, kKeyAt + 8, 9));
      break;
    case KeyKind::kLpm4:
      out.push_back(alu_imm(BPF_RSH, 1, 32));
      out.push_back(move_imm(2, 32));
      out.push_back(store(BPF_W, kKeyAt, 2));
      out.push_back(store(BPF_W, kKeyAt + 4, 1));
      break;
    case KeyKind::kLpm16:
      // The parts of a 20-byte key are not aligned to 8.
      out.push_back(move_imm(2, 128));
      out.push_back(store(BPF_W, kKeyAt, 2));
      out.push_back(move(2, 1));
      out.push_back(alu_imm(BPF_RSH, 2, 32));
      for (const int at : {4, 12}) {
        out.push_back(store(BPF_W, kKeyAt + at, 1));
        out.push_back(store(BPF_W, kKeyAt + at + 4, 2));
      }
      break;
  }
}

void append_stack_address(Insns& out, int reg, int offset) {
  out.push_back(move(reg, 10));
  out.push_back(alu_imm(BPF_ADD, reg, offset));
}

void append_operation(Insns& out, Operation operation, int map_fd) {
  append_map_reference(out, 1, map_fd);
  switch (operation) {
    case Operation::kLookup:
      append_stack_address(out, 2, kKeyAt);
      out.push_back(call(BPF_FUNC_map_lookup_elem));
      out.push_back(jump_imm(BPF_JEQ, 0, 0, 1));
      out.push_back(load_word(1, 0, 0));
      break;
    case Operation::kUpdate:
      append_stack_address(out, 2, kKeyAt);
      append_stack_address(out, 3, kRecordAt);
      out.push_back(move_imm(4, BPF_ANY));
      out.push_back(call(BPF_FUNC_map_update_elem));
      break;
    case Operation::kRingOutput:
      append_stack_address(out, 2, kRecordAt);
      out.push_back(move_imm(3, kRecordBytes));
      out.push_back(move_imm(4, BPF_RB_NO_WAKEUP));
      out.push_back(call(BPF_FUNC_ringbuf_output));
      break;
  }
}

KernelProgram load(const KernelMap& state, const KernelMap& map, const LoopOptions& options,
                   bool is_empty) {
  Insns out;
  append_map_reference(out, 6, state.fd(), BPF_PSEUDO_MAP_VALUE);
  out.push_back(load_word(7, 6, 0));
  out.push_back(
      insn(BPF_LD | BPF_DW | BPF_IMM, 8, 0, 0, static_cast<std::int32_t>(kFactor & UINT32_MAX)));
  out.push_back(insn(0, 0, 0, 0, static_cast<std::int32_t>(kFactor >> 32)));
  for (int at = kRecordAt; at < 0; at += 8) {
    out.push_back(insn(BPF_ST | BPF_MEM | BPF_DW, 10, 0, at, 7));
  }
  for (int i = 0; i < KernelLoop::kOperations; ++i) {
    append_number(out, options);
    append_key(out, options.keys);
    if (!is_empty) append_operation(out, options.operation, map.fd());
  }
  out.push_back(insn(BPF_STX | BPF_MEM | BPF_DW, 6, 7, 0, 0));
  out.push_back(move_imm(0, XDP_PASS));
  out.push_back(raw::exit());
  return KernelProgram::load(out);
}

}  // namespace

std::optional<KernelLoop> KernelLoop::create(const KernelMap& map, const LoopOptions& options) {
  KernelMap state = KernelMap::create({.value_size = 8});
  KernelProgram program = load(state, map, options, false);
  KernelProgram empty = load(state, map, options, true);
  if (!program.is_loaded() || !empty.is_loaded()) return std::nullopt;
  return KernelLoop(std::move(state), std::move(program), std::move(empty));
}

double KernelLoop::time(const KernelProgram& program, std::uint32_t repeat) {
  const KernelRun run = program.run(std::vector<std::uint8_t>(64), {.repeat = repeat});
  return static_cast<double>(run.duration_ns) / kOperations;
}

}  // namespace lmn::bench
