// SPDX-License-Identifier: Apache-2.0
//
// The program's stack: which bytes were written with what, registers spilled and filled again,
// accesses at offsets that are not known exactly. Tested by paths_test.cc.
// Source: Linux 6.18, kernel/bpf/verifier.c (check_stack_read, check_stack_write,
// check_stack_range_initialized).
#include <fmt/format.h>

#include <algorithm>

#include "base/assert.h"
#include "verifier/explorer.h"

namespace lmn {
namespace {

constexpr std::int64_t kStackMax = static_cast<std::int64_t>(limits::kStackBytes);

std::uint32_t slot_of(std::int64_t offset) {
  return static_cast<std::uint32_t>((-offset - 1) / kSlotSize);
}
SlotByte& byte_at(FrameState& frame, std::int64_t offset) {
  const auto distance = static_cast<std::uint64_t>(-offset - 1);
  return frame.stack[distance / kSlotSize].bytes[distance % kSlotSize];
}

unsigned used_bits(const Scalar& value) {
  return static_cast<unsigned>(std::bit_width(value.whole.umax));
}

// What a byte that belonged to a spilled register is once the register is gone.
void scrub(StackSlot& slot) {
  for (SlotByte& byte : slot.bytes) {
    if (byte != SlotByte::kInvalid) byte = SlotByte::kMisc;
  }
  slot.spilled = {};
}

void spill(StackSlot& slot, const RegState& reg, std::uint32_t size, bool is_trusted) {
  slot.spilled = reg;
  for (std::uint32_t i = 0; i < kSlotSize; ++i) {
    SlotByte& byte = slot.bytes[kSlotSize - 1 - i];
    if (i < size) {
      byte = SlotByte::kSpill;
    } else if (byte != SlotByte::kZero && !(is_trusted && byte == SlotByte::kInvalid)) {
      byte = SlotByte::kMisc;
    }
  }
}

Scalar narrowed(const Scalar& value, std::uint32_t size, bool is_sign_extending) {
  if (size == 8) return value;
  if (is_sign_extending) {
    if (size == 1) return sign_extended<8>(value);
    return size == 2 ? sign_extended<16>(value) : sign_extended<32>(value);
  }
  return zero_extended(value, static_cast<int>(size * 8));
}

}  // namespace

bool Explorer::check_stack_bounds(std::uint8_t index, std::int64_t offset, std::int64_t size,
                                  bool is_write, std::string_view what) {
  const RegState& pointer = reg(index);
  const bool is_fixed = pointer.var.is_constant();
  const std::int64_t smin = pointer.var.whole.smin;
  const std::int64_t smax = pointer.var.whole.smax;
  if (!is_fixed && (smax >= kOffsetMax || smin <= -kOffsetMax)) {
    return reject(Rule::kStackAccess,
                  fmt::format("invalid unbounded variable-offset{} stack R{}", what, index));
  }
  const std::int64_t low = smin + offset;
  const std::int64_t high = smax + offset + size;
  const FrameState& frame = state_->frames[pointer.target];
  const std::int64_t lowest_valid =
      is_write || is_trusted() ? -kStackMax
                               : -static_cast<std::int64_t>(frame.stack.size() * kSlotSize);
  int error = 0;
  if (high > 0) error = EINVAL;
  if (low < lowest_valid || low > -1) error = EACCES;
  if (error != 0) {
    return reject(Rule::kStackAccess,
                  is_fixed
                      ? fmt::format("invalid{} stack R{} off={} size={}", what, index, low, size)
                      : fmt::format("invalid variable-offset{} stack R{} var_off={} off={} "
                                    "size={}",
                                    what, index, bits_words(pointer.var.bits), offset, size),
                  {}, error);
  }
  grow_stack(pointer.target, low);
  return true;
}

void Explorer::grow_stack(std::uint32_t frame, std::int64_t lowest) {
  FrameState& owner = state_->frames[frame];
  const std::size_t slots = slot_of(lowest) + 1;
  if (owner.stack.size() < slots) owner.stack.resize(slots);
  std::uint32_t& depth = facts_.stack_bytes[owner.subprogram];
  depth = std::max(depth, static_cast<std::uint32_t>(-lowest));
  fastcall_.note_access(owner.subprogram, at_, lowest);
}

// [from, to) of a frame, as offsets from its end.
void Explorer::note_stack_read(std::uint32_t frame, std::int64_t from, std::int64_t to) {
  std::uint64_t slots = 0;
  for (std::uint32_t slot = slot_of(to - 1); slot <= slot_of(from); ++slot) slots |= 1ull << slot;
  stack_use_.note_read(*state_, at_, frame, slots);
}

bool Explorer::access_stack(const MemoryAccess& access) {
  const RegState& pointer = reg(access.pointer);
  const std::int64_t offset = access.offset + pointer.offset;
  if (!check_stack_bounds(access.pointer, offset, access.size, access.is_write,
                          access.is_write ? " write to" : " read from")) {
    return false;
  }
  FrameState& frame = state_->frames[pointer.target];
  if (!pointer.var.is_constant()) {
    if (!is_trusted()) {
      return reject(
          Rule::kStackAccess,
          fmt::format("R{} variable offset stack access prohibited for !root", access.pointer));
    }
    return access.is_write ? write_stack_variable(access, frame) : read_stack_variable(access);
  }
  const std::int64_t at = offset + static_cast<std::int64_t>(pointer.var.constant_value());
  return access.is_write ? write_stack_fixed(access, frame, at)
                         : read_stack_fixed(access, frame, at);
}

// --- reads

bool Explorer::read_stack_fixed(const MemoryAccess& access, FrameState& frame,
                                std::int64_t offset) {
  note_stack_read(reg(access.pointer).target, offset, offset + access.size);
  StackSlot& slot = frame.stack[slot_of(offset)];
  if (slot.is_spill()) {
    bool is_fill = false;
    const std::uint32_t owner = reg(access.pointer).target;
    if (!read_stack_spill(access, slot, offset, is_fill)) return false;
    if (is_fill) note_stack_access(owner, slot_of(offset));
    return true;
  }
  for (std::uint32_t i = 0; i < access.size; ++i) {
    const SlotByte byte = byte_at(frame, offset + i);
    if (byte == SlotByte::kMisc || byte == SlotByte::kZero) continue;
    if (byte == SlotByte::kInvalid && is_trusted()) continue;
    return reject(Rule::kStackAccess,
                  fmt::format("invalid read from stack off {}+{} size {}", offset, i, access.size));
  }
  if (access.value >= 0) give_stack_bytes(frame, offset, offset + access.size, access.value);
  if (access.value >= 0 && access.is_sign_extending) {
    RegState& out = reg(static_cast<std::uint8_t>(access.value));
    out = RegState::number(narrowed(out.var, access.size, true));
  }
  return true;
}

// `is_fill`: the register that was spilled is back, so its precision goes on through the slot.
bool Explorer::read_stack_spill(const MemoryAccess& access, StackSlot& slot, std::int64_t offset,
                                bool& is_fill) {
  const unsigned spilled = slot.spill_size();
  if (access.size == kSlotSize && spilled == kSlotSize) {
    if (access.value < 0) {
      if (!is_leak(slot.spilled)) return true;
      return reject(Rule::kPointerLeak, fmt::format("leaking pointer from stack off {}", offset));
    }
    RegState out = slot.spilled;
    out.is_precise = false;
    reg(static_cast<std::uint8_t>(access.value)) = out;
    is_fill = true;
    return true;
  }
  if (!slot.spilled.is_number()) {
    return reject(Rule::kStackAccess, "invalid size of register fill");
  }
  if (access.value < 0) return true;
  RegState& target = reg(static_cast<std::uint8_t>(access.value));
  if (access.size <= spilled && offset % kSlotSize == 0) {
    RegState out = slot.spilled;
    out.is_precise = false;
    if (used_bits(out.var) > access.size * 8 || access.is_sign_extending) {
      out.id = 0;
      out.offset = 0;
    }
    out.var = narrowed(out.var, access.size, access.is_sign_extending);
    target = out;
    is_fill = true;
    return true;
  }
  std::uint32_t zeros = 0;
  std::uint32_t spills = 0;
  for (std::uint32_t i = 0; i < access.size; ++i) {
    const auto distance = static_cast<std::uint64_t>(-(offset + i) - 1);
    switch (slot.bytes[distance % kSlotSize]) {
      case SlotByte::kSpill:
        ++spills;
        break;
      case SlotByte::kZero:
        ++zeros;
        break;
      case SlotByte::kMisc:
        break;
      default:
        if (is_trusted()) break;
        return reject(Rule::kStackAccess, fmt::format("invalid read from stack off {}+{} size {}",
                                                      offset, i, access.size));
    }
  }
  if (spills == access.size && slot.spilled.is_zero()) {
    target = RegState::constant(0);
    is_fill = true;
  } else if (zeros == access.size) {
    target = RegState::constant(0);
  } else {
    target = RegState::number(narrowed(Scalar::unknown(), access.size, access.is_sign_extending));
  }
  return true;
}

// What a load of bytes that are no spill gives: zero if all are, else some number.
void Explorer::give_stack_bytes(const FrameState& frame, std::int64_t from, std::int64_t to,
                                int value) {
  bool is_zero = true;
  for (std::int64_t at = from; at < to; ++at) {
    const StackSlot& slot = frame.stack[slot_of(at)];
    const auto distance = static_cast<std::uint64_t>(-at - 1);
    is_zero = is_zero && slot.bytes[distance % kSlotSize] == SlotByte::kZero;
  }
  const auto size = static_cast<int>(std::min<std::int64_t>(to - from, 8));
  reg(static_cast<std::uint8_t>(value)) =
      is_zero ? RegState::constant(0) : RegState::number(Scalar::of_width(size * 8));
}

bool Explorer::read_stack_variable(const MemoryAccess& access) {
  const RegState pointer = reg(access.pointer);
  const std::int64_t offset = access.offset + pointer.offset;
  if (!check_stack_range(access.pointer, offset, access.size, false, false, nullptr)) return false;
  if (access.value < 0) return true;
  const FrameState& frame = state_->frames[pointer.target];
  const std::int64_t from = pointer.var.whole.smin + offset;
  const std::int64_t to = pointer.var.whole.smax + offset + access.size;
  bool is_zero = true;
  for (std::int64_t at = from; at < to; ++at) {
    const auto distance = static_cast<std::uint64_t>(-at - 1);
    is_zero = is_zero && frame.stack[slot_of(at)].bytes[distance % kSlotSize] == SlotByte::kZero;
  }
  if (is_zero) {
    reg(static_cast<std::uint8_t>(access.value)) = RegState::constant(0);
  } else {
    write_unknown(access);
  }
  return true;
}

// --- writes

bool Explorer::write_stack_fixed(const MemoryAccess& access, FrameState& frame,
                                 std::int64_t offset) {
  const std::uint32_t index = slot_of(offset);
  const std::uint32_t owner = reg(access.pointer).target;
  const bool is_whole = access.size == kSlotSize && offset % kSlotSize == 0;
  stack_use_.note_write(*state_, at_, owner, is_whole ? 1ull << index : 0);
  if (!destroy_special(frame, index)) return false;
  StackSlot& slot = frame.stack[index];
  if (!is_trusted() && slot.is_spill() && slot.spilled.is_pointer() && access.size != kSlotSize) {
    return reject(Rule::kStackAccess, "attempt to corrupt spilled pointer on stack");
  }
  RegState* value = access.value >= 0 ? &reg(static_cast<std::uint8_t>(access.value)) : nullptr;
  const bool is_aligned = offset % kSlotSize == 0;
  const bool is_store = access.insn != nullptr && op_class(access.insn->op) == OpClass::kStore;
  const bool is_immediate = value == nullptr && is_store;
  if (value != nullptr && value->is_number() && is_aligned) {
    const bool fits = used_bits(value->var) <= access.size * 8;
    if (fits) give_id(*value);
    RegState copy = *value;
    copy.is_precise = false;
    spill(slot, copy, access.size, is_trusted());
    if (!fits) {
      slot.spilled.id = 0;
      slot.spilled.offset = 0;
    }
    note_stack_access(owner, index);
    return true;
  }
  if (is_immediate && is_aligned) {
    const auto constant = static_cast<std::uint64_t>(access.insn->imm);
    spill(slot, RegState::constant(constant), access.size, is_trusted());
    note_stack_access(owner, index);
    return true;
  }
  if (value != nullptr && value->is_pointer()) {
    if (access.size != kSlotSize) {
      return reject(Rule::kStackAccess, "invalid size of register spill");
    }
    if (owner != state_->frame_index() && value->kind == RegKind::kStack) {
      return reject(Rule::kStackAccess,
                    "cannot spill pointers to stack into stack frame of the caller", {}, EINVAL);
    }
    spill(slot, *value, kSlotSize, is_trusted());
    note_stack_access(owner, index);
    return true;
  }
  const bool is_zero = value != nullptr ? value->is_zero() : is_immediate && access.insn->imm == 0;
  return write_stack_bytes(access, slot, offset, is_zero);
}

bool Explorer::write_stack_bytes(const MemoryAccess& access, StackSlot& slot, std::int64_t offset,
                                 bool is_zero) {
  if (slot.is_special()) scrub(slot);
  slot.spilled = {};
  if (is_zero && access.value >= 0 && !mark_precise(static_cast<std::uint8_t>(access.value))) {
    return false;
  }
  for (std::uint32_t i = 0; i < access.size; ++i) {
    const auto distance = static_cast<std::uint64_t>(-(offset + i) - 1);
    slot.bytes[distance % kSlotSize] = is_zero ? SlotByte::kZero : SlotByte::kMisc;
  }
  return true;
}

bool Explorer::write_stack_variable(const MemoryAccess& access, FrameState& frame) {
  const RegState pointer = reg(access.pointer);
  const std::int64_t from = pointer.var.whole.smin + access.offset + pointer.offset;
  const std::int64_t to = pointer.var.whole.smax + access.offset + pointer.offset + access.size;
  const bool is_zero = access.value >= 0 ? reg(static_cast<std::uint8_t>(access.value)).is_zero()
                                         : access.insn != nullptr && access.insn->imm == 0 &&
                                               op_class(access.insn->op) == OpClass::kStore;
  bool is_zero_used = false;
  stack_use_.note_write(*state_, at_, pointer.target, 0);
  for (std::int64_t at = from; at < to; ++at) {
    if (!destroy_special(frame, slot_of(at))) return false;
    StackSlot& slot = frame.stack[slot_of(at)];
    SlotByte& byte = byte_at(frame, at);
    const bool is_spilled_zero = slot.is_number_spill() && slot.spilled.is_zero();
    if (is_zero && byte == SlotByte::kSpill && is_spilled_zero) {
      is_zero_used = true;
      continue;
    }
    if (slot.is_special()) {
      const std::array<SlotByte, kSlotSize> before = slot.bytes;
      scrub(slot);
      for (std::size_t i = 0; i < before.size(); ++i) {
        if (before[i] == SlotByte::kZero) slot.bytes[i] = SlotByte::kZero;
      }
    }
    const bool stays_zero = is_zero && byte == SlotByte::kZero;
    is_zero_used = is_zero_used || stays_zero;
    byte = stays_zero ? SlotByte::kZero : SlotByte::kMisc;
  }
  if (is_zero_used && access.value >= 0) {
    return mark_precise(static_cast<std::uint8_t>(access.value));
  }
  return true;
}

// --- a range given to a helper, or read at an unknown offset

bool Explorer::check_stack_range(std::uint8_t index, std::int64_t offset, std::uint64_t size,
                                 bool is_zero_allowed, bool is_write, CallFacts* raw) {
  const RegState pointer = reg(index);
  if (size == 0 && !is_zero_allowed) return reject(Rule::kStackAccess, "invalid zero-sized read");
  const bool is_by_helper = raw != nullptr || is_zero_allowed || is_write;
  if (!check_stack_bounds(index, offset, static_cast<std::int64_t>(size), is_write,
                          is_by_helper ? " indirect access to" : " read from")) {
    return false;
  }
  const std::int64_t low = pointer.var.whole.smin + offset;
  const std::int64_t end = pointer.var.whole.smax + offset + static_cast<std::int64_t>(size);
  FrameState& frame = state_->frames[pointer.target];
  if (raw != nullptr && raw->is_raw && pointer.var.is_constant()) {
    for (std::int64_t at = low; at < end; ++at) {
      if (byte_at(frame, at) != SlotByte::kDynptr) continue;
      return reject(Rule::kDynptr,
                    fmt::format("potential write to dynptr at off={} disallowed", at));
    }
    raw->raw_register = index;
    raw->raw_size = static_cast<std::uint32_t>(size);
    return true;
  }
  if (end > low) note_stack_read(pointer.target, low, end);
  for (std::int64_t at = low; at < end; ++at) {
    StackSlot& slot = frame.stack[slot_of(at)];
    SlotByte& byte = byte_at(frame, at);
    if (byte == SlotByte::kMisc) continue;
    if (byte == SlotByte::kZero || (byte == SlotByte::kInvalid && is_trusted())) {
      if (is_write) byte = SlotByte::kMisc;
      continue;
    }
    if (slot.is_spill() && (slot.spilled.is_number() || is_trusted()) &&
        byte != SlotByte::kInvalid) {
      if (is_write) scrub(slot);
      continue;
    }
    return reject(Rule::kStackAccess, fmt::format("invalid read from stack R{} off {}+{} size {}",
                                                  index, low, at - low, size));
  }
  return true;
}

}  // namespace lmn
