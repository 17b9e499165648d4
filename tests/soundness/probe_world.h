// SPDX-License-Identifier: Apache-2.0
//
// ProbeWorld: what generated programs are judged and run with on our side: the maps of ProbeMaps,
// the environment the engine would give, and the two stages of the verifier as one verdict.
//
// The program array stays empty, so that a tail call falls through and the run stays in the program
// that is watched.
// Threads: one. Tested by soundness_test.cc.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "exec/interp/interpreter.h"
#include "maps/map.h"
#include "soundness/probe_generator.h"
#include "spec/environment.h"
#include "verifier/trace.h"
#include "verifier/verifier.h"

namespace lmn {

struct Judgement {
  std::optional<VerifiedProgram> program;  // nothing: refused
  std::string rule;                        // of a refusal
  std::string message;                     // as the kernel would say it, where the walk refused
  bool is_structural = false;

  bool is_accepted() const { return program.has_value(); }
};

class ProbeWorld {
 public:
  ProbeWorld();
  ProbeWorld(const ProbeWorld&) = delete;
  ProbeWorld& operator=(const ProbeWorld&) = delete;

  const ProbeMaps& positions() const { return positions_; }
  const std::vector<MapSpec>& specs() const { return specs_; }
  // Refused when `program` cannot be a program (the structural pass) or some path breaks a rule.
  Judgement judge(const GeneratedProgram& program, VerifierListener* listener = nullptr) const;
  // Null: the interpreter has no form for it. Programs prepared earlier may not run afterwards.
  std::unique_ptr<CompiledProgram> prepare(const VerifiedProgram& program, TraceListener* trace);
  // New contents in every map.
  void fill_maps(std::mt19937_64& random);

 private:
  void add(const char* name, std::uint32_t type, std::uint32_t key, std::uint32_t value,
           std::uint32_t entries, std::uint32_t flags = 0);

  class NoHost final : public MapHost {
   public:
    FrameSink* find_sink(std::uint32_t) noexcept override { return nullptr; }
    const ProgramEntry* acquire_program(std::uint32_t) noexcept override { return nullptr; }
    void release_program(const ProgramEntry*) noexcept override {}
  };
  NoHost host_;
  Environment environment_;
  ProbeMaps positions_;
  std::vector<MapSpec> specs_;
  std::vector<std::unique_ptr<Map>> maps_;
  std::uint32_t programs_with_ring_ = 0;
};

// A number that verifiers and programs like to be wrong about.
std::uint64_t interesting_number(std::mt19937_64& random);

}  // namespace lmn
