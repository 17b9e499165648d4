// SPDX-License-Identifier: Apache-2.0
//
// KernelLog: the walk over a program in the form of the kernel's verifier log, for tools that read
// that log (what bpf(2) puts into log_buf).
//
//   level 1  the path that was refused: its instructions, and what each changed; after an accepted
//            program only the figures
//   level 2  every path, with precision walks, and where paths are cut ("12: safe")
//   level 4  only the figures: verification time, stack depth, processed
//
// Levels are bits, as in the kernel. A line of an instruction reads
//
//   1: (61) r3 = *(u32 *)(r1 +0)          ; R1=ctx() R3=pkt(r=0)
//
// and the state behind it is what the instruction read and wrote. The text ends with the refusal in
// the kernel's words, if there is one, and
//
//   processed 12 insns (limit 1000000) max_states_per_insn 0 total_states 1 ...
//
// Differences: the kernel's own tables of live registers and live stack are left out; addresses of
// maps read 0x0; where the kernel glues a state of another path to the line before, here is a line
// break; the counts are our walk's.
//
//   options.log = &text;
//   options.log_level = kernel_log_level::kPath;
//   auto verified = verify(env, std::move(structured), options);
//
// Invariants: (1) at level 1 without 2, text() holds one path at a time; (2) of a text longer than
// limits::kVerifierLogBytesMax the end is kept, as in a bpf(2) buffer that rotates.
// Threads: one verification. Tested by kernel_log_test.cc.
// Source: Linux 6.18, kernel/bpf/verifier.c (do_check, print_verification_stats), kernel/bpf/log.c.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "insn/disasm.h"
#include "verifier/register_text.h"
#include "verifier/structure.h"
#include "verifier/trace.h"
#include "verifier/verifier.h"

namespace lmn {

namespace kernel_log_level {
inline constexpr std::uint32_t kPath = 1;
inline constexpr std::uint32_t kAllPaths = 2;
inline constexpr std::uint32_t kFigures = 4;
inline constexpr std::uint32_t kAll = 7;
}  // namespace kernel_log_level

// The log of a program that was refused before any path was walked.
std::string kernel_log_of_refusal(std::string_view words);

class KernelLog final : public VerifierListener {
 public:
  // Copies what it needs of the program; `types` must live as long. REQUIRES: level <= kAll.
  KernelLog(const StructuredProgram& program, std::uint32_t level, const ObjectTypes& types = {});

  void on_walk(std::uint32_t subprogram) override;
  void on_visit(const PathState& state) override;
  void on_branch() override;
  void on_next_path() override;
  void on_keep(const KnownState& kept) override;
  void on_included(const KnownState& by, bool all_numbers_count) override;
  void on_precision(const PrecisionNote& note) override;

  // After verify: the end of the log.
  void finish(const VerifierReport& report, std::chrono::nanoseconds spent);

  const std::string& text() const { return text_; }

 private:
  bool has(std::uint32_t level) const { return (level_ & level) != 0; }
  bool has_paths() const {
    return has(kernel_log_level::kPath) || has(kernel_log_level::kAllPaths);
  }
  void append(std::string_view what);
  void forget_beginning();
  void end_walk();
  std::string insn_line(std::uint32_t at) const;
  std::string function_name(std::uint32_t subprogram) const;
  std::string whole_text(const PathState& state, std::uint32_t frame) const;
  void append_transfer(const PathState& state);
  void append_state(const PathState& state);
  void append_source(std::uint32_t at);
  ShownPlaces changed(const PathState& state) const;
  std::uint64_t accessed_slots(const Insn& insn, const FrameState& frame) const;

  ProgramSpec program_;
  std::vector<Subprogram> subprograms_;
  std::uint32_t level_;
  ObjectTypes types_;
  std::string text_;
  std::vector<std::size_t> branch_ends_;  // text_.size() when each waiting path was made
  bool is_new_path_ = false;              // the next visit is the first of a path that waited
  bool shows_all_ = true;                 // the next state is shown whole
  std::size_t line_end_ = 0;              // of the last instruction's line, its end included
  std::size_t line_bytes_ = 0;
  std::size_t visit_begin_ = 0;  // of what on_visit wrote last
  std::size_t visit_end_ = 0;
  bool has_joined_ = false;         // that began at the end of the line before
  const LineInfo* line_ = nullptr;  // source line shown last
  const LineInfo* line_before_ = nullptr;
  std::uint32_t walked_ = 0;  // subprogram
  bool has_walked_ = false;
  bool was_new_path_ = false;
  PathState last_;  // the state visited last, without its history
  bool has_last_ = false;
};

}  // namespace lmn
