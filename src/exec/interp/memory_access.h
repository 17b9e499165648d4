// SPDX-License-Identifier: Apache-2.0
//
// Where an address may lead: the one place that turns a register into memory.
//
// check_access judges a load, store or atomic by the base register's shadow: is it a pointer, is
// its object still there, does it grant the right, does [address, address + size) lie inside, are
// the bytes written. Helpers' arguments go the same way through check_region. Nobody else in
// exec/interp touches a program's memory.
//
// Context fields are not memory: check_access refuses them, loads of them are load_context.
//
// Internal to exec/interp. Threads: as the Machine. Tested by exec_test.cc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "exec/interp/machine.h"

namespace lmn::interp {

enum class Access : std::uint8_t { kRead, kWrite, kReadWrite };

// Memory that an access was granted. `frame` is set for stack memory, whose written bytes and
// shadows the access changes.
struct Place {
  std::uint8_t* host = nullptr;  // null: it was not granted, the machine has trapped
  Frame* frame = nullptr;

  std::uint32_t stack_offset() const {
    return static_cast<std::uint32_t>(host - frame->stack.data());
  }
};

// What lies at an address that nobody vouches for, which was made of the one in `reg`; 0 where the
// program may not read.
std::uint64_t probe(Machine& machine, std::uint8_t reg, std::uint64_t address,
                    std::uint32_t size_bytes);

// The memory of an instruction: `size_bytes` at base register + offset of `step`. Reading stack
// bytes that were not written traps or gives zeros, by the strictness of the environment.
Place check_access(Machine& machine, const Step* step, std::uint8_t base, std::uint32_t size_bytes,
                   Access access);
// The same for an atomic operation: only stack, map values and helper memory, only at multiples of
// the size.
Place check_atomic(Machine& machine, const Step* step, std::uint8_t base, std::uint32_t size_bytes,
                   Access access);

// The memory [address in `reg`, + size_bytes) as a helper will use it. With `is_output` stack bytes
// need not have been written: those that were not become 0 and count as written, since the helper
// may or may not fill them.
struct RegionUse {
  std::uint64_t size_bytes = 0;
  bool is_written = false;
  bool is_output = false;
};
Place check_region(Machine& machine, const Step* step, std::uint8_t reg, const RegionUse& use);

// RunContext::read_guest: copies what the program may read from `address` on, for helpers that are
// given addresses as numbers. The program may read the packet, its frames, and every object that it
// holds a pointer to, in a register, on the stack or in its code.
std::size_t read_guest(void* engine_state, std::uint64_t address,
                       std::span<std::uint8_t> out) noexcept;

// The register has been loaded from a map's value or an object: the address of an object there is a
// pointer that the program may follow, but does not own.
void note_loaded_object(Machine& machine, std::uint8_t reg);

// dst = context field. Null: trapped.
const Step* load_context(Machine& machine, const Step* step, std::uint32_t size_bytes,
                         bool extends_sign);

// Stack bytes [offset, offset + size) now hold plain bytes.
void mark_written(Frame& frame, std::uint32_t offset, std::uint64_t size_bytes);
// The aligned slot at `offset` now holds a pointer. REQUIRES: mark_written of the slot.
void mark_pointer(Frame& frame, std::uint32_t offset, const Shadow& shadow);
// What is known of the 8 bytes at `offset`: the spilled pointer's shadow if they are one aligned
// slot, else a number's.
Shadow shadow_at(const Frame& frame, std::uint32_t offset);
// The `slot_count` aligned slots from `offset` on are now one object that the program cannot touch:
// a dynptr or an iterator, `shadow` says which.
void mark_object(Frame& frame, std::uint32_t offset, std::size_t slot_count, const Shadow& shadow);
// The object that starts at `address` is none any more; its bytes count as unwritten.
void drop_object(Frame& frame, std::uint64_t address);
// A frame as it is when it is entered: nothing written.
void clear_frame(Frame& frame);

}  // namespace lmn::interp
