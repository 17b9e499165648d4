// SPDX-License-Identifier: Apache-2.0
//
// Shadow: what the interpreter knows about a 64-bit value besides its bits.
//
// Registers hold what the kernel's would: plain numbers and real host addresses. Beside each lies a
// Shadow saying whether the value may be used as an address, into which object, and whether that
// object is still the one it was. An access is judged by the shadow, never by the bits: a number
// that happens to equal an address of the stack is still a number.
//
//   r2 = *(u32 *)(r1 +0)     value: address of the packet   shadow: kPacket, generation 3
//   r2 += 14                 value: 14 more                  shadow: unchanged; it may point
//   anywhere until it is used r2 = (u32) r2            value: the low half             shadow:
//   kScalar; using it as an address traps
//
// A shadow is 16 bytes and a plain value, made by the functions below. It has no default values, so
// that the thousands of them in a machine cost nothing until they are used. `object` and `detail`
// mean per kind:
//
//   kind        object                       detail
//   kContext    address of the context       -
//   kPacket*    generation of the packet     - (rights 0: all)
//   kStack      address of the frame's base  serial number of the frame
//   kMapValue   address of the value         bytes of the value
//   kMap        the Map                      -
//   kFunction   the instruction              -
//   kKernelObject  address of the object     which of RunContext::kernel_structs
//   kArena      the ArenaMap                 -
//   kMemory     address of the memory        bytes of it; `reference` says what keeps it alive
//   kObject     address of the object        serial number of its allocation; `reference` when
//   owned kStackObject  address of the object      what it is: stack_object.h
//
// Threads: a plain value. Tested by exec_test.cc.
#pragma once

#include <cstdint>
#include <string_view>
#include <type_traits>

namespace lmn::interp {

// Values are chosen so that "all operands are numbers" and "no operand is undefined" are one test
// of or-ed kinds each.
enum class ValueKind : std::uint8_t {
  kScalar = 0,
  kContext = 1,
  kPacket = 2,      // from data: may be used in [data, data_end)
  kPacketMeta = 3,  // from data_meta: may be used in [data_meta, data)
  kPacketEnd = 4,   // only to be compared with
  kStack = 5,
  kMapValue = 6,
  kMap = 7,
  kFunction = 8,
  kMemory = 9,         // what a helper handed out: a ring buffer's record
  kStackObject = 10,   // never a register's: a stack slot of a dynptr, iterator or irq flag
  kObject = 11,        // of bpf_obj_new, owned or not
  kKernelObject = 12,  // of a table of the engine, as a struct of the kernel
  kArena = 13,         // in an arena: the low 32 bits count, and no access faults
  kUninit = 0x80,
};

// Words for messages: "packet pointer".
constexpr std::string_view value_kind_words(ValueKind kind) {
  switch (kind) {
    case ValueKind::kScalar:
      return "scalar";
    case ValueKind::kContext:
      return "context pointer";
    case ValueKind::kPacket:
      return "packet pointer";
    case ValueKind::kPacketMeta:
      return "packet metadata pointer";
    case ValueKind::kPacketEnd:
      return "packet end pointer";
    case ValueKind::kStack:
      return "stack pointer";
    case ValueKind::kMapValue:
      return "map value pointer";
    case ValueKind::kMap:
      return "map pointer";
    case ValueKind::kFunction:
      return "function pointer";
    case ValueKind::kMemory:
      return "helper memory pointer";
    case ValueKind::kStackObject:
      return "object on the stack";
    case ValueKind::kObject:
      return "object pointer";
    case ValueKind::kArena:
      return "arena pointer";
    case ValueKind::kKernelObject:
      return "kernel object pointer";
    case ValueKind::kUninit:
      return "uninitialised value";
  }
  return "value";
}

// What a program may do with an object's bytes.
enum : std::uint8_t {
  kMayRead = 1u << 0,
  kMayWrite = 1u << 1,
  // Of a number that came out of an object of the kernel: it may be the address of another, which
  // is read with zeros where there is nothing to read. Of a pointer: so is what lies beyond its
  // object.
  kMayProbe = 1u << 2,
  // Of an object that was loaded from a map's value: it may be read on when its owner has dropped
  // it meanwhile, as under the kernel's RCU.
  kMayOutlive = 1u << 3,
};

// No reference keeps the object; it lives as long as the run.
inline constexpr std::uint16_t kNoReference = 0xffff;

struct Shadow {
  std::uint64_t object;
  std::uint32_t detail;
  std::uint16_t reference;  // kMemory: number of the reference that keeps it, or kNoReference
  std::uint8_t rights;      // kMapValue, kMemory, kPacket
  ValueKind kind;

  bool is_scalar() const { return kind == ValueKind::kScalar; }
  // Of packets `rights` 0 means all.
  bool is_untrusted() const { return (rights & kMayProbe) != 0 && is_initialised(); }
  bool is_initialised() const { return kind != ValueKind::kUninit; }
  bool is_pointer() const { return is_initialised() && !is_scalar(); }

  static constexpr Shadow scalar() { return make(ValueKind::kScalar, 0, 0); }
  static constexpr Shadow untrusted() {
    Shadow shadow = scalar();
    shadow.rights = kMayProbe;
    return shadow;
  }
  static constexpr Shadow uninit() { return make(ValueKind::kUninit, 0, 0); }
  static constexpr Shadow context(std::uint64_t address) {
    return make(ValueKind::kContext, address, 0);
  }
  static constexpr Shadow packet(ValueKind kind, std::uint64_t generation) {
    return make(kind, generation, 0);
  }
  static constexpr Shadow stack(std::uint64_t base, std::uint32_t serial) {
    return make(ValueKind::kStack, base, serial);
  }
  static constexpr Shadow map(std::uint64_t map) { return make(ValueKind::kMap, map, 0); }
  static constexpr Shadow arena(std::uint64_t map) { return make(ValueKind::kArena, map, 0); }
  static constexpr Shadow function(std::uint64_t step) {
    return make(ValueKind::kFunction, step, 0);
  }
  static constexpr Shadow map_value(std::uint64_t base, std::uint32_t bytes, std::uint8_t rights) {
    Shadow shadow = make(ValueKind::kMapValue, base, bytes);
    shadow.rights = rights;
    return shadow;
  }
  static constexpr Shadow object_of(std::uint64_t base, std::uint32_t serial,
                                    std::uint16_t reference) {
    Shadow shadow = make(ValueKind::kObject, base, serial);
    shadow.reference = reference;
    return shadow;
  }
  static constexpr Shadow kernel_object(std::uint64_t address, std::uint32_t which,
                                        std::uint16_t reference) {
    Shadow shadow = make(ValueKind::kKernelObject, address, which);
    shadow.reference = reference;
    return shadow;
  }
  static constexpr Shadow stack_object(std::uint64_t address, std::uint32_t what,
                                       std::uint8_t rights, std::uint16_t reference) {
    Shadow shadow = make(ValueKind::kStackObject, address, what);
    shadow.rights = rights;
    shadow.reference = reference;
    return shadow;
  }
  static constexpr Shadow memory(std::uint64_t base, std::uint32_t bytes, std::uint8_t rights,
                                 std::uint16_t reference) {
    Shadow shadow = make(ValueKind::kMemory, base, bytes);
    shadow.rights = rights;
    shadow.reference = reference;
    return shadow;
  }

 private:
  static constexpr Shadow make(ValueKind kind, std::uint64_t object, std::uint32_t detail) {
    return {object, detail, kNoReference, 0, kind};
  }
};
static_assert(std::is_trivially_default_constructible_v<Shadow>);
static_assert(sizeof(Shadow) == 16,
              "a frame's spilled shadows are 64 of these; larger ones slow every call");

}  // namespace lmn::interp
