// SPDX-License-Identifier: Apache-2.0
//
// Fuzzes the verifier's promise: what it accepts never traps in the checked interpreter, and every
// run lies in the states that the verifier walked, at every instruction and at every path cut short
// (tests/soundness). The input is a seed: a few bytes choose the generators, which are the same as
// those of soundness_test.cc; the worth of this target is that it runs as long as one says, under
// the sanitizers, and prints at its end what was covered. What it finds becomes a case of
// tests/soundness/history_test.cc.
#include <fmt/format.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "soundness/campaign.h"

namespace {

// Programs per input, so that making the world is not what takes the time.
constexpr int kProgramsPerInput = 50;

// Prints the sum when the process ends.
struct Totals {
  std::uint64_t programs = 0;
  std::uint64_t accepted = 0;
  std::uint64_t runs = 0;
  std::uint64_t steps = 0;
  std::string last;

  ~Totals() {
    fmt::print(stderr,
               "soundness: {} programs, {} accepted ({:.1f} %), {} runs, {} executed instructions "
               "checked\nlast input: {}",
               programs, accepted,
               100.0 * static_cast<double>(accepted) / static_cast<double>(programs + !programs),
               runs, steps, last);
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static Totals totals;
  std::uint64_t seed = size;
  for (std::size_t i = 0; i < size; ++i) seed = (seed ^ data[i]) * 0x100000001b3;
  lmn::SoundnessCampaign campaign(seed);
  for (int i = 0; i < kProgramsPerInput; ++i) {
    if (campaign.step()) continue;
    fmt::print(stderr, "seed {}: {}\n", seed, campaign.failure());
    std::abort();
  }
  totals.programs += campaign.counts().all_programs();
  totals.accepted += campaign.counts().all_accepted();
  totals.runs += campaign.counts().runs;
  totals.steps += campaign.watcher().steps_checked();
  totals.last = campaign.summary();
  return 0;
}
