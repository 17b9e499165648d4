// SPDX-License-Identifier: Apache-2.0
//
// Goal: no helper without a comparison with the kernel's, and none that is only said to have one.
// Method: each helper that programs may call must be named by a source in this folder, unless it is
// in the list of those that nothing can compare, with the reason. The rows are printed, and
// scripts/conformance/calls.sh asks how often each was called on both sides.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "differential/compared_rows.h"
#include "helpers/helpers.h"

namespace lmn {
namespace {

struct NotCompared {
  std::string_view helper;
  std::string_view reason;
};
constexpr NotCompared kNotCompared[] = {
    {"bpf_get_prandom_u32", "a random number; src/helpers/algorithms_test.cc holds the generator"},
    {"bpf_get_current_pid_tgid", "of the task that called the test run; ours is 0 (helpers-1)"},
    {"bpf_get_current_cgroup_id", "of the task that called the test run; ours is 1 (helpers-1)"},
};

constexpr std::string_view kPrefix = "bpf_";

std::string_view reason_of(const HelperProto& proto) {
  if (const auto refusal = helper_refusal(proto.id); !refusal.empty()) return refusal;
  const auto found = std::ranges::find(kNotCompared, proto.name, &NotCompared::helper);
  return found != std::end(kNotCompared) ? found->reason : std::string_view();
}

TEST(HelperList, EveryHelperIsComparedOrSaysWhyNot) {
  const std::string sources = comparison_sources();
  for (const HelperProto& proto : known_helper_protos()) {
    const std::string_view reason = reason_of(proto);
    print_row(proto.name, reason);
    if (!reason.empty()) continue;
    const std::string id = "BPF_FUNC_" + std::string(proto.name.substr(kPrefix.size()));
    EXPECT_TRUE(names_word(sources, proto.name) || names_word(sources, id))
        << proto.name << ": no comparison names it";
  }
  for (const NotCompared& row : kNotCompared) {
    const auto protos = helper_protos();
    EXPECT_NE(std::ranges::find(protos, row.helper, &HelperProto::name), protos.end())
        << row.helper << " is no helper that programs may call";
  }
}

}  // namespace
}  // namespace lmn
