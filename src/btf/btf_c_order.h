// SPDX-License-Identifier: Apache-2.0
//
// BtfCOrder: which types must be defined, and in which order, so that C accepts the definitions.
//
// A type needs another one *fully* when it holds it by value: struct a { struct b inner; }. Through
// a pointer the name is enough, and a forward declaration gives that: struct a { struct b* next; }.
// The exception are types without a name, which are written out where they are used: whoever points
// to an anonymous struct needs what that struct holds. So a question about a type answers "needed
// fully" or "the name will do", and the answer depends on whether a pointer lies between.
// Internal to btf_c.cc.
// Invariants: (1) over the life of the object each type is given out once; (2) a type comes after
// all it needs fully; (3) depth and number of steps are bounded (abi/limits.h).
// Threads: one owner. Tested by btf_text_test.cc. Source: libbpf 1.1, btf_dump_order_type.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/result.h"
#include "btf/btf.h"

namespace lmn {

class BtfCOrder {
 public:
  explicit BtfCOrder(const Btf& btf);

  // What must be defined for `root`, itself included, without what earlier calls gave.
  Result<std::vector<std::uint32_t>> definitions_for(std::uint32_t root);

 private:
  enum class State : std::uint8_t { kNew, kOpen, kDone };
  enum class Need : std::uint8_t { kName, kFully };

  Result<Need> visit(std::uint32_t id, bool through_pointer);
  Result<Need> visit_composite(std::uint32_t id, bool through_pointer);
  Result<Need> visit_typedef(std::uint32_t id, bool through_pointer);
  Result<Need> visit_signature(std::uint32_t id, bool through_pointer);
  Need define(std::uint32_t id);
  void mark_referenced();

  const Btf& btf_;
  std::vector<State> states_;
  std::vector<bool> is_referenced_;  // some other type names it
  std::vector<std::uint32_t> queue_;
  std::size_t depth_ = 0;
  std::size_t visits_ = 0;
};

}  // namespace lmn
