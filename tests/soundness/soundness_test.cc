// SPDX-License-Identifier: Apache-2.0
//
// Goal: what the verifier accepts is safe, and what it claims of registers and stack holds in every
// run.
//
// Method: programs in three knobs (program_mutator.h) are verified with the tree of walked states
// kept (exploration.h); each accepted one runs on 16 packets in the checked interpreter, which
// traps at any unsafe step, while a watcher (run_watcher.h) demands that the run lies in the
// states. A fixed seed keeps it repeatable; a fresh one, printed, finds more. The watcher itself is
// tested with states that were spoilt on purpose.
//
//   LMN_PROGRAMS=1000000   how many programs (default: 6 seconds of each seed)
//   LMN_SECONDS=60         how long each seed runs, without LMN_PROGRAMS
//   LMN_SEED=7             the fresh seed
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <random>

#include "soundness/campaign.h"

namespace lmn {
namespace {

constexpr std::uint64_t kFixedSeed = 0x736f756e64;
constexpr double kSecondsDefault = 6;

void run_campaign(std::uint64_t seed) {
  const char* programs = std::getenv("LMN_PROGRAMS");
  const char* time = std::getenv("LMN_SECONDS");
  const double seconds_max = time != nullptr ? std::strtod(time, nullptr) : kSecondsDefault;
  const std::uint64_t wanted = programs != nullptr ? std::strtoull(programs, nullptr, 0) : 0;
  SoundnessCampaign campaign(seed);
  const auto begin = std::chrono::steady_clock::now();
  const auto seconds = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  std::uint64_t done = 0;
  while (wanted != 0 ? done < wanted : seconds() < seconds_max) {
    ++done;
    if (!campaign.step()) {
      fmt::print("seed {}: {}", seed, campaign.summary());
      FAIL() << "seed " << seed << ", program " << done << ": " << campaign.failure();
    }
  }
  fmt::print("seed {}, {:.1f} s: {}", seed, seconds(), campaign.summary());
  const CampaignCounts& counts = campaign.counts();
  EXPECT_GE(counts.all_accepted() * 10, counts.all_programs() * 4) << "at least 40 % accepted";
  EXPECT_LT(counts.not_runnable * 100, counts.all_accepted()) << "what is accepted can run";
}

TEST(Soundness, FixedSeed) { run_campaign(kFixedSeed); }

TEST(Soundness, FreshSeed) {
  // A gate must answer alike for the same tree: what a new seed finds is work, not a broken change.
  const char* seed = std::getenv("LMN_SEED");
  if (seed == nullptr) GTEST_SKIP() << "no LMN_SEED: ./dev conformance soundness gives a new one";
  run_campaign(std::strtoull(seed, nullptr, 0));
}

}  // namespace
}  // namespace lmn
