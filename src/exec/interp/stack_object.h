// SPDX-License-Identifier: Apache-2.0
//
// Dynptrs, iterators and saved interrupt states on the program's stack.
//
// A call makes them, calls use them, a call or a plain write ends them. What is known of one is the
// shadow of its slots (ValueKind::kStackObject), which holds its address, what it is, the reference
// that it keeps, and what may be done with the memory behind a dynptr.
//
// Internal to exec/interp. Threads: as the Machine. Tested by kfunc_call_test.cc.
// Source: Linux 6.18, kernel/bpf/verifier.c (mark_stack_slots_dynptr, mark_stack_slots_iter,
// mark_stack_slot_irq_flag and their is_..._valid counterparts).
#pragma once

#include <cstdint>

#include "abi/kfunc_proto.h"
#include "exec/interp/machine.h"

namespace lmn::interp {

// What the detail of a stack object's shadow says: the kind in the low byte, the rest by kind.
enum class StackObjectKind : std::uint8_t { kDynptr, kPacketDynptr, kIterator, kIrqFlag };

constexpr std::uint32_t stack_object_detail(StackObjectKind kind,
                                            KfuncIterator iterator = KfuncIterator::kNone) {
  return static_cast<std::uint32_t>(kind) | static_cast<std::uint32_t>(iterator) << 8;
}
constexpr StackObjectKind stack_object_kind(const Shadow& shadow) {
  return static_cast<StackObjectKind>(shadow.detail & 0xff);
}

inline constexpr std::size_t kDynptrSlots = 2;

// The frame and offset that `reg` points to, if that is a multiple of 8 in a frame that is still
// there, with `slot_count` slots from it on. A null frame: not so.
struct StackPlace {
  Frame* frame = nullptr;
  std::uint32_t offset = 0;
};
StackPlace stack_place(const Machine& machine, std::uint8_t reg, std::size_t slot_count);

// The shadow of the whole object that starts where `reg` points (also one that a helper lent to its
// callback, whose shadow is the register's), or null when there is none that
// takes `slot_count` slots, or its reference is gone.
const Shadow* find_stack_object(const Machine& machine, std::uint8_t reg, std::size_t slot_count);

// References that the program holds.
bool is_held(const Machine& machine, std::uint16_t number);
// A new one, or kNoReference when the table is full.
std::uint16_t acquire(Machine& machine, std::uint32_t helper_id);
void release(Machine& machine, std::uint16_t number);

}  // namespace lmn::interp
