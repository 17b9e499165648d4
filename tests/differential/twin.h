// SPDX-License-Identifier: Apache-2.0
//
// Twin: the same program, maps and packet in the kernel and in the checked interpreter.
//
// Maps are made and filled in pairs; a program of Insn values is encoded for the kernel and
// prepared for the interpreter; a run goes through both, and what is compared is all that a program
// can leave behind: return code, packet bytes, map contents.
//
// Helpers that a program calls count as compared (harness/compared_calls.h), unless somebody else
// watches it.
//
//   TwinMaps maps;
//   maps.add({.name = "values", .type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 64,
//   .max_entries = 1}); TwinProgram program(maps, insns); ASSERT_TRUE(program.is_runnable()) <<
//   program.refusal(); EXPECT_EQ(program.run(packet).difference(), "");
//
// Programs must not let addresses flow into their results: they differ between the two by nature.
// Threads: one. Tested by what uses it: isa_corner_test.cc has a case that must differ.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "exec/interp/interpreter.h"
#include "exec/interp/trap.h"
#include "harness/kernel_oracle.h"
#include "insn/insn.h"
#include "maps/map.h"
#include "packet/frame_pool.h"

namespace lmn {

// Programs that PROG_ARRAY slots hold, by the handle that user space writes: on our side positions,
// in the kernel descriptors.
class TwinHost final : public MapHost {
 public:
  FrameSink* find_sink(std::uint32_t) noexcept override { return nullptr; }
  const ProgramEntry* acquire_program(std::uint32_t handle) noexcept override;
  void release_program(const ProgramEntry*) noexcept override {}
  std::vector<std::unique_ptr<ProgramEntry>> entries;
};

class TwinProgram;

class TwinMaps {
 public:
  // Position of the new pair; programs refer to it so. A kernel that refuses the map fails the
  // test.
  std::uint32_t add(const MapSpec& spec);
  std::size_t count() const { return ours_.size(); }
  Map& ours(std::size_t index) { return *ours_[index]; }
  KernelMap& kernel(std::size_t index) { return kernel_[index]; }
  // Writes the same element on both sides.
  void fill(std::size_t index, std::span<const std::uint8_t> key,
            std::span<const std::uint8_t> value);
  // Removes all elements of a hash map on both sides.
  void clear(std::size_t index);
  // Puts a program into a PROG_ARRAY on both sides.
  void set_tail_call(std::size_t index, std::uint32_t slot, const TwinProgram& program);
  // Where contents differ, in words; empty when all maps are equal. PROG_ARRAYs are not compared.
  std::string difference();

 private:
  friend class TwinProgram;
  TwinHost host_;
  std::vector<std::unique_ptr<Map>> ours_;
  std::vector<KernelMap> kernel_;
};

struct TwinRun {
  int kernel_error = 0;
  std::uint32_t kernel_verdict = 0;
  std::uint32_t our_verdict = 0;
  std::vector<std::uint8_t> kernel_packet;
  std::vector<std::uint8_t> our_packet;
  std::vector<TrapRecord> traps;

  // Empty when both did the same; else what is different, both values.
  std::string difference() const;
};

class TwinProgram {
 public:
  // `function_starts`: slots of all functions, for programs with tail calls in functions; empty: no
  // BTF.
  TwinProgram(TwinMaps& maps, std::vector<Insn> insns,
              std::vector<std::uint32_t> function_starts = {},
              const InterpreterOptions& options = {});

  bool is_runnable() const { return kernel_.is_loaded() && ours_ != nullptr; }
  bool kernel_accepts() const { return kernel_.is_loaded(); }
  bool we_accept() const { return ours_ != nullptr; }
  // Who refused it and why.
  std::string refusal() const;
  const KernelProgram& kernel() const { return kernel_; }
  CompiledProgram& ours() const { return *ours_; }
  // REQUIRES: is_runnable(), 14 to 3520 bytes.
  TwinRun run(std::span<const std::uint8_t> packet);

 private:
  KernelProgram kernel_;
  std::unique_ptr<CompiledProgram> ours_;
  std::string our_refusal_;
};

}  // namespace lmn
