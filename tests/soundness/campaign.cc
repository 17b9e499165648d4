// SPDX-License-Identifier: Apache-2.0
//
// The loop of a campaign and its figures.
#include "soundness/campaign.h"

#include <fmt/format.h>
#include <linux/bpf.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "abi/limits.h"
#include "exec/interp/trap.h"
#include "insn/disasm.h"
#include "insn/helper_names.h"

namespace lmn {
namespace {

constexpr std::array<std::size_t, 16> kLengths = {14, 15, 20, 33, 34, 40,  41,   42,
                                                  47, 48, 60, 64, 97, 128, 1514, 3000};

// Remembers the first trap.
class FirstTrap final : public TrapSink {
 public:
  void report(const Trap& trap, const ProgramSpec& program) noexcept override {
    if (text.empty()) {
      text = describe_trap(trap, program);
      reason = trap.reason;
      helper_id = trap.helper_id;
    }
  }
  std::string text;
  TrapReason reason{};
  std::uint32_t helper_id = 0;

  // The limit of executed instructions; and a record larger than any ring can be, which the
  // interpreter traps and the kernel answers with null.
  bool is_harmless() const {
    return reason == TrapReason::kInsnLimit ||
           (reason == TrapReason::kArgumentSize && helper_id == BPF_FUNC_ringbuf_reserve);
  }
};

}  // namespace

std::uint64_t CampaignCounts::all_programs() const {
  return std::accumulate(programs.begin(), programs.end(), std::uint64_t{0});
}
std::uint64_t CampaignCounts::all_accepted() const {
  return std::accumulate(accepted.begin(), accepted.end(), std::uint64_t{0});
}

SoundnessCampaign::SoundnessCampaign(std::uint64_t seed)
    : source_(seed, world_.positions()), random_(seed + 3) {}

bool SoundnessCampaign::step() {
  const Knob knob = source_.any_knob();
  return check(source_.next(knob), knob);
}

bool SoundnessCampaign::check(const GeneratedProgram& program, Knob knob) {
  ++counts_.programs[static_cast<std::size_t>(knob)];
  tree_.clear();
  const Judgement judgement = world_.judge(program, &tree_);
  if (!judgement.is_accepted()) {
    ++counts_.rules[judgement.rule];
    return true;
  }
  ++counts_.accepted[static_cast<std::size_t>(knob)];
  counts_.nodes += tree_.node_count();
  for (const Insn& insn : program.insns) {
    const bool is_map = insn.op == Op::kLddw &&
                        (insn.src == BPF_PSEUDO_MAP_IDX || insn.src == BPF_PSEUDO_MAP_IDX_VALUE);
    if (is_map) ++counts_.maps[world_.specs()[static_cast<std::uint32_t>(insn.imm)].name];
  }
  const auto compiled = world_.prepare(*judgement.program, &watcher_);
  if (compiled == nullptr) {
    ++counts_.not_runnable;
    return true;
  }
  for (int number = 0; number < static_cast<int>(kLengths.size()); ++number) {
    if (number % 4 == 0) world_.fill_maps(random_);
    if (!run(program, *compiled, number)) return false;
  }
  return true;
}

bool SoundnessCampaign::run(const GeneratedProgram& program, CompiledProgram& compiled,
                            int packet_number) {
  alignas(64) std::array<std::uint8_t, limits::kFrameBytes> frame{};
  const RxQueueInfo rxq{1, 0};
  XdpBuff buff;
  buff.hard_start = frame.data();
  buff.data = buff.data_meta = frame.data() + limits::kHeadroomBytes;
  const std::size_t length = kLengths[static_cast<std::size_t>(packet_number)];
  buff.data_end = buff.data + length;
  buff.frame_bytes = limits::kFrameBytes;
  buff.rxq = &rxq;
  for (std::size_t at = 0; at < std::min<std::size_t>(length, 128); at += 8) {
    const std::uint64_t number = interesting_number(random_);
    std::memcpy(buff.data + at, &number, std::min<std::size_t>(8, length - at));
  }
  FirstTrap trap;
  RunContext context;
  context.traps = &trap;
  context.clock = &clock_;
  watcher_.begin(tree_, buff);
  compiled.run(buff, context);
  ++counts_.runs;
  if (watcher_.failure().empty() && trap.text.empty()) return true;
  if (watcher_.failure().empty() && trap.is_harmless()) {
    ++counts_.stopped_runs;
    return true;
  }
  failure_ = fmt::format("packet {} of {} bytes: {}\n{}\n{}", packet_number, length,
                         watcher_.failure().empty() ? "trap: " + trap.text : watcher_.failure(),
                         trap.text, disassemble_program(program.insns));
  return false;
}

std::string SoundnessCampaign::summary() const {
  const auto all = static_cast<double>(std::max<std::uint64_t>(1, counts_.all_programs()));
  std::string text = fmt::format(
      "{} programs, {} accepted ({:.1f} %), {} not runnable, {} runs ({} stopped at the limit), {} "
      "states, {} executed instructions checked, {} cut paths followed\n",
      counts_.all_programs(), counts_.all_accepted(),
      100.0 * static_cast<double>(counts_.all_accepted()) / all, counts_.not_runnable, counts_.runs,
      counts_.stopped_runs, counts_.nodes, watcher_.steps_checked(), watcher_.inclusions_passed());
  for (std::size_t knob = 0; knob < kKnobCount; ++knob) {
    text += fmt::format("  {}: {} of {} accepted\n", knob_name(static_cast<Knob>(knob)),
                        counts_.accepted[knob], counts_.programs[knob]);
  }
  std::size_t ops = 0;
  std::string missing;
  for (std::size_t row = 0; row < kOpCount; ++row) {
    const auto op = static_cast<Op>(row);
    if (op == Op::kLddwHigh || op_class(op) == OpClass::kLegacy ||
        op_class(op) == OpClass::kAddrSpaceCast) {
      continue;
    }
    if (watcher_.op_counts()[row] > 0) {
      ++ops;
    } else {
      missing += fmt::format(" {}", op_name(op));
    }
  }
  text += fmt::format("  operations executed: {}, missing:{}\n  helpers executed:", ops,
                      missing.empty() ? " none" : missing);
  for (std::size_t id = 0; id < watcher_.helper_counts().size(); ++id) {
    if (watcher_.helper_counts()[id] == 0) continue;
    text += fmt::format(" {}={}", uapi_helper_name(static_cast<std::int64_t>(id)),
                        watcher_.helper_counts()[id]);
  }
  text += "\n  maps in accepted programs:";
  for (const auto& [name, count] : counts_.maps) text += fmt::format(" {}={}", name, count);
  text += fmt::format("\n  rules that refused ({} kinds):", counts_.rules.size());
  for (const auto& [rule, count] : counts_.rules) text += fmt::format(" {}={}", rule, count);
  return text + "\n";
}

}  // namespace lmn
