// SPDX-License-Identifier: Apache-2.0
//
// Line by line through the log, then step by step through the tree.
#include "soundness/kernel_walk.h"

#include <linux/bpf.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "insn/insn_table.h"

namespace lmn {
namespace {

constexpr std::size_t kWaysMax = 64;
constexpr std::size_t kVisitsMax = 1'000'000;

struct Visit {
  std::uint32_t insn = 0;
  bool is_taken_up = false;  // its waiting branch was walked later
};

// A decimal number at the front, which is cut off.
std::optional<std::uint32_t> take_number(std::string_view& text) {
  std::uint32_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{}) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return number;
}

bool take(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

std::uint64_t value_of(std::string_view text) {
  return std::strtoull(std::string(text).c_str(), nullptr, 0);
}

// "smin=smin32=-128": every name gets the value.
void apply_fact(Scalar& out, std::string_view fact) {
  const std::size_t last = fact.rfind('=');
  if (last == std::string_view::npos) return;
  const std::string_view text = fact.substr(last + 1);
  const std::uint64_t value = value_of(text);
  std::string_view names = fact.substr(0, last + 1);
  while (!names.empty()) {
    const std::size_t end = names.find('=');
    const std::string_view name = names.substr(0, end);
    names.remove_prefix(end + 1);
    if (name == "smin") out.whole.smin = static_cast<std::int64_t>(value);
    if (name == "smax") out.whole.smax = static_cast<std::int64_t>(value);
    if (name == "umin") out.whole.umin = value;
    if (name == "umax") out.whole.umax = value;
    if (name == "smin32") out.low.smin = static_cast<std::int64_t>(value);
    if (name == "smax32") out.low.smax = static_cast<std::int64_t>(value);
    if (name == "umin32") out.low.umin = value;
    if (name == "umax32") out.low.umax = value;
    if (name == "var_off") {
      const std::size_t middle = text.find(';');
      if (middle == std::string_view::npos) return;
      out.bits = {value_of(text.substr(1, middle - 1)), value_of(text.substr(middle + 1))};
    }
  }
}

// "R1=scalar(id=2) R10=fp0 fp-8=1": what is said of registers.
void read_registers(std::string_view text, std::array<std::optional<KernelValue>, 11>& out) {
  std::size_t at = 0;
  while (at < text.size()) {
    std::size_t end = at;
    int depth = 0;
    for (; end < text.size() && (depth > 0 || text[end] != ' '); ++end) {
      if (text[end] == '(') ++depth;
      if (text[end] == ')') --depth;
    }
    std::string_view word = text.substr(at, end - at);
    at = end + 1;
    if (!take(word, "R")) continue;
    const auto index = take_number(word);
    if (!index || *index >= out.size()) continue;
    take(word, "_w");
    if (take(word, "=")) out[*index] = read_kernel_value(word);
  }
}

std::uint16_t used_registers(const Insn& insn) {
  std::uint16_t used = 0;
  if (insn.op == Op::kCall) return 0x3e;
  if (insn.op == Op::kExit) return 1;
  if (reads_dst(insn.op)) used |= static_cast<std::uint16_t>(1u << insn.dst);
  if (reads_src(insn.op)) used |= static_cast<std::uint16_t>(1u << insn.src);
  return used;
}

// The nodes that may follow `node`; those of the kept state where the path was cut short.
void add_children(const Exploration& tree, std::uint32_t node, std::uint32_t insn,
                  std::vector<std::uint32_t>& out) {
  const Exploration::Inclusion* inclusion = tree.inclusion(node);
  if (inclusion != nullptr) node = inclusion->node;
  for (std::uint32_t child = tree.node(node).first_child; child != kNoNode;
       child = tree.node(child).next_sibling) {
    const bool is_new = std::ranges::find(out, child) == out.end();
    if (tree.node(child).insn == insn && is_new) out.push_back(child);
  }
}

// Reads the log; false: what it says cannot be followed.
class LogReader {
 public:
  bool line(std::string_view text) {
    if (text.starts_with("mark_precise")) return true;  // of states passed long ago
    if (take(text, "from ")) return take_up(text);
    if (text == "callee:" || text.starts_with("to caller at")) {
      values_ = {};
      return true;
    }
    std::string_view state = text;
    if (take(state, "frame")) {
      take_number(state);
      if (take(state, ": ")) read_registers(state, values_);
      return true;
    }
    const auto insn = take_number(text);
    if (!insn || !take(text, ": ")) {
      read_registers(text, values_);  // the caller's, after a return
      return true;
    }
    if (!take(text, "(")) {
      read_registers(text, values_);
      return true;
    }
    if (ways_[0].empty() && *insn != 0) return false;  // its beginning is missing
    before_ = values_;
    for (Way& way : ways_) way.push_back({*insn, false});
    if (ways_[0].size() * ways_.size() > kVisitsMax) return false;
    const std::size_t comment = text.find("; ");
    if (comment != std::string_view::npos) read_registers(text.substr(comment), values_);
    return true;
  }

  std::vector<KernelWalk> walks() const {
    std::vector<KernelWalk> out;
    for (const Way& way : ways_) {
      KernelWalk& walk = out.emplace_back();
      for (const Visit& visit : way) walk.insns.push_back(visit.insn);
      walk.values = before_;
      if (way.empty()) return {};
    }
    return out;
  }

 private:
  using Way = std::vector<Visit>;

  // "9 to 12: R0=..."
  bool take_up(std::string_view text) {
    const auto from = take_number(text);
    if (!from || !take(text, " to ")) return true;  // of another kind of line
    const auto to = take_number(text);
    if (!to || !take(text, ": ") || text == "safe") return true;
    values_ = {};
    read_registers(text, values_);
    if (!ways_[0].empty() && ways_[0].back().insn == *from) return true;  // back in the caller
    std::vector<Way> next;
    for (const Way& way : ways_) {
      for (std::size_t at = 0; at < way.size(); ++at) {
        if (way[at].insn != *from || way[at].is_taken_up) continue;
        if (next.size() == kWaysMax) return false;
        next.emplace_back(way.begin(), way.begin() + static_cast<std::ptrdiff_t>(at) + 1);
        next.back().back().is_taken_up = true;
      }
    }
    ways_ = std::move(next);
    return !ways_.empty();
  }

  std::vector<Way> ways_ = std::vector<Way>(1);
  std::array<std::optional<KernelValue>, 11> values_;
  std::array<std::optional<KernelValue>, 11> before_;
};

WalkDifference compare_walk(const KernelWalk& walk, const Exploration& tree,
                            const std::vector<Insn>& insns) {
  std::vector<std::uint32_t> here = {tree.root()};
  if (here[0] == kNoNode || walk.insns.empty()) return WalkDifference::kNone;
  for (std::size_t step = 1; step < walk.insns.size(); ++step) {
    std::vector<std::uint32_t> next;
    for (const std::uint32_t node : here) add_children(tree, node, walk.insns[step], next);
    if (next.empty()) {
      const Op op = insns[walk.insns[step - 1]].op;
      const bool is_branch = op_class(op) == OpClass::kBranch && op != Op::kMayGoto;
      return is_branch ? WalkDifference::kDeadBranch : WalkDifference::kNone;
    }
    here = std::move(next);
  }
  const std::uint16_t used = used_registers(insns[walk.insns.back()]);
  bool all_know_more = true;
  bool all_hold_more = true;
  for (const std::uint32_t node : here) {
    const std::array<RegState, 11>& regs = tree.node(node).frames.back().regs;
    bool knows_more = false;
    bool holds_more = false;
    for (std::size_t r = 0; r < regs.size(); ++r) {
      if ((used >> r & 1) == 0 || !walk.values[r]) continue;
      const KernelValue& kernel = *walk.values[r];
      const bool differs = kernel.number != regs[r].var;
      knows_more =
          knows_more || (differs && kernel.number.holds(regs[r].var)) ||
          (kernel.may_be_null && regs[r].kind != RegKind::kNumber && !regs[r].has(kMayBeNull));
      if (differs && !regs[r].var.holds(kernel.number)) all_hold_more = false;
      const bool is_tied = regs[r].is_number() && (regs[r].id & kIdAddsConstant) != 0;
      holds_more = holds_more || differs || (kernel.is_tied && !is_tied);
    }
    all_know_more = all_know_more && knows_more;
    all_hold_more = all_hold_more && holds_more;
  }
  if (all_know_more) return WalkDifference::kFewerNumbers;
  return all_hold_more ? WalkDifference::kMoreNumbers : WalkDifference::kNone;
}

}  // namespace

std::optional<KernelValue> read_kernel_value(std::string_view text) {
  take(text, "P");
  const bool is_constant = !text.empty() && (text[0] == '-' || (text[0] >= '0' && text[0] <= '9'));
  if (is_constant) return KernelValue{Scalar::constant(value_of(text))};
  const std::size_t open = text.find('(');
  if (open == std::string_view::npos || text.back() != ')') return std::nullopt;
  const bool is_number = text.substr(0, open) == "scalar";
  KernelValue out;
  out.may_be_null = text.substr(0, open).ends_with("_or_null");
  std::string_view facts = text.substr(open + 1, text.size() - open - 2);
  const bool has_range = facts.find("min") != std::string_view::npos ||
                         facts.find("max") != std::string_view::npos ||
                         facts.find("var_off=") != std::string_view::npos;
  if (!is_number && !has_range) {
    out.number = Scalar::constant(0);  // a pointer of fixed offset
    return out;
  }
  while (!facts.empty()) {
    // Known bits have a comma-free pair in parentheses.
    const std::size_t end = std::min(facts.find(','), facts.size());
    const std::string_view fact = facts.substr(0, end);
    out.is_tied = out.is_tied || (is_number && fact.starts_with("id=") &&
                                  fact.find_first_of("+-") != std::string_view::npos);
    apply_fact(out.number, facts.substr(0, end));
    facts.remove_prefix(std::min(end + 1, facts.size()));
  }
  return out;
}

std::vector<KernelWalk> read_kernel_walks(std::string_view log) {
  LogReader reader;
  while (!log.empty()) {
    const std::size_t end = std::min(log.find('\n'), log.size());
    if (!reader.line(log.substr(0, end))) return {};
    log.remove_prefix(std::min(end + 1, log.size()));
  }
  return reader.walks();
}

WalkDifference compare_walks(const std::vector<KernelWalk>& walks, const Exploration& tree,
                             const std::vector<Insn>& insns) {
  WalkDifference all = WalkDifference::kNone;
  for (const KernelWalk& walk : walks) {
    const WalkDifference one = compare_walk(walk, tree, insns);
    if (one == WalkDifference::kNone) return one;
    if (all != WalkDifference::kDeadBranch) all = one;
  }
  return all;
}

}  // namespace lmn
