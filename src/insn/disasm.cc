// SPDX-License-Identifier: Apache-2.0
//
// Fills the notation column of opcodes.def with the fields of an instruction.
// Tested by disasm_test.cc and kernel_test.cc.
#include "insn/disasm.h"

#include <fmt/format.h>

#include <optional>
#include <string_view>

#include "base/assert.h"
#include "insn/helper_names.h"
#include "insn/insn_table.h"

namespace lmn {
namespace {

std::uint32_t low_half(const Insn& insn) { return static_cast<std::uint32_t>(insn.imm); }
std::uint32_t high_half(const Insn& insn) {
  return static_cast<std::uint32_t>(static_cast<std::uint64_t>(insn.imm) >> 32);
}

std::string name_suffix(std::string name) { return name.empty() ? name : "#" + name; }

std::string subprogram_name(const Insn& insn, InsnIndex at, const DisasmNames& names) {
  const std::optional<InsnIndex> start = function_target(at, insn);
  return start ? names.subprogram(*start) : std::string();
}

std::string callee_text(const Insn& insn, InsnIndex at, const DisasmNames& names) {
  if (insn.src == BPF_PSEUDO_CALL) {
    return fmt::format("pc{:+}{}", insn.imm, name_suffix(subprogram_name(insn, at, names)));
  }
  if (insn.src == BPF_PSEUDO_KFUNC_CALL) {
    const std::string name = names.kfunc(low_half(insn));
    const std::string object = insn.off == 0 ? std::string() : fmt::format("@{}", insn.off);
    return fmt::format("{}#{}{}", name.empty() ? "kfunc" : name, insn.imm, object);
  }
  const std::string name = insn.imm < 0 ? std::string() : names.helper(low_half(insn));
  return fmt::format("{}#{}", name.empty() ? "unknown" : name, insn.imm);
}

std::string map_index_text(const Insn& insn, const DisasmNames& names) {
  const std::string name = names.map(low_half(insn));
  return name.empty() ? fmt::format("map[idx:{}]", low_half(insn)) : fmt::format("map[{}]", name);
}

std::string wide_text(const Insn& insn, InsnIndex at, const DisasmNames& names) {
  switch (insn.src) {
    case BPF_PSEUDO_MAP_FD:
      return fmt::format("map[id:{}]", low_half(insn));
    case BPF_PSEUDO_MAP_VALUE:
      return fmt::format("map[id:{}][0]+{}", low_half(insn), high_half(insn));
    case BPF_PSEUDO_MAP_IDX:
      return map_index_text(insn, names);
    case BPF_PSEUDO_MAP_IDX_VALUE:
      return fmt::format("{}+{}", map_index_text(insn, names), high_half(insn));
    case BPF_PSEUDO_BTF_ID: {
      const std::string name = names.ksym(low_half(insn));
      if (!name.empty()) return fmt::format("ksym[{}]", name);
      if (high_half(insn) == 0) return fmt::format("btf_id[{}]", low_half(insn));
      return fmt::format("btf_id[{}]@{}", low_half(insn), high_half(insn));
    }
    case BPF_PSEUDO_FUNC: {
      // The second slot means nothing here; it is shown only where it is not 0, so that no bit is
      // lost.
      const std::string high =
          high_half(insn) == 0 ? std::string() : fmt::format("@{}", high_half(insn));
      return fmt::format("subprog[{:+}]{}{}", static_cast<std::int32_t>(insn.imm), high,
                         name_suffix(subprogram_name(insn, at, names)));
    }
    default:
      return fmt::format("{:#x}", static_cast<std::uint64_t>(insn.imm));
  }
}

std::string field_text(char field, const Insn& insn, InsnIndex at, const DisasmNames& names) {
  switch (field) {
    case 'd':
      return fmt::format("{}", insn.dst);
    case 's':
      return fmt::format("{}", insn.src);
    case 'o':
      return fmt::format("{:+}", insn.off);
    case 'i':
    case 'n':
      return fmt::format("{}", insn.imm);
    case 'x':
      return fmt::format("{:#x}", low_half(insn));
    case 'h':
      return fmt::format("{}", low_half(insn) >> 16);
    case 'l':
      return fmt::format("{}", low_half(insn) & 0xffff);
    case 'j':
      return fmt::format("pc{:+}", insn.off);
    case 'J':
      return fmt::format("pc{:+}", insn.imm);
    case 'c':
      return callee_text(insn, at, names);
    case 'w':
      return wide_text(insn, at, names);
    case '%':
      return "%";
    default:
      break;
  }
  assert_failed("a field that the legend of opcodes.def names", __FILE__, __LINE__);
}

}  // namespace

std::string DisasmNames::helper(std::uint32_t id) const {
  return std::string(uapi_helper_name(id));
}

std::string disassemble(const Insn& insn, InsnIndex at, const DisasmNames* names) {
  const DisasmNames no_names;
  const DisasmNames& known = names == nullptr ? no_names : *names;
  const std::string_view notation = op_info(insn.op).notation;
  std::string text;
  for (std::size_t i = 0; i < notation.size(); ++i) {
    if (notation[i] != '%') {
      text += notation[i];
      continue;
    }
    text += field_text(notation[++i], insn, at, known);
  }
  return text;
}

std::string disassemble_program(std::span<const Insn> insns, const DisasmNames* names) {
  std::string text;
  for (std::uint32_t i = 0; i < insns.size(); ++i) {
    const Insn& insn = insns[i];
    if (insn.op == Op::kLddwHigh) continue;
    text += fmt::format("{:4}: ({:02x}) {}\n", i, opcode_of(insn.op),
                        disassemble(insn, InsnIndex{i}, names));
  }
  return text;
}

}  // namespace lmn
