// SPDX-License-Identifier: Apache-2.0
//
// PageRanges: which pages of an arena are free: ranges, found by the size that fits best.
//
// The place of an allocation can be seen by programs, so it is chosen as Linux chooses: the
// smallest free range that is long enough, its first pages; of ranges of one size the one that came
// last. Neighbouring ranges are one. Invariant: no two ranges touch or overlap. Threads: the
// arena's lock. Tested by page_ranges_test.cc. Source: Linux 6.18, kernel/bpf/range_tree.c.
#pragma once

#include <cstdint>
#include <map>
#include <optional>

namespace lmn {

class PageRanges {
 public:
  // All of [0, page_count) is free.
  explicit PageRanges(std::uint64_t page_count) { add(0, page_count); }

  // The first page of the range to take `count` pages from.
  std::optional<std::uint64_t> find(std::uint64_t count) const;
  // Whether all of these are free.
  bool are_free(std::uint64_t first, std::uint64_t count) const;
  // These are free from now on, or are not.
  void add(std::uint64_t first, std::uint64_t count);
  void remove(std::uint64_t first, std::uint64_t count);

 private:
  struct Range {
    std::uint64_t end;
    std::uint64_t turn;  // when it came
  };
  void insert(std::uint64_t first, std::uint64_t end);

  std::map<std::uint64_t, Range> ranges_;  // by first page
  std::uint64_t last_turn_ = 0;
};

}  // namespace lmn
