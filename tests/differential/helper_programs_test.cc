// SPDX-License-Identifier: Apache-2.0
//
// Goal: helpers that only whole programs can show (callbacks, walks over maps, printed strings)
// leave the same results, texts and maps in the kernel and in LMN.
// Method: programs/helpers_in_c.c, compiled by clang as a user would, runs on random packets in
// both; after each packet its result is compared, at the end every map.
#include <gtest/gtest.h>

#include "runners/program_pair.h"

namespace lmn {
namespace {

class HelperPrograms : public ProgramPair, public testing::WithParamInterface<const char*> {};

TEST_P(HelperPrograms, LeaveTheSameResults) {
  constexpr int kPackets = 2'000;
  constexpr std::string_view kText = "AB 0123456789-x+az%\xc3\xa9\n";
  open("helpers_in_c", GetParam());
  if (is_closed()) return;
  for (int i = 0; i < kPackets; ++i) {
    run_on_both(random_packet(kText));
    if (!HasFatalFailure()) compare("out");
    ASSERT_FALSE(HasFatalFailure()) << "packet " << i;
  }
  std::vector<const char*> maps;  // the others use no further ones
  if (GetParam() == std::string_view("walks"))
    maps = {"table", "percpu_table", "numbers", "percpu_numbers"};
  if (GetParam() == std::string_view("other_cpus")) maps = {"percpu_numbers", "percpu_table"};
  if (GetParam() == std::string_view("locks")) maps = {"guarded_table", "guarded_array"};
  for (const char* map : maps) compare(map);
}

TEST(HelperRefusal, SaysWhichHelperAndWhy) {
  const std::string path = std::string(LMN_BINARY_DIR) + "/bpf/helpers_in_c.bpf.o";
  const auto runner = open_runner(RunnerKind::kInterpreter, path, "refused");
  ASSERT_FALSE(runner.has_value());
  const std::string text = runner.error().to_string();
  EXPECT_TRUE(text.contains("bpf_get_current_task#35")) << text;
  EXPECT_TRUE(text.contains("a user-space engine does not have")) << text;
}

INSTANTIATE_TEST_SUITE_P(Programs, HelperPrograms,
                         testing::Values("loops", "walks", "texts", "mtu", "rings", "queues",
                                         "locks", "ring_dynptrs", "other_cpus"),
                         [](const auto& row) { return std::string(row.param); });

}  // namespace
}  // namespace lmn
