// SPDX-License-Identifier: Apache-2.0
//
// The events of a walk as lines. Tested by kernel_log_test.cc.
#include "verifier/kernel_log.h"

#include <fmt/format.h>

#include <algorithm>

#include "abi/limits.h"
#include "base/assert.h"
#include "insn/insn_table.h"

namespace lmn {
namespace {

// Columns of states: at least 40, in steps of 8.
constexpr std::size_t kColumn = 40;
constexpr std::size_t kColumnStep = 8;
constexpr std::size_t kGap = 4;

std::string padding(std::size_t line_bytes) {
  const std::size_t wanted = std::max(line_bytes + kGap, kColumn);
  const std::size_t column = (wanted + kColumnStep - 1) / kColumnStep * kColumnStep;
  return std::string(column - line_bytes - 1, ' ') + ";";
}

class KernelNames final : public DisasmNames {
 public:
  explicit KernelNames(const ProgramSpec& program) : program_(program) {}
  std::string kfunc(std::uint32_t index) const override {
    return index < program_.kfuncs.size() ? program_.kfuncs[index].name : std::string();
  }

 private:
  const ProgramSpec& program_;
};

// "r1,r2" and "-8,-16".
std::string register_list(std::uint16_t registers) {
  std::string out;
  for (std::uint32_t r = 0; r < 16; ++r) {
    if ((registers >> r & 1) != 0) out += fmt::format("{}r{}", out.empty() ? "" : ",", r);
  }
  return out;
}

std::string slot_list(std::uint64_t slots) {
  std::string out;
  for (std::uint32_t s = 0; s < 64; ++s) {
    if ((slots >> s & 1) != 0) {
      out += fmt::format("{}-{}", out.empty() ? "" : ",", (s + 1) * kSlotSize);
    }
  }
  return out;
}

// "r3,r4,fp-8".
std::string propagated_list(std::uint16_t registers, std::uint64_t slots) {
  std::string out = register_list(registers);
  for (std::uint32_t s = 0; s < 64; ++s) {
    if ((slots >> s & 1) != 0) {
      out += fmt::format("{}fp-{}", out.empty() ? "" : ",", (s + 1) * kSlotSize);
    }
  }
  return out;
}

std::string_view without_indent(std::string_view text) {
  const std::size_t at = text.find_first_not_of(" \t\n\r\v\f");
  return at == std::string_view::npos ? std::string_view() : text.substr(at);
}

std::string_view file_of(std::string_view path) {
  const std::size_t at = path.rfind('/');
  return at == std::string_view::npos ? path : path.substr(at + 1);
}

bool differs(const RegState& a, const RegState& b) {
  return a.kind != b.kind || a.flags != b.flags || a.offset != b.offset || a.id != b.id ||
         a.reference != b.reference || a.range != b.range || !(a.var == b.var) || a.map != b.map;
}

}  // namespace

KernelLog::KernelLog(const StructuredProgram& program, std::uint32_t level,
                     const ObjectTypes& types)
    : program_(program.spec()),
      subprograms_(program.subprograms().begin(), program.subprograms().end()),
      level_(level),
      types_(types) {
  LMN_ASSERT(level <= kernel_log_level::kAll);
  for (const DeferredOperation& deferred : program.deferred()) {
    program_.insns[deferred.insn.value] = deferred.operation;
  }
  if (!has(kernel_log_level::kAllPaths)) return;
  for (std::size_t f = 0; f < subprograms_.size(); ++f) {
    append(fmt::format("func#{} @{}\n", f, subprograms_[f].start.value));
  }
}

void KernelLog::append(std::string_view what) {
  text_ += what;
  if (text_.size() > limits::kVerifierLogBytesMax) forget_beginning();
}

// Half of the text goes, up to the end of a line; what points into it moves along.
void KernelLog::forget_beginning() {
  const std::size_t end = text_.find('\n', text_.size() / 2);
  const std::size_t gone = end == std::string::npos ? text_.size() : end + 1;
  text_.erase(0, gone);
  const auto move = [gone](std::size_t& at) { at -= std::min(at, gone); };
  for (std::size_t& at : branch_ends_) move(at);
  move(line_end_);
  move(visit_begin_);
  move(visit_end_);
}

std::string KernelLog::function_name(std::uint32_t subprogram) const {
  const FunctionInfo* function = program_.function_of(subprograms_[subprogram].start);
  return function == nullptr ? std::string() : function->name;
}

std::string KernelLog::insn_line(std::uint32_t at) const {
  const Insn& insn = program_.insns[at];
  if (insn.op == Op::kLddw && insn.src != 0) {
    return fmt::format("({:02x}) r{} = 0x0\n", opcode_of(insn.op), insn.dst);
  }
  const KernelNames names(program_);
  return fmt::format("({:02x}) {}\n", opcode_of(insn.op), disassemble(insn, InsnIndex{at}, &names));
}

void KernelLog::end_walk() {
  if (!has_walked_ || !has_paths()) return;
  if (!has(kernel_log_level::kAllPaths)) text_.clear();
  if (walked_ == 0) return;
  append(fmt::format("Func#{} ('{}') is safe for any args that match its prototype\n", walked_,
                     function_name(walked_)));
}

void KernelLog::on_walk(std::uint32_t subprogram) {
  end_walk();
  walked_ = subprogram;
  has_walked_ = true;
  branch_ends_.clear();
  is_new_path_ = false;
  shows_all_ = true;
  has_last_ = false;
  line_ = nullptr;
  if (subprogram != 0 && has_paths()) {
    append(fmt::format("Validating {}() func#{}...\n", function_name(subprogram), subprogram));
  }
}

std::string KernelLog::whole_text(const PathState& state, std::uint32_t frame) const {
  return state_text(state, frame, {}, types_);
}

// --- one instruction

void KernelLog::append_source(std::uint32_t at) {
  const LineInfo* line = program_.line_of(InsnIndex{at});
  if (line == nullptr || line == line_) return;
  line_ = line;
  append(
      fmt::format("; {} @ {}:{}\n", without_indent(line->text), file_of(line->file), line->line));
}

// Slots of the instruction's own access to this frame.
std::uint64_t KernelLog::accessed_slots(const Insn& insn, const FrameState& frame) const {
  const OpClass kind = op_class(insn.op);
  if (kind != OpClass::kLoad && kind != OpClass::kStore && kind != OpClass::kAtomic) return 0;
  const RegState& pointer = frame.regs[kind == OpClass::kLoad ? insn.src : insn.dst];
  if (pointer.kind != RegKind::kStack || !pointer.var.is_constant()) return 0;
  if (pointer.target + 1 != last_.frames.size()) return 0;
  const std::int64_t from =
      pointer.offset + static_cast<std::int64_t>(pointer.var.constant_value()) + insn.off;
  const std::int64_t to = from + access_size(insn.op);
  std::uint64_t out = 0;
  for (std::int64_t byte = std::max<std::int64_t>(from, -512); byte < std::min<std::int64_t>(to, 0);
       ++byte) {
    out |= 1ull << ((-byte - 1) / kSlotSize);
  }
  return out;
}

// What the instruction visited last read or wrote, as far as it is still something.
ShownPlaces KernelLog::changed(const PathState& state) const {
  ShownPlaces out;
  if (!has_last_ || last_.frames.size() != state.frames.size()) return out;
  const Insn& insn = program_.insns[last_.insn];
  const FrameState& before = last_.frames.back();
  const FrameState& now = state.frames.back();
  out.registers = 0;
  if (op_class(insn.op) != OpClass::kCall) {
    if (reads_dst(insn.op) || writes_dst(insn.op)) {
      out.registers |= static_cast<std::uint16_t>(1u << insn.dst);
    }
    if (reads_src(insn.op)) out.registers |= static_cast<std::uint16_t>(1u << insn.src);
  } else {
    out.registers |= 1;
  }
  for (std::size_t r = 0; r < now.regs.size(); ++r) {
    if (op_class(insn.op) != OpClass::kBranch && differs(before.regs[r], now.regs[r])) {
      out.registers |= static_cast<std::uint16_t>(1u << r);
    }
  }
  out.slots = accessed_slots(insn, before);
  for (std::size_t s = 0; s < std::min<std::size_t>(now.stack.size(), 64); ++s) {
    static const StackSlot kUntouched{};
    const StackSlot& old = s < before.stack.size() ? before.stack[s] : kUntouched;
    const bool is_other = old.bytes != now.stack[s].bytes ||
                          (now.stack[s].is_special() && differs(old.spilled, now.stack[s].spilled));
    if (is_other && op_class(insn.op) != OpClass::kBranch) out.slots |= 1ull << s;
  }
  return out;
}

// Into or out of a function of the program.
void KernelLog::append_transfer(const PathState& state) {
  const std::uint32_t now = state.frame_index();
  if (now + 1 > last_.frames.size()) {
    append(fmt::format("caller:\n{}\ncallee:\n{}\n", whole_text(state, now - 1),
                       whole_text(state, now)));
    shows_all_ = true;
    return;
  }
  append(fmt::format("returning from callee:\n{}\nto caller at {}:\n{}\n",
                     whole_text(last_, last_.frame_index()), state.insn, whole_text(state, now)));
  shows_all_ = false;
  if (!has(kernel_log_level::kAllPaths)) return;
  append(fmt::format("\nfrom {} to {}:{}\n", last_.insn, state.insn, whole_text(state, now)));
}

void KernelLog::append_state(const PathState& state) {
  const bool is_whole = shows_all_;
  const std::string words =
      state_text(state, state.frame_index(), is_whole ? ShownPlaces{} : changed(state), types_);
  if (words.empty() || (!is_whole && words.find('=') == std::string::npos)) return;
  const bool is_on_line = line_end_ != 0 && line_end_ == text_.size() && !is_whole;
  if (is_on_line) {
    text_.pop_back();
    --visit_begin_;
    has_joined_ = true;
    append(padding(line_bytes_) + words + "\n");
  } else {
    append(fmt::format("{}:{}\n", state.insn, words));
  }
}

void KernelLog::on_visit(const PathState& state) {
  if (!has_paths()) return;
  visit_begin_ = text_.size();
  line_before_ = line_;
  was_new_path_ = is_new_path_;
  has_joined_ = false;
  bool is_quiet = false;  // what changed was told already
  if (is_new_path_) {
    if (has(kernel_log_level::kAllPaths)) {
      append(fmt::format("\nfrom {} to {}:{}\n", state.previous, state.insn,
                         whole_text(state, state.frame_index())));
    }
    shows_all_ = true;
  } else if (has_last_ && last_.frames.size() != state.frames.size()) {
    append_transfer(state);
    is_quiet = !shows_all_;
  }
  is_new_path_ = false;
  if (!is_quiet) append_state(state);
  shows_all_ = false;
  append_source(state.insn);
  const std::size_t begin = text_.size();
  append(fmt::format("{}: {}", state.insn, insn_line(state.insn)));
  line_end_ = text_.size();
  line_bytes_ = text_.size() - begin;
  visit_end_ = text_.size();
  last_.frames = state.frames;
  last_.references = state.references;
  last_.insn = state.insn;
  last_.previous = state.previous;
  has_last_ = true;
}

// --- paths

void KernelLog::on_branch() { branch_ends_.push_back(text_.size()); }

void KernelLog::on_next_path() {
  const std::size_t end = branch_ends_.empty() ? 0 : branch_ends_.back();
  if (!branch_ends_.empty()) branch_ends_.pop_back();
  if (has_paths() && !has(kernel_log_level::kAllPaths) && end < text_.size()) {
    text_.resize(end);
    // The line of the branch may have got a state behind it since: it loses that again.
    if (end > 0) text_.back() = '\n';
  }
  is_new_path_ = true;
  line_end_ = 0;
}

void KernelLog::on_keep(const KnownState&) {}

// The visit that was written is none: the path ends before the instruction.
void KernelLog::on_included(const KnownState&, bool) {
  if (!has_paths()) return;
  text_.erase(visit_begin_, visit_end_ - visit_begin_);
  if (has_joined_) text_.insert(visit_begin_, "\n");
  line_ = line_before_;
  append(was_new_path_ ? fmt::format("\nfrom {} to {}: safe\n", last_.previous, last_.insn)
                       : fmt::format("{}: safe\n", last_.insn));
}

void KernelLog::on_precision(const PrecisionNote& note) {
  if (!has(kernel_log_level::kAllPaths)) return;
  switch (note.kind) {
    case PrecisionNote::Kind::kFrom:
      return append(fmt::format("mark_precise: frame{}: last_idx {} first_idx {} subseq_idx {} \n",
                                note.frame, note.insn, note.first, note.after));
    case PrecisionNote::Kind::kBefore:
      return append(fmt::format("mark_precise: frame{}: regs={} stack={} before {}: {}", note.frame,
                                register_list(note.registers), slot_list(note.slots), note.insn,
                                insn_line(note.insn)));
    case PrecisionNote::Kind::kCopied:
      return append(fmt::format("frame {}: propagating {}\n", note.frame,
                                propagated_list(note.registers, note.slots)));
    case PrecisionNote::Kind::kParent:
      return append(fmt::format("mark_precise: frame{}: parent state regs={} stack={}: {}\n",
                                note.frame, register_list(note.registers), slot_list(note.slots),
                                whole_text(*note.parent, note.frame)));
  }
}

// --- the end

std::string kernel_log_of_refusal(std::string_view words) {
  return fmt::format(
      "{}\nprocessed 0 insns (limit {}) max_states_per_insn 0 total_states 0 "
      "peak_states 0 mark_read 0\n",
      words, limits::kInsnProcessedMax);
}

void KernelLog::finish(const VerifierReport& report, std::chrono::nanoseconds spent) {
  if (report.is_refused) {
    append(report.kernel_message + "\n");
  } else {
    end_walk();
  }
  if (has(kernel_log_level::kFigures)) {
    std::string depth;
    for (const std::uint32_t bytes : report.stack_bytes) {
      depth += fmt::format("{}{}", depth.empty() ? "" : "+", bytes);
    }
    append(fmt::format("verification time {} usec\nstack depth {}\n",
                       std::chrono::duration_cast<std::chrono::microseconds>(spent).count(),
                       depth));
  }
  append(
      fmt::format("processed {} insns (limit {}) max_states_per_insn {} total_states {} "
                  "peak_states {} mark_read 0\n",
                  report.processed, limits::kInsnProcessedMax, report.max_states_per_insn,
                  report.total_states, report.peak_states));
}

}  // namespace lmn
