// SPDX-License-Identifier: Apache-2.0
//
// CorePath: what a CO-RE relocation is about, as a walk through types: "the third element of member
// `a` of member `b` of struct `s`". Made from a record of the object, then looked for in a type of
// the target by names, not positions.
//
// The compiler writes the walk as numbers ("0:1:2"): the element of a pointer taken as an array,
// then member or element numbers, anonymous structs included. Names are what survives from one
// kernel to the next, so a path keeps named steps and array steps; anonymous structs are looked
// through on the other side.
//
//   local:  struct s { int x; struct { int a[7]; }; };   access "0:1:0:3"   -> [0] .a [3]
//   target: struct s { int a[9]; int x; };                                  -> found, at byte 12
//
// Invariants: (1) steps.back() is the field; (2) bit_offset counts from the start of the root.
// Threads: a value of views into the two graphs. Tested by core_test.cc and the selftests' own
// objects. Source: Linux 6.18, Documentation/bpf/llvm_reloc.rst (CO-RE relocations),
// tools/lib/bpf/relo_core.c (which types match).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "btf/btf.h"
#include "btf/btf_ext.h"

namespace lmn {

struct CoreStep {
  std::uint32_t type = 0;   // the struct the member is in, or the array's element type
  std::uint32_t index = 0;  // of the member or element
  std::string_view name;    // of the member or enumerator; empty: an array step
};

struct CorePath {
  const Btf* btf = nullptr;
  std::uint32_t root = 0;
  std::vector<CoreStep> steps;
  std::uint32_t depth = 0;  // levels, anonymous structs included
  std::uint64_t bit_offset = 0;

  // "struct s.a[3]", for messages.
  std::string to_string() const;
};

// Work that all CO-RE relocations of an object may do together: candidates, members and parameters
// looked at.
struct CoreBudget {
  std::uint64_t visits_left = 1u << 21;
  // False when the budget is used up.
  bool spend() { return visits_left != 0 && visits_left-- != 0; }
};
std::unexpected<Error> core_budget_error();

bool is_core_field(std::uint32_t kind);  // about a member or element
bool is_core_type(std::uint32_t kind);   // about a type as a whole
bool is_core_enum(std::uint32_t kind);   // about an enumerator

// The path a record describes in the object's own types. An error: the record makes no sense.
Result<CorePath> parse_core_path(const Btf& btf, const BtfCoreRecord& record);

// The same path in `root` of the target, or nullopt: it is not there, or of an incompatible type.
Result<std::optional<CorePath>> match_core_path(const CorePath& local, std::uint32_t kind,
                                                const Btf& target, std::uint32_t root,
                                                CoreBudget& budget);

}  // namespace lmn
