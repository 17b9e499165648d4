// SPDX-License-Identifier: Apache-2.0
//
// The loop over instructions and the CompiledProgram around it.
//
// The switch has one case per row of opcodes.def, generated from it: the row's category chooses the
// function of steps.h, its columns the function's template arguments. So an instruction is
// described in one place, and a new row either runs or does not compile. Tested by exec_test.cc and
// tests/differential/.
#include "exec/interp/interpreter.h"

#include <utility>

#include "exec/interp/call.h"
#include "exec/interp/guest_context.h"
#include "exec/interp/image.h"
#include "exec/interp/machine.h"
#include "exec/interp/steps.h"

namespace lmn {
namespace interp {

const Step* Machine::fail(const Step* step, TrapReason reason, std::uint8_t reg) {
  is_trapped = true;
  trap = {};
  trap.reason = reason;
  trap.insn = image->index_of(step);
  trap.reg = reg;
  if (reg < kRegisterCount) {
    trap.kind = shadow[reg].kind;
    if (trap.kind != ValueKind::kUninit) trap.value = value[reg];
  }
  return nullptr;
}

const Step* Machine::fail_at_limit(const Step* step, TrapReason reason, std::uint64_t limit) {
  fail(step, reason);
  trap.bound_bytes = limit;
  return nullptr;
}

const Step* mix_shadows(Machine& machine, const Step* step, bool is_add, bool is_sub,
                        bool has_source) {
  Shadow& dst = machine.shadow[step->dst];
  if (!require_initialised(machine, step, step->dst)) return nullptr;
  // Any arithmetic leaves an arena pointer one.
  if (dst.kind == ValueKind::kArena) {
    return has_source && !require_initialised(machine, step, step->src) ? nullptr : step;
  }
  if (!has_source) {
    if (!is_add && !is_sub) dst = Shadow::scalar();
    return step;
  }
  if (!require_initialised(machine, step, step->src)) return nullptr;
  const Shadow& src = machine.shadow[step->src];
  const bool is_pointer_and_number = dst.is_pointer() && src.is_scalar();
  const bool is_number_and_pointer = dst.is_scalar() && src.is_pointer();
  if (is_pointer_and_number && (is_add || is_sub)) return step;
  // A number plus a pointer is that pointer moved; everything else of two values is a number.
  dst = is_number_and_pointer && is_add ? src : Shadow::scalar();
  return step;
}

namespace {

void trace_step(const Machine& machine, const Step* step) {
  machine.trace->on_step({&machine.image->program(), machine.image->index_of(step), machine.depth,
                          machine.value, machine.shadow});
}

// The number in a fixed column of opcodes.def; 0 for the other words.
#define LMN_FIXED_none 0
#define LMN_FIXED_is(number) (number)
// One function of steps.h per category.
#define LMN_STEP_kAlu(klass, operation, source, width, off, imm) \
  alu_step<BPF_##operation, width, BPF_##source, LMN_FIXED_##off>
#define LMN_STEP_kByteSwap(klass, operation, source, width, off, imm) \
  byte_swap_step<BPF_##klass, BPF_##source, width>
#define LMN_STEP_kAddrSpaceCast(klass, operation, source, width, off, imm) cast_step
#define LMN_STEP_kLoad(klass, operation, source, width, off, imm) \
  load_step<width, BPF_##operation == BPF_MEMSX>
#define LMN_STEP_kStore(klass, operation, source, width, off, imm) \
  store_step<width, BPF_##klass == BPF_ST>
#define LMN_STEP_kAtomic(klass, operation, source, width, off, imm) \
  atomic_step<LMN_FIXED_##imm, width>
#define LMN_STEP_kJump(klass, operation, source, width, off, imm) jump_step
#define LMN_STEP_kBranch(klass, operation, source, width, off, imm) \
  branch_step<BPF_##operation, width, BPF_##source>
#define LMN_STEP_kCall(klass, operation, source, width, off, imm) call_step
#define LMN_STEP_kExit(klass, operation, source, width, off, imm) exit_function
#define LMN_STEP_kWide(klass, operation, source, width, off, imm) LMN_STEP_wide_##width
#define LMN_STEP_wide_64 lddw_step
#define LMN_STEP_wide_0 not_executable
#define LMN_STEP_kLegacy(klass, operation, source, width, off, imm) \
  classic_load_step<BPF_##operation, width>

template <bool kIsTraced>
void run_loop(Machine& machine, const Step* step) {
  while (step != nullptr) {
    if (machine.insns_left == 0) [[unlikely]] {
      machine.fail_at_limit(step, TrapReason::kInsnLimit, machine.limits->insns_max);
      return;
    }
    --machine.insns_left;
    if constexpr (kIsTraced) trace_step(machine, step);
    switch (step->op) {
#define LMN_OPCODE(name, opcode, klass, operation, source, category, width, dst, src, off, imm, \
                   text)                                                                        \
  case Op::name:                                                                                \
    step = LMN_STEP_##category(klass, operation, source, width, off, imm)(machine, step);       \
    break;
#include "insn/opcodes.def"
#undef LMN_OPCODE
    }
  }
}

class InterpretedProgram final : public CompiledProgram {
 public:
  InterpretedProgram(StructuredProgram program, const InterpreterOptions& options)
      : program_(std::move(program)), options_(options) {}

  // Apart from the constructor because the image refers to program_, where it stays.
  Result<void> prepare(const Environment& environment, std::span<Map* const> maps,
                       const HelperTable& helpers) {
    auto image = ProgramImage::build(program_.spec(), environment, maps, helpers, options_.btf);
    if (!image) {
      return make_error(
          std::move(image).error().with_context("prog \"" + program_.spec().name + "\""));
    }
    image->set_owner(this);
    image_ = std::make_unique<const ProgramImage>(std::move(*image));
    return {};
  }

  void run_batch(FrameBatch& batch, RunContext& context) noexcept override {
    Machine machine(options_, context);
    attach(machine);
    for (std::size_t i = 0; i < batch.count; ++i) {
      batch.verdicts[i] = run_one(machine, batch.buffs[i]);
      batch.redirects[i] = context.redirect;
    }
    detach(context);
  }

  std::uint32_t run(XdpBuff& buff, RunContext& context) noexcept override {
    Machine machine(options_, context);
    attach(machine);
    const std::uint32_t verdict = run_one(machine, buff);
    detach(context);
    return verdict;
  }

  void run_deferred(const DeferredCall& call, RunContext& context) noexcept override {
    Machine machine(options_, context);
    attach(machine);
    XdpBuff no_packet{};
    std::uint32_t index = 0;
    context.redirect = {};
    const Step* step = start_deferred(machine, *image_, call, no_packet, index);
    if (step != nullptr) {
      execute(machine, step);
      end_run(machine);
    }
    context.buff = nullptr;
    detach(context);
  }

  const void* interpreter_image() const noexcept override { return image_.get(); }

 private:
  void attach(Machine& machine) const {
    machine.trace = options_.trace;
    machine.context->engine_state = &machine;
    machine.context->call_back = call_back;
    machine.context->read_guest = read_guest;
    machine.context->stop = stop;
    machine.context->defer = defer;
  }
  static void detach(RunContext& context) {
    context.engine_state = nullptr;
    context.call_back = nullptr;
    context.read_guest = nullptr;
    context.stop = nullptr;
    context.defer = nullptr;
  }

  std::uint32_t run_one(Machine& machine, XdpBuff& buff) const noexcept {
    RunContext& context = *machine.context;
    context.redirect = {};
    execute(machine, start(machine, *image_, buff));
    context.held_lock.release();  // still held: it trapped, or threw
    if (machine.is_thrown) [[unlikely]]
      handle_exception(machine, buff);
    if (end_run(machine)) [[likely]]
      return static_cast<std::uint32_t>(machine.value[0]);
    return static_cast<std::uint32_t>(XDP_ABORTED);
  }

  // False after a trap, which is reported; what the run holds is given back.
  static bool end_run(Machine& machine) noexcept {
    if (!machine.is_trapped) [[likely]]
      return true;
    RunContext& context = *machine.context;
    release_held_objects(machine);
    ++context.trapped_count;
    context.held_records.discard_all();
    context.held_lock.release();
    context.held_resilient.release_all();
    context.redirect = {};
    if (context.traps != nullptr) context.traps->report(machine.trap, machine.image->program());
    return false;
  }

  // The program that threw goes on in its exception callback, which has a stack of its own and the
  // thrown value as argument; without one the value is the result.
  static void handle_exception(Machine& machine, XdpBuff& buff) noexcept {
    const std::uint64_t thrown = machine.thrown;
    const std::uint64_t insns_left = machine.insns_left;
    const ProgramImage& image = *machine.frames[0].image;
    const Step* callback = image.exception_callback();
    start(machine, image, buff);
    machine.insns_left = insns_left;
    if (callback == nullptr) {
      machine.set_scalar(0, thrown);
      return;
    }
    machine.set_scalar(1, thrown);
    execute(machine, callback);
    // The kernel refuses a callback that throws.
    if (machine.is_thrown) machine.fail(callback, TrapReason::kNotExecutable);
  }

  StructuredProgram program_;
  InterpreterOptions options_;
  std::unique_ptr<const ProgramImage> image_;
};

}  // namespace

void execute(Machine& machine, const Step* step) noexcept {
  if (machine.trace == nullptr) [[likely]] {
    run_loop<false>(machine, step);
  } else {
    run_loop<true>(machine, step);
  }
}

}  // namespace interp

Result<std::unique_ptr<CompiledProgram>> make_interpreted(StructuredProgram program,
                                                          const Environment& environment,
                                                          std::span<Map* const> maps,
                                                          const HelperTable& helpers,
                                                          const InterpreterOptions& options) {
  auto made = std::make_unique<interp::InterpretedProgram>(std::move(program), options);
  LMN_CHECK_OK(made->prepare(environment, maps, helpers));
  return std::unique_ptr<CompiledProgram>(std::move(made));
}

}  // namespace lmn
