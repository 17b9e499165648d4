// SPDX-License-Identifier: Apache-2.0
//
// The inline fast paths of the maps as LLVM bitcode, and the names of its functions.
//
// The headers that the maps' own functions use (array_fast.h, hash_fast.h, lpm_fast.h,
// ringbuf_fast.h) are compiled a second time, by clang 19, to bitcode that is part of this library:
// whoever compiles programs links the functions a program needs into its module and gives them the
// map's descriptor as a constant, so that sizes, masks and flags fold. All functions are
// always-inline and call no other, and the module has one constant table. LLVM itself is not needed
// here.
//
//   const FastPathName* name = find_fast_path(FastPathKind::kHash, FastPathStep::kLookup);
//   parse(fast_paths_bitcode()); link(name->symbol); ...
//
// What the functions take and give is said in bitcode/fast_paths.cc. The bitcode is for the
// processor family that the library is built for, without optional features: those are set when a
// program is compiled.
// Threads: constants. Tested by fast_paths_test.cc.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "maps/fast_path.h"

namespace lmn {

// What a function does. A lookup in flight is kPrefetch1, some time later kPrefetch2 and so on as
// far as the kind has them, each fetching what the next one reads, and some time later kFinish,
// which answers what kLookup would answer then. Between them it keeps kFlightBytes
// (maps/fast_path.h).
enum class FastPathStep : std::uint8_t {
  kLookup,
  kPrefetch1,
  kPrefetch2,
  kPrefetch3,
  kPrefetch4,
  kFinish,
  kCheck,
  kReserve,
  kCommit,
};

struct FastPathName {
  std::string_view symbol;
  FastPathKind kind;
  FastPathStep step;
};

std::span<const std::uint8_t> fast_paths_bitcode();
// The rows of fast_paths.def.
std::span<const FastPathName> fast_path_names();
// Null when the kind has no such step.
const FastPathName* find_fast_path(FastPathKind kind, FastPathStep step);

}  // namespace lmn
