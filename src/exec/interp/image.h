// SPDX-License-Identifier: Apache-2.0
//
// ProgramImage: a program made ready for the interpreter: what can be looked up once is looked up
// here.
//
// Each slot of the program becomes one Step at the same index, so that instruction numbers stay
// what they are everywhere: jumps hold their target slot, lddw its value and shadow, calls the
// helper's body and prototype. References to live objects are resolved: the image holds addresses
// of maps, and lives no longer than they do.
//
// Invariants: (1) every target is a slot of the program; (2) one Step more than slots, which traps,
// so that falling off the end cannot run into other memory; (3) immutable once built: any number of
// workers run it at once. Owner: the InterpretedProgram; ProgramEntry::interpreter_image points to
// it for tail calls. Tested by exec_test.cc.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "abi/helper_proto.h"
#include "abi/kfunc_proto.h"
#include "base/result.h"
#include "exec/interp/shadow.h"
#include "insn/insn.h"
#include "maps/object_heap.h"
#include "packet/run_context.h"
#include "spec/environment.h"
#include "spec/program_spec.h"

namespace lmn {
class ArenaMap;
class Btf;
class Map;
struct HelperTable;
}  // namespace lmn

namespace lmn::interp {

// One slot, decoded as far as it goes.
struct Step {
  Op op{};
  std::uint8_t dst = 0;
  std::uint8_t src = 0;
  std::int16_t off = 0;
  std::uint32_t index = 0;  // jumps and calls of functions: target slot; lddw: position in
                            // constants; helpers and kernel functions: in theirs
  std::int64_t imm = 0;     // sign-extended
};
static_assert(sizeof(Step) == 24);

// What lddw puts into a register.
struct Constant {
  std::uint64_t value = 0;
  Shadow shadow = Shadow::scalar();
};

struct HelperCall {
  const HelperProto* proto = nullptr;
  HelperFn body = nullptr;  // null for bpf_tail_call, which the interpreter does itself
};

struct KfuncCall {
  const KfuncProto* proto = nullptr;
  HelperFn body = nullptr;  // null for those that the interpreter does itself
};

// A context field as a load sees it; indexed by offset and log2 of the access size.
struct ContextLoad {
  bool is_allowed = false;
  ContextFieldKind kind{};
};

class ProgramImage {
 public:
  // Errors: kNotSupported for what the interpreter has not (helpers and kernel
  // functions without a body) and kInvalidArgument for references that `maps` does not answer; each
  // names the instruction. REQUIRES: `program` passed the structural check; it and `maps` outlive
  // the image.
  static Result<ProgramImage> build(const ProgramSpec& program, const Environment& environment,
                                    std::span<Map* const> maps, const HelperTable& helpers,
                                    const Btf* btf);

  const ProgramSpec& program() const { return *program_; }
  // Who runs it, for functions that are called later; set once, before anything runs.
  CompiledProgram* owner() const { return owner_; }
  void set_owner(CompiledProgram* owner) { owner_ = owner; }
  // The arena of the program's arena pointers, or null.
  ArenaMap* arena() const { return arena_; }
  const Environment& environment() const { return environment_; }
  const Step* step_at(std::uint32_t slot) const { return steps_.data() + slot; }
  InsnIndex index_of(const Step* step) const {
    return {static_cast<std::uint32_t>(step - steps_.data())};
  }
  // The step that a kFunction value stands for, or null.
  const Step* find_step(std::uint64_t address) const;
  const Constant& constant(std::uint32_t index) const { return constants_[index]; }
  std::span<const Constant> constants() const { return constants_; }
  const HelperCall& helper(std::uint32_t index) const { return helpers_[index]; }
  // The function that gets what bpf_throw throws, or null.
  const Step* exception_callback() const {
    const auto& at = program_->exception_callback;
    return at ? step_at(at->value) : nullptr;
  }
  // Of a struct of the program's types that can be allocated; null for other numbers.
  const ObjectLayout* layout(std::uint64_t type_id) const;
  const KfuncCall& kfunc(std::uint32_t index) const { return kfuncs_[index]; }
  // The context load of `size_bytes` at `offset`; not allowed for any other place than a field.
  ContextLoad context_load(std::int64_t offset, std::uint32_t size_bytes) const;
  std::size_t context_bytes() const { return context_loads_.size(); }
  bool may_read_uninit_stack() const { return environment_.strictness == Strictness::kTrusted; }

 private:
  ProgramImage(const ProgramSpec& program, const Environment& environment)
      : program_(&program), environment_(environment) {}
  Result<void> add_slot(std::uint32_t slot, std::span<Map* const> maps, const HelperTable& helpers);
  Result<void> add_lddw(std::uint32_t slot, std::span<Map* const> maps, Step& step);
  Result<void> add_call(std::uint32_t slot, const HelperTable& helpers, Step& step);
  Result<void> add_kfunc_call(std::uint32_t slot, const HelperTable& helpers, Step& step);
  Result<std::uint32_t> target(std::uint32_t slot, std::int64_t distance) const;
  void fill_context_loads();
  void fill_layouts();

  const ProgramSpec* program_;
  CompiledProgram* owner_ = nullptr;
  ArenaMap* arena_ = nullptr;
  Environment environment_;
  std::vector<Step> steps_;
  std::vector<Constant> constants_;
  std::vector<HelperCall> helpers_;
  std::vector<KfuncCall> kfuncs_;
  const Btf* btf_ = nullptr;
  std::map<std::uint64_t, ObjectLayout> layouts_;
  std::vector<std::array<ContextLoad, 4>> context_loads_;  // by offset, up to the last field
};

// What a program may do with the values of `map`: the map's own flags and its type's.
std::uint8_t program_rights(const Map& map, const Environment& environment);

}  // namespace lmn::interp
