// SPDX-License-Identifier: Apache-2.0
//
// Verdicts in SARIF 2.1.0, the format in which code hosts and editors take findings of analysers.
//
// One run; its rules are all of rules.def and the habits of the lint; a result per refusal
// (level "error") and per warning. Facts that SARIF has no field for stand in "properties".
// Tested by tests/messages/messages_test.cc.
// Source: OASIS SARIF 2.1.0 (sections 3.13 to 3.28).
#pragma once

#include <span>
#include <string>

#include "check_report.h"

namespace lmn {

std::string sarif_text(std::span<const ProgramVerdict> verdicts);

}  // namespace lmn
