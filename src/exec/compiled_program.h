// SPDX-License-Identifier: Apache-2.0
//
// CompiledProgram: owner of something that can run on frames, whoever made it: the checked
// interpreter now, the LLVM compiler later.
//
// Running is one indirect call per batch; inside, no call that is not the program's own.
// Threads: run_batch() from any number of workers at once, each with its own RunContext; the image
// is immutable.
#pragma once

#include <cstdint>
#include <string>

#include "packet/frame_batch.h"
#include "packet/run_context.h"

namespace lmn {

class CompiledProgram {
 public:
  virtual ~CompiledProgram() = default;
  // Runs the program once on each buff of the batch, in order; fills verdicts and redirects.
  virtual void run_batch(FrameBatch& batch, RunContext& context) noexcept = 0;
  // Runs it on one packet; the verdict is returned, a redirect stays in context.redirect.
  virtual std::uint32_t run(XdpBuff& buff, RunContext& context) noexcept = 0;
  // Calls a function that the program has left for later (a timer's, a work's), with the map, the
  // key and the value that it lies in. Outside of any packet: context.buff is null.
  virtual void run_deferred(const DeferredCall& call, RunContext& context) noexcept = 0;
  // What ProgramEntry::interpreter_image holds for tail calls into this program; null when it has
  // none.
  virtual const void* interpreter_image() const noexcept = 0;
};

}  // namespace lmn
