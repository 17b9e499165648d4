// SPDX-License-Identifier: Apache-2.0
//
// TextTrace: the trace as text. Registers are shown where the instruction reads them. Tested by
// exec_test.cc.
#include "exec/interp/trace.h"

#include <fmt/format.h>

#include "abi/limits.h"
#include "insn/disasm.h"
#include "insn/insn_table.h"

namespace lmn {
namespace {

std::string value_text(std::uint64_t value, const interp::Shadow& shadow) {
  using interp::ValueKind;
  switch (shadow.kind) {
    case ValueKind::kUninit:
      return "?";
    case ValueKind::kScalar:
      return fmt::format("{:#x}", value);
    case ValueKind::kArena:
      return fmt::format("arena {:#x}", value);
    case ValueKind::kStack:
      // As the kernel counts: from the frame pointer down.
      return fmt::format("stack{:+}", static_cast<std::int64_t>(value - shadow.object) -
                                          std::int64_t{limits::kStackBytes});
    case ValueKind::kContext:
    case ValueKind::kMapValue:
    case ValueKind::kMemory:
    case ValueKind::kObject:
    case ValueKind::kKernelObject:
      return fmt::format("{}{:+}", interp::value_kind_words(shadow.kind),
                         static_cast<std::int64_t>(value - shadow.object));
    case ValueKind::kPacket:
    case ValueKind::kPacketMeta:
    case ValueKind::kPacketEnd:
    case ValueKind::kStackObject:
    case ValueKind::kMap:
    case ValueKind::kFunction:
      return std::string(interp::value_kind_words(shadow.kind));
  }
  return "?";
}

void add_register(std::string& text, const TraceStep& step, std::uint8_t reg) {
  text += fmt::format(" r{}={}", reg, value_text(step.values[reg], step.shadows[reg]));
}

}  // namespace

void TextTrace::add(std::string line) {
  if (lines_.size() < lines_max_) {
    lines_.push_back(std::move(line));
  } else {
    ++lines_lost_;
  }
}

void TextTrace::on_step(const TraceStep& step) noexcept {
  if (step.insn.value >= step.program->insns.size()) return add("past the last instruction");
  const Insn& insn = step.program->insns[step.insn.value];
  std::string text =
      fmt::format("{:>{}}: {}", step.insn.value, 4 + 2 * step.depth, disassemble(insn, step.insn));
  text += " ;";
  if (reads_dst(insn.op)) add_register(text, step, insn.dst);
  if (reads_src(insn.op)) add_register(text, step, insn.src);
  if (const LineInfo* line = step.program->line_of(step.insn))
    text += fmt::format(" ({}:{})", line->file, line->line);
  add(std::move(text));
}

void TextTrace::on_touch(const TraceTouch& touch) noexcept {
  add(fmt::format("      {} {} bytes at {}{:+}", touch.is_write ? "write" : "read",
                  touch.size_bytes, interp::value_kind_words(touch.kind), touch.offset));
}

}  // namespace lmn
