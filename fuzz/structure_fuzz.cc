// SPDX-License-Identifier: Apache-2.0
//
// Fuzzes the structural pass with programs that are nearly right: each 8 bytes of input become one
// instruction whose fields its operation mostly allows, with short jumps. What the pass accepts
// must have what its consumers rely on, computed here once more in the plainest way: targets inside
// the function and never in the middle of lddw, functions that do not run into each other, call
// sites that name the function they lead to, and a call depth of at most 8. Found things become
// cases of src/verifier/structure_test.cc.
#include <linux/bpf.h>

#include <algorithm>
#include <cstdlib>
#include <span>

#include "insn/insn_table.h"
#include "verifier/structure.h"

namespace lmn {
namespace {

constexpr HelperProto kHelpers[] = {
    {.id = 5, .name = "bpf_ktime_get_ns", .args = {}, .since = "4.1"},
    {.id = 12, .name = "bpf_tail_call", .args = {}, .since = "4.2"}};
constexpr MapTypeInfo kMapTypes[] = {{BPF_MAP_TYPE_ARRAY, "array", kMapDirectValue}};

void require(bool is_right) {
  if (!is_right) std::abort();
}

std::uint8_t reg(const FieldRule& rule, std::uint8_t byte) {
  if (rule.use == FieldUse::kNone) return 0;
  return rule.use == FieldUse::kKind ? byte % 8 : byte % 11;
}

// bytes: operation, dst, src, off, imm (two bytes), what to spoil, unused
Insn insn_from(std::span<const std::uint8_t, 8> bytes) {
  const OpInfo& info = op_info(static_cast<Op>(bytes[0] % kOpCount));
  Insn insn{.op = info.op};
  insn.dst = reg(info.dst, bytes[1]);
  insn.src = reg(info.src, bytes[2]);
  const auto small = static_cast<std::int8_t>(bytes[3]);
  if (info.off.use == FieldUse::kJump || info.off.use == FieldUse::kMemory) insn.off = small;
  if (info.off.use == FieldUse::kFixed) insn.off = static_cast<std::int16_t>(info.off.value);
  if (info.imm.use == FieldUse::kFixed) insn.imm = info.imm.value;
  if (info.imm.use == FieldUse::kJump || info.op == Op::kLddw || info.op == Op::kCall)
    insn.imm = small;
  if (info.imm.use == FieldUse::kValue && info.op != Op::kCall) insn.imm = bytes[4] << 8 | bytes[5];
  if (info.op == Op::kLddw && insn.src >= BPF_PSEUDO_MAP_IDX) insn.imm = bytes[4] % 3;
  if (bytes[6] == 0xff) insn.src = bytes[7];
  if (bytes[6] == 0xfe) insn.imm = static_cast<std::int64_t>(bytes[7]) << 56;
  return insn;
}

ProgramSpec program_from(std::span<const std::uint8_t> bytes) {
  ProgramSpec program;
  program.name = "fuzz";
  program.license = "GPL";
  program.maps = {0, 1};
  program.externs.emplace_back().is_weak = true;
  for (; bytes.size() >= 8; bytes = bytes.subspan(8)) {
    program.insns.push_back(insn_from(bytes.first<8>()));
    if (program.insns.back().op == Op::kLddw && bytes[6] != 0xfd) program.insns.push_back({});
  }
  if (!program.insns.empty() && program.insns.size() % 2 == 0)
    program.insns.push_back({.op = Op::kExit});
  return program;
}

void check_jumps(const StructuredProgram& program, const Subprogram& function) {
  for (InsnIndex at = function.start; at < function.end; ++at.value) {
    const Insn& insn = program.spec().insns[at.value];
    require(written_register(insn) != kFramePointer);
    const auto target = jump_target(at, insn);
    require(target.has_value() == is_jump(insn.op));
    if (!target) continue;
    require(*target >= function.start && *target < function.end);
    require(program.spec().insns[target->value].op != Op::kLddwHigh);
  }
  require(!falls_through(program.spec().insns[function.end.value - 1].op));
}

std::uint32_t depth_of(const StructuredProgram& program, std::uint32_t function,
                       std::uint32_t frames) {
  require(frames <= 8);
  std::uint32_t deepest = frames;
  for (const CallSite& site : program.calls()) {
    if (site.is_address || program.subprogram_of(site.insn) != function) continue;
    deepest = std::max(deepest, depth_of(program, site.callee, frames + 1));
  }
  return deepest;
}

void check_accepted(const StructuredProgram& program) {
  require(!program.subprograms().empty() && program.subprograms()[0].start == InsnIndex{0});
  InsnIndex end{0};
  for (const Subprogram& function : program.subprograms()) {
    require(function.start == end && function.end > function.start);
    end = function.end;
    check_jumps(program, function);
  }
  require(end.value == program.spec().insns.size());
  for (const CallSite& site : program.calls()) {
    const auto target = function_target(site.insn, program.spec().insns[site.insn.value]);
    require(target == program.subprograms()[site.callee].start);
    require(program.callee_of(site.insn) == site.callee);
  }
  // Each call once; many calls of the same function would make this take for ever.
  if (program.calls().size() <= 12) require(depth_of(program, 0, 1) == program.max_call_depth());
}

}  // namespace
}  // namespace lmn

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace lmn;
  const Environment environment{
      .helpers = kHelpers, .map_types = kMapTypes, .context = kXdpMdFields};
  MapSpec globals;
  globals.type = BPF_MAP_TYPE_ARRAY;
  globals.key_size = 4;
  globals.value_size = 16;
  globals.max_entries = 1;
  const MapSpec maps[] = {globals, globals};
  const ProgramSpec program = program_from({data, size});
  const auto checked = check_structure(environment, program, maps);
  if (checked) {
    check_accepted(*checked);
  } else {
    require(checked.error().errno_value > 0 && !checked.error().message.empty());
  }
  return 0;
}
