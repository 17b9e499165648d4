// SPDX-License-Identifier: Apache-2.0
//
// Goal: every row of sections.def is found under its own name, and names beside it are not. Method:
// the rows themselves, and the names that are easily mistaken for one another.
#include "object/section_types.h"

#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <string>

namespace lmn {
namespace {

TEST(SectionTypesTest, EveryRowIsFound) {
  enum { kExact, kPath, kPlain, kBtf };
#define LMN_SECTION(name, match, prog_type, attach, flags, target_kind)                \
  {                                                                                    \
    const SectionType found = section_type(name);                                      \
    EXPECT_EQ(found.type, prog_type) << name;                                          \
    EXPECT_EQ(found.expected_attach_type, static_cast<std::uint32_t>(attach)) << name; \
    EXPECT_EQ(found.prog_flags, static_cast<std::uint32_t>(flags)) << name;            \
    EXPECT_EQ(found.needs_btf_target, static_cast<int>(target_kind) == kBtf) << name;  \
    const SectionType longer = section_type(name "/target");                           \
    if (static_cast<int>(match) == kPath) {                                            \
      EXPECT_EQ(longer.type, prog_type) << name;                                       \
      EXPECT_EQ(longer.target, "target") << name;                                      \
    } else {                                                                           \
      EXPECT_EQ(longer.type, 0u) << name;                                              \
    }                                                                                  \
  }
#include "object/sections.def"
#undef LMN_SECTION
}

TEST(SectionTypesTest, TheSixXdpNames) {
  struct Case {
    const char* name;
    std::uint32_t attach;
    std::uint32_t flags;
  };
  for (const Case& c : {Case{"xdp", BPF_XDP, 0}, Case{"xdp.frags", BPF_XDP, BPF_F_XDP_HAS_FRAGS},
                        Case{"xdp/devmap", BPF_XDP_DEVMAP, 0},
                        Case{"xdp.frags/devmap", BPF_XDP_DEVMAP, BPF_F_XDP_HAS_FRAGS},
                        Case{"xdp/cpumap", BPF_XDP_CPUMAP, 0},
                        Case{"xdp.frags/cpumap", BPF_XDP_CPUMAP, BPF_F_XDP_HAS_FRAGS}}) {
    const SectionType found = section_type(c.name);
    EXPECT_EQ(found.type, BPF_PROG_TYPE_XDP) << c.name;
    EXPECT_EQ(found.expected_attach_type, c.attach) << c.name;
    EXPECT_EQ(found.prog_flags, c.flags) << c.name;
  }
}

TEST(SectionTypesTest, OtherNamesSayNothing) {
  for (const char* name : {"", "xdp_prog", "xdp/", "xdp/other", "XDP", "xdp.", ".text", "prog",
                           "kprobes", "from-netdev"}) {
    EXPECT_EQ(section_type(name).type, 0u) << name;
  }
  EXPECT_EQ(section_type("freplace/f").target, "f");
  EXPECT_EQ(section_type("freplace/f").type, BPF_PROG_TYPE_EXT);
}

}  // namespace
}  // namespace lmn
