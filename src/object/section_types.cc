// SPDX-License-Identifier: Apache-2.0
//
// Look-up in sections.def. Rows are tried in order; at most one fits, because exact rows hold no
// name that a path row with a '/' could also match. Tested by section_types_test.cc.
#include "object/section_types.h"

#include <linux/bpf.h>

#include <algorithm>
#include <array>

namespace lmn {
namespace {

enum class Match : std::uint8_t { kExact, kPath };
enum class Target : std::uint8_t { kPlain, kBtf };

struct Row {
  std::string_view name;
  Match match;
  std::uint32_t type;
  std::uint32_t attach;
  std::uint32_t flags;
  Target target;
};

constexpr std::array kRows = {
#define LMN_SECTION(name, match, type, attach, flags, target) \
  Row{name, Match::match, type, static_cast<std::uint32_t>(attach), flags, Target::target},
#include "object/sections.def"
#undef LMN_SECTION
};

constexpr bool is_sorted_and_unique() {
  for (std::size_t i = 1; i < kRows.size(); ++i) {
    if (kRows[i - 1].name >= kRows[i].name) return false;
  }
  return true;
}
static_assert(is_sorted_and_unique(),
              "sections.def: rows are sorted by name, so that a reader finds one");

}  // namespace

SectionType section_type(std::string_view name) {
  for (const Row& row : kRows) {
    if (!name.starts_with(row.name)) continue;
    const std::string_view rest = name.substr(row.name.size());
    if (!rest.empty() && (row.match == Match::kExact || rest.front() != '/')) continue;
    SectionType out;
    out.type = row.type;
    out.expected_attach_type = row.attach;
    out.prog_flags = row.flags;
    if (!rest.empty()) out.target = rest.substr(1);
    out.needs_btf_target = row.target == Target::kBtf;
    return out;
  }
  return {};
}

}  // namespace lmn
