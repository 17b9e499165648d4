// SPDX-License-Identifier: Apache-2.0
//
// The tree grows as the verifier reports. Nodes and their frames are reused, since a campaign makes
// millions of them.
#include "soundness/exploration.h"

#include "base/assert.h"

namespace lmn {

void Exploration::clear() {
  count_ = 0;
  inclusions_.clear();
  waiting_.clear();
  kept_.clear();
  current_ = root_ = kNoNode;
}

void Exploration::on_walk(std::uint32_t subprogram) {
  // Walks of global functions are trees of their own; runs are followed in the entry's.
  is_entry_ = subprogram == 0;
  waiting_.clear();
  kept_.clear();
  current_ = kNoNode;
}

void Exploration::on_visit(const PathState& state) {
  if (count_ == nodes_.size()) nodes_.emplace_back();
  const auto index = static_cast<std::uint32_t>(count_++);
  Node& node = nodes_[index];
  node.insn = state.insn;
  node.first_child = node.next_sibling = node.inclusion = kNoNode;
  node.frames = state.frames;
  if (current_ == kNoNode) {
    if (is_entry_) root_ = index;
  } else {
    node.next_sibling = nodes_[current_].first_child;
    nodes_[current_].first_child = index;
  }
  current_ = index;
}

void Exploration::on_next_path() {
  LMN_ASSERT(!waiting_.empty());
  current_ = waiting_.back();
  waiting_.pop_back();
}

void Exploration::on_included(const KnownState& by, bool all_numbers_count) {
  const auto kept = kept_.find(&by);
  LMN_ASSERT(kept != kept_.end());
  nodes_[current_].inclusion = static_cast<std::uint32_t>(inclusions_.size());
  inclusions_.push_back({kept->second, all_numbers_count, by.state.frames});
}

}  // namespace lmn
