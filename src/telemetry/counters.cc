// SPDX-License-Identifier: Apache-2.0
//
// The names of counters.def. Tested by telemetry_test.cc.
#include "telemetry/counters.h"

namespace lmn {
namespace {

struct CounterRow {
  std::string_view name;
  std::string_view meaning;
};

constexpr CounterRow kRows[] = {
#define LMN_COUNTER(name, text, meaning) {text, meaning},
#include "telemetry/counters.def"
#undef LMN_COUNTER
};

}  // namespace

std::string_view counter_name(Counter counter) {
  return kRows[static_cast<std::size_t>(counter)].name;
}
std::string_view counter_meaning(Counter counter) {
  return kRows[static_cast<std::size_t>(counter)].meaning;
}

}  // namespace lmn
