// SPDX-License-Identifier: Apache-2.0
//
// Statements of probes about memory: maps, ring buffers, the packet, and pointers used as they must
// not be. Tested by soundness_test.cc.
#include <linux/bpf.h>

#include <cstddef>
#include <iterator>

#include "soundness/probe_generator.h"
#include "soundness/probe_parts.h"

namespace lmn {
using namespace probe;  // the constants of all statements

void ProbeGenerator::atomic() {
  static const std::vector<Op> kOps =
      rows([](const OpInfo& info) { return info.op_class == OpClass::kAtomic; });
  const Op op = kOps[below(kOps.size())];
  const bool on_stack = one_in(2);
  const std::uint8_t base = on_stack ? kFramePointer : kValue;
  const int offset = on_stack ? number_slot() : 8 * static_cast<int>(below(32));
  if (op_info(op).dst.use == FieldUse::kWrite) return emit(op, any_number(), base, offset);
  emit(op, base, any_number(), offset);
}

void ProbeGenerator::lookup() {
  const bool in_hash = one_in(3);
  const std::uint8_t key = any_number();
  if (one_in(2)) {
    emit(Op::kStMemImm32, kFramePointer, 0, kKey, static_cast<std::int64_t>(below(9)));
  } else {
    emit(Op::kStMemReg32, kFramePointer, key, kKey);
  }
  emit_lddw(1, BPF_PSEUDO_MAP_IDX, in_hash ? maps_.common.hash : maps_.common.slots);
  emit(Op::kMov64Reg, 2, kFramePointer);
  emit(Op::kAdd64Imm, 2, 0, 0, is_risky() ? -4 * static_cast<int>(below(30)) : kKey);
  call(BPF_FUNC_map_lookup_elem);
  for (std::uint8_t reg = 1; reg <= 5; ++reg) renew(reg);
  const bool has_copy = one_in(3);
  if (has_copy) emit(Op::kMov64Reg, 8, 0);
  if (is_risky() && one_in(2)) emit(Op::kAdd64Imm, one_in(2) ? 0 : 8, 0, 0, 8);
  const bool is_unchecked = is_risky();
  const std::size_t missing = is_unchecked ? 0 : jump(one_in(4) ? Op::kJeq32Imm : Op::kJeq64Imm, 0);
  if (!is_unchecked && insns_[missing].op == Op::kJeq32Imm && risk_percent_ == 0) {
    insns_[missing].op = Op::kJeq64Imm;
  }
  const std::uint8_t through = has_copy ? std::uint8_t{8} : std::uint8_t{0};
  emit(Op::kLdxMem64, 1, through, is_risky() ? 9 + static_cast<int>(below(8)) : 8);
  emit(Op::kStMemReg32, through, 1, static_cast<int>(below(13)));
  if (!is_unchecked) land(missing);
  if (has_copy) renew(8);
  renew(0);
}

void ProbeGenerator::ring_record() {
  emit_lddw(1, BPF_PSEUDO_MAP_IDX, maps_.ring);
  emit(Op::kMov64Imm, 2, 0, 0, 24);
  emit(Op::kMov64Imm, 3);
  call(BPF_FUNC_ringbuf_reserve);
  for (std::uint8_t reg = 1; reg <= 5; ++reg) renew(reg);
  const std::size_t full = jump(Op::kJeq64Imm, 0);
  emit(Op::kStMemReg64, 0, 2,
       is_risky() ? 17 + static_cast<int>(below(8)) : static_cast<int>(below(17)));
  emit(Op::kMov64Reg, 1, 0);
  if (is_risky()) emit(Op::kAdd64Imm, 1, 0, 0, 8);
  emit(Op::kMov64Imm, 2);
  if (is_risky()) {
    land(full);
    call(BPF_FUNC_ringbuf_discard);
  } else {
    if (!is_risky()) call(one_in(2) ? BPF_FUNC_ringbuf_submit : BPF_FUNC_ringbuf_discard);
    land(full);
  }
  renew_after_call();
}

void ProbeGenerator::check_packet(std::uint8_t at, std::uint8_t end, std::int64_t bytes) {
  const std::uint8_t probe = other_number(at, end);
  emit(Op::kLdxMem32, end, kContext, offsetof(struct xdp_md, data_end));
  emit(Op::kMov64Reg, probe, at);
  emit(Op::kAdd64Imm, probe, 0, 0, bytes);
  switch (below(4)) {
    case 0:
      bail(Op::kJgt64Reg, probe, end);
      break;
    case 1:
      bail(Op::kJlt64Reg, end, probe);
      break;
    case 2: {
      const std::size_t good = jump(Op::kJle64Reg, probe, end);
      bail(Op::kJa);
      land(good);
      break;
    }
    default: {
      const std::size_t good = jump(Op::kJge64Reg, end, probe);
      bail(Op::kJa);
      land(good);
    }
  }
  if (!one_in(3))
    renew(probe);
  else
    emit(Op::kMov64Imm, probe);
}

void ProbeGenerator::packet_access() {
  const std::uint8_t at = any_number();
  const std::uint8_t end = other_number(at);
  const std::uint8_t value = other_number(at, end);
  emit(Op::kLdxMem32, at, kContext, offsetof(struct xdp_md, data));
  const auto bytes = static_cast<std::int64_t>(8 + below(kPacketBytes));
  check_packet(at, end, bytes);
  if (is_risky() && at >= 8) {
    // Whatever moves the packet makes the pointer stale.
    emit(Op::kMov64Reg, 1, kContext);
    emit(Op::kMov64Imm, 2, 0, 0, static_cast<std::int64_t>(below(8)));
    call(BPF_FUNC_xdp_adjust_head);
    renew_after_call();
  }
  const std::int64_t last = bytes - 8;
  const auto offset = is_risky()
                          ? last + static_cast<std::int64_t>(below(3))
                          : static_cast<std::int64_t>(below(static_cast<std::uint64_t>(last) + 1));
  if (one_in(2)) {
    emit(Op::kLdxMem64, value, at, static_cast<int>(offset));
  } else {
    emit(Op::kStMemReg64, at, value >= 8 || at < 8 ? value : std::uint8_t{9},
         static_cast<int>(offset));
  }
  renew(at);
  renew(end);
}

void ProbeGenerator::packet_variable() {
  const std::uint8_t at = any_number();
  const std::uint8_t end = other_number(at);
  const std::uint8_t index = other_number(at, end);
  const std::uint32_t reserved = reserved_;
  reserved_ |= 1u << index | 1u << at | 1u << end;
  bound(index, static_cast<std::int64_t>(one_in(4) ? below(60'000) : below(64)));
  emit(Op::kLdxMem32, at, kContext, offsetof(struct xdp_md, data));
  emit(Op::kAdd64Reg, at, index);
  const auto bytes = static_cast<std::int64_t>(1 + below(16));
  check_packet(at, end, bytes);
  if (is_risky()) emit(Op::kAdd64Reg, at, index);
  emit(Op::kLdxMem8, index, at, static_cast<int>(is_risky() ? bytes : bytes - 1));
  reserved_ = reserved;
  renew(at);
  renew(end);
}

void ProbeGenerator::move_packet() {
  static constexpr std::uint32_t kHelpers[] = {BPF_FUNC_xdp_adjust_head, BPF_FUNC_xdp_adjust_tail,
                                               BPF_FUNC_xdp_adjust_meta};
  emit(Op::kMov64Reg, 1, kContext);
  if (is_risky()) emit(Op::kAdd64Imm, 1, 0, 0, 4);
  emit(Op::kMov64Imm, 2, 0, 0, static_cast<std::int64_t>(below(33)) - 20);
  call(kHelpers[below(3)]);
  renew_after_call();
}

// What no program may do with a pointer, or only almost may.
void ProbeGenerator::odd_pointer() {
  const std::uint8_t pointer = any_number();
  const std::uint8_t number = other_number(pointer);
  static constexpr std::uint8_t kFrom[] = {kContext, kValue, kFramePointer};
  emit(Op::kMov64Reg, pointer, kFrom[below(3)]);
  switch (below(4)) {
    case 0: {
      const Op op = alu_ops()[below(alu_ops().size())];
      emit(op, pointer, has_source(op) ? number : 0, 0, allowed_immediate(op, any_immediate()));
      break;
    }
    case 1:
      for (int i = 0; i < 5; ++i) emit(Op::kAdd64Imm, pointer, 0, 0, 0x1fffffff);
      break;
    case 2:
      emit(Op::kAnd64Imm, number, 0, 0, 12);
      emit(Op::kAdd64Reg, pointer, number);
      break;
    default: {
      const Op op = branch_ops()[below(branch_ops().size())];
      bail(op, pointer, has_source(op) ? number : 0, has_source(op) ? 0 : any_immediate());
    }
  }
  // At a field of the context, else anywhere near.
  const bool is_field = one_in(2);
  emit(is_field || one_in(2) ? Op::kLdxMem32 : Op::kLdxMem64, number, pointer,
       is_field ? 4 * static_cast<int>(below(6)) : static_cast<int>(below(16)) - 8);
  renew(pointer);
}

}  // namespace lmn
