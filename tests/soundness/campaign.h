// SPDX-License-Identifier: Apache-2.0
//
// SoundnessCampaign: generate, verify, run, watch, and count what was covered.
//
// Each accepted program runs on 16 packets of lengths from the shortest Ethernet header to a jumbo
// frame, with numbers in packet and maps that verifiers like to be wrong about. A run that traps,
// or that leaves the states the verifier reported, is a failure: the program, the packet's number
// and the place are in failure().
// Threads: one. Tested by soundness_test.cc.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <random>
#include <string>

#include "base/clock.h"
#include "soundness/exploration.h"
#include "soundness/probe_world.h"
#include "soundness/program_mutator.h"
#include "soundness/run_watcher.h"

namespace lmn {

struct CampaignCounts {
  std::array<std::uint64_t, kKnobCount> programs{};
  std::array<std::uint64_t, kKnobCount> accepted{};
  std::uint64_t not_runnable = 0;  // accepted, but the interpreter lacks something
  std::uint64_t runs = 0;
  std::uint64_t stopped_runs = 0;  // at the limit of executed instructions
  std::uint64_t nodes = 0;
  std::map<std::string, std::uint64_t> rules;  // of refusals
  std::map<std::string, std::uint64_t> maps;   // in accepted programs, by name

  std::uint64_t all_programs() const;
  std::uint64_t all_accepted() const;
};

class SoundnessCampaign {
 public:
  explicit SoundnessCampaign(std::uint64_t seed);

  // One program. False: failure() says what is wrong with the verifier.
  bool step();
  bool check(const GeneratedProgram& program, Knob knob);
  const std::string& failure() const { return failure_; }
  const CampaignCounts& counts() const { return counts_; }
  const RunWatcher& watcher() const { return watcher_; }
  ProbeWorld& world() { return world_; }
  // Figures and coverage, as text.
  std::string summary() const;

 private:
  bool run(const GeneratedProgram& program, CompiledProgram& compiled, int packet_number);

  FakeClock clock_;
  ProbeWorld world_;
  ProgramSource source_;
  std::mt19937_64 random_;
  Exploration tree_;
  RunWatcher watcher_;
  CampaignCounts counts_;
  std::string failure_;
};

}  // namespace lmn
