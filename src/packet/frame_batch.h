// SPDX-License-Identifier: Apache-2.0
//
// FrameBatch: up to 64 frames on their way through one program run: the only unit that crosses an
// indirect call.
//
// A receive queue fills buffs[0..count); running the program fills verdicts and, for XDP_REDIRECT,
// redirects; the data plane then hands every frame to its outcome in the order of arrival. Threads:
// one worker.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "abi/limits.h"
#include "packet/run_context.h"
#include "packet/xdp_buff.h"

namespace lmn {

struct FrameBatch {
  std::array<XdpBuff, limits::kBatchSize> buffs;
  std::array<std::uint32_t, limits::kBatchSize> verdicts;
  std::array<RedirectSlot, limits::kBatchSize> redirects;
  std::size_t count = 0;
  std::size_t limit =
      limits::kBatchSize;  // the poll's budget: receive queues append while room() > 0

  std::size_t room() const { return limit - count; }
  bool is_full() const { return count == limit; }
  void clear() { count = 0; }
};

}  // namespace lmn
