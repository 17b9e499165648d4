// SPDX-License-Identifier: Apache-2.0
//
// Dynptrs: two stack slots that describe memory whose size is known at run time.
//
// Their bytes cannot be read; what a slot describes stands in its `spilled`: kind kDynptr, `target`
// what it points to (DynptrType), `id` which dynptr it is (slices carry it too, in their `target`),
// `reference` what must be given back (ring buffer memory; a clone shares it), kReadOnly. The first
// slot is the one at the lower address; `size` 1 marks it.
// When a dynptr is overwritten or released its slices are numbers from then on. Tested by
// paths_test.cc. Source: Linux 6.18, kernel/bpf/verifier.c (process_dynptr_func,
// mark_stack_slots_dynptr, destroy_if_dynptr_stack_slot).
#include <fmt/format.h>

#include <algorithm>

#include "verifier/explorer.h"

namespace lmn {
namespace {

constexpr std::uint32_t kDynptrBytes = 16;

std::string_view type_words(std::uint32_t type) {
  switch (static_cast<DynptrType>(type)) {
    case DynptrType::kNone:
      return "invalid";
    case DynptrType::kLocal:
      return "local";
    case DynptrType::kRingbuf:
      return "ringbuf";
    case DynptrType::kXdp:
      return "xdp";
  }
  return "unknown";
}

bool is_dynptr(const StackSlot& slot) {
  return std::ranges::all_of(slot.bytes, [](SlotByte byte) { return byte == SlotByte::kDynptr; });
}

}  // namespace

// The slot of the dynptr that register `index` points to; nullopt after a refusal.
std::optional<std::uint32_t> Explorer::special_slot(std::uint8_t index, std::uint32_t bytes,
                                                    std::string_view what) {
  const RegState& pointer = reg(index);
  if (!pointer.var.is_constant()) {
    reject(Rule::kDynptr, fmt::format("{} has to be at a constant offset", what));
    return std::nullopt;
  }
  const std::int64_t offset =
      pointer.offset + static_cast<std::int64_t>(pointer.var.constant_value());
  const bool lies_in_stack = offset >= -static_cast<std::int64_t>(limits::kStackBytes) &&
                             offset <= -static_cast<std::int64_t>(bytes);
  if (offset % kSlotSize != 0 || !lies_in_stack) {
    reject(Rule::kDynptr, fmt::format("cannot pass in {} at an offset={}", what, offset));
    return std::nullopt;
  }
  return static_cast<std::uint32_t>(-offset / kSlotSize - 1);
}

bool Explorer::write_special_slots(std::uint8_t index, std::uint32_t bytes) {
  MemoryAccess access;
  access.pointer = index;
  access.size = kSlotSize;
  access.is_write = true;
  for (std::uint32_t i = 0; i < bytes; i += kSlotSize) {
    access.offset = i;
    if (!check_access(access)) return false;
  }
  return true;
}

bool Explorer::make_dynptr(std::uint8_t index, DynptrType type, std::uint32_t shared_reference) {
  const auto first = special_slot(index, kDynptrBytes, "dynptr");
  if (!first) {
    report_.kernel_message += "\nDynptr has to be an uninitialized dynptr";
    return false;
  }
  if (!write_special_slots(index, kDynptrBytes)) return false;
  FrameState& frame = state_->frames[reg(index).target];
  RegState description = RegState::pointer(RegKind::kDynptr);
  description.target = static_cast<std::uint32_t>(type);
  description.id = new_id();
  if (type == DynptrType::kRingbuf) {
    description.reference = shared_reference != 0 ? shared_reference : acquire(new_id());
  }
  for (std::uint32_t i = 0; i < 2; ++i) {
    StackSlot& slot = frame.stack[*first - i];
    slot.bytes.fill(SlotByte::kDynptr);
    slot.spilled = description;
    slot.spilled.size = i == 0 ? 1 : 0;
  }
  return true;
}

// The dynptr that register `index` points to, on the stack or as a callback's argument; null after
// a refusal.
const RegState* Explorer::dynptr_at(std::uint8_t index) {
  const RegState& pointer = reg(index);
  if (pointer.kind == RegKind::kDynptr) return &pointer;
  const auto wrong = [&](std::string words) {
    reject(Rule::kDynptr, std::move(words));
    return nullptr;
  };
  if (pointer.kind != RegKind::kStack) {
    return wrong(
        fmt::format("arg#{} expected pointer to stack or const struct bpf_dynptr", index - 1));
  }
  const auto first = special_slot(index, kDynptrBytes, "dynptr");
  if (!first) {
    report_.kernel_message += fmt::format("\nExpected an initialized dynptr as arg #{}", index - 1);
    return nullptr;
  }
  const FrameState& frame = state_->frames[pointer.target];
  const bool is_made = *first < frame.stack.size() && *first > 0 &&
                       is_dynptr(frame.stack[*first]) && is_dynptr(frame.stack[*first - 1]) &&
                       frame.stack[*first].spilled.size == 1;
  if (!is_made) return wrong(fmt::format("Expected an initialized dynptr as arg #{}", index - 1));
  return &frame.stack[*first].spilled;
}

bool Explorer::check_dynptr_argument(const HelperArg& wanted, std::uint8_t index,
                                     CallFacts& facts) {
  DynptrType type = DynptrType::kNone;
  if ((wanted.flags & kArgDynptrLocal) != 0) type = DynptrType::kLocal;
  if ((wanted.flags & kArgDynptrRingbuf) != 0) type = DynptrType::kRingbuf;
  if ((wanted.flags & kArgUninit) != 0) {
    if (reg(index).kind != RegKind::kStack) {
      return reject(Rule::kDynptr, "Dynptr has to be an uninitialized dynptr");
    }
    return make_dynptr(index, type, 0);
  }
  const bool is_release = (wanted.flags & kArgRelease) != 0;
  if (reg(index).kind == RegKind::kDynptr && is_release) {
    return reject(Rule::kDynptr, "cannot release unowned const bpf_dynptr");
  }
  if (reg(index).kind == RegKind::kDynptr && (wanted.flags & kArgRdonly) == 0) {
    return reject(Rule::kDynptr, "cannot pass pointer to const bpf_dynptr, the helper mutates it");
  }
  const RegState* dynptr = dynptr_at(index);
  if (is_release && (dynptr == nullptr || dynptr->reference == 0)) {
    report_ = {};  // said better here
    return reject(Rule::kDynptr, fmt::format("arg {} is an unacquired reference", index));
  }
  if (dynptr == nullptr) return false;
  if (type != DynptrType::kNone && dynptr->target != static_cast<std::uint32_t>(type)) {
    return reject(Rule::kDynptr,
                  fmt::format("Expected a dynptr of type {} as arg #{}",
                              type_words(static_cast<std::uint32_t>(type)), index - 1));
  }
  facts.dynptr = *dynptr;
  if (is_release) facts.release_register = index;
  return true;
}

// A released dynptr, its clones and everything seen through them.
bool Explorer::release_dynptr(std::uint8_t index) {
  const RegState* dynptr = dynptr_at(index);
  if (dynptr == nullptr) return false;
  const std::uint32_t reference = dynptr->reference;
  for (FrameState& frame : state_->frames) {
    for (StackSlot& slot : frame.stack) {
      if (!is_dynptr(slot) || slot.spilled.reference != reference) continue;
      forget_slices(slot.spilled.id);
      slot.bytes.fill(SlotByte::kInvalid);
      slot.spilled = {};
    }
  }
  return release(reference);
}

void Explorer::forget_slices(std::uint32_t dynptr_id) {
  state_->for_each_register([&](RegState& reg) {
    if (reg.kind != RegKind::kMemory || reg.target != dynptr_id) return;
    reg = is_trusted() ? RegState::unknown() : RegState{};
  });
}

// What a write into the slots of a dynptr does: both slots and all slices are gone.
bool Explorer::destroy_special(FrameState& frame, std::uint32_t slot) {
  if (frame.stack[slot].bytes[0] != SlotByte::kDynptr) return true;
  const RegState description = frame.stack[slot].spilled;
  if (description.reference != 0) {
    const auto owners = std::ranges::count_if(frame.stack, [&](const StackSlot& other) {
      return is_dynptr(other) && other.spilled.reference == description.reference &&
             other.spilled.size == 1;
    });
    if (owners <= 1) return reject(Rule::kDynptr, "cannot overwrite referenced dynptr");
  }
  for (StackSlot& other : frame.stack) {
    if (!is_dynptr(other) || other.spilled.id != description.id) continue;
    other.bytes.fill(SlotByte::kInvalid);
    other.spilled = {};
  }
  forget_slices(description.id);
  return true;
}

RegState Explorer::slice_of(const RegState& dynptr, std::uint64_t size, bool is_read_only) {
  RegState out = RegState::pointer(RegKind::kMemory, kMayBeNull);
  if (is_read_only || dynptr.has(kReadOnly)) out.flags |= kReadOnly;
  if (dynptr.target == static_cast<std::uint32_t>(DynptrType::kXdp)) out.flags |= kPacketSlice;
  out.size = static_cast<std::uint32_t>(size);
  out.target = dynptr.id;
  out.reference = dynptr.reference;
  out.id = new_id();
  return out;
}

}  // namespace lmn
