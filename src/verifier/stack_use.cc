// SPDX-License-Identifier: Apache-2.0
//
// Notes of reads and writes per context, and the pass backwards. Tested by stack_use_test.cc.
#include "verifier/stack_use.h"

#include "insn/insn_table.h"

namespace lmn {

void StackUse::clear() {
  contexts_.clear();
  by_place_.clear();
  is_outdated_ = is_full_ = false;
  bytes_ = 0;
}

std::uint32_t StackUse::context_of(PathState& state, std::uint32_t frame) {
  FrameState& here = state.frames[frame];
  if (here.stack_context != kNoStackContext) return here.stack_context;
  const std::uint32_t parent = frame == 0 ? kNoContext : context_of(state, frame - 1);
  if (is_full_) return kNoContext;
  const auto [found, is_new] = by_place_.try_emplace({parent, here.callsite, here.subprogram},
                                                     static_cast<std::uint32_t>(contexts_.size()));
  if (is_new) {
    const Subprogram& function = program_.subprograms()[here.subprogram];
    Context context;
    context.parent = parent;
    context.callsite = here.callsite;
    context.depth = frame;
    context.start = function.start.value;
    context.end = function.end.value;
    context.is_store_seen.resize(context.end - context.start);
    context.frames.resize(frame + 1);
    bytes_ += sizeof(Context) + context.is_store_seen.size() + 64 * (frame + 1);
    contexts_.push_back(std::move(context));
    is_full_ = is_full_ || bytes_ > kBytesMax || !is_called_from(contexts_.back());
  }
  here.stack_context = found->second;
  return found->second;
}

// Whether the place of the call is known, as it is but for what nobody calls.
bool StackUse::is_called_from(const Context& context) const {
  if (context.parent == kNoContext) return true;
  const Context& caller = contexts_[context.parent];
  return context.callsite >= caller.start && context.callsite < caller.end;
}

std::vector<StackUse::Use>* StackUse::uses_of(Context& context, std::uint32_t frame) {
  std::vector<Use>& uses = context.frames[frame];
  if (!uses.empty()) return &uses;
  bytes_ += (context.end - context.start) * sizeof(Use);
  is_full_ = is_full_ || bytes_ > kBytesMax;
  if (is_full_) return nullptr;
  uses.resize(context.end - context.start);
  return &uses;
}

void StackUse::note_read(PathState& state, std::uint32_t at, std::uint32_t frame,
                         std::uint64_t slots) {
  const std::uint32_t index = context_of(state, state.frame_index());
  if (is_full_) return;
  Context& context = contexts_[index];
  std::vector<Use>* uses = uses_of(context, frame);
  if (uses == nullptr) return;
  Use& use = (*uses)[at - context.start];
  if ((slots & ~use.reads) == 0) return;
  use.reads |= slots;
  context.is_outdated = is_outdated_ = true;
}

void StackUse::note_write(PathState& state, std::uint32_t at, std::uint32_t frame,
                          std::uint64_t slots) {
  const std::uint32_t index = context_of(state, state.frame_index());
  if (is_full_) return;
  Context& context = contexts_[index];
  const bool is_first = context.is_store_seen[at - context.start] == 0;
  context.is_store_seen[at - context.start] = 1;
  if (is_first && slots != 0) uses_of(context, frame);
  // What was overwritten is sure where every visit does.
  for (std::uint32_t f = 0; f <= context.depth; ++f) {
    if (context.frames[f].empty()) continue;
    Use& use = context.frames[f][at - context.start];
    const std::uint64_t mine = f == frame ? slots : 0;
    const std::uint64_t sure = is_first ? mine : use.writes & mine;
    if (sure == use.writes) continue;
    use.writes = sure;
    context.is_outdated = is_outdated_ = true;
  }
}

std::uint64_t StackUse::live_at(const Context& context, std::uint32_t at,
                                std::uint32_t frame) const {
  const std::vector<Use>& uses = context.frames[frame];
  if (uses.empty() || at < context.start || at >= context.end) return 0;
  return uses[at - context.start].live;
}

std::uint64_t StackUse::live_before(PathState& state, std::uint32_t at, std::uint32_t frame) {
  const std::uint32_t top = state.frame_index();
  context_of(state, top);
  if (!is_full_ && is_outdated_) update();
  if (is_full_) return ~0ull;
  std::uint64_t live = live_at(contexts_[state.frames[top].stack_context], at, frame);
  for (std::uint32_t f = top; f > frame; --f) {
    const std::uint32_t callsite = state.frames[f].callsite;
    const Context& caller = contexts_[state.frames[f - 1].stack_context];
    live |= live_at(caller, callsite + 1, frame);
    // A callback comes back to the call itself.
    if (state.frames[f].is_callback) live |= live_at(caller, callsite, frame);
  }
  return live;
}

// Contexts of functions that are called come after those of their callers: backwards, what is live
// where a function begins is read by its call.
void StackUse::update() {
  is_outdated_ = false;
  for (std::size_t index = contexts_.size(); index-- > 0;) {
    Context& context = contexts_[index];
    if (!context.is_outdated) continue;
    context.is_outdated = false;
    update_context(context);
    if (context.parent == kNoContext) continue;
    Context& caller = contexts_[context.parent];
    for (std::uint32_t frame = 0; frame < context.depth; ++frame) {
      const std::uint64_t live = live_at(context, context.start, frame);
      if (live == 0) continue;
      std::vector<Use>* uses = uses_of(caller, frame);
      if (uses == nullptr) return;
      Use& call = (*uses)[context.callsite - caller.start];
      if ((live & ~call.reads) == 0) continue;
      call.reads |= live;
      caller.is_outdated = true;
    }
  }
}

void StackUse::update_context(Context& context) {
  const std::vector<Insn>& insns = program_.spec().insns;
  for (std::vector<Use>& uses : context.frames) {
    if (uses.empty()) continue;
    for (bool has_changed = true; has_changed;) {
      has_changed = false;
      for (std::uint32_t at = context.end; at-- > context.start;) {
        const Insn& insn = insns[at];
        Use& use = uses[at - context.start];
        std::uint64_t live = 0;
        const auto target = jump_target(InsnIndex{at}, insn);
        if (target) live |= uses[target->value - context.start].live;
        const std::uint32_t next = at + slot_count(insn.op);
        if (falls_through(insn.op) && next < context.end) live |= uses[next - context.start].live;
        live = (live & ~use.writes) | use.reads;
        if (live == use.live) continue;
        use.live = live;
        has_changed = true;
      }
    }
  }
}

}  // namespace lmn
