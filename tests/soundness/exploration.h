// SPDX-License-Identifier: Apache-2.0
//
// Exploration: the tree of paths that the verifier walked, with the state at every instruction.
//
// A node is one visit of one instruction; its children are the visits that follow it. A node whose
// state lay within a kept one has no children but an inclusion: the kept state as it was known
// then, and the node it was kept at, where a run that comes this way goes on. Threads: one. Tested
// by soundness_test.cc.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "verifier/trace.h"

namespace lmn {

inline constexpr std::uint32_t kNoNode = ~0u;

class Exploration final : public VerifierListener {
 public:
  struct Node {
    std::uint32_t insn = 0;
    std::uint32_t first_child = kNoNode;
    std::uint32_t next_sibling = kNoNode;
    std::uint32_t inclusion = kNoNode;
    std::vector<FrameState> frames;
  };
  struct Inclusion {
    std::uint32_t node = kNoNode;  // where the kept state was kept
    bool all_numbers_count = false;
    std::vector<FrameState> frames;  // of the kept state, its precision marks final
  };

  void clear();
  void on_walk(std::uint32_t subprogram) override;
  void on_visit(const PathState& state) override;
  void on_branch() override { waiting_.push_back(current_); }
  void on_next_path() override;
  void on_keep(const KnownState& kept) override { kept_[&kept] = current_; }
  void on_included(const KnownState& by, bool all_numbers_count) override;

  // The first node of the entry, or kNoNode before any walk.
  std::uint32_t root() const { return root_; }
  const Node& node(std::uint32_t index) const { return nodes_[index]; }
  const Inclusion* inclusion(std::uint32_t index) const {
    const std::uint32_t at = nodes_[index].inclusion;
    return at == kNoNode ? nullptr : &inclusions_[at];
  }
  std::size_t node_count() const { return count_; }

 private:
  std::vector<Node> nodes_;  // reused between programs: the first count_ are in use
  std::size_t count_ = 0;
  std::vector<Inclusion> inclusions_;
  std::vector<std::uint32_t> waiting_;
  std::unordered_map<const KnownState*, std::uint32_t> kept_;
  std::uint32_t current_ = kNoNode;
  std::uint32_t root_ = kNoNode;
  bool is_entry_ = false;
};

}  // namespace lmn
