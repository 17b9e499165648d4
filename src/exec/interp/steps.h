// SPDX-License-Identifier: Apache-2.0
//
// What each instruction does to the machine: one function per category of opcodes.def, specialised
// by the row's columns.
//
// Each takes the machine and the step, and gives the next step, or null when the program ended
// there. Arithmetic itself is in alu.h, memory in memory_access.h; here is what they share:
// undefined registers trap, numbers stay numbers, and pointers keep their shadow only through what
// leaves them pointers (64-bit moves, adding and subtracting numbers).
//
// Internal to interpreter.cc, which makes the dispatch of them. Threads: as the Machine.
// Source: RFC 9669; Linux 6.18, kernel/bpf/core.c (___bpf_prog_run) and verifier.c
// (adjust_ptr_min_max_vals).
#pragma once

#include <cstdint>
#include <cstring>

#include "abi/bpf_newer.h"
#include "exec/interp/alu.h"
#include "exec/interp/arena_access.h"
#include "exec/interp/atomic.h"
#include "exec/interp/call.h"
#include "exec/interp/helper_call.h"
#include "exec/interp/kfunc_call.h"
#include "exec/interp/machine.h"
#include "exec/interp/memory_access.h"

namespace lmn::interp {

// The shadow of dst after an operation with a pointer or an undefined register in it. Null:
// trapped.
const Step* mix_shadows(Machine& machine, const Step* step, bool is_add, bool is_sub,
                        bool has_source);

inline bool are_numbers(const Shadow& a, const Shadow& b) {
  return (static_cast<unsigned>(a.kind) | static_cast<unsigned>(b.kind)) == 0;
}

// A register must have been written before it is read. False: trapped.
inline bool require_initialised(Machine& machine, const Step* step, std::uint8_t reg) {
  if (machine.shadow[reg].is_initialised()) [[likely]]
    return true;
  machine.fail(step, TrapReason::kUninitRegister, reg);
  return false;
}

template <int kOperation, int kWidth, int kSource, int kForm>
const Step* alu_step(Machine& machine, const Step* step) {
  constexpr bool kHasSource = kSource == BPF_X;
  constexpr bool kIsUnary = kOperation == BPF_NEG;
  const std::uint8_t dst = step->dst;
  const std::uint64_t operand =
      kHasSource ? machine.value[step->src] : static_cast<std::uint64_t>(step->imm);
  if constexpr (kOperation == BPF_MOV) {
    if (kHasSource && !require_initialised(machine, step, step->src)) return nullptr;
    const bool keeps_shadow = kHasSource && kWidth == 64 && kForm == 0;
    machine.shadow[dst] = keeps_shadow ? machine.shadow[step->src] : Shadow::scalar();
  } else {
    const Shadow& other = kHasSource && !kIsUnary ? machine.shadow[step->src] : machine.shadow[dst];
    if (!are_numbers(machine.shadow[dst], other)) [[unlikely]] {
      const bool is_add = kOperation == BPF_ADD && kWidth == 64;
      const bool is_sub = kOperation == BPF_SUB && kWidth == 64;
      if (mix_shadows(machine, step, is_add, is_sub, kHasSource) == nullptr) return nullptr;
      if (machine.shadow[dst].kind == ValueKind::kArena) {
        machine.value[dst] = alu<kOperation, 32, kForm>(machine.value[dst], operand);
        return step + 1;
      }
    }
  }
  machine.value[dst] = alu<kOperation, kWidth, kForm>(machine.value[dst], operand);
  return step + 1;
}

template <int kClass, int kSource, int kWidth>
const Step* byte_swap_step(Machine& machine, const Step* step) {
  if (!require_initialised(machine, step, step->dst)) return nullptr;
  machine.set_scalar(step->dst, byte_swap<kClass, kSource, kWidth>(machine.value[step->dst]));
  return step + 1;
}

// The machine's own reading and writing of granted memory: one access of the host where it is
// aligned, so that other workers see no half-written counters, as on the kernel's machine code.
template <int kWidth>
std::uint64_t read_memory(const std::uint8_t* host) {
  AtomicWord<kWidth> word;
  std::memcpy(&word, host, sizeof word);
  return word;
}

template <int kWidth>
void write_memory(std::uint8_t* host, std::uint64_t value) {
  const auto word = static_cast<AtomicWord<kWidth>>(value);
  std::memcpy(host, &word, sizeof word);
}

template <int kWidth>
void note_store(const Machine& machine, const Place& place, const Step* step,
                bool stores_register) {
  if (place.frame == nullptr) return;
  const std::uint32_t offset = place.stack_offset();
  mark_written(*place.frame, offset, kWidth / 8);
  if (kWidth == 64 && stores_register && offset % 8 == 0 &&
      (machine.shadow[step->src].is_pointer() || machine.shadow[step->src].is_untrusted())) {
    mark_pointer(*place.frame, offset, machine.shadow[step->src]);
  }
}

// A load through an address found in an object of the kernel: never a fault, as BPF_PROBE_MEM.
template <int kWidth, bool kExtendsSign>
const Step* probe_step(Machine& machine, const Step* step) {
  const auto offset = static_cast<std::uint64_t>(std::int64_t{step->off});
  std::uint64_t value = probe(machine, step->src, machine.value[step->src] + offset, kWidth / 8);
  if constexpr (kExtendsSign) value = alu<BPF_MOV, 64, kWidth>(0, value);
  machine.value[step->dst] = value;
  machine.shadow[step->dst] = kWidth == 64 ? Shadow::untrusted() : Shadow::scalar();
  return step + 1;
}

template <int kWidth, bool kExtendsSign>
const Step* load_step(Machine& machine, const Step* step) {
  if (machine.shadow[step->src].kind == ValueKind::kContext) {
    return load_context(machine, step, kWidth / 8, kExtendsSign);
  }
  if (machine.shadow[step->src].is_untrusted()) [[unlikely]] {
    return probe_step<kWidth, kExtendsSign>(machine, step);
  }
  const ValueKind kind = machine.shadow[step->src].kind;
  const bool is_of_kernel = kind == ValueKind::kKernelObject;
  const bool may_hold_object = kind == ValueKind::kMapValue || kind == ValueKind::kObject;
  const Place place = check_access(machine, step, step->src, kWidth / 8, Access::kRead);
  if (place.host == nullptr) return nullptr;
  std::uint64_t value = read_memory<kWidth>(place.host);
  if constexpr (kExtendsSign) value = alu<BPF_MOV, 64, kWidth>(0, value);
  machine.set_scalar(step->dst, value);
  if (kWidth == 64 && place.frame != nullptr) {
    machine.shadow[step->dst] = shadow_at(*place.frame, place.stack_offset());
  }
  if (kWidth == 64 && is_of_kernel) machine.shadow[step->dst] = Shadow::untrusted();
  if (kWidth == 64 && !kExtendsSign && may_hold_object) note_loaded_object(machine, step->dst);
  return step + 1;
}

template <int kWidth, bool kIsImmediate>
const Step* store_step(Machine& machine, const Step* step) {
  if (!kIsImmediate && !require_initialised(machine, step, step->src)) return nullptr;
  const Place place = check_access(machine, step, step->dst, kWidth / 8, Access::kWrite);
  if (place.host == nullptr) return nullptr;
  write_memory<kWidth>(
      place.host, kIsImmediate ? static_cast<std::uint64_t>(step->imm) : machine.value[step->src]);
  note_store<kWidth>(machine, place, step, !kIsImmediate);
  return step + 1;
}

template <int kWidth>
const Step* load_acquire_step(Machine& machine, const Step* step) {
  const Place place = check_atomic(machine, step, step->src, kWidth / 8, Access::kRead);
  if (place.host == nullptr) return nullptr;
  machine.set_scalar(step->dst, atomic_load_acquire<kWidth>(place.host));
  if (kWidth == 64 && place.frame != nullptr) {
    machine.shadow[step->dst] = shadow_at(*place.frame, place.stack_offset());
  }
  return step + 1;
}

template <int kWidth>
const Step* store_release_step(Machine& machine, const Step* step) {
  if (!require_initialised(machine, step, step->src)) return nullptr;
  const Place place = check_atomic(machine, step, step->dst, kWidth / 8, Access::kWrite);
  if (place.host == nullptr) return nullptr;
  atomic_store_release<kWidth>(place.host, machine.value[step->src]);
  note_store<kWidth>(machine, place, step, true);
  return step + 1;
}

template <int kOperation, int kWidth>
const Step* atomic_step(Machine& machine, const Step* step) {
  if constexpr (kOperation == BPF_LOAD_ACQ) return load_acquire_step<kWidth>(machine, step);
  if constexpr (kOperation == BPF_STORE_REL) return store_release_step<kWidth>(machine, step);
  if constexpr (kOperation != BPF_LOAD_ACQ && kOperation != BPF_STORE_REL) {
    if (!require_initialised(machine, step, step->src)) return nullptr;
    if (kOperation == BPF_CMPXCHG && !require_initialised(machine, step, 0)) return nullptr;
    const Place place = check_atomic(machine, step, step->dst, kWidth / 8, Access::kReadWrite);
    if (place.host == nullptr) return nullptr;
    if (place.host == machine.no_page.data()) return step + 1;  // the fault leaves all as it was
    // What was there comes out as it was, a spilled pointer too.
    Shadow before = Shadow::scalar();
    if (place.frame != nullptr) {
      if (kWidth == 64) before = shadow_at(*place.frame, place.stack_offset());
      mark_written(*place.frame, place.stack_offset(), kWidth / 8);
    }
    const std::uint64_t operand = machine.value[step->src];
    if constexpr (kOperation == BPF_CMPXCHG) {
      machine.set_scalar(0, atomic_compare_exchange<kWidth>(place.host, machine.value[0], operand));
      machine.shadow[0] = before;
    } else {
      const std::uint64_t old = atomic_modify<kOperation, kWidth>(place.host, operand);
      if constexpr ((kOperation & BPF_FETCH) != 0) {
        machine.set_scalar(step->src, old);
        machine.shadow[step->src] = before;
      }
    }
  }
  return step + 1;
}

inline const Step* jump_step(Machine& machine, const Step* step) {
  return machine.image->step_at(step->index);
}

template <int kOperation, int kWidth, int kSource>
const Step* branch_step(Machine& machine, const Step* step) {
  if constexpr (kOperation == BPF_JCOND) {
    return may_goto(machine, step);
  } else {
    constexpr bool kHasSource = kSource == BPF_X;
    if (!require_initialised(machine, step, step->dst)) return nullptr;
    if (kHasSource && !require_initialised(machine, step, step->src)) return nullptr;
    const std::uint64_t operand =
        kHasSource ? machine.value[step->src] : static_cast<std::uint64_t>(step->imm);
    if (!is_taken<kOperation, kWidth>(machine.value[step->dst], operand)) return step + 1;
    return machine.image->step_at(step->index);
  }
}

inline const Step* call_step(Machine& machine, const Step* step) {
  if (step->src == 0) return call_helper(machine, step);
  return step->src == BPF_PSEUDO_CALL ? call_function(machine, step) : call_kfunc(machine, step);
}

inline const Step* lddw_step(Machine& machine, const Step* step) {
  const Constant& constant = machine.image->constant(step->index);
  machine.value[step->dst] = constant.value;
  machine.shadow[step->dst] = constant.shadow;
  return step + 2;
}

// Second slots of lddw, the step after the last, and what images are never built with.
inline const Step* not_executable(Machine& machine, const Step* step) {
  return machine.fail(step, TrapReason::kNotExecutable);
}

}  // namespace lmn::interp
