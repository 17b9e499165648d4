// SPDX-License-Identifier: Apache-2.0
//
// Provoked: which results a rule has given in this process, printed when it ends.
//
// A differential test that compares a million calls shows that both sides agree; what it does not
// show is whether they ever agreed on the rare answers. So tests say which result they got for
// which rule, and scripts/conformance/errnos.sh compares the lines with the list of what must have
// been provoked at least once (tests/conformance/data/errnos.tsv):
//
//   [ PROVOKED ] bpf_xdp_adjust_head -22 x118
//
// Results that are no errno count as one, 0, but for those that a rule lists as values.
// Threads: one at a time. Tested by what uses it; the script fails when a line is missing.
#pragma once

#include <cstdint>
#include <cstdio>
#include <map>
#include <string>

namespace lmn {

class Provoked {
 public:
  static Provoked& instance() {
    static Provoked provoked;
    return provoked;
  }
  // A result as it is.
  void add_value(const std::string& rule, std::int64_t result) { ++table_[rule][result]; }
  // An errno, or 0 for whatever else was returned.
  void add(const std::string& rule, std::int64_t result) {
    constexpr std::int64_t kErrnoEnd = -4096;
    add_value(rule, result < 0 && result > kErrnoEnd ? result : 0);
  }
  bool has(const std::string& rule, std::int64_t result) const {
    const auto found = table_.find(rule);
    return found != table_.end() && found->second.contains(result);
  }
  Provoked(const Provoked&) = delete;
  Provoked& operator=(const Provoked&) = delete;

 private:
  Provoked() = default;
  ~Provoked() {
    for (const auto& [rule, results] : table_) {
      for (const auto& [result, count] : results) {
        std::printf("[ PROVOKED ] %s %lld x%zu\n", rule.c_str(), static_cast<long long>(result),
                    count);
      }
    }
  }

  std::map<std::string, std::map<std::int64_t, std::size_t>> table_;
};

}  // namespace lmn
