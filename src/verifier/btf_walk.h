// SPDX-License-Identifier: Apache-2.0
//
// What lies at an offset of a struct, by its BTF: a number, or a pointer to another struct.
//
// A program reads an object of the kernel, or one that it allocated, by offset and size; which
// member that is, through nested structs, unions and arrays, decides what the loaded register is.
// A pointer must be read whole; numbers may be read in parts, and an array of them as one block.
//
//   walk_struct(btf, task_struct, offset of real_parent, 8)  -> pointer to task_struct, __rcu
//   walk_struct(btf, task_struct, offset of comm + 1, 1)     -> number
//
// Walks are bounded by the nesting that parsed BTF guarantees, and flexible arrays by a count.
// Threads: pure functions. Tested by btf_walk_test.cc.
// Source: Linux 6.18, kernel/bpf/btf.c (btf_struct_walk, btf_struct_ids_match).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "btf/btf.h"

namespace lmn {

// A place in a struct.
struct StructSpan {
  std::int64_t offset = 0;
  std::uint32_t size = 0;
};

struct StructMember {
  enum class Kind : std::uint8_t { kRefused, kNumber, kPointer };
  Kind kind = Kind::kRefused;
  std::uint32_t type = 0;  // kPointer: the struct pointed to
  std::uint16_t flags =
      0;                  // kPointer: PointerFlag words: kUntrusted, kUserMemory, kPerCpu, kRcu...
  std::string_view name;  // kPointer: of the member
  std::string problem;    // kRefused, in the kernel's words
  int errno_value = 0;
};

// REQUIRES: `id` is a struct or union of `btf`. `is_growing`: a last member without a size counts
// as an array that goes on.
StructMember walk_struct(const Btf& btf, std::uint32_t id, StructSpan span, bool is_growing);

// A type of some BTF.
struct TypeRef {
  const Btf* btf = nullptr;
  std::uint32_t id = 0;
  bool operator==(const TypeRef&) const = default;
};

// Whether `have`, `offset` bytes in, begins a `want`: is one or, unless `is_strict`, has one there.
bool has_struct_at(TypeRef have, std::int64_t offset, TypeRef want, bool is_strict,
                   bool is_growing);

// Nothing but numbers, arrays of numbers and such structs: what may be memory for anybody.
bool is_struct_of_numbers(const Btf& btf, std::uint32_t id);

}  // namespace lmn
