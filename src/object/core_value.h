// SPDX-License-Identifier: Apache-2.0
//
// The number a CO-RE relocation puts into an instruction: for the object's own types (what the
// compiler wrote there) and for the target's (what has to be there). Tested by core_test.cc and the
// selftests' own objects. Source: Linux 6.18, tools/lib/bpf/relo_core.c.
#pragma once

#include <cstdint>
#include <optional>

#include "base/result.h"
#include "object/core_path.h"

namespace lmn {

// One side's number.
struct CoreNumber {
  std::uint64_t value = 0;
  // For byte offsets of whole fields: what a load or store of it moves, to change its width. 0: not
  // said.
  std::uint32_t access_bytes = 0;
  std::uint32_t access_type = 0;
  // The compiler's instruction must hold this number: for bitfields and type ids it may have chosen
  // another.
  bool is_checked = true;
};

struct CoreChange {
  CoreNumber local;
  CoreNumber target;
  bool is_poisoned = false;      // the target has no such thing: whoever gets there has lost
  bool is_width_unsafe = false;  // another width would read another number (signed, or no integer)
};

// `target` null: nothing in the target matches, which is an answer of its own for questions of
// existence.
Result<CoreChange> core_change(std::uint32_t kind, const CorePath& local, const CorePath* target);

}  // namespace lmn
