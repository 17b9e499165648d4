// SPDX-License-Identifier: Apache-2.0
//
// StackUse: which 8-byte stack slots can still be read, learnt from the paths that were walked.
//
// Liveness (liveness.h) looks at the code alone: once the address of a slot is given to a function
// it must take every slot for live. The walk knows better: at each load and each argument of a
// helper it knows the frame and the slot. What was read and what was overwritten is noted here per
// instruction of a function *called from one place of a function called from one place ...* (a
// context), for its own frame and all frames below; going backwards through each function gives
// what is live before each instruction.
//
// Only what a finished state's paths did is known: live_before() may be asked for a state all of
// whose paths ended, and none at a state that had not (a loop). Then every read that follows from
// it has been noted, and states that it includes do the same.
//
// Example: f(&a, &b) reads a and overwrites b. Before the call a is live; b is not.
// Invariants: (1) what is noted only grows: more reads, fewer sure writes, so that live slots only
// become more; (2) at most kBytesMax are used; beyond, everything is live.
// Threads: one verification. Tested by stack_use_test.cc, and by tests/soundness, which finds reads
// of what a cut path took for dead.
// Source: Linux 6.18, kernel/bpf/liveness.c (the idea of contexts and of noting by the walk).
#pragma once

#include <cstdint>
#include <map>
#include <tuple>
#include <vector>

#include "verifier/state.h"
#include "verifier/structure.h"

namespace lmn {

class StackUse {
 public:
  explicit StackUse(const StructuredProgram& program) : program_(program) {}

  // A new walk: another function is the entry.
  void clear();

  // The instruction at `at` reads slots of frame `frame`, or overwrites all of them: bit s is slot
  // s. REQUIRES: each visit of a store says what it overwrites, be it nothing.
  void note_read(PathState& state, std::uint32_t at, std::uint32_t frame, std::uint64_t slots);
  void note_write(PathState& state, std::uint32_t at, std::uint32_t frame, std::uint64_t slots);

  // Slots of `frame` that may be read after `state` came to `at` in its top frame.
  std::uint64_t live_before(PathState& state, std::uint32_t at, std::uint32_t frame);

 private:
  static constexpr std::size_t kBytesMax = 8u << 20;
  static constexpr std::uint32_t kNoContext = ~0u;

  struct Use {
    std::uint64_t reads = 0;
    std::uint64_t writes = 0;
    std::uint64_t live = 0;
  };
  struct Context {
    std::uint32_t parent = kNoContext;
    std::uint32_t callsite = 0;
    std::uint32_t depth = 0;
    std::uint32_t start = 0;
    std::uint32_t end = 0;
    bool is_outdated = false;
    std::vector<std::uint8_t> is_store_seen;  // per instruction
    std::vector<std::vector<Use>> frames;     // per frame up to `depth`, per instruction, or empty
  };

  std::uint32_t context_of(PathState& state, std::uint32_t frame);
  std::vector<Use>* uses_of(Context& context, std::uint32_t frame);
  bool is_called_from(const Context& context) const;
  void update();
  void update_context(Context& context);
  std::uint64_t live_at(const Context& context, std::uint32_t at, std::uint32_t frame) const;

  const StructuredProgram& program_;
  std::vector<Context> contexts_;
  std::map<std::tuple<std::uint32_t, std::uint32_t, std::uint32_t>, std::uint32_t> by_place_;
  bool is_outdated_ = false;
  std::size_t bytes_ = 0;
  bool is_full_ = false;
};

}  // namespace lmn
