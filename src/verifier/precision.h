// SPDX-License-Identifier: Apache-2.0
//
// PrecisionWalk: which numbers, in the states this path went through, a decision depended on.
//
// A number decides something when it is added to a pointer, is the size of a helper's memory, or
// makes a branch impossible. Its value then matters wherever it came from: the walk goes back over
// the executed instructions, keeping the set of registers and stack slots that matter, and marks
// them precise in every kept state it passes. Only marked numbers count when states are compared,
// so `i` of a loop whose body does not depend on it does not keep its iterations apart.
//
// How the path went is in the history: one entry for every instruction that can be reached from
// several places, and for every spill or fill; between entries it went straight.
// When the walk meets what it cannot follow it marks every number of the path: always right.
// Threads: one verification. Tested by paths_test.cc.
// Source: Linux 6.18, kernel/bpf/verifier.c (mark_chain_precision, backtrack_insn).
#pragma once

#include <array>
#include <cstdint>

#include "verifier/explorer.h"
#include "verifier/trace.h"

namespace lmn {

class PrecisionWalk {
 public:
  explicit PrecisionWalk(Explorer& explorer)
      : explorer_(explorer), frame_(explorer.state_->frame_index()) {}

  void want_register(std::uint32_t frame, std::uint32_t index) {
    registers_[frame] |= static_cast<std::uint16_t>(1u << index);
  }
  void want_slot(std::uint32_t frame, std::uint32_t slot) { slots_[frame] |= 1ull << slot; }

  // Tells a listener what the state that includes the present one wants of this frame.
  void tell_copied(std::uint32_t frame) const;

  // Marks all that the wanted ones depended on.
  void run();

 private:
  enum class Step : std::uint8_t { kGoOn, kLost };

  bool is_empty() const;
  void tell(PrecisionNote::Kind kind, std::uint32_t at, std::int64_t after,
            const PathState& state) const;
  bool wants(std::uint32_t index) const { return (registers_[frame_] >> index & 1) != 0; }
  void want(std::uint32_t index) { want_register(frame_, index); }
  void drop(std::uint32_t index) {
    registers_[frame_] &= static_cast<std::uint16_t>(~(1u << index));
  }
  void mark_in(KnownState& known);
  void mark_everything();
  void want_linked(const HistoryEntry* entry);
  Step back_over(std::uint32_t at, std::int64_t after, const HistoryEntry* entry);
  Step back_over_alu(const Insn& insn);
  Step back_over_load(const Insn& insn, const HistoryEntry* entry);
  Step back_over_store(const Insn& insn, const HistoryEntry* entry);
  Step back_over_atomic(const Insn& insn, const HistoryEntry* entry);
  Step back_over_call(std::uint32_t at, std::int64_t after, const Insn& insn);
  Step back_over_exit(std::int64_t after);
  Step leave_callee(bool passes_arguments);

  Explorer& explorer_;
  std::uint32_t frame_;
  std::array<std::uint16_t, limits::kCallFramesMax> registers_{};
  std::array<std::uint64_t, limits::kCallFramesMax> slots_{};
};

}  // namespace lmn
