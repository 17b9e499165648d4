// SPDX-License-Identifier: Apache-2.0
//
// Frames in and out. Tested by exec_test.cc; tail calls also by tests/differential/.
#include "exec/interp/call.h"

#include <linux/bpf.h>

#include <algorithm>

#include "exec/interp/helper_call.h"
#include "exec/interp/memory_access.h"
#include "exec/interp/stack_object.h"
#include "maps/map.h"

namespace lmn::interp {
namespace {

// The current frame as the code of `image` finds it when it is entered.
void open_frame(Machine& machine, const ProgramImage& image) {
  Frame& frame = *machine.frame;
  machine.image = &image;
  frame.image = &image;
  frame.serial = ++machine.last_serial;
  frame.may_goto_left = machine.limits->may_goto_max;
  clear_frame(frame);
  const auto base = reinterpret_cast<std::uintptr_t>(frame.stack.data());
  machine.value[kFramePointer] = base + limits::kStackBytes;
  machine.shadow[kFramePointer] = Shadow::stack(base, frame.serial);
}

// One frame deeper, running code of the current image; false when the program has 8 already.
bool push_frame(Machine& machine, const Step* return_to) {
  const std::uint32_t entry_depth = machine.frame->entry_depth;
  if (machine.depth + 1 - entry_depth >= limits::kCallFramesMax) return false;
  Frame& frame = machine.frames[++machine.depth];
  machine.frame = &frame;
  frame.return_to = return_to;
  frame.entry_depth = entry_depth;
  std::copy_n(machine.value.begin() + kFirstSaved, kSavedCount, frame.saved_values.begin());
  std::copy_n(machine.shadow.begin() + kFirstSaved, kSavedCount, frame.saved_shadows.begin());
  open_frame(machine, *machine.image);
  machine.shadow[0] = Shadow::uninit();
  machine.set_uninit(kFirstSaved, kFramePointer - 1);
  return true;
}

void pop_frame(Machine& machine) {
  Frame& frame = *machine.frame;
  frame.serial = 0;
  std::copy_n(frame.saved_values.begin(), kSavedCount, machine.value.begin() + kFirstSaved);
  std::copy_n(frame.saved_shadows.begin(), kSavedCount, machine.shadow.begin() + kFirstSaved);
  machine.frame = &machine.frames[--machine.depth];
  machine.image = machine.frame->image;
  const auto base = reinterpret_cast<std::uintptr_t>(machine.frame->stack.data());
  machine.value[kFramePointer] = base + limits::kStackBytes;
  machine.shadow[kFramePointer] = Shadow::stack(base, machine.frame->serial);
  machine.set_uninit(1, 5);
}

void set_context_argument(Machine& machine) {
  const auto address = reinterpret_cast<std::uintptr_t>(machine.context->buff);
  machine.value[1] = address;
  machine.shadow[1] = Shadow::context(address);
}

}  // namespace

namespace {

// What every run begins with; the arguments are the caller's to set.
void start_frame(Machine& machine, const ProgramImage& image, XdpBuff& buff) {
  machine.context->buff = &buff;
  machine.depth = 0;
  machine.frame = &machine.frames[0];
  machine.frame->return_to = nullptr;
  machine.frame->entry_depth = 0;
  machine.tail_call_count = 0;
  machine.reference_count = 0;
  machine.last_serial = 0;  // no shadow outlives a run
  machine.insns_left = machine.limits->insns_max;
  machine.is_trapped = false;
  machine.is_thrown = false;
  machine.rcu_depth = 0;
  machine.preempt_depth = 0;
  open_frame(machine, image);
  machine.set_uninit(0, kFramePointer - 1);
}

}  // namespace

const Step* start(Machine& machine, const ProgramImage& image, XdpBuff& buff) {
  start_frame(machine, image, buff);
  set_context_argument(machine);
  return image.step_at(0);
}

const Step* start_deferred(Machine& machine, const ProgramImage& image, const DeferredCall& call,
                           XdpBuff& no_packet, std::uint32_t& index) {
  const Step* step = image.find_step(call.function.function);
  const void* key = call.map->key_of(call.value, index);
  if (step == nullptr || key == nullptr) return nullptr;
  start_frame(machine, image, no_packet);
  const auto set = [&machine](std::uint8_t reg, const void* address, const Shadow& shadow) {
    machine.value[reg] = reinterpret_cast<std::uintptr_t>(address);
    machine.shadow[reg] = shadow;
  };
  const MapSpec& spec = call.map->spec();
  const auto key_address = reinterpret_cast<std::uintptr_t>(key);
  const auto value_address = reinterpret_cast<std::uintptr_t>(call.value);
  set(1, call.map, Shadow::map(reinterpret_cast<std::uintptr_t>(call.map)));
  set(2, key, Shadow::memory(key_address, spec.key_size, kMayRead, kNoReference));
  set(3, call.value,
      Shadow::map_value(value_address, spec.value_size,
                        program_rights(*call.map, image.environment())));
  return step;
}

bool is_balanced(Machine& machine, const Step* step) {
  if (machine.reference_count > 0) {
    machine.fail_at_limit(step, TrapReason::kUnreleased, machine.reference_count);
    return false;
  }
  if (machine.rcu_depth == 0 && machine.preempt_depth == 0) return true;
  machine.fail(step, TrapReason::kSection);
  return false;
}

const Step* call_function(Machine& machine, const Step* step) {
  const Step* callee = machine.image->step_at(step->index);
  if (push_frame(machine, step + 1)) return callee;
  return machine.fail_at_limit(step, TrapReason::kCallDepth, limits::kCallFramesMax);
}

const Step* exit_function(Machine& machine, const Step* step) {
  const Step* return_to = machine.frame->return_to;
  if (return_to != nullptr) {
    // A function without a result may leave r0 undefined: the caller then may not read it.
    pop_frame(machine);
    return return_to;
  }
  if (!machine.shadow[0].is_initialised()) return machine.fail(step, TrapReason::kUninitReturn, 0);
  const RunContext& context = *machine.context;
  if (machine.depth == 0 && (context.held_lock.is_held() || !context.held_resilient.is_empty())) {
    return machine.fail(step, TrapReason::kSpinLock);
  }
  if (machine.depth == 0 && !is_balanced(machine, step)) return nullptr;
  if (machine.depth > 0) pop_frame(machine);
  return nullptr;
}

const Step* tail_call(Machine& machine, const Step* step) {
  auto& map = *reinterpret_cast<Map*>(machine.value[2]);
  if (map.spec().type != BPF_MAP_TYPE_PROG_ARRAY)
    return machine.fail(step, TrapReason::kMapForHelper, 2);
  const auto index = static_cast<std::uint32_t>(machine.value[3]);
  machine.set_uninit(0, 5);
  const Step* not_taken = step + 1;
  if (index >= map.spec().max_entries) return not_taken;
  if (machine.tail_call_count >= limits::kTailCallsMax) return not_taken;
  const ProgramEntry* entry = map.find_program(index);
  if (entry == nullptr || entry->interpreter_image == nullptr) return not_taken;
  if (!is_balanced(machine, step)) return nullptr;
  ++machine.tail_call_count;
  machine.frame->entry_depth = machine.depth;
  const auto& image = *static_cast<const ProgramImage*>(entry->interpreter_image);
  open_frame(machine, image);
  machine.set_uninit(kFirstSaved, kFramePointer - 1);
  set_context_argument(machine);
  return image.step_at(0);
}

const Step* may_goto(Machine& machine, const Step* step) {
  if (machine.frame->may_goto_left == 0) return machine.image->step_at(step->index);
  --machine.frame->may_goto_left;
  return step + 1;
}

std::uint64_t call_back(void* engine_state, std::uint64_t function,
                        std::span<const std::uint64_t> args) noexcept {
  constexpr std::uint64_t kStop = 1;
  Machine& machine = *static_cast<Machine*>(engine_state);
  if (machine.is_trapped) return kStop;
  const Step* callee = machine.image->find_step(function);
  const Step* call_site = machine.call_site;
  PendingHelper* pending = machine.pending;
  if (callee == nullptr) {
    machine.fail(call_site, TrapReason::kArgument);
    return kStop;
  }
  if (!push_frame(machine, nullptr)) {
    machine.fail_at_limit(call_site, TrapReason::kCallDepth, limits::kCallFramesMax);
    return kStop;
  }
  set_callback_arguments(machine, *pending, args);
  if (machine.is_trapped) return kStop;
  execute(machine, callee);
  if (pending->lent != kNoReference) release(machine, pending->lent);
  pending->lent = kNoReference;
  machine.call_site = call_site;
  machine.pending = pending;
  return machine.is_trapped ? kStop : machine.value[0];
}

DeferredFunction defer(void* engine_state, std::uint64_t function) noexcept {
  const Machine& machine = *static_cast<const Machine*>(engine_state);
  return {machine.image->owner(), function};
}

void stop(void* engine_state) noexcept {
  Machine& machine = *static_cast<Machine*>(engine_state);
  if (machine.is_trapped) return;
  machine.fail(machine.call_site, TrapReason::kStopped);
  machine.trap.helper_id = machine.pending->proto->id;
}

}  // namespace lmn::interp
