// SPDX-License-Identifier: Apache-2.0
//
// One change per edge program, so that a difference of verdicts points at its cause.
#include "soundness/program_mutator.h"

#include <fmt/format.h>
#include <linux/bpf.h>

#include <algorithm>
#include <iterator>
#include <vector>

#include "insn/disasm.h"

namespace lmn {
namespace {

constexpr std::int64_t kNearby[] = {1,  -1, 2,   -2,  4,   -4,     8,      -8,
                                    16, 64, -64, 255, 256, 0x7fff, 1 << 29};
constexpr std::uint32_t kStatementsMax = 14;

bool is_lddw(const Insn& insn) { return insn.op == Op::kLddw || insn.op == Op::kLddwHigh; }

// What the strict decoder would give: unused fields 0, selecting fields as the row says.
Insn normalised(Insn insn) {
  const OpInfo& info = op_info(insn.op);
  const auto clear = [](const FieldRule& rule) { return rule.use == FieldUse::kNone; };
  if (clear(info.dst)) insn.dst = 0;
  if (clear(info.src)) insn.src = 0;
  if (clear(info.off)) insn.off = 0;
  if (clear(info.imm)) insn.imm = 0;
  if (info.off.use == FieldUse::kFixed) insn.off = static_cast<std::int16_t>(info.off.value);
  if (info.imm.use == FieldUse::kFixed) insn.imm = info.imm.value;
  insn.imm = static_cast<std::int32_t>(insn.imm);
  return insn;
}

}  // namespace

std::string_view knob_name(Knob knob) {
  switch (knob) {
    case Knob::kValid:
      return "valid";
    case Knob::kEdge:
      return "edge";
    case Knob::kWild:
      return "wild";
  }
  return "?";
}

ProgramSource::ProgramSource(std::uint64_t seed, const ProbeMaps& maps)
    : random_(seed), maps_(maps), plain_(seed + 1, maps.common), probes_(seed + 2, maps) {}

Knob ProgramSource::any_knob() {
  const std::uint64_t pick = below(20);
  if (pick < 10) return Knob::kValid;
  return pick < 19 ? Knob::kEdge : Knob::kWild;
}

GeneratedProgram ProgramSource::valid() {
  const auto statements = static_cast<std::uint32_t>(1 + below(kStatementsMax));
  return below(3) == 0 ? plain_.next(statements) : probes_.next(statements, 0);
}

GeneratedProgram ProgramSource::next(Knob knob) {
  switch (knob) {
    case Knob::kValid:
      return valid();
    case Knob::kEdge: {
      const auto statements = static_cast<std::uint32_t>(1 + below(kStatementsMax));
      if (below(2) == 0) {
        return probes_.next(statements, static_cast<std::uint32_t>(1 + below(8)));
      }
      GeneratedProgram program = valid();
      mutate(program);
      return program;
    }
    case Knob::kWild:
      return wild();
  }
  return valid();
}

void ProgramSource::mutate(GeneratedProgram& program) {
  for (int attempt = 0; attempt < 20; ++attempt) {
    Insn& insn = program.insns[below(program.insns.size())];
    if (is_lddw(insn) || insn.op == Op::kExit) continue;
    if (insn.op == Op::kCall && insn.src == BPF_PSEUDO_CALL) continue;
    const Insn before = insn;
    switch (below(8)) {
      case 0:
        insn = Insn{.op = Op::kJa};
        break;
      case 1:
      case 2:
        change_operation(insn);
        break;
      default:
        change_field(insn);
    }
    insn = normalised(insn);
    if (insn == before) continue;
    return;
  }
}

void ProgramSource::change_field(Insn& insn) {
  const OpInfo& info = op_info(insn.op);
  const std::int64_t nearby = kNearby[below(std::size(kNearby))];
  switch (below(4)) {
    case 0:
      insn.dst = static_cast<std::uint8_t>(below(11));
      return;
    case 1:
      if (info.src.use == FieldUse::kKind) return;
      insn.src = static_cast<std::uint8_t>(below(11));
      return;
    case 2:
      if (info.off.use == FieldUse::kJump) {
        insn.off = static_cast<std::int16_t>(insn.off + static_cast<int>(below(7)) - 3);
      } else {
        insn.off = static_cast<std::int16_t>(insn.off + nearby);
      }
      return;
    default:
      if (insn.op == Op::kCall) {
        insn.imm = static_cast<std::int64_t>(1 + below(211));
      } else {
        insn.imm += nearby;
      }
  }
}

// Another operation of the same class: another size, width, condition or computation.
void ProgramSource::change_operation(Insn& insn) {
  std::vector<Op> others;
  for (std::size_t row = 0; row < kOpCount; ++row) {
    const auto op = static_cast<Op>(row);
    if (op_class(op) == op_class(insn.op) && op != insn.op) others.push_back(op);
  }
  if (others.empty()) return;
  insn.op = others[below(others.size())];
  if (op_info(insn.op).dst.use == FieldUse::kNone) insn.dst = 0;
}

Insn ProgramSource::any_insn() {
  while (true) {
    Insn insn{.op = static_cast<Op>(below(kOpCount))};
    const OpInfo& info = op_info(insn.op);
    if (is_lddw(insn) || info.op_class == OpClass::kLegacy) continue;
    if (info.op_class == OpClass::kAddrSpaceCast) continue;
    static constexpr std::uint8_t kRegisters[] = {0, 1, 2, 3, 6, 7, 8, 9, 10};
    insn.dst = kRegisters[below(std::size(kRegisters))];
    insn.src = kRegisters[below(std::size(kRegisters))];
    if (info.off.use == FieldUse::kJump) insn.off = static_cast<std::int16_t>(below(5));
    if (info.off.use == FieldUse::kMemory) {
      insn.off = static_cast<std::int16_t>(8 * (static_cast<int>(below(16)) - 8));
    }
    insn.imm = kNearby[below(std::size(kNearby))];
    if (info.imm.use == FieldUse::kJump) insn.imm = static_cast<std::int64_t>(below(4));
    if (insn.op == Op::kCall) {
      insn.src = 0;
      insn.off = 0;
      insn.imm = static_cast<std::int64_t>(1 + below(40));
    }
    insn = normalised(insn);
    if (insn.op != Op::kExit) return insn;
  }
}

GeneratedProgram ProgramSource::wild() {
  GeneratedProgram program;
  program.function_starts.push_back(0);
  // r6 context, r7 a map value, the others numbers.
  program.insns = {{Op::kMov64Reg, 6, 1},
                   {Op::kLddw, 7, BPF_PSEUDO_MAP_IDX_VALUE, 0, maps_.common.values},
                   {Op::kLddwHigh}};
  static constexpr std::uint8_t kNumbers[] = {0, 1, 2, 3, 4, 5, 8, 9};
  for (const std::uint8_t reg : kNumbers) {
    program.insns.push_back({Op::kLdxMem64, reg, 7, static_cast<std::int16_t>(reg * 8)});
  }
  for (std::uint64_t count = 1 + below(8); count > 0; --count) program.insns.push_back(any_insn());
  for (int i = 0; i < 5; ++i) program.insns.push_back({Op::kMov64Imm, 0, 0, 0, 1});
  program.insns.push_back({Op::kExit});
  return program;
}

GeneratedProgram reduce(GeneratedProgram program,
                        const std::function<bool(const GeneratedProgram&)>& is_still_so) {
  constexpr Insn kNothing{.op = Op::kJa};
  int attempts_left = 400;
  for (bool is_smaller = true; is_smaller;) {
    is_smaller = false;
    for (std::size_t at = program.insns.size(); at-- > 0 && attempts_left > 0;) {
      const Insn before = program.insns[at];
      if (before == kNothing || before.op == Op::kLddwHigh) continue;
      Insn& next = program.insns[std::min(at + 1, program.insns.size() - 1)];
      const Insn high = next;
      program.insns[at] = kNothing;
      if (before.op == Op::kLddw) next = kNothing;
      --attempts_left;
      if (is_still_so(program)) {
        is_smaller = true;
        continue;
      }
      program.insns[at] = before;
      if (before.op == Op::kLddw) next = high;
    }
  }
  return program;
}

std::string reduced_text(const GeneratedProgram& program) {
  std::string text;
  for (std::size_t at = 0; at < program.insns.size(); ++at) {
    const Insn& insn = program.insns[at];
    if (insn == Insn{.op = Op::kJa} || insn.op == Op::kLddwHigh) continue;
    text += fmt::format("{:4}: {}\n", at, disassemble(insn));
  }
  return text;
}

}  // namespace lmn
