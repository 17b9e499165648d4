// SPDX-License-Identifier: Apache-2.0
//
// Goal: kernel functions leave the same results, packets and maps in the kernel and in LMN.
// Method: programs/kfuncs_in_c.c, compiled by clang as a user would, runs on random packets in
// both; after each packet its result and what it left in the maps is compared. Kernels
// before 6.18 lack some of the functions: there the test is skipped.
#include <gtest/gtest.h>
#include <sys/utsname.h>

#include <cstdio>

#include "runners/program_pair.h"

namespace lmn {
namespace {

bool is_linux_6_18_or_later() {
  struct utsname name = {};
  ::uname(&name);
  int major = 0;
  int minor = 0;
  std::sscanf(name.release, "%d.%d", &major, &minor);
  return major > 6 || (major == 6 && minor >= 18);
}

struct Program {
  const char* name;
  const char* map;  // what it leaves besides `out`
};

class KfuncPrograms : public ProgramPair, public testing::WithParamInterface<Program> {
 protected:
  KfuncPrograms() { is_kernel_optional = !is_linux_6_18_or_later(); }
};

TEST_P(KfuncPrograms, LeaveTheSameResults) {
  constexpr int kPackets = 2'000;
  // Few different bytes, so that strings and positions meet.
  constexpr std::string_view kText("abAB \0\xc4", 7);
  open("kfuncs_in_c", GetParam().name);
  if (is_closed()) return;
  for (int i = 0; i < kPackets; ++i) {
    run_on_both(random_packet(kText));
    if (!HasFatalFailure()) compare("out");
    if (!HasFatalFailure() && GetParam().map != nullptr) compare(GetParam().map);
    ASSERT_FALSE(HasFatalFailure()) << "packet " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(All, KfuncPrograms,
                         testing::Values(Program{"strings", nullptr}, Program{"dynptrs", "memory"},
                                         Program{"iterators", "table"}, Program{"objects", nullptr},
                                         Program{"peeks", nullptr}, Program{"reads", "memory"},
                                         Program{"sections", nullptr}),
                         [](const auto& row) { return std::string(row.param.name); });

}  // namespace
}  // namespace lmn
