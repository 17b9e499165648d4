// SPDX-License-Identifier: Apache-2.0
//
// Look-ups by instruction in a ProgramSpec: the last record at or before it. Tested by
// spec_test.cc.
#include "spec/program_spec.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace lmn {
namespace {

template <typename Record>
const Record* last_at_or_before(const std::vector<Record>& records, InsnIndex insn) {
  auto after =
      std::upper_bound(records.begin(), records.end(), insn,
                       [](InsnIndex at, const Record& record) { return at < record.insn; });
  return after == records.begin() ? nullptr : &*std::prev(after);
}

}  // namespace

const LineInfo* ProgramSpec::line_of(InsnIndex insn) const {
  return last_at_or_before(lines, insn);
}

const FunctionInfo* ProgramSpec::function_of(InsnIndex insn) const {
  return last_at_or_before(functions, insn);
}

bool ProgramSpec::is_gpl_compatible() const {
  static constexpr std::array<std::string_view, 6> kCompatible = {
      "GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL"};
  return std::ranges::find(kCompatible, license) != kCompatible.end();
}

}  // namespace lmn
