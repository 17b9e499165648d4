// SPDX-License-Identifier: Apache-2.0
//
// PageRanges. Tested by page_ranges_test.cc. Source: Linux 6.18, kernel/bpf/range_tree.c.
#include "maps/page_ranges.h"

#include <algorithm>
#include <iterator>

namespace lmn {

std::optional<std::uint64_t> PageRanges::find(std::uint64_t count) const {
  const std::pair<const std::uint64_t, Range>* best = nullptr;
  const auto size_of = [](const auto& range) { return range.second.end - range.first; };
  for (const auto& range : ranges_) {
    if (size_of(range) < count) continue;
    const bool is_better =
        best == nullptr || size_of(range) < size_of(*best) ||
        (size_of(range) == size_of(*best) && range.second.turn > best->second.turn);
    if (is_better) best = &range;
  }
  if (best == nullptr) return std::nullopt;
  return best->first;
}

bool PageRanges::are_free(std::uint64_t first, std::uint64_t count) const {
  auto behind = ranges_.upper_bound(first);
  if (behind == ranges_.begin()) return false;
  return std::prev(behind)->second.end >= first + count;
}

void PageRanges::insert(std::uint64_t first, std::uint64_t end) {
  ranges_[first] = {end, ++last_turn_};
}

void PageRanges::add(std::uint64_t first, std::uint64_t count) {
  std::uint64_t end = first + count;
  auto at = ranges_.upper_bound(first);
  if (at != ranges_.begin() && std::prev(at)->second.end >= first) --at;
  while (at != ranges_.end() && at->first <= end) {
    first = std::min(first, at->first);
    end = std::max(end, at->second.end);
    at = ranges_.erase(at);
  }
  insert(first, end);
}

void PageRanges::remove(std::uint64_t first, std::uint64_t count) {
  const std::uint64_t end = first + count;
  auto at = ranges_.upper_bound(first);
  if (at != ranges_.begin()) --at;
  while (at != ranges_.end() && at->first < end) {
    const std::uint64_t old_first = at->first;
    const std::uint64_t old_end = at->second.end;
    if (old_end <= first) {
      ++at;
      continue;
    }
    at = ranges_.erase(at);
    if (old_first < first) insert(old_first, first);
    if (old_end > end) {
      insert(end, old_end);
      break;
    }
  }
}

}  // namespace lmn
