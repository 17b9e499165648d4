// SPDX-License-Identifier: Apache-2.0
//
// Taking refusals apart. Tested by tests/messages/messages_test.cc.
#include "verifier/explain.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>

#include "insn/insn_table.h"

namespace lmn {
namespace {

constexpr RemedyRow kRemedies[] = {
#define LMN_REMEDY_SAID(rule, pattern, what, missing, remedy) \
  {Rule::rule, pattern, what, missing, remedy},
#define LMN_REMEDY(rule, pattern, missing, remedy) {Rule::rule, pattern, "", missing, remedy},
#include "verifier/remedies.def"
#undef LMN_REMEDY
#undef LMN_REMEDY_SAID
};

constexpr std::uint64_t kProvableOffsetMax = 0xffff;

// The number after `before` in `text`.
std::optional<std::uint32_t> number_after(std::string_view text, std::string_view before) {
  const std::size_t at = text.find(before);
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view digits = text.substr(at + before.size());
  std::uint32_t number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (error != std::errc() || end == digits.data()) return std::nullopt;
  return number;
}

std::string_view trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t");
  return first == std::string_view::npos ? std::string_view() : text.substr(first);
}

std::string range_text(const Scalar& var) {
  if (var.is_constant()) return fmt::format("{}", static_cast<std::int64_t>(var.constant_value()));
  if (var.whole.smin < 0) {
    const bool is_any = var.whole.smin == std::numeric_limits<std::int64_t>::min() &&
                        var.whole.smax == std::numeric_limits<std::int64_t>::max();
    return is_any ? std::string("any 64 bits")
                  : fmt::format("{} to {}", var.whole.smin, var.whole.smax);
  }
  return fmt::format("{} to {}", var.whole.umin, var.whole.umax);
}

std::string offset_text(const RegState& reg) {
  std::string out = fmt::format(" at offset {}", reg.offset);
  if (reg.var.is_constant() && reg.var.constant_value() == 0) return out;
  out += fmt::format(" plus {}", range_text(reg.var));
  return out;
}

std::string_view pointer_noun(const RegState& reg) {
  switch (reg.kind) {
    case RegKind::kNone:
      return "not set";
    case RegKind::kNumber:
      return "a number";
    case RegKind::kContext:
      return "the context";
    case RegKind::kMap:
      return "a map";
    case RegKind::kMapValue:
      return "a pointer into a map's value";
    case RegKind::kMapKey:
      return "a pointer to a map's key";
    case RegKind::kPacket:
      return "a packet pointer";
    case RegKind::kPacketMeta:
      return "a pointer to the packet's metadata";
    case RegKind::kPacketEnd:
      return "the packet's end";
    case RegKind::kStack:
      return "a pointer into the stack";
    case RegKind::kMemory:
      return "a pointer to memory";
    case RegKind::kFunction:
      return "a function";
    case RegKind::kSocket:
    case RegKind::kSockCommon:
    case RegKind::kTcpSock:
    case RegKind::kXdpSock:
      return "a socket";
    case RegKind::kBtfObject:
      return "an object of the kernel";
    case RegKind::kDynptr:
      return "a dynptr";
    case RegKind::kIterator:
      return "an iterator";
    case RegKind::kArena:
      return "an address in an arena";
    case RegKind::kInterruptFlag:
      return "saved interrupt flags";
  }
  return "?";
}

// Packet pointers that were compared with more success than the one that is accessed.
std::string better_checked(const FrameState& frame, std::uint8_t accessed) {
  for (std::uint8_t i = 0; i < frame.regs.size(); ++i) {
    const RegState& other = frame.regs[i];
    if (i == accessed || other.kind != RegKind::kPacket) continue;
    if (other.id == frame.regs[accessed].id || other.range <= frame.regs[accessed].range) continue;
    return fmt::format("; r{}, another pointer, is checked for {} bytes", i, other.range);
  }
  return {};
}

// `insn 12: words [rule-id]` to its parts.
void take_message_apart(std::string_view message, Explanation& out) {
  const std::size_t bracket = message.rfind(" [");
  if (bracket != std::string_view::npos && message.back() == ']') {
    const std::string_view id = message.substr(bracket + 2, message.size() - bracket - 3);
    for (std::size_t i = 0; i < kRuleCount; ++i) {
      if (rule_info(static_cast<Rule>(i)).id == id) out.rule = static_cast<Rule>(i);
    }
    if (out.rule) message = message.substr(0, bracket);
  }
  if (!out.rule) {
    out.what = message;
    return;
  }
  constexpr std::string_view kProgram = "prog \"";
  if (message.starts_with(kProgram)) {
    const std::size_t end = message.find("\": ", kProgram.size());
    if (end != std::string_view::npos) message = message.substr(end + 3);
  }
  constexpr std::string_view kInsn = "insn ";
  if (const auto at = number_after(message, kInsn); at && message.starts_with(kInsn)) {
    const std::size_t end = message.find(": ");
    if (end != std::string_view::npos) {
      out.insn = InsnIndex{*at};
      message = message.substr(end + 2);
    }
  }
  out.what = message;
}

}  // namespace

SourcePlace place_of(const ProgramSpec& program, InsnIndex insn) {
  const LineInfo* line = program.line_of(insn);
  if (line == nullptr) return {};
  return {line->file, line->line, line->column, line->text};
}

const RemedyRow* find_remedy(Rule rule, std::string_view kernel_message, std::string_view known) {
  for (const RemedyRow& row : kRemedies) {
    if (row.rule != rule) continue;
    if (kernel_message.find(row.pattern) != std::string_view::npos) return &row;
    if (known.find(row.pattern) != std::string_view::npos) return &row;
  }
  return nullptr;
}

std::string known_words(std::uint8_t index, const RegState& reg) {
  std::string out = fmt::format("r{} is {}", index, pointer_noun(reg));
  switch (reg.kind) {
    case RegKind::kNumber:
      return fmt::format("r{} is {}{}", index,
                         reg.var.is_constant() ? "the number " : "a number: ", range_text(reg.var));
    case RegKind::kPacket:
    case RegKind::kPacketMeta:
      out += offset_text(reg) + fmt::format(", {} bytes proven", std::max(reg.range, 0));
      if (reg.var.whole.umax > kProvableOffsetMax) out += ", its variable part may exceed 65535";
      break;
    case RegKind::kMap:
      if (reg.map != nullptr) {
        out = fmt::format("r{} is the map '{}' (key {} bytes, value {})", index, reg.map->name,
                          reg.map->key_size, reg.map->value_size);
      }
      break;
    case RegKind::kMapValue:
      out += offset_text(reg);
      if (reg.map != nullptr) {
        out += fmt::format(", of '{}' with {} bytes", reg.map->name, reg.map->value_size);
      }
      break;
    case RegKind::kMemory:
      out += offset_text(reg) + fmt::format(", of {} bytes", reg.size);
      break;
    case RegKind::kStack:
    case RegKind::kContext:
      out += offset_text(reg);
      break;
    default:
      break;
  }
  if (reg.has(kMayBeNull)) out += ", or null";
  return out;
}

std::string known_at(const Insn& insn, Rule rule, std::string_view kernel_message,
                     const FrameState& frame) {
  std::array<bool, kRegisterCount> is_named{};
  bool has_any = false;
  for (std::uint8_t i = 0; i < kRegisterCount; ++i) {
    const std::string name = fmt::format("R{}", i);
    for (std::size_t at = kernel_message.find(name); at != std::string_view::npos;
         at = kernel_message.find(name, at + 1)) {
      const std::size_t end = at + name.size();
      if (end < kernel_message.size() && kernel_message[end] >= '0' && kernel_message[end] <= '9')
        continue;
      is_named[i] = has_any = true;
    }
  }
  // Arguments are counted from 0.
  if (const auto argument = number_after(kernel_message, "arg #"); argument && *argument < 5) {
    is_named[*argument + 1] = has_any = true;
  }
  if (!has_any && op_class(insn.op) != OpClass::kCall) {
    if (reads_dst(insn.op)) is_named[insn.dst] = true;
    if (reads_src(insn.op)) is_named[insn.src] = true;
  }
  std::string out;
  for (std::uint8_t i = 0; i < kRegisterCount; ++i) {
    if (!is_named[i]) continue;
    if (!out.empty()) out += "; ";
    out += known_words(i, frame.regs[i]);
    if (rule == Rule::kPacketBounds && frame.regs[i].kind == RegKind::kPacket) {
      out += better_checked(frame, i);
    }
  }
  // An access that reaches past the top of the frame, where the callers' variables begin.
  const auto below = number_after(kernel_message, " off=-");
  const auto size = number_after(kernel_message, " size=");
  if (rule == Rule::kStackAccess && below && size && *size > *below) {
    out += fmt::format(", {} bytes before the frame ends; {} are accessed", *below, *size);
  }
  return out;
}

Explanation explain(const ProgramSpec& program, const Error& error, const VerifierReport& report) {
  Explanation out;
  take_message_apart(error.message, out);
  out.remedy = error.remedy;
  if (report.is_refused) {
    out.rule = report.rule;
    out.insn = report.insn;
    out.known = report.known;
    out.kernel_message = report.kernel_message;
  }
  std::ranges::replace(out.what, '\n', ' ');
  if (out.insn && out.insn->value < program.insns.size()) {
    out.place = place_of(program, *out.insn);
    // All returns share one exit; where the path came from says which of them it was.
    const bool is_end = trimmed(out.place.text).starts_with('}');
    if (is_end && report.came_from) out.place = place_of(program, *report.came_from);
  }
  out.place.text = std::string(trimmed(out.place.text));
  if (!out.rule) return out;
  if (const RemedyRow* row = find_remedy(*out.rule, out.kernel_message, out.known)) {
    if (!row->what.empty() && report.words == report.kernel_message) out.what = row->what;
    out.missing = row->missing;
    out.remedy = row->remedy;
  } else {
    out.missing = rule_info(*out.rule).demand;
  }
  if (out.remedy.empty()) out.remedy = fmt::format("the rule: {}", rule_info(*out.rule).demand);
  if (report.acquired) {
    if (report.acquired->value < program.insns.size()) {
      out.note = *out.rule == Rule::kLock ? "locked here" : "acquired here";
      out.note_place = place_of(program, *report.acquired);
      out.note_place.text = std::string(trimmed(out.note_place.text));
    }
  }
  return out;
}

}  // namespace lmn
