// SPDX-License-Identifier: Apache-2.0
//
// RunWatcher: follows a run of an accepted program through the tree of paths that the verifier
// walked, and says where the run is not what the verifier thought possible.
//
// At each executed instruction the run stands at a node of the tree, and every register and stack
// slot must lie in the node's state. The next instruction leads to the child that has it; a child
// that nobody walked is a branch wrongly judged dead. At a path that was cut short the run must lie
// in the kept state and goes on from there.
//
// A kept state stands for more runs than its numbers say: numbers that no decision depended on were
// not compared. Such a number is *loose* in the run from there on, and so is all that is computed
// from it: nothing is demanded of it, until it is used where the verifier decides something, which
// must never happen: an address made from a loose number is outside its state, and is found. What
// else does not match must never be read: it is *dead*, and a read of it is an error too (wrong
// liveness).
//
// Not followed: global functions (their calls end the watch), what helpers write through pointers
// (the state knows nothing of it either), pointers in stack slots beyond stack and packet pointers.
// Threads: one run at a time. Tested by soundness_test.cc, which plants errors.
// Source: the method of Chaignon's talk at LPC 2025 (states saved, checked at run time).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "exec/interp/trace.h"
#include "packet/xdp_buff.h"
#include "soundness/exploration.h"

namespace lmn {

class RunWatcher final : public TraceListener {
 public:
  // A run of the program that `tree` is of begins. Both outlive it.
  void begin(const Exploration& tree, const XdpBuff& buff);

  void on_step(const TraceStep& step) noexcept override;
  void on_touch(const TraceTouch&) noexcept override {}

  // Empty: nothing wrong so far. Else instruction, place, run and state.
  const std::string& failure() const { return failure_; }
  std::uint64_t steps_checked() const { return steps_checked_; }
  std::uint64_t inclusions_passed() const { return inclusions_passed_; }
  const std::array<std::uint64_t, 256>& op_counts() const { return op_counts_; }
  const std::vector<std::uint64_t>& helper_counts() const { return helper_counts_; }

 private:
  struct Frame {
    std::uint64_t end = 0;  // r10
    std::uint16_t loose = 0;
    std::uint16_t dead = 0;
    std::uint64_t loose_slots = 0;
    std::uint64_t dead_slots = 0;
    // Registers at the call that left this frame.
    std::array<std::uint64_t, 11> values{};
    std::array<interp::Shadow, 11> shadows{};
  };

  void fail(const TraceStep& step, std::string what);
  void apply_previous(const TraceStep& step);
  void apply_memory(const Insn& insn);
  void apply_branch(const Insn& insn);
  void enter_frame(const TraceStep& step);
  void leave_frame(const TraceStep& step);
  bool find_node(const TraceStep& step);
  std::uint32_t matching_child(const TraceStep& step, std::uint32_t of, std::string& why);
  bool pass_inclusion(const TraceStep& step, bool is_silent);
  bool demand_readable(const TraceStep& step);
  // What is wrong with the run against these frames; empty: nothing.
  std::string mismatch(const TraceStep& step, const std::vector<FrameState>& frames) const;
  std::string register_mismatch(const RegState& state, std::uint64_t value,
                                const interp::Shadow* shadow) const;
  std::string pointer_mismatch(const RegState& state, std::uint64_t value,
                               const interp::Shadow* shadow) const;
  std::string slot_mismatch(const StackSlot& slot, std::uint64_t address) const;
  void loosen(const TraceStep& step, const Exploration::Inclusion& inclusion, std::string& wrong);
  void loosen_broken_links(const TraceStep& step, const std::vector<FrameState>& kept);
  void loosen_linked(std::uint32_t id, const std::vector<FrameState>& frames);
  std::uint64_t slots_at(std::uint64_t address, std::uint32_t size, std::size_t& frame) const;

  const Exploration* tree_ = nullptr;
  const XdpBuff* buff_ = nullptr;
  const ProgramSpec* program_ = nullptr;
  std::uint32_t node_ = kNoNode;
  bool is_watching_ = false;
  // A path was cut short where the run cannot be seen: the next check marks what does not match.
  bool is_forgiving_ = false;
  bool forgives_all_numbers_count_ = false;
  std::vector<Frame> frames_;
  std::uint64_t context_ = 0;
  std::uint32_t previous_insn_ = 0;
  std::array<std::uint64_t, 11> previous_{};
  std::array<interp::Shadow, 11> previous_shadows_{};
  std::vector<std::pair<std::uint32_t, std::uint64_t>>
      links_;  // identity, the number it stands for
  std::string failure_;
  std::uint64_t steps_checked_ = 0;
  std::uint64_t inclusions_passed_ = 0;
  std::array<std::uint64_t, 256> op_counts_{};
  std::vector<std::uint64_t> helper_counts_ = std::vector<std::uint64_t>(256);
};

}  // namespace lmn
