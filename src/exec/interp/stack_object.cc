// SPDX-License-Identifier: Apache-2.0
//
// Objects on the stack and the references they keep. Tested by kfunc_call_test.cc.
#include "exec/interp/stack_object.h"

#include <algorithm>

namespace lmn::interp {

StackPlace stack_place(const Machine& machine, std::uint8_t reg, std::size_t slot_count) {
  const Shadow& shadow = machine.shadow[reg];
  if (shadow.kind != ValueKind::kStack) return {};
  auto* frame = reinterpret_cast<Frame*>(shadow.object);
  if (frame->serial != shadow.detail) return {};
  const std::uint64_t offset = machine.value[reg] - shadow.object;
  if (offset % 8 != 0 || offset > limits::kStackBytes - slot_count * 8) return {};
  return {frame, static_cast<std::uint32_t>(offset)};
}

const Shadow* find_stack_object(const Machine& machine, std::uint8_t reg, std::size_t slot_count) {
  const Shadow& pointer = machine.shadow[reg];
  if (pointer.kind == ValueKind::kStackObject) {
    const bool is_lent = pointer.object == machine.value[reg] && slot_count == kDynptrSlots &&
                         is_held(machine, pointer.reference);
    return is_lent ? &pointer : nullptr;
  }
  const StackPlace place = stack_place(machine, reg, slot_count);
  if (place.frame == nullptr) return nullptr;
  const std::uint32_t first = place.offset / 8;
  for (std::size_t i = 0; i < slot_count; ++i) {
    if ((place.frame->object_slots >> (first + i) & 1) == 0) return nullptr;
    if (place.frame->spilled[first + i].object != machine.value[reg]) return nullptr;
  }
  const Shadow& shadow = place.frame->spilled[first];
  if (shadow.reference != kNoReference && !is_held(machine, shadow.reference)) return nullptr;
  return &shadow;
}

bool is_held(const Machine& machine, std::uint16_t number) {
  const auto* end = machine.references.data() + machine.reference_count;
  return std::find_if(machine.references.data(), end,
                      [number](const HeldReference& held) { return held.number == number; }) != end;
}

std::uint16_t acquire(Machine& machine, std::uint32_t helper_id) {
  if (machine.reference_count == kReferencesMax) return kNoReference;
  if (++machine.last_reference == kNoReference) machine.last_reference = 0;
  machine.references[machine.reference_count++] = {machine.last_reference, helper_id, 0, false};
  return machine.last_reference;
}

void release(Machine& machine, std::uint16_t number) {
  auto* end = machine.references.data() + machine.reference_count;
  machine.reference_count = static_cast<std::uint16_t>(
      std::remove_if(machine.references.data(), end,
                     [number](const HeldReference& held) { return held.number == number; }) -
      machine.references.data());
}

}  // namespace lmn::interp
