// SPDX-License-Identifier: Apache-2.0
//
// Goal: the graph of a program is written as bpftool 7.1 writes it, to the byte; and is right where
// bpftool crashes or gives up. Method: the object cfg_program.c is loaded into the kernel by
// bpftool, which then draws what the kernel has; what bpftool cannot draw is compared with text
// from here.
#include "cfg_dot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <string>

#include "commands_for_tests.h"
#include "harness/kernel_oracle.h"
#include "insn/assemble.h"

namespace lmn {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string drawn(std::string_view text, const DisasmNames* names = nullptr) {
  const auto insns = assemble(text);
  EXPECT_TRUE(insns) << insns.error().to_string();
  return insns ? cfg_dot(*insns, names) : "";
}

TEST(CfgDot, EqualToBpftoolsGraphOfTheLoadedProgram) {
  if (const auto reason = why_no_kernel_oracle()) GTEST_SKIP() << *reason;
  if (const auto reason = why_no_bpftool()) GTEST_SKIP() << *reason;
  const std::string object = LMN_BINARY_DIR "/bpf/inspect_cfg_program.bpf.o";
  const std::string pin = "/sys/fs/bpf/lmn_cfg_dot_test_" + std::to_string(::getpid());
  const CommandOutput load = run_command("bpftool prog load '" + object + "' " + pin);
  ASSERT_EQ(load.status, 0) << load.error;
  const CommandOutput theirs = run_command("bpftool prog dump xlated pinned " + pin + " visual");
  ::unlink(pin.c_str());
  ASSERT_EQ(theirs.status, 0) << theirs.error;
  const CommandOutput ours = run_command(LMN_BINARY_DIR "/tools/lmn disasm --cfg '" + object + "'");
  EXPECT_EQ(ours.status, 0) << ours.error;
  EXPECT_EQ(ours.out, theirs.out);
  // The object has what it is there for.
  for (const char* part : {"func_2 ()", "\\&", "\\|", "s\\<", "s\\>", "goto pc-"}) {
    EXPECT_THAT(ours.out, HasSubstr(part));
  }
}

TEST(CfgDot, AWholeGraph) {
  EXPECT_EQ(drawn("r0 = 1 ll\nif r0 > 5 goto out\nr0 = 2\nout:\nexit"),
            "digraph \"DOT graph for eBPF program\" {\n"
            "subgraph \"cluster_0\" {\n"
            "\tstyle=\"dashed\";\n\tcolor=\"black\";\n\tlabel=\"func_0 ()\";\n"
            "\tfn_0_bb_0 [shape=Mdiamond,style=filled,label=\"ENTRY\"];\n\n"
            "\tfn_0_bb_2 [shape=record,style=filled,label=\"{   0: (18) r0 = 0x1\\l\\\n"
            " |    2: (25) if r0 \\> 0x5 goto pc+1\\l\\\n}\"];\n\n"
            "\tfn_0_bb_3 [shape=record,style=filled,label=\"{   3: (b7) r0 = 2\\l\\\n}\"];\n\n"
            "\tfn_0_bb_4 [shape=record,style=filled,label=\"{   4: (95) exit\\l\\\n}\"];\n\n"
            "\tfn_0_bb_1 [shape=Mdiamond,style=filled,label=\"EXIT\"];\n\n"
            "\tfn_0_bb_0:s -> fn_0_bb_2:n [style=\"solid,bold\", color=black, weight=10, "
            "constraint=true];\n"
            "\tfn_0_bb_2:s -> fn_0_bb_3:n [style=\"solid,bold\", color=black, weight=10, "
            "constraint=true];\n"
            "\tfn_0_bb_2:s -> fn_0_bb_4:n [style=\"solid,bold\", color=black, weight=10, "
            "constraint=true];\n"
            "\tfn_0_bb_3:s -> fn_0_bb_4:n [style=\"solid,bold\", color=black, weight=10, "
            "constraint=true];\n"
            "\tfn_0_bb_4:s -> fn_0_bb_1:n [style=\"solid,bold\", color=black, weight=10, "
            "constraint=true];\n"
            "\tfn_0_bb_0:s -> fn_0_bb_1:n [style=\"invis\", constraint=true];\n"
            "}\n}\n");
}

std::size_t count_of(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (std::size_t at = 0; (at = text.find(part, at)) != std::string::npos; ++at) ++count;
  return count;
}

TEST(CfgDot, ABlockThatEndsInACallGoesOnBehindIt) {
  const std::string kernels = drawn("if r1 == 0 goto out\ncall 5\nout:\nexit");
  EXPECT_EQ(count_of(kernels, "fn_0_bb_3:s -> fn_0_bb_4:n "), 2u);  // as bpftool
  EXPECT_THAT(kernels, HasSubstr("call bpf_ktime_get_ns#5\\l"));
  const std::string own = drawn("if r1 == 0 goto out\ncall pc+1\nout:\nexit\nexit");
  EXPECT_EQ(count_of(own, "fn_0_bb_3:s -> fn_0_bb_4:n "), 1u);
}

TEST(CfgDot, FunctionsAreNumberedByTheirFirstCallThenByTheirFirstAddress) {
  const std::string text = drawn(
      "r1 = subprog[+8]\ncall pc+8\ncall pc+3\ncall pc+6\nr0 = 0\nexit\n"
      "r0 = 7\nexit\nr0 = 8\nexit\nr0 = 9\nexit");
  // In the order of the program: itself, 7 (called second), 8 (address only), 9 (called first).
  std::string order;
  for (std::size_t at = 0; (at = text.find("label=\"func_", at)) != std::string::npos; ++at) {
    order += text[at + std::string("label=\"func_").size()];
  }
  EXPECT_EQ(order, "0231") << text;
}

TEST(CfgDot, JumpsOutOfTheProgramHaveNoEdge) {
  const std::string text = drawn("if r1 == 0 goto pc+7\nexit");
  EXPECT_THAT(text, HasSubstr("fn_0_bb_2:s -> fn_0_bb_3:n "));
  EXPECT_THAT(text, Not(HasSubstr("fn_0_bb_2:s -> fn_0_bb_4")));
  EXPECT_THAT(cfg_dot({}, nullptr), HasSubstr("digraph"));
}

class StrangeNames final : public DisasmNames {
 public:
  std::string map(std::uint32_t /*index*/) const override { return "a\"{b}|\\<c>\n"; }
};

TEST(CfgDot, NamesCannotBreakOutOfALabel) {
  const StrangeNames names;
  EXPECT_THAT(drawn("r1 = map[idx:0]\nexit", &names), HasSubstr(R"(map[a\"\{b\}\|\\\<c\> ]\l)"));
}

}  // namespace
}  // namespace lmn
