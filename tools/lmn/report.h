// SPDX-License-Identifier: Apache-2.0
//
// What a run tells at its end: counters per port, why programs were stopped, and maps; for people
// or as JSON.
#pragma once

#include <string>

#include "run_setup.h"

namespace lmn {

enum class MapDump : std::uint8_t { kNone, kText, kJson };

struct ReportOptions {
  bool json = false;
  bool stats = true;
  MapDump maps = MapDump::kNone;
  RunEnd end = RunEnd::kInputEnded;
};

// The whole report, ending in a newline.
std::string report(RunSetup& setup, const ReportOptions& options);

}  // namespace lmn
