// SPDX-License-Identifier: Apache-2.0
//
// Action: a program's verdict, with the kernel's values (enum xdp_action). A program may return any
// 32-bit number; what is not one of the five is kept as the number and treated as an unknown
// action: drop, count, report.
#pragma once

#include <cstdint>
#include <string_view>

namespace lmn {

enum class Action : std::uint32_t {
  kAborted = 0,   // XDP_ABORTED
  kDrop = 1,      // XDP_DROP
  kPass = 2,      // XDP_PASS
  kTx = 3,        // XDP_TX
  kRedirect = 4,  // XDP_REDIRECT
};
inline constexpr std::uint32_t kActionCount = 5;

// "XDP_PASS"; "unknown" for numbers that are no action.
constexpr std::string_view action_name(std::uint32_t verdict) {
  constexpr std::string_view kNames[] = {"XDP_ABORTED", "XDP_DROP", "XDP_PASS", "XDP_TX",
                                         "XDP_REDIRECT"};
  return verdict < kActionCount ? kNames[verdict] : "unknown";
}

}  // namespace lmn
