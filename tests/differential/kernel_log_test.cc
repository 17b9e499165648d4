// SPDX-License-Identifier: Apache-2.0
//
// Goal: whoever can read the log of Linux's verifier can read ours. Method: both judge the same
// random programs; one parser, which knows the kinds of lines that the kernel's log has, takes both
// logs line by line.
//
//   straight lines   instruction for instruction the same text, and the same registers behind it;
//                    in nearly all lines also the same values (our domain knows some results
//                    better)
//   with branches    every line is of a known kind; the same verdict, the same last message
//   levels           1, 2 and 4 have the same kinds of lines
//
// Left out of the kernel's log: its tables of live registers and live stack slots.
#include "verifier/kernel_log.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cctype>
#include <cstring>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "harness/kernel_oracle.h"
#include "helpers/helpers.h"
#include "insn/codec.h"
#include "insn/insn_table.h"
#include "verifier/verifier.h"

namespace lmn {
namespace {

enum class LineKind : std::uint8_t {
  kInsn,       // "3: (bf) r5 = r3      ; R3=..."
  kState,      // "5: R2=..."
  kFrom,       // "from 5 to 9: R1=..." or "from 5 to 9: safe"
  kSafe,       // "9: safe"
  kPrecision,  // "mark_precise: frame0: ..." or "frame 0: propagating r3"
  kFunction,   // "func#0 @0"
  kFigures,    // "processed 3 insns (limit ...", "verification time", "stack depth"
  kMessage,    // anything else: what refused the program
};

struct Line {
  LineKind kind = LineKind::kMessage;
  std::string insn;             // "3: (bf) r5 = r3"
  std::string state;            // what stands behind the semicolon, identities left out
  std::set<std::string> names;  // of the registers and slots in it
};

bool is_number(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

// "processed 3 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0
// mark_read 0": every number is one.
bool is_processed_line(const std::string& text) {
  std::istringstream words(text);
  const std::vector<std::string> shape{"processed", "#",
                                       "insns",     "(limit",
                                       "#)",        "max_states_per_insn",
                                       "#",         "total_states",
                                       "#",         "peak_states",
                                       "#",         "mark_read",
                                       "#"};
  for (const std::string& wanted : shape) {
    std::string word;
    if (!(words >> word)) return false;
    if (wanted == "#)") {
      if (!word.ends_with(')') || !is_number(word.substr(0, word.size() - 1))) return false;
    } else if (wanted == "#" ? !is_number(word) : word != wanted) {
      return false;
    }
  }
  std::string rest;
  return !(words >> rest);
}

bool is_figures_line(const std::string& text) {
  if (text.starts_with("processed ")) return is_processed_line(text);
  if (text.starts_with("verification time ")) {
    return text.ends_with(" usec") && is_number(text.substr(18, text.size() - 18 - 5));
  }
  return text.starts_with("stack depth ") &&
         text.find_first_not_of("0123456789+", 12) == std::string::npos;
}

// "R1=scalar(id=3,umax=7)" without "id=3,": identities are numbered by each for itself.
std::string without_ids(std::string text) {
  for (const std::string_view name : {"ref_obj_id=", "id="}) {
    for (std::size_t at = text.find(name); at != std::string::npos; at = text.find(name, at)) {
      std::size_t end = at + name.size();
      while (end < text.size() && (std::isdigit(text[end]) != 0 || text[end] == '+')) ++end;
      if (end < text.size() && text[end] == ',') ++end;
      text.erase(at, end - at);
    }
  }
  return text;
}

// The names before '=' outside of parentheses.
std::set<std::string> names_of(const std::string& state) {
  std::set<std::string> out;
  int depth = 0;
  std::string word;
  for (const char c : state) {
    depth += c == '(' ? 1 : c == ')' ? -1 : 0;
    if (depth > 0) continue;
    if (c == ' ') word.clear();
    if (c == '=') out.insert(word);
    if (c != ' ') word += c;
  }
  return out;
}

Line parse_line(const std::string& text) {
  Line out;
  const std::size_t colon = text.find(':');
  const bool is_numbered = colon != std::string::npos && is_number(text.substr(0, colon));
  if (text.starts_with("func#")) {
    out.kind = LineKind::kFunction;
  } else if (text.starts_with("mark_precise: frame") || text.starts_with("frame ")) {
    out.kind = LineKind::kPrecision;
  } else if (text.starts_with("from ")) {
    out.kind = LineKind::kFrom;
  } else if (is_figures_line(text)) {
    out.kind = LineKind::kFigures;
  } else if (is_numbered && text.substr(colon) == ": safe") {
    out.kind = LineKind::kSafe;
  } else if (is_numbered && text.compare(colon, 3, ": (") == 0) {
    out.kind = LineKind::kInsn;
    const std::size_t semicolon = text.find(" ; ");
    out.insn = text.substr(0, semicolon);
    out.insn.erase(out.insn.find_last_not_of(' ') + 1);
    if (semicolon != std::string::npos) out.state = without_ids(text.substr(semicolon + 3));
    out.names = names_of(out.state);
  } else if (is_numbered &&
             (text.compare(colon, 3, ": R") == 0 || text.compare(colon, 7, ": frame") == 0)) {
    out.kind = LineKind::kState;
  }
  return out;
}

// Tables that only the kernel has.
bool is_table_line(const std::string& text) {
  if (text.empty() || text == "Live regs before insn:" || text.starts_with("(")) return true;
  const std::size_t colon = text.find(':');
  return colon != std::string::npos && colon >= 6 && text.starts_with(" ") &&
         text.find_first_not_of(" 0123456789") == colon;
}

std::vector<Line> parse(const std::string& log) {
  std::vector<Line> out;
  std::istringstream stream(log);
  for (std::string text; std::getline(stream, text);) {
    if (is_table_line(text)) continue;
    // At level 1 the kernel glues the state of a path to the line where it branched off.
    const std::size_t goto_at = text.find(" goto pc");
    const std::size_t glued = goto_at == std::string::npos ? goto_at : text.find(": R", goto_at);
    const std::size_t semicolon = text.find(" ; ");
    if (glued != std::string::npos && semicolon == std::string::npos) {
      out.push_back(parse_line(text.substr(0, text.rfind(' ', glued))));
      out.push_back(parse_line(text.substr(text.rfind(' ', glued) + 1)));
    } else {
      out.push_back(parse_line(text));
    }
  }
  return out;
}

struct Judged {
  bool is_accepted = false;
  std::string log;
};

Judged ask_kernel(const std::vector<Insn>& insns, std::uint32_t level) {
  const std::vector<std::uint8_t> bytes = encode_program(insns);
  std::vector<struct bpf_insn> raw(bytes.size() / sizeof(struct bpf_insn));
  std::memcpy(raw.data(), bytes.data(), bytes.size());
  KernelLoadOptions options;
  options.log_level = level;
  const auto program = KernelProgram::load(raw, options);
  return {program.is_loaded(), program.log()};
}

Judged ask_ourselves(const std::vector<Insn>& insns, std::uint32_t level) {
  Environment environment;
  environment.helpers = known_helper_protos();
  environment.context = kXdpMdFields;
  ProgramSpec program;
  program.name = "p";
  program.type = BPF_PROG_TYPE_XDP;
  program.license = "GPL";
  program.insns = insns;
  Judged out;
  auto structure = check_structure(environment, program, {}, {.defers_operations = true});
  if (!structure) return {false, kernel_log_of_refusal(structure.error().message)};
  VerifyOptions options;
  options.log = &out.log;
  options.log_level = level;
  out.is_accepted = verify(environment, *std::move(structure), options).has_value();
  return out;
}

// Random programs over numbers, packet and stack.
class Writer {
 public:
  explicit Writer(std::uint64_t seed) : random_(seed) {}

  std::vector<Insn> straight(std::size_t length) {
    begin();
    while (insns_.size() < length) add_straight();
    return end();
  }

  std::vector<Insn> branching(std::size_t length) {
    begin();
    while (insns_.size() < length) {
      if (below(4) != 0) {
        add_straight();
        continue;
      }
      constexpr Op kBranches[] = {Op::kJeq64Imm, Op::kJgt64Imm, Op::kJslt64Imm, Op::kJne64Reg};
      const Op op = kBranches[below(std::size(kBranches))];
      const bool has_source = op == Op::kJne64Reg;
      const auto skipped = static_cast<std::int16_t>(1 + below(3));
      add(op, number(), has_source ? number() : std::uint8_t{0}, skipped,
          has_source ? 0 : immediate());
      for (std::int16_t i = 0; i < skipped; ++i) add_straight();
    }
    // Sometimes a mistake, for the message.
    if (below(3) == 0) add(Op::kLdxMem8, 0, kPacketRegister, static_cast<std::int16_t>(below(8)));
    return end();
  }

 private:
  static constexpr std::uint8_t kPacketRegister = 6;
  static constexpr std::uint8_t kNumbers[] = {0, 2, 3, 7, 8, 9};

  std::uint64_t below(std::uint64_t bound) { return random_() % bound; }
  std::uint8_t number() { return kNumbers[below(std::size(kNumbers))]; }
  std::int32_t immediate() {
    constexpr std::int32_t kEdges[] = {0, 1, -1, 7, 255, 4096, -70000, 0x7fffffff};
    return below(2) == 0 ? kEdges[below(std::size(kEdges))] : static_cast<std::int32_t>(below(64));
  }
  void add(Op op, std::uint8_t dst, std::uint8_t src = 0, std::int16_t off = 0,
           std::int64_t imm = 0) {
    Insn insn;
    insn.op = op;
    insn.dst = dst;
    insn.src = src;
    insn.off = off;
    insn.imm = imm;
    insns_.push_back(insn);
  }
  void begin() {
    insns_.clear();
    add(Op::kLdxMem32, kPacketRegister, 1, 0);
    for (const std::uint8_t r : kNumbers) add(Op::kMov64Imm, r, 0, 0, immediate());
    add(Op::kLdxMem32, 8, 1, 12);
    for (std::int16_t slot = 1; slot <= 4; ++slot) {
      add(Op::kStMemImm64, kFramePointer, 0, static_cast<std::int16_t>(-8 * slot), immediate());
    }
  }
  void add_straight() {
    constexpr Op kImmediate[] = {Op::kAdd64Imm, Op::kSub64Imm, Op::kAnd64Imm, Op::kOr64Imm,
                                 Op::kXor64Imm, Op::kMov64Imm, Op::kMov32Imm, Op::kAdd32Imm,
                                 Op::kAnd32Imm, Op::kMul64Imm};
    constexpr Op kShifts[] = {Op::kLsh64Imm, Op::kRsh64Imm, Op::kArsh64Imm, Op::kRsh32Imm};
    constexpr Op kRegister[] = {Op::kAdd64Reg, Op::kSub64Reg, Op::kAnd64Reg, Op::kOr64Reg,
                                Op::kXor64Reg, Op::kMov64Reg, Op::kMov32Reg, Op::kAdd32Reg};
    const auto slot = static_cast<std::int16_t>(-8 * static_cast<int>(1 + below(4)));
    switch (below(6)) {
      case 0:
        return add(kImmediate[below(std::size(kImmediate))], number(), 0, 0, immediate());
      case 1:
        return add(kShifts[below(std::size(kShifts))], number(), 0, 0,
                   static_cast<std::int64_t>(below(32)));
      case 2:
      case 3:
        return add(kRegister[below(std::size(kRegister))], number(), number());
      case 4:
        return add(Op::kStMemReg64, kFramePointer, number(), slot);
      default:
        return add(below(2) == 0 ? Op::kLdxMem64 : Op::kLdxMem8, number(), kFramePointer, slot);
    }
  }
  std::vector<Insn> end() {
    add(Op::kMov64Imm, 0, 0, 0, 2);
    add(Op::kExit, 0);
    return insns_;
  }

  std::mt19937_64 random_;
  std::vector<Insn> insns_;
};

std::vector<Line> of_kind(const std::vector<Line>& lines, LineKind kind) {
  std::vector<Line> out;
  for (const Line& line : lines) {
    if (line.kind == kind) out.push_back(line);
  }
  return out;
}

TEST(KernelLogDifferential, StraightLinesReadTheSame) {
  if (auto reason = why_no_kernel_oracle()) GTEST_SKIP() << *reason;
  std::size_t lines = 0;
  std::size_t equal_states = 0;
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    const std::vector<Insn> insns = Writer(seed).straight(60);
    const Judged kernel = ask_kernel(insns, kernel_log_level::kAllPaths);
    const Judged ours = ask_ourselves(insns, kernel_log_level::kAllPaths);
    ASSERT_EQ(kernel.is_accepted, ours.is_accepted) << kernel.log << ours.log;
    const auto theirs = of_kind(parse(kernel.log), LineKind::kInsn);
    const auto mine = of_kind(parse(ours.log), LineKind::kInsn);
    ASSERT_EQ(theirs.size(), mine.size()) << kernel.log << ours.log;
    for (std::size_t i = 0; i < mine.size(); ++i) {
      EXPECT_EQ(mine[i].insn, theirs[i].insn) << "seed " << seed;
      EXPECT_EQ(mine[i].names, theirs[i].names)
          << mine[i].insn << " ; " << mine[i].state << "\nkernel: " << theirs[i].state;
      ++lines;
      equal_states += mine[i].state == theirs[i].state ? 1 : 0;
    }
  }
  fmt::print("{} of {} instruction lines have the same state\n", equal_states, lines);
  EXPECT_GE(equal_states * 100, lines * 95);
}

TEST(KernelLogDifferential, EveryLineIsOfAKindThatTheKernelWrites) {
  if (auto reason = why_no_kernel_oracle()) GTEST_SKIP() << *reason;
  std::size_t refused = 0;
  std::size_t compared = 0;
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    const std::vector<Insn> insns = Writer(seed).branching(50);
    for (const std::uint32_t level :
         {kernel_log_level::kPath, kernel_log_level::kAllPaths, kernel_log_level::kFigures}) {
      const Judged kernel = ask_kernel(insns, level);
      const Judged ours = ask_ourselves(insns, level);
      if (kernel.is_accepted != ours.is_accepted) continue;  // the agreement test's business
      ++compared;
      refused += ours.is_accepted ? 0 : 1;
      const auto theirs = parse(kernel.log);
      const auto mine = parse(ours.log);
      const auto their_words = of_kind(theirs, LineKind::kMessage);
      const auto my_words = of_kind(mine, LineKind::kMessage);
      EXPECT_EQ(my_words.size(), their_words.size()) << kernel.log << "\n----\n" << ours.log;
      EXPECT_EQ(of_kind(mine, LineKind::kFigures).size(),
                of_kind(theirs, LineKind::kFigures).size())
          << ours.log;
      ASSERT_FALSE(mine.empty());
      EXPECT_EQ(mine.back().kind, LineKind::kFigures) << ours.log;
      EXPECT_EQ(theirs.back().kind, LineKind::kFigures) << kernel.log;
      EXPECT_EQ(of_kind(mine, LineKind::kInsn).empty(), of_kind(theirs, LineKind::kInsn).empty());
    }
  }
  fmt::print("{} logs compared, {} of them of refused programs\n", compared, refused);
  EXPECT_GT(compared, 800u);
  EXPECT_GT(refused, 100u);
}

}  // namespace
}  // namespace lmn
