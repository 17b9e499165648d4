// SPDX-License-Identifier: Apache-2.0
//
// Goal: blocks cover every instruction once and edges say where it may go on. Method: small
// programs from text, drawn by hand.
#include "insn/cfg.h"

#include <gtest/gtest.h>

#include <string>

#include "insn/assemble.h"

namespace lmn {
namespace {

// "0-1>1,2 2-2> ...": first-last>successors per block.
std::string drawn(std::string_view text, std::vector<InsnIndex> starts = {InsnIndex{0}}) {
  auto insns = assemble(text);
  EXPECT_TRUE(insns.has_value());
  std::string out;
  for (const FunctionGraph& graph : control_flow(*insns, starts)) {
    for (const BasicBlock& block : graph.blocks) {
      if (!out.empty()) out += ' ';
      out += std::to_string(block.first.value) + '-' + std::to_string(block.last.value) + '>';
      for (std::size_t i = 0; i < block.successors.size(); ++i) {
        out += (i > 0 ? "," : "") + std::to_string(block.successors[i]);
      }
    }
  }
  return out;
}

TEST(Cfg, BlocksAndEdges) {
  EXPECT_EQ(drawn("r0 = 2\nexit"), "0-1>");
  EXPECT_EQ(drawn("r0 = 1\nif r1 == 0 goto out\nr0 = 2\nout:\nexit"), "0-1>1,2 2-2>2 3-3>");
  EXPECT_EQ(drawn("goto out\nr0 = 2\nout:\nr0 = 1\nexit"), "0-0>2 1-1>2 2-3>");
  EXPECT_EQ(drawn("r0 = 0\nback:\nr0 += 1\nif r0 < 5 goto back\nexit"), "0-0>1 1-2>2,1 3-3>");
}

TEST(Cfg, CallsStayInTheirBlockAndLddwIsOne) {
  EXPECT_EQ(drawn("r1 = 1 ll\ncall 7\nif r0 == 0 goto pc+0\nexit"), "0-3>1,1 4-4>");
}

TEST(Cfg, FunctionsAreApart) {
  EXPECT_EQ(drawn("call f\nexit\nf:\nr0 = 1\nexit", {InsnIndex{0}, InsnIndex{2}}), "0-1> 2-3>");
}

TEST(Cfg, TargetsOutsideAreLeftOut) {
  EXPECT_EQ(drawn("goto pc+7\nr1 = 1 ll\nif r1 == 0 goto pc-2\nexit"), "0-0> 1-3>2 4-4>");
}

}  // namespace
}  // namespace lmn
