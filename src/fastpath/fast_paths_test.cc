// SPDX-License-Identifier: Apache-2.0
//
// Goal: the bitcode is in the library, is bitcode, and defines every function of the table; each
// kind of map has a lookup. Method: LLVM is no part of this module, so the file is read by its
// marks: the magic number, and the table of symbol names, which lies in it as plain text.
#include "fastpath/fast_paths.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <string>

namespace lmn {
namespace {

bool contains(std::span<const std::uint8_t> bytes, std::string_view text) {
  return !std::ranges::search(bytes, text).empty();
}

TEST(FastPaths, TheBitcodeDefinesEveryRow) {
  const auto bitcode = fast_paths_bitcode();
  ASSERT_GT(bitcode.size(), 1000u);
  EXPECT_EQ(bitcode.size() % 4, 0u);
  EXPECT_EQ(std::string(bitcode.begin(), bitcode.begin() + 2), "BC");
  for (const FastPathName& name : fast_path_names()) {
    EXPECT_TRUE(contains(bitcode, name.symbol)) << name.symbol;
  }
  EXPECT_FALSE(contains(bitcode, "lmn_no_such_function"));
}

TEST(FastPaths, TheBitcodeCallsNothing) {
  // What a library would have to provide.
  for (const std::string_view name :
       {"memcmp", "memcpy", "bcmp", "abort", "__popcount", "sched_yield"}) {
    EXPECT_FALSE(contains(fast_paths_bitcode(), name)) << name;
  }
}

TEST(FastPaths, EveryKindHasALookupAlsoInFlight) {
  for (const FastPathKind kind :
       {FastPathKind::kArray, FastPathKind::kHash, FastPathKind::kPercpuHash, FastPathKind::kLpm}) {
    EXPECT_NE(find_fast_path(kind, FastPathStep::kLookup), nullptr);
    EXPECT_NE(find_fast_path(kind, FastPathStep::kPrefetch1), nullptr);
    EXPECT_NE(find_fast_path(kind, FastPathStep::kFinish), nullptr);
  }
  EXPECT_NE(find_fast_path(FastPathKind::kRingbuf, FastPathStep::kReserve), nullptr);
  EXPECT_NE(find_fast_path(FastPathKind::kRingbuf, FastPathStep::kCommit), nullptr);
  EXPECT_EQ(find_fast_path(FastPathKind::kNone, FastPathStep::kLookup), nullptr);
  EXPECT_EQ(find_fast_path(FastPathKind::kHash, FastPathStep::kLookup)->symbol, "lmn_hash_lookup");
}

}  // namespace
}  // namespace lmn
