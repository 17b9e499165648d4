// SPDX-License-Identifier: Apache-2.0
//
// What the verifier knows at one point of one path: registers, stack, frames, and what the program
// owes.
//
// A RegState is a kind (number, packet pointer, ...) with what belongs to the kind; for a pointer
// `offset` is the fixed and `var` the variable distance from where the object begins. A StackSlot
// is 8 bytes of the stack: per byte what is there, and the register spilled into it. A FrameState
// is one function's registers and stack; a PathState all frames of one path, and what must be given
// back before it may end. States are compared to cut paths short (prune.cc); only numbers that
// `is_precise` marks count there, which is what makes loops affordable (precision.cc).
//
// Where a family plugs in: a kind of pointer is a RegKind; a property of pointers a flag of
// PointerFlag; what the stack can hold a SlotByte (dynptrs and iterators keep their description in
// `spilled` of their slots, as registers of a kind of their own); what must be balanced is a
// Reference (kReferenceLock, ...) or a depth in PathState.
//
// Invariants: (1) kind kNone carries nothing else; (2) id 0 means no identity; two registers with
// the same id hold the same value (numbers: plus `offset` when kIdAddsConstant is set) or the same
// unchecked null; (3) slots below the frame's `stack.size()` were never touched.
// Threads: values, used by one verification.
// Tested by paths_test.cc.
// Source: Linux 6.18, include/linux/bpf_verifier.h (bpf_reg_state, bpf_stack_state).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "insn/insn.h"
#include "spec/map_spec.h"
#include "verifier/domain/scalar.h"

namespace lmn {

enum class RegKind : std::uint8_t {
  kNone,        // not readable
  kNumber,      // any 64 bits
  kContext,     // struct xdp_md
  kMap,         // a map itself
  kMapValue,    // bytes of a map's value
  kMapKey,      // bytes of a key, in callbacks
  kPacket,      // from ctx->data
  kPacketMeta,  // from ctx->data_meta
  kPacketEnd,   // ctx->data_end
  kStack,       // a frame's stack; offset 0 is its end, r10
  kMemory,      // a block of `size` bytes
  kFunction,    // a callback
  kSocket,
  kSockCommon,
  kTcpSock,
  kXdpSock,
  kBtfObject,     // a kernel or allocated object of type `btf_type`
  kDynptr,        // a dynptr seen through a pointer (callback arguments); in slots: the dynptr
  kIterator,      // in slots only
  kArena,         // an address in an arena
  kInterruptFlag  // in slots only
};

enum PointerFlag : std::uint16_t {
  kMayBeNull = 1u << 0,
  kReadOnly = 1u << 1,
  kRingbufMemory = 1u << 2,
  kTrusted = 1u << 3,
  kUntrusted = 1u << 4,
  kRcuProtected = 1u << 5,
  kAllocated = 1u << 6,
  kPerCpu = 1u << 7,
  kNonOwning = 1u << 8,
  kPacketSlice = 1u << 9,  // memory of a dynptr of the packet: gone when the packet moves
  kLocalType = 1u << 10,   // kBtfObject: `target` is a type of the program's BTF, not the kernel's
  kUserMemory = 1u << 11,  // kBtfObject: memory of a process
};

// What a dynptr points to, in RegState::target of kDynptr.
enum class DynptrType : std::uint8_t { kNone, kLocal, kRingbuf, kXdp };

// In RegState::id of a number: it is the number of that identity plus `offset`, in 64 bits or, if
// both are below 2^32, in 32.
inline constexpr std::uint32_t kIdAddsConstant64 = 1u << 31;
inline constexpr std::uint32_t kIdAddsConstant32 = 1u << 30;
inline constexpr std::uint32_t kIdAddsConstant = kIdAddsConstant64 | kIdAddsConstant32;
// In RegState::range of a packet pointer: known not to lie before, or to lie past, the packet's
// end.
inline constexpr std::int32_t kAtPacketEnd = -1;
inline constexpr std::int32_t kPastPacketEnd = -2;

struct RegState {
  RegKind kind = RegKind::kNone;
  bool is_precise = false;
  std::uint16_t flags = 0;
  std::int32_t offset = 0;
  std::uint32_t id = 0;
  std::uint32_t reference = 0;  // what must be given back goes through this register
  std::int32_t range = 0;       // packet: bytes proven from where the variable offset ends
  std::uint32_t size = 0;       // kMemory
  std::uint32_t target = 0;     // kStack: frame; kFunction: subprogram; kBtfObject: type; families
  std::uint32_t map_uid = 0;    // kMap, kMapValue: which inner map
  const MapSpec* map = nullptr;
  Scalar var;

  static RegState number(const Scalar& value) {
    RegState out;
    out.kind = RegKind::kNumber;
    out.var = value;
    return out;
  }
  static RegState unknown() { return number(Scalar::unknown()); }
  static RegState constant(std::uint64_t value) { return number(Scalar::constant(value)); }
  static RegState pointer(RegKind kind, std::uint16_t flags = 0) {
    RegState out;
    out.kind = kind;
    out.flags = flags;
    out.var = Scalar::constant(0);
    return out;
  }

  bool has(PointerFlag flag) const { return (flags & flag) != 0; }
  bool is_number() const { return kind == RegKind::kNumber; }
  bool is_pointer() const { return kind != RegKind::kNumber && kind != RegKind::kNone; }
  bool is_packet() const { return kind == RegKind::kPacket || kind == RegKind::kPacketMeta; }
  bool is_zero() const { return is_number() && var.is_constant() && var.constant_value() == 0; }
  bool is_constant() const { return is_number() && var.is_constant(); }
};

enum class SlotByte : std::uint8_t {
  kInvalid,  // never written
  kSpill,    // part of the spilled register
  kMisc,     // some number's byte
  kZero,
  kDynptr,
  kIterator,
  kInterruptFlag,
};

inline constexpr std::uint32_t kSlotSize = 8;

// bytes[j] is the byte at r10 - 8 * slot - j - 1: the first byte of a spill is bytes[7].
struct StackSlot {
  std::array<SlotByte, kSlotSize> bytes{};
  RegState spilled;

  bool is_spill() const { return bytes[kSlotSize - 1] == SlotByte::kSpill; }
  bool is_number_spill() const { return is_spill() && spilled.is_number(); }
  bool is_special() const {
    const SlotByte last = bytes[kSlotSize - 1];
    return last == SlotByte::kSpill || last == SlotByte::kDynptr || last == SlotByte::kIterator ||
           last == SlotByte::kInterruptFlag;
  }
  unsigned spill_size() const {
    unsigned size = 0;
    while (size < kSlotSize && bytes[kSlotSize - 1 - size] == SlotByte::kSpill) ++size;
    return size;
  }
};

inline constexpr std::uint32_t kEntryCallsite = ~0u;  // of the frame a verification begins with
inline constexpr std::uint32_t kNoStackContext = ~0u;

struct FrameState {
  std::array<RegState, 11> regs;
  std::vector<StackSlot> stack;  // slot i is [r10 - 8 * (i + 1), r10 - 8 * i)
  std::uint32_t subprogram = 0;
  std::uint32_t callsite = kEntryCallsite;
  std::uint32_t stack_context = kNoStackContext;  // stack_use.h; kNoStackContext: not asked for yet
  bool is_callback = false;        // called by a helper; its r0 is the helper's business
  bool is_async_callback = false;  // of a timer: a path of its own
  bool may_sleep = false;          // of a work queue
  std::uint32_t callback_depth = 0;
  std::uint32_t async_entry_count = 0;
  std::uint64_t callback_result_max = 1;  // r0 must lie in [0, this]
};

struct Reference {
  enum class Kind : std::uint8_t {
    kObject,
    kLock,
    kResilientLock,
    kResilientLockInterrupts,  // with interrupts saved
    kInterrupts
  };
  Kind kind = Kind::kObject;
  std::uint32_t id = 0;
  std::uint32_t insn = 0;  // where it was acquired
  const void* lock_of = nullptr;
  bool operator==(const Reference&) const = default;
};

// Registers and slots that got their range together, for precision: see precision.cc.
struct LinkedPlace {
  std::uint8_t frame = 0;
  bool is_register = true;
  std::uint8_t index = 0;  // register or slot
};
inline constexpr std::size_t kLinkedPlacesMax = 6;

struct HistoryEntry {
  std::uint32_t insn = 0;
  std::uint32_t previous = 0;
  bool is_stack_access = false;
  std::uint8_t frame = 0;
  std::uint8_t slot = 0;
  std::uint8_t linked_count = 0;
  // Of a comparison: that register was an address in the stack, which nothing can be precise about.
  bool is_dst_stack = false;
  bool is_src_stack = false;
  std::array<LinkedPlace, kLinkedPlacesMax> linked{};
};

struct KnownState;

struct PathState {
  std::vector<FrameState> frames;
  std::vector<Reference> references;
  std::uint32_t active_locks = 0;
  std::uint32_t active_rcu = 0;
  std::uint32_t active_preempt = 0;
  std::uint32_t active_interrupts = 0;  // id of the innermost saved flags
  std::uint32_t may_goto_depth = 0;
  std::uint32_t callback_unroll_depth = 0;

  // Where the path is, and how it got here since `parent`.
  std::uint32_t insn = 0;
  std::uint32_t previous = 0;
  std::uint32_t first_insn = 0;
  std::vector<HistoryEntry> history;
  KnownState* parent = nullptr;

  FrameState& frame() { return frames.back(); }
  const FrameState& frame() const { return frames.back(); }
  std::array<RegState, 11>& regs() { return frames.back().regs; }
  std::uint32_t frame_index() const { return static_cast<std::uint32_t>(frames.size()) - 1; }

  // Calls `visit` for every register and every spilled register of all frames.
  template <typename Visit>
  void for_each_register(Visit&& visit) {
    for (FrameState& frame : frames) {
      for (RegState& reg : frame.regs) visit(reg);
      for (StackSlot& slot : frame.stack) {
        if (slot.is_spill()) visit(slot.spilled);
      }
    }
  }
};

// A state kept for comparison with later ones, and a link of the chain that precision walks back.
struct KnownState {
  PathState state;
  std::uint32_t branches = 0;  // paths from here that have not ended
  std::uint32_t hits = 0;
  std::uint32_t misses = 0;
  bool is_evicted = false;
  // A path from here ended at a state that itself had not ended: what is precise is not known in
  // full, so every number counts.
  bool is_within_loop = false;
};

}  // namespace lmn
