// SPDX-License-Identifier: Apache-2.0
//
// Goal: kernel functions leave the same results, packets and maps in the kernel and in LMN.
// Method: programs/kfuncs_in_c.c, compiled by clang as a user would, runs on random packets in
// both; after each packet its result and what it left in the maps is compared. Kernels
// before 6.18 lack some of the functions: there the test is skipped.
#include <gtest/gtest.h>
#include <sys/utsname.h>

#include <cstdio>
#include <cstring>

#include "harness/provoked.h"
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

// Numbers in `out` that are an errno of a function.
struct ErrnoNumber {
  std::string_view program;
  std::size_t index;
  const char* rule;
};
constexpr ErrnoNumber kErrnoNumbers[] = {
    {"dynptrs", 24, "bpf_xdp_pull_data"},
    {"dynptrs", 1, "bpf_dynptr_from_xdp"},
    {"dynptrs", 7, "bpf_dynptr_adjust"},
    {"dynptrs", 12, "bpf_dynptr_copy"},
    {"dynptrs", 13, "bpf_dynptr_copy"},
    {"dynptrs", 15, "bpf_dynptr_memset"},
    {"dynptrs", 16, "bpf_dynptr_memset"},
    {"dynptrs", 22, "bpf_dynptr_clone"},
    {"iterators", 0, "bpf_iter_num_new"},
    {"iterators", 3, "bpf_iter_num_new"},
    {"iterators", 6, "bpf_iter_bits_new"},
    {"iterators", 8, "bpf_iter_bits_new"},
    {"iterators", 10, "bpf_iter_bits_new"},
    {"iterators", 11, "bpf_iter_bits_new"},
    {"strings", 2, "bpf_strchr"},
    {"strings", 13, "bpf_strlen"},
    {"strings", 14, "bpf_strcmp"},
    {"reads", 0, "bpf_probe_read_kernel_dynptr"},
    {"reads", 6, "bpf_probe_read_kernel_dynptr"},
};

class KfuncPrograms : public ProgramPair, public testing::WithParamInterface<Program> {
 protected:
  KfuncPrograms() { is_kernel_optional = !is_linux_6_18_or_later(); }

  // Which errnos the kernel gave, for the list of those that were provoked.
  void note_errnos() {
    const auto out = kernel_->entries("out");
    ASSERT_TRUE(out.has_value());
    const std::vector<std::uint8_t>& value = out->front().value;
    for (const ErrnoNumber& one : kErrnoNumbers) {
      if (one.program != GetParam().name) continue;
      std::int64_t number = 0;
      std::memcpy(&number, value.data() + one.index * sizeof number, sizeof number);
      Provoked::instance().add(one.rule, number);
    }
  }
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
    if (!HasFatalFailure()) note_errnos();
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
