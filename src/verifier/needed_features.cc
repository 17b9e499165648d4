// SPDX-License-Identifier: Apache-2.0
//
// Features of calls and fields, and the pass over returned constants. Tested by features_test.cc.
#include "verifier/needed_features.h"

#include <algorithm>
#include <array>
#include <map>
#include <vector>

#include "insn/insn_table.h"

namespace lmn {
namespace {

// What a register or slot may hold, as bits: 0 to 4 for the actions, or one of these.
using Values = std::uint8_t;
constexpr Values kOther = 1u << 5;      // a constant that is no action
constexpr Values kEvenOther = 1u << 7;  // the same, and its two low bits are 0, as flags have them
constexpr Values kAnything = 1u << 6;   // not known
constexpr Values kFallbacks = 0x0f;     // what the flags of bpf_redirect_map can name

// The pass over longer programs would take more time and memory than the verdict may.
constexpr std::size_t kInsnsMax = 65'536;
constexpr std::size_t kSlotCount = limits::kStackBytes / kSlotSize;

Values of_constant(std::int64_t value) {
  const bool is_action = value >= XDP_ABORTED && value <= XDP_REDIRECT;
  if (is_action) return static_cast<Values>(1u << value);
  return (value & XDP_TX) == 0 ? kEvenOther : kOther;
}

struct Known {
  std::array<Values, kRegisterCount> registers{};
  std::array<Values, kSlotCount> slots{};

  bool is_reached() const { return registers[kFramePointer] != 0; }
  // Whether anything is new in `other`.
  bool merge(const Known& other) {
    bool is_new = false;
    const auto merge_all = [&is_new](auto& mine, const auto& theirs) {
      for (std::size_t i = 0; i < mine.size(); ++i) {
        is_new = is_new || (theirs[i] & ~mine[i]) != 0;
        mine[i] |= theirs[i];
      }
    };
    merge_all(registers, other.registers);
    merge_all(slots, other.slots);
    return is_new;
  }
  static Known unknown() {
    Known out;
    out.registers.fill(kAnything);
    out.slots.fill(kAnything);
    return out;
  }
};

class ReturnedValues {
 public:
  ReturnedValues(const StructuredProgram& program, const VerifiedFacts& facts)
      : program_(program),
        facts_(facts),
        insns_(program.spec().insns),
        results_(program.subprograms().size()),
        escapes_(program.subprograms().size()) {
    for (std::size_t f = 0; f < escapes_.size(); ++f) escapes_[f] = lowest_escape(f);
  }

  // What function `index` may return. Functions call no one that leads back to them, so after as
  // many rounds as there are functions nothing changes.
  Values of(std::uint32_t index) {
    for (bool has_changed = true; has_changed;) {
      has_changed = false;
      for (std::uint32_t f = 0; f < results_.size(); ++f) {
        const Values before = results_[f];
        results_[f] |= walk(f);
        has_changed = has_changed || results_[f] != before;
      }
    }
    return results_[index];
  }

 private:
  bool is_live(std::uint32_t at) const { return facts_.insns[at].is_seen; }

  // The lowest place of the frame to which a pointer other than r10 may lead.
  std::int32_t lowest_escape(std::size_t index) const {
    const Subprogram& function = program_.subprograms()[index];
    std::int32_t out = 0;
    for (std::uint32_t at = function.start.value; at < function.end.value; ++at) {
      const Insn& insn = insns_[at];
      if (!is_live(at) || !reads_src(insn.op) || insn.src != kFramePointer) continue;
      const OpClass kind = op_class(insn.op);
      if (kind == OpClass::kLoad || kind == OpClass::kBranch) continue;
      const bool is_copy = insn.op == Op::kMov64Reg && at + 1 < function.end.value;
      const Insn& next = insns_[is_copy ? at + 1 : at];
      const bool is_offset = is_copy && next.op == Op::kAdd64Imm && next.dst == insn.dst;
      out = is_offset ? static_cast<std::int32_t>(std::min<std::int64_t>(out, next.imm))
                      : -static_cast<std::int32_t>(limits::kStackBytes);
    }
    for (std::uint32_t at = function.start.value; at < function.end.value; ++at) {
      const InsnFacts& facts = facts_.insns[at];
      const Insn& insn = insns_[at];
      const std::uint8_t base = op_class(insn.op) == OpClass::kLoad ? insn.src : insn.dst;
      if (facts.pointer != RegKind::kStack || base == kFramePointer) continue;
      out = static_cast<std::int32_t>(std::min<std::int64_t>(out, facts.offset_min));
    }
    return out;
  }

  std::optional<std::size_t> slot_of(std::uint32_t function, const Insn& insn) const {
    const std::int32_t offset = insn.off;
    if (offset >= 0 || offset % static_cast<std::int32_t>(kSlotSize) != 0) return std::nullopt;
    if (offset + static_cast<std::int32_t>(kSlotSize) > escapes_[function]) return std::nullopt;
    const auto slot = static_cast<std::size_t>(-offset) / kSlotSize - 1;
    return slot < kSlotCount ? std::optional(slot) : std::nullopt;
  }

  Values walk(std::uint32_t function) {
    const Subprogram& range = program_.subprograms()[function];
    std::map<std::uint32_t, Known> blocks;  // by their first instruction
    std::vector<std::uint32_t> open{range.start.value};
    blocks[range.start.value] = Known::unknown();
    Values result = 0;
    while (!open.empty()) {
      std::uint32_t at = open.back();
      open.pop_back();
      Known known = blocks[at];
      const auto go_to = [&](std::uint32_t target) {
        if (blocks[target].merge(known)) open.push_back(target);
      };
      for (bool goes_on = true; goes_on && at < range.end.value && is_live(at);) {
        const Insn& insn = insns_[at];
        if (insn.op == Op::kExit) {
          result |= known.registers[0];
          break;
        }
        step(function, at, insn, known);
        if (is_jump(insn.op)) {
          if (const auto target = jump_target(InsnIndex{at}, insn)) go_to(target->value);
          if (falls_through(insn.op)) go_to(at + slot_count(insn.op));
          goes_on = false;
          continue;
        }
        at += slot_count(insn.op);
        if (blocks.contains(at)) {
          go_to(at);
          goes_on = false;
        }
      }
    }
    return result;
  }

  void step(std::uint32_t function, std::uint32_t at, const Insn& insn, Known& known) {
    switch (op_class(insn.op)) {
      case OpClass::kAlu:
        return step_alu(insn, known);
      case OpClass::kWide:
        known.registers[insn.dst] =
            insn.op == Op::kLddw && insn.src == 0 ? of_constant(insn.imm) : kAnything;
        return;
      case OpClass::kLoad: {
        const auto slot =
            insn.src == kFramePointer ? slot_of(function, insn) : std::optional<std::size_t>();
        const bool is_whole = insn.op == Op::kLdxMem64 || insn.op == Op::kLdxMem32;
        known.registers[insn.dst] = slot && is_whole ? known.slots[*slot] : kAnything;
        return;
      }
      case OpClass::kStore:
        return step_store(function, insn, known);
      case OpClass::kAtomic:
        known.registers[0] = kAnything;
        known.registers[insn.src] = kAnything;
        if (insn.dst == kFramePointer) known.slots.fill(kAnything);
        return;
      case OpClass::kCall:
        return step_call(at, insn, known);
      case OpClass::kByteSwap:
      case OpClass::kAddrSpaceCast:
      case OpClass::kLegacy:
        known.registers[insn.dst] = kAnything;
        return;
      case OpClass::kJump:
      case OpClass::kBranch:
      case OpClass::kExit:
        return;
    }
  }

  static void step_alu(const Insn& insn, Known& known) {
    Values& dst = known.registers[insn.dst];
    switch (insn.op) {
      case Op::kMov64Imm:
      case Op::kMov32Imm:
        dst =
            of_constant(insn.op == Op::kMov32Imm ? static_cast<std::uint32_t>(insn.imm) : insn.imm);
        return;
      case Op::kMov64Reg:
      case Op::kMov32Reg:
        dst = known.registers[insn.src];
        return;
      case Op::kAnd64Imm:
      case Op::kAnd32Imm:
        // A bit taken out of a word: some of few numbers.
        if (insn.imm < 0 || insn.imm > XDP_REDIRECT) break;
        dst = 0;
        for (std::int64_t value = 0; value <= insn.imm; ++value) {
          if ((value & ~insn.imm) == 0) dst |= of_constant(value);
        }
        return;
      default:
        break;
    }
    if (writes_dst(insn.op)) dst = kAnything;
  }

  void step_store(std::uint32_t function, const Insn& insn, Known& known) const {
    if (insn.dst != kFramePointer) return;  // the slots that count are out of its reach
    const auto slot = slot_of(function, insn);
    if (slot && insn.op == Op::kStMemReg64) {
      known.slots[*slot] = known.registers[insn.src];
    } else if (slot && insn.op == Op::kStMemImm64) {
      known.slots[*slot] = of_constant(insn.imm);
    } else if (insn.off < 0) {
      known.slots[(static_cast<std::size_t>(-insn.off) - 1) / kSlotSize % kSlotCount] = kAnything;
    }
  }

  void step_call(std::uint32_t at, const Insn& insn, Known& known) const {
    Values result = kAnything;
    if (is_helper_call(insn) && insn.imm == BPF_FUNC_redirect_map) {
      const Values flags = known.registers[3];
      const bool is_known = (flags & (kOther | kAnything)) == 0;
      result =
          static_cast<Values>((is_known ? flags & kFallbacks : kFallbacks) | 1u << XDP_REDIRECT);
      // BPF_F_BROADCAST and its like name no other fallback than 0.
      if ((flags & (kEvenOther | 1u << XDP_REDIRECT)) != 0) result |= 1u << XDP_ABORTED;
    } else if (is_helper_call(insn) && insn.imm == BPF_FUNC_redirect) {
      const bool is_plain = known.registers[2] == of_constant(0);
      result = static_cast<Values>((is_plain ? 0u : 1u << XDP_ABORTED) | 1u << XDP_REDIRECT);
    } else if (is_function_call(insn)) {
      result = results_[*program_.callee_of(InsnIndex{at})];
    }
    std::fill_n(known.registers.begin(), 6, kAnything);
    known.registers[0] = result;
  }

  const StructuredProgram& program_;
  const VerifiedFacts& facts_;
  const std::vector<Insn>& insns_;
  std::vector<Values> results_;        // per function, as far as they are known
  std::vector<std::int32_t> escapes_;  // per function
};

void add_actions(Values values, FeatureSet& out) {
  constexpr Feature kActions[] = {Feature::kActionAborted, Feature::kActionDrop,
                                  Feature::kActionPass, Feature::kActionTx,
                                  Feature::kActionRedirect};
  static_assert(XDP_ABORTED == 0 && XDP_REDIRECT == 4, "the order of the actions");
  for (std::size_t i = 0; i < std::size(kActions); ++i) {
    if ((values >> i & 1) != 0 || (values & kAnything) != 0) out.add(kActions[i]);
  }
  if ((values & (kOther | kEvenOther)) != 0) out.add(Feature::kActionAborted);
  if ((values & kAnything) != 0) out.add(Feature::kActionComputed);
}

void add_call(const ProgramSpec& program, const Insn& insn, const InsnFacts& facts,
              FeatureSet& out) {
  const auto add = [&out](std::optional<Feature> feature) {
    if (feature) out.add(*feature);
  };
  if (is_kfunc_call(insn)) {
    const auto index = static_cast<std::uint64_t>(insn.imm);
    if (index < program.kfuncs.size()) add(feature_of_kfunc(program.kfuncs[index].name));
    return;
  }
  if (!is_helper_call(insn)) return;
  add(feature_of_helper(static_cast<std::uint32_t>(insn.imm)));
  if (insn.imm != BPF_FUNC_redirect_map) return;
  if (facts.map != nullptr && !facts.has_several_map_types) {
    return add(feature_of_map(facts.map->type));
  }
  for (const Feature any :
       {Feature::kRedirectPort, Feature::kRedirectCpu, Feature::kRedirectSocket}) {
    out.add(any);
  }
}

}  // namespace

FeatureSet needed_features(const Environment& env, const StructuredProgram& program,
                           const VerifiedFacts& facts) {
  FeatureSet out;
  const ProgramSpec& spec = program.spec();
  if ((spec.prog_flags & BPF_F_XDP_HAS_FRAGS) != 0) out.add(Feature::kFrags);
  if ((spec.prog_flags & BPF_F_XDP_DEV_BOUND_ONLY) != 0) out.add(Feature::kDeviceBound);
  for (std::uint32_t at = 0; at < spec.insns.size(); ++at) {
    const InsnFacts& known = facts.insns[at];
    if (!known.is_seen) continue;
    const Insn& insn = spec.insns[at];
    if (op_class(insn.op) == OpClass::kCall) add_call(spec, insn, known, out);
    if (known.pointer != RegKind::kContext) continue;
    for (const ContextField& field : env.context) {
      if (std::int64_t{field.offset} != known.offset_min) continue;
      if (const auto feature = feature_of_field(field.kind)) out.add(*feature);
    }
  }
  if (spec.insns.size() > kInsnsMax) {
    add_actions(kAnything, out);
    return out;
  }
  ReturnedValues returned(program, facts);
  add_actions(returned.of(0), out);
  if (spec.exception_callback) {
    add_actions(returned.of(program.subprogram_of(*spec.exception_callback)), out);
  } else {
    // What is thrown and nobody catches is returned.
    const bool throws = std::ranges::any_of(
        spec.kfuncs, [](const KfuncRef& kfunc) { return kfunc.name == "bpf_throw"; });
    if (throws) add_actions(kAnything, out);
  }
  return out;
}

}  // namespace lmn
