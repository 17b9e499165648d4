// SPDX-License-Identifier: Apache-2.0
//
// Machine: the state of one running program: registers and their shadows, frames, references, and
// how it ended.
//
// It lies on the stack of whoever runs a batch, is made once per batch and started once per packet;
// starting clears what a program could see and nothing else. So a run allocates nothing, and any
// number of workers run the same image at once.
//
// A frame's bytes are not cleared when it is entered: a bitmap of written bytes is, and a byte is
// given out only when it was written in this frame (or is zeroed at that moment, where the rules
// let a program read what it never wrote). What one packet left on the stack can so never reach the
// next.
//
// A dynptr or iterator lies on the stack too, in slots of its own: the program may neither read nor
// write their bytes but by the calls made for them; a plain write makes plain bytes of the object.
//
// Pointers on the stack keep their shadow: each aligned slot of 8 bytes has room for one, and a
// bitmap says which slots hold a pointer. Any write that touches a slot otherwise drops the shadow:
// half an overwritten pointer is a number.
//
// Invariants: (1) frames[0..depth] are in use, frame == &frames[depth]; (2) image == frame->image;
// (3) a frame's serial is not used again within a batch, and 0 when the frame is not in use:
// shadows of older frames are recognised by it; (4) a bit in pointer_slots implies the 8 written
// bits of the slot. Internal to exec/interp, whose files are the functions on it: an open struct,
// because they share all of it. Threads: one worker. Tested by exec_test.cc.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "abi/limits.h"
#include "exec/interp/image.h"
#include "exec/interp/interpreter.h"
#include "exec/interp/shadow.h"
#include "exec/interp/trace.h"
#include "exec/interp/trap.h"
#include "insn/insn_table.h"
#include "packet/run_context.h"

namespace lmn::interp {

inline constexpr std::size_t kStackWords = limits::kStackBytes / 8;
inline constexpr std::uint8_t kFirstSaved = 6;  // r6 to r9 survive a call
inline constexpr std::size_t kSavedCount = 4;

// A tail call in a function leaves the frames below where they are, and the next program may go as
// deep again.
inline constexpr std::size_t kFramesMax =
    limits::kCallFramesMax + limits::kTailCallsMax * (limits::kCallFramesMax - 1);

struct Frame {
  alignas(16) std::array<std::uint8_t, limits::kStackBytes> stack;  // first: a stack shadow's
                                                                    // object is the frame's address
  std::array<std::uint64_t, limits::kStackBytes / 64> written;      // one bit per byte
  std::uint64_t pointer_slots;                                      // one bit per aligned 8 bytes
  std::uint64_t
      object_slots;  // the same: part of a dynptr or iterator, whose bytes count as unwritten
  std::array<Shadow, kStackWords> spilled;              // valid where either has the bit
  const ProgramImage* image;                            // of the code that runs in this frame
  const Step* return_to;                                // null: back to C++
  std::array<std::uint64_t, kSavedCount> saved_values;  // the caller's r6 to r9
  std::array<Shadow, kSavedCount> saved_shadows;
  std::uint32_t serial;
  std::uint32_t may_goto_left;
  std::uint32_t entry_depth;  // of the frame in which the program of this frame was entered
};

// Memory that a helper gave the program to own until it releases it.
struct HeldReference {
  std::uint16_t number;
  std::uint32_t helper_id;   // 0: of a kernel function
  std::uint64_t object = 0;  // of bpf_obj_new, or 0
  bool is_irq = false;       // saved interrupt state: restored in the reverse order
  // Takes `object` back when the program is stopped; null: it is one of bpf_obj_new.
  void (*give_back)(RunContext& context, void* object) noexcept = nullptr;
};
inline constexpr std::size_t kReferencesMax = 64;

// The arguments of the helper that is running: callbacks get some of them back.
struct PendingHelper {
  const HelperProto* proto;
  const KfuncProto* kfunc = nullptr;  // of a kernel function: then all else is empty
  std::array<std::uint64_t, 5> values;
  std::array<Shadow, 5> shadows;
  Map* map;
  std::uint16_t lent = kNoReference;  // keeps what the callback was lent, while it runs
};

struct Machine {
  Machine(const InterpreterOptions& options, RunContext& run_context)
      : context(&run_context), limits(&options) {}

  RunContext* context;
  const InterpreterOptions* limits;
  TraceListener* trace = nullptr;
  const ProgramImage* image = nullptr;
  std::array<std::uint64_t, kRegisterCount> value;
  std::array<Shadow, kRegisterCount> shadow;
  Frame* frame = nullptr;
  std::uint32_t depth = 0;
  std::uint32_t last_serial = 0;
  std::uint32_t tail_call_count = 0;
  std::uint16_t last_reference = 0;
  std::uint16_t reference_count = 0;
  std::uint64_t insns_left = 0;
  PendingHelper* pending = nullptr;  // of the innermost helper that is running
  const Step* call_site = nullptr;   // its call
  bool is_trapped = false;
  bool is_thrown = false;  // with is_trapped: by bpf_throw, with `thrown`
  std::uint64_t thrown = 0;
  std::uint32_t rcu_depth = 0;  // sections entered and not left
  std::uint32_t preempt_depth = 0;
  alignas(8) std::array<std::uint8_t, 8> no_page;  // stands for arena bytes that are not there
  Trap trap;
  std::array<HeldReference, kReferencesMax> references;
  std::array<Frame, kFramesMax> frames;

  void set_scalar(std::uint8_t reg, std::uint64_t number) {
    value[reg] = number;
    shadow[reg] = Shadow::scalar();
  }
  void set_uninit(std::uint8_t first, std::uint8_t last) {
    for (std::uint8_t reg = first; reg <= last; ++reg) shadow[reg] = Shadow::uninit();
  }

  // Stops the program at `step`. Returns null, so that a step can `return machine.fail(...)`.
  const Step* fail(const Step* step, TrapReason reason, std::uint8_t reg = Trap::kNoRegister);
  // The same, with a number the message shows.
  const Step* fail_at_limit(const Step* step, TrapReason reason, std::uint64_t limit);
};

}  // namespace lmn::interp
