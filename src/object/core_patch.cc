// SPDX-License-Identifier: Apache-2.0
//
// See core_patch.h.
#include "object/core_patch.h"

#include <fmt/format.h>

#include <limits>

namespace lmn {
namespace {

std::unexpected<Error> refuse(std::string message) {
  return make_error(ErrorCode::kMalformed, "CO-RE: " + std::move(message));
}

void poison(std::span<RawInsn> slots) {
  const std::size_t count = slots[0].is_lddw() ? 2 : 1;
  for (std::size_t i = 0; i < count; ++i) {
    slots[i] = {};
    slots[i].code = BPF_JMP | BPF_CALL;
    slots[i].imm = kCorePoison;
  }
}

Result<void> check(std::uint64_t found, const CoreChange& change) {
  if (!change.local.is_checked || found == change.local.value) return {};
  return refuse(fmt::format("the instruction holds {}, its types say {}",
                            static_cast<std::int64_t>(found),
                            static_cast<std::int64_t>(change.local.value)));
}

Result<void> patch_operand(RawInsn& insn, const CoreChange& change) {
  LMN_CHECK_OK(check(static_cast<std::uint64_t>(std::int64_t{insn.imm}), change));
  insn.imm = static_cast<std::int32_t>(change.target.value);
  return {};
}

Result<void> patch_wide(std::span<RawInsn> slots, const CoreChange& change) {
  const std::uint64_t found = std::uint64_t{static_cast<std::uint32_t>(slots[0].imm)} |
                              std::uint64_t{static_cast<std::uint32_t>(slots[1].imm)} << 32;
  LMN_CHECK_OK(check(found, change));
  slots[0].imm = static_cast<std::int32_t>(change.target.value);
  slots[1].imm = static_cast<std::int32_t>(change.target.value >> 32);
  return {};
}

std::uint32_t width_bytes(const RawInsn& insn) {
  switch (BPF_SIZE(insn.code)) {
    case BPF_B:
      return 1;
    case BPF_H:
      return 2;
    case BPF_W:
      return 4;
    default:
      return 8;
  }
}

Result<void> set_width(RawInsn& insn, const CoreChange& change) {
  if (width_bytes(insn) != change.local.access_bytes) {
    return refuse(fmt::format("an access of {} bytes to a field of {}", width_bytes(insn),
                              change.local.access_bytes));
  }
  std::uint8_t size = 0;
  switch (change.target.access_bytes) {
    case 1:
      size = BPF_B;
      break;
    case 2:
      size = BPF_H;
      break;
    case 4:
      size = BPF_W;
      break;
    case 8:
      size = BPF_DW;
      break;
    default:
      return refuse(fmt::format("no access has {} bytes, as the target's field has",
                                change.target.access_bytes));
  }
  insn.code = static_cast<std::uint8_t>(BPF_MODE(insn.code) | size | BPF_CLASS(insn.code));
  return {};
}

Result<void> patch_access(std::span<RawInsn> slots, const CoreChange& change) {
  RawInsn& insn = slots[0];
  LMN_CHECK_OK(check(static_cast<std::uint64_t>(std::int64_t{insn.off}), change));
  if (change.target.value > static_cast<std::uint64_t>(std::numeric_limits<std::int16_t>::max())) {
    return refuse(fmt::format("offset {} does not fit a load or store", change.target.value));
  }
  if (change.is_width_unsafe) {
    poison(slots);
    return {};
  }
  insn.off = static_cast<std::int16_t>(change.target.value);
  if (change.target.access_bytes == change.local.access_bytes) return {};
  return set_width(insn, change);
}

bool is_empty_second_slot(const RawInsn& slot) {
  return slot.code == 0 && slot.dst == 0 && slot.src == 0 && slot.off == 0;
}

}  // namespace

Result<void> patch_core(std::span<RawInsn> slots, const CoreChange& change) {
  RawInsn& insn = slots[0];
  enum class Form { kOperand, kAccess, kWide, kNone };
  Form form = Form::kNone;
  switch (BPF_CLASS(insn.code)) {
    case BPF_ALU:
    case BPF_ALU64:
      if (BPF_SRC(insn.code) == BPF_K) form = Form::kOperand;
      break;
    case BPF_LDX:
    case BPF_ST:
    case BPF_STX:
      form = Form::kAccess;
      break;
    case BPF_LD:
      if (insn.is_lddw() && insn.src == 0 && insn.off == 0 && slots.size() > 1 &&
          is_empty_second_slot(slots[1])) {
        form = Form::kWide;
      }
      break;
    default:
      break;
  }
  if (form == Form::kNone)
    return refuse(fmt::format("opcode 0x{:02x} takes no relocation", insn.code));
  if (change.is_poisoned) {
    poison(slots);
    return {};
  }
  switch (form) {
    case Form::kOperand:
      return patch_operand(insn, change);
    case Form::kAccess:
      return patch_access(slots, change);
    case Form::kWide:
      return patch_wide(slots, change);
    case Form::kNone:
      break;
  }
  return {};
}

}  // namespace lmn
