// SPDX-License-Identifier: Apache-2.0
//
// Trace: who watches a program run: each instruction with its source line, the registers before it,
// the memory it touches.
//
// `lmn explain` and the debugger will listen here; TextTrace is the listener that writes it down:
//
//      5: (71) r0 = *(u8 *)(r2 +0)                    ; fw.c:33
//         r2 = packet pointer+0                        read 1 byte at packet pointer+0: 0x45
//
// A listener is called on the data path of one program and makes it slow; the loop without one does
// not ask. Threads: the worker that runs the program. Tested by exec_test.cc.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "exec/interp/shadow.h"
#include "spec/program_spec.h"

namespace lmn {

// Before an instruction runs.
struct TraceStep {
  const ProgramSpec* program;
  InsnIndex insn;
  std::uint32_t depth;                    // 0 in the entry function
  std::span<const std::uint64_t> values;  // r0 to r10
  std::span<const interp::Shadow> shadows;
};

// One access of that instruction, after it was allowed and before it is done.
struct TraceTouch {
  interp::ValueKind kind;
  std::int64_t offset;  // from the start of its object
  std::uint32_t size_bytes;
  bool is_write;
};

class TraceListener {
 public:
  virtual ~TraceListener() = default;
  virtual void on_step(const TraceStep& step) noexcept = 0;
  virtual void on_touch(const TraceTouch& touch) noexcept = 0;
};

// Keeps the trace as lines of text, up to a limit; what comes later is counted.
class TextTrace final : public TraceListener {
 public:
  explicit TextTrace(std::size_t lines_max) : lines_max_(lines_max) {}
  void on_step(const TraceStep& step) noexcept override;
  void on_touch(const TraceTouch& touch) noexcept override;
  const std::vector<std::string>& lines() const { return lines_; }
  std::uint64_t lines_lost() const { return lines_lost_; }

 private:
  void add(std::string line);
  std::vector<std::string> lines_;
  std::size_t lines_max_;
  std::uint64_t lines_lost_ = 0;
};

}  // namespace lmn
