// SPDX-License-Identifier: Apache-2.0
//
// Cutting functions into blocks and drawing the edges. Tested by cfg_test.cc.
#include "insn/cfg.h"

#include <algorithm>
#include <optional>

#include "insn/insn_table.h"

namespace lmn {
namespace {

// One function: slots [begin, end) of the program.
struct Slots {
  std::span<const Insn> insns;
  std::uint32_t begin;
  std::uint32_t end;

  // The jump's target, when it lies in this function and is the beginning of an instruction.
  std::optional<std::uint32_t> target_of(std::uint32_t at) const {
    const std::optional<InsnIndex> target = jump_target(InsnIndex{at}, insns[at]);
    if (!target || target->value < begin || target->value >= end) return std::nullopt;
    if (insns[target->value].op == Op::kLddwHigh) return std::nullopt;
    return target->value;
  }
};

// Whether each slot of the function begins a block.
std::vector<bool> find_leaders(const Slots& slots) {
  std::vector<bool> leads(slots.end - slots.begin, false);
  if (!leads.empty()) leads[0] = true;
  for (std::uint32_t at = slots.begin; at < slots.end; ++at) {
    const Op op = slots.insns[at].op;
    if (!is_jump(op) && op != Op::kExit) continue;
    if (at + 1 < slots.end) leads[at + 1 - slots.begin] = true;
    if (const auto target = slots.target_of(at)) leads[*target - slots.begin] = true;
  }
  return leads;
}

void add_edges(const Slots& slots, const std::vector<std::uint32_t>& block_of,
               FunctionGraph& graph) {
  for (BasicBlock& block : graph.blocks) {
    const Op op = slots.insns[block.last.value].op;
    const std::uint32_t next = block.last.value + slot_count(op);
    if (falls_through(op) && next < slots.end) {
      block.successors.push_back(block_of[next - slots.begin]);
    }
    const auto target = slots.target_of(block.last.value);
    if (is_jump(op) && target) block.successors.push_back(block_of[*target - slots.begin]);
  }
}

FunctionGraph graph_of(const Slots& slots) {
  FunctionGraph graph;
  graph.start = InsnIndex{slots.begin};
  const std::vector<bool> leads = find_leaders(slots);
  std::vector<std::uint32_t> block_of(leads.size());
  for (std::uint32_t at = slots.begin; at < slots.end; ++at) {
    if (leads[at - slots.begin]) graph.blocks.push_back({InsnIndex{at}, InsnIndex{at}, {}});
    if (slots.insns[at].op != Op::kLddwHigh) graph.blocks.back().last = InsnIndex{at};
    block_of[at - slots.begin] = static_cast<std::uint32_t>(graph.blocks.size() - 1);
  }
  add_edges(slots, block_of, graph);
  return graph;
}

}  // namespace

std::vector<FunctionGraph> control_flow(std::span<const Insn> insns,
                                        std::span<const InsnIndex> starts) {
  std::vector<FunctionGraph> graphs;
  const auto size = static_cast<std::uint32_t>(insns.size());
  for (std::size_t i = 0; i < starts.size(); ++i) {
    const std::uint32_t end = i + 1 < starts.size() ? std::min(starts[i + 1].value, size) : size;
    if (starts[i].value < end) graphs.push_back(graph_of({insns, starts[i].value, end}));
  }
  return graphs;
}

}  // namespace lmn
