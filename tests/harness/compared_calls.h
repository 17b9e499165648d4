// SPDX-License-Identifier: Apache-2.0
//
// ComparedCalls: which helpers and kernel functions a test has called on both sides, and how often;
// printed when the process ends.
//
// That a function has a comparison with the kernel's is not what a list says but what a test did.
// So whoever makes the same call on both sides and compares what came of it counts it here, and
// scripts/conformance/calls.sh asks of every row of helpers.def and kfuncs.def who did:
//
//   [ COMPARED ] bpf_csum_diff x20160 ChecksumDifferential.AnySizesAlignmentsAndSeeds
//
// A test that fails makes its program fail, and the script then believes none of its lines. Of
// programs that run on both sides call_counter.h counts the calls that were really reached.
// Threads: one at a time. Tested by what uses it; the script fails when a line is missing.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdio>
#include <map>
#include <string>
#include <string_view>

namespace lmn {

class ComparedCalls {
 public:
  static ComparedCalls& instance() {
    static ComparedCalls calls;
    return calls;
  }
  // `name` as the kernel has it: "bpf_csum_diff".
  void add(std::string_view name, std::size_t count = 1) {
    const testing::TestInfo* test = testing::UnitTest::GetInstance()->current_test_info();
    if (test != test_) enter(test);
    const auto found = current_->find(name);
    (found != current_->end() ? found->second : (*current_)[std::string(name)]) += count;
  }
  ComparedCalls(const ComparedCalls&) = delete;
  ComparedCalls& operator=(const ComparedCalls&) = delete;

 private:
  using Counts = std::map<std::string, std::size_t, std::less<>>;

  ComparedCalls() = default;
  ~ComparedCalls() {
    for (const auto& [test, counts] : tests_) {
      for (const auto& [name, count] : counts) {
        std::printf("[ COMPARED ] %s x%zu %s\n", name.c_str(), count, test.c_str());
      }
    }
  }
  void enter(const testing::TestInfo* test) {
    const bool is_in_test = test != nullptr;
    current_ = &tests_[is_in_test ? std::string(test->test_suite_name()) + "." + test->name()
                                  : std::string("none")];
    test_ = test;
  }

  std::map<std::string, Counts> tests_;
  const testing::TestInfo* test_ = nullptr;
  Counts* current_ = &tests_["none"];
};

}  // namespace lmn
