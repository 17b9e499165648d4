// SPDX-License-Identifier: Apache-2.0
//
// What Linux knows by name of its objects: which struct a helper takes or gives, which struct a map
// is, which types outlive a grace period, which members of a trusted object are trusted too.
//
// A pointer to an object is one of four: referenced (the program must give it back), trusted (valid
// for as long as the program runs), protected by RCU (valid while the section lasts) or untrusted
// (may be read, with a fault giving zeros, and handed to nobody). Walking from one to the next
// mostly loses trust; the exceptions stand in the kernel's own BTF, as structs whose names end in
// __safe_rcu and the like.
// Threads: pure functions and constants. Tested by object_test.cc.
// Source: Linux 6.18, kernel/bpf/verifier.c (is_trusted_reg, type_is_rcu, reg2btf_ids),
// net/core/filter.c, kernel/bpf/helpers.c (prototypes).
#pragma once

#include <cstdint>
#include <string_view>

#include "btf/btf.h"
#include "verifier/state.h"

namespace lmn {

// What LMN's heap of allocated objects can hold: the limits of maps/object_heap.h.
inline constexpr std::uint32_t kAllocatedBytesMax = 4096;
inline constexpr std::size_t kAllocatedNodesMax = 4;
inline constexpr std::size_t kAllocatedHeadsMax = 4;

// A kernel function may rely on such a pointer: it is referenced, trusted, a socket or a map.
bool is_trusted_pointer(const RegState& reg);

// An object that a program allocated, its own or in a list, tree or kptr.
inline bool is_allocated_object(const RegState& reg) {
  return reg.kind == RegKind::kBtfObject && reg.has(kAllocated);
}

// The same and nothing else: owned or about to be.
inline bool is_plain_allocated(const RegState& reg) {
  return reg.kind == RegKind::kBtfObject && reg.flags == (kAllocated | kLocalType);
}

// The struct of a pointer of this kind, for kernel functions: "sock"; empty: none.
std::string_view struct_of_kind(RegKind kind);

// The struct that argument 1 to 5 of a helper must point to; empty: no helper with such an
// argument.
std::string_view helper_argument_struct(std::uint32_t helper, std::uint8_t argument);

// What a helper returns a pointer to.
struct HelperObject {
  std::string_view name;    // of the struct; empty: not in the table
  std::uint16_t flags = 0;  // PointerFlag words
};
HelperObject helper_result(std::uint32_t helper);

// The result is the argument, seen as another type, with the same reference.
bool is_cast_helper(std::uint32_t helper);

// "bpf_array": the kernel's struct of a map of this type; empty: programs cannot look into it.
std::string_view struct_of_map(std::uint32_t map_type);

// Objects of the struct are freed only after a grace period.
bool is_rcu_freed(std::string_view name);

// What the member `name` of a trusted or RCU protected object of type `id` is, beyond what the tag
// says: flags to give to a pointer loaded from it, nullopt for none.
struct MemberTrust {
  bool is_known = false;
  std::uint16_t flags = 0;
};
MemberTrust member_trust(const Btf& types, std::uint32_t id, std::string_view name,
                         std::uint32_t pointee, bool is_in_rcu);

}  // namespace lmn
