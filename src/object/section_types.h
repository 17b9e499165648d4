// SPDX-License-Identifier: Apache-2.0
//
// From the name of an ELF section to what the programs in it are (sections.def).
//
//   section_type("xdp.frags/devmap")  -> XDP, BPF_XDP_DEVMAP, BPF_F_XDP_HAS_FRAGS
//   section_type("freplace/f")        -> EXT, target "f"
//   section_type("my_own_name")       -> type 0: the caller must say
//
// Tested by section_types_test.cc.
#pragma once

#include <cstdint>
#include <string_view>

namespace lmn {

struct SectionType {
  std::uint32_t type = 0;  // BPF_PROG_TYPE_*; 0: the name says nothing
  std::uint32_t expected_attach_type = 0;
  std::uint32_t prog_flags = 0;
  std::string_view target;        // what follows the '/', a view into the name
  bool needs_btf_target = false;  // the target is looked up in BTF
};

// REQUIRES: `name` without a leading '?'.
SectionType section_type(std::string_view name);

}  // namespace lmn
