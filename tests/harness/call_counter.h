// SPDX-License-Identifier: Apache-2.0
//
// CallCounter: counts the calls of helpers and kernel functions that a program reaches while the
// checked interpreter runs it, for ComparedCalls.
//
// The other side runs the same program on the same packet and maps and must come to the same end,
// so that what was reached here was reached there. Calls in callbacks count as well.
//
//   CallCounter counter(helper_protos());
//   open_engine_runner(path, program, &counter);
//
// Threads: that of the test. Tested by what uses it.
#pragma once

#include <linux/bpf.h>

#include <algorithm>
#include <span>
#include <string>

#include "abi/helper_proto.h"
#include "exec/interp/trace.h"
#include "harness/compared_calls.h"

namespace lmn {

class CallCounter : public TraceListener {
 public:
  explicit CallCounter(std::span<const HelperProto> helpers) : helpers_(helpers) {}

  void on_step(const TraceStep& step) noexcept override {
    const Insn& insn = step.program->insns[step.insn.value];
    if (insn.op != Op::kCall || insn.src == BPF_PSEUDO_CALL) return;
    const auto number = static_cast<std::size_t>(insn.imm);
    if (insn.src == BPF_PSEUDO_KFUNC_CALL) {
      ComparedCalls::instance().add(step.program->kfuncs[number].name);
      return;
    }
    const auto found = std::ranges::find(helpers_, number, &HelperProto::id);
    if (found != helpers_.end()) ComparedCalls::instance().add(found->name);
  }
  void on_touch(const TraceTouch&) noexcept override {}

 private:
  std::span<const HelperProto> helpers_;
};

}  // namespace lmn
