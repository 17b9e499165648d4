// SPDX-License-Identifier: Apache-2.0
//
// The habits. Two walks over the instructions: one forward from the entry with what is known to be
// zero, one from each call to find a reader of its result. Tested by
// tests/messages/messages_test.cc.
#include "verifier/lint.h"

#include <linux/bpf.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>
#include <tuple>

#include "insn/insn_table.h"

namespace lmn {
namespace {

enum : std::size_t { kAborted, kRedirect, kUnread };

constexpr std::array<LintHabit, 3> kHabits{{
    {"aborted-verdict", "XDP_ABORTED is for errors of the program, not a verdict",
     "return XDP_DROP to drop, XDP_PASS to let the packet go on; XDP_ABORTED (0) counts as an "
     "error "
     "and fires the tracepoint xdp_exception"},
    {"redirect-fallback", "bpf_redirect_map names the verdict for an empty slot",
     "give the verdict for an empty slot in the flags: bpf_redirect_map(&map, key, XDP_PASS)"},
    {"unread-result", "the result of a helper that can fail is read",
     "test the result and act on failure"},
}};

constexpr std::uint32_t kNowhere = ~0u;
// Beyond these the rest of the paths is left out: a lint must not cost more than the verdict.
constexpr std::size_t kStatesPerInsnMax = 32;
constexpr std::size_t kStatesMax = 100'000;
constexpr std::size_t kReaderStepsMax = 4096;  // a result that nobody read until then is read later

// What the forward walk knows at an instruction. zero[r]: where r became 0, or kNowhere.
struct ZeroState {
  std::array<std::uint32_t, kRegisterCount> zero;
  std::uint32_t last_branch = kNowhere;
  bool has_asked = false;   // a helper whose result is read was called
  bool has_looked = false;  // in a map

  auto operator<=>(const ZeroState&) const = default;
};

bool can_fail_in_life(const MapSpec* map, bool has_flags) {
  if (map == nullptr) return false;
  switch (map->type) {
    case BPF_MAP_TYPE_HASH:
    case BPF_MAP_TYPE_LPM_TRIE:
    case BPF_MAP_TYPE_QUEUE:
    case BPF_MAP_TYPE_STACK:
      return true;
    case BPF_MAP_TYPE_LRU_HASH:
    case BPF_MAP_TYPE_PERCPU_HASH:
    case BPF_MAP_TYPE_LRU_PERCPU_HASH:
      return has_flags;
    default:
      return false;
  }
}

class Linter {
 public:
  explicit Linter(const VerifiedProgram& program)
      : program_(program), insns_(program.spec().insns), read_results_(insns_.size()) {}

  std::vector<LintFinding> run() {
    for (std::uint32_t at = 0; at < insns_.size(); ++at) {
      if (insns_[at].op == Op::kCall) read_results_[at] = is_result_read(at);
    }
    walk();
    return take();
  }

 private:
  std::uint32_t end_of_entry() const {
    const auto functions = program_.structure().subprograms();
    return functions.empty() ? static_cast<std::uint32_t>(insns_.size()) : functions[0].end.value;
  }

  std::vector<std::uint32_t> successors(std::uint32_t at) const {
    std::vector<std::uint32_t> out;
    const Insn& insn = insns_[at];
    if (falls_through(insn.op)) out.push_back(at + slot_count(insn.op));
    if (!is_jump(insn.op)) return out;
    if (const auto target = jump_target(InsnIndex{at}, insn)) out.push_back(target->value);
    return out;
  }

  // Whether any path from the call at `call` reads r0 before it is written.
  bool is_result_read(std::uint32_t call) const {
    std::set<std::uint32_t> seen;
    std::vector<std::uint32_t> open = successors(call);
    while (!open.empty()) {
      const std::uint32_t at = open.back();
      open.pop_back();
      if (at >= insns_.size() || !seen.insert(at).second) continue;
      if (seen.size() > kReaderStepsMax) return true;
      const Insn& insn = insns_[at];
      if (insn.op == Op::kExit || is_compare_exchange(insn.op)) return true;
      if (reads_dst(insn.op) && insn.dst == 0) return true;
      if (reads_src(insn.op) && insn.src == 0) return true;
      if (written_register(insn) == std::uint8_t{0}) continue;
      const auto next = successors(at);
      open.insert(open.end(), next.begin(), next.end());
    }
    return false;
  }

  void walk() {
    std::vector<std::set<ZeroState>> known(insns_.size());
    ZeroState entry;
    entry.zero.fill(kNowhere);
    std::vector<std::pair<std::uint32_t, ZeroState>> open{{0, entry}};
    const std::uint32_t end = end_of_entry();
    std::size_t walked = 0;
    while (!open.empty() && walked < kStatesMax) {
      auto [at, state] = open.back();
      open.pop_back();
      if (at >= end || !program_.facts().insns[at].is_seen) continue;
      if (known[at].size() >= kStatesPerInsnMax || !known[at].insert(state).second) continue;
      ++walked;
      look_at(at, state);
      for (const std::uint32_t next : successors(at)) open.emplace_back(next, state);
    }
  }

  // Notes habits of the instruction, and does to `state` what it does to registers.
  void look_at(std::uint32_t at, ZeroState& state) {
    const Insn& insn = insns_[at];
    if (insn.op == Op::kExit) return look_at_exit(state);
    if (is_conditional_jump(insn.op)) state.last_branch = at;
    if (insn.op == Op::kCall) {
      look_at_call(at, state);
      std::fill_n(state.zero.begin(), 6, kNowhere);
      return;
    }
    if (const auto target = written_register(insn)) state.zero[*target] = zero_after(at, state);
  }

  std::uint32_t zero_after(std::uint32_t at, const ZeroState& state) const {
    const Insn& insn = insns_[at];
    switch (insn.op) {
      case Op::kMov64Imm:
      case Op::kMov32Imm:
        return insn.imm == 0 ? at : kNowhere;
      case Op::kMov64Reg:
      case Op::kMov32Reg:
        return insn.off == 0 ? state.zero[insn.src] : kNowhere;
      default:
        return kNowhere;
    }
  }

  void look_at_exit(const ZeroState& state) {
    if (state.zero[0] == kNowhere || state.has_asked) return;
    // The constant may have been moved to the front; then the branch tells which return it is.
    std::uint32_t at = state.zero[0];
    const SourcePlace place = place_of(program_.spec(), InsnIndex{at});
    const bool is_return = place.text.find("return") != std::string::npos ||
                           place.text.find("XDP_ABORTED") != std::string::npos;
    if (!is_return && state.last_branch != kNowhere) at = state.last_branch;
    add(kAborted, at, "XDP_ABORTED (0) is returned although nothing failed");
  }

  void look_at_call(std::uint32_t at, ZeroState& state) {
    const Insn& insn = insns_[at];
    if (!is_helper_call(insn)) {
      state.has_asked = state.has_asked || read_results_[at];
      return;
    }
    switch (insn.imm) {
      case BPF_FUNC_map_lookup_elem:
        state.has_looked = true;
        break;
      case BPF_FUNC_redirect_map:
        if (state.zero[3] != kNowhere && !state.has_looked) {
          add(kRedirect, at,
              "bpf_redirect_map without a fallback: an empty slot gives XDP_ABORTED");
        }
        break;
      case BPF_FUNC_xdp_adjust_head:
      case BPF_FUNC_xdp_adjust_meta:
      case BPF_FUNC_xdp_adjust_tail:
        note_unread(at, "the packet may not have been resized");
        break;
      case BPF_FUNC_xdp_store_bytes:
        note_unread(at, "the bytes may not have been written");
        break;
      case BPF_FUNC_map_update_elem:
        if (can_fail_in_life(program_.facts().insns[at].map, state.zero[4] == kNowhere)) {
          note_unread(at, "the map may be full, or the flags may not fit");
        }
        break;
      default:
        break;
    }
    state.has_asked = state.has_asked || read_results_[at];
  }

  void note_unread(std::uint32_t at, const char* consequence) {
    if (read_results_[at]) return;
    add(kUnread, at, std::string("the result is never read: ") + consequence);
  }

  void add(std::size_t habit, std::uint32_t at, std::string what) {
    LintFinding finding{kHabits[habit].id, std::move(what), kHabits[habit].remedy, InsnIndex{at},
                        place_of(program_.spec(), InsnIndex{at})};
    const std::size_t first = finding.place.text.find_first_not_of(" \t");
    if (first != std::string::npos) finding.place.text.erase(0, first);
    const std::uint32_t line = finding.place.line == 0 ? at : finding.place.line;
    found_.try_emplace({habit, finding.place.file, line}, std::move(finding));
  }

  std::vector<LintFinding> take() {
    std::vector<LintFinding> out;
    for (auto& [key, finding] : found_) out.push_back(std::move(finding));
    std::ranges::sort(out, {}, [](const LintFinding& f) { return std::pair(f.insn.value, f.id); });
    return out;
  }

  const VerifiedProgram& program_;
  std::span<const Insn> insns_;
  std::vector<bool> read_results_;  // of calls
  std::map<std::tuple<std::size_t, std::string, std::uint32_t>, LintFinding> found_;
};

}  // namespace

std::span<const LintHabit> lint_habits() { return kHabits; }

std::vector<LintFinding> lint(const VerifiedProgram& program) { return Linter(program).run(); }

}  // namespace lmn
