// SPDX-License-Identifier: Apache-2.0
//
// When a type of the object and one of the target count as the same: three relations of different
// strictness.
//
//   core_kinds_agree        same kind; enum and enum64 count as one
//   core_fields_compatible  a field may be read as the other: sizes and signs of integers do not
//   matter core_types_compatible   BPF_CORE_TYPE_EXISTS and friends: same shape through pointers,
//   arrays, signatures core_types_match        BPF_CORE_TYPE_MATCHES: also sizes, signs, and every
//   local member present by name
//
// Both graphs may be hostile: depth is bounded, and all comparisons draw on one budget.
// Tested by core_test.cc and the selftests' own objects. Source: Linux 6.18,
// tools/lib/bpf/relo_core.c.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "btf/btf.h"
#include "object/core_path.h"

namespace lmn {

struct CoreTypeRef {
  const Btf* btf = nullptr;
  std::uint32_t id = 0;
};

bool core_kinds_agree(const BtfType& local, const BtfType& target);
bool core_fields_compatible(CoreTypeRef local, CoreTypeRef target);
Result<bool> core_types_compatible(CoreTypeRef local, CoreTypeRef target, CoreBudget& budget);
Result<bool> core_types_match(CoreTypeRef local, CoreTypeRef target, CoreBudget& budget);

}  // namespace lmn
