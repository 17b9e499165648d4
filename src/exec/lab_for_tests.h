// SPDX-License-Identifier: Apache-2.0
//
// Lab: a program in assembler text, some maps and a packet, run by the checked interpreter. Only
// for tests of exec.
//
//   Lab lab;
//   lab.add_map({.name = "values", .type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 16,
//   .max_entries = 1}); EXPECT_EQ(lab.run("r0 = 2\n exit").verdict, 2u);
//
// Helpers are a table of the tests' own: prototypes with the kernel's numbers and words, and bodies
// that are as small as the case needs, so that a change of the helpers module cannot hide a change
// here. Threads: one per Lab.
#pragma once

#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "btf/btf.h"
#include "exec/interp/interpreter.h"
#include "exec/interp/trap.h"
#include "insn/assemble.h"
#include "maps/map.h"
#include "packet/frame_pool.h"

namespace lmn::lab {

// --- the helpers of the lab: id, what it does
//   1 map_lookup_elem, 2 map_update_elem, 12 tail_call, 44 xdp_adjust_head (moves data by r2), 131
//   ringbuf_reserve and 132 ringbuf_submit (one static record), 164 for_each_map_elem (array of
//   one), 181 loop, 182 strncmp, 188 xdp_get_buff_len, 189 xdp_load_bytes (writes only the first
//   byte), 28 csum_diff (sums the sizes), 6 trace_printk, 113 probe_read_kernel (bytes readable),
//   93 spin_lock, 94 spin_unlock
std::span<const HelperProto> protos();
HelperFn find_body(std::uint32_t id) noexcept;

// struct item { bpf_list_node list at 0; bpf_rb_node tree at 24; bpf_refcount count at 56; u64 key
// at 64; }: type 4.
std::shared_ptr<const Btf> item_types();

struct Outcome {
  std::uint32_t verdict = 0;
  std::vector<std::uint8_t> packet;
  std::vector<TrapRecord> traps;
  RedirectSlot redirect;

  bool trapped() const { return !traps.empty(); }
  // "reason@insn", or "verdict N": one word to compare with.
  std::string summary() const;
};

class NoHost final : public MapHost {
 public:
  FrameSink* find_sink(std::uint32_t) noexcept override { return nullptr; }
  // Handles are positions in `programs`, from 1.
  const ProgramEntry* acquire_program(std::uint32_t handle) noexcept override {
    return handle >= 1 && handle <= programs.size() ? programs[handle - 1].get() : nullptr;
  }
  void release_program(const ProgramEntry*) noexcept override {}
  // Any handle stands for this map.
  Map* acquire_map(std::uint32_t) noexcept override { return inner_map; }
  std::vector<std::unique_ptr<ProgramEntry>> programs;
  Map* inner_map = nullptr;
};

class Lab {
 public:
  Lab();

  Map& add_map(const MapSpec& spec);
  // Compiles `text`; a refusal fails the test. The result lives as long as the lab.
  CompiledProgram* prepare(std::string_view text);
  // The error of a program that cannot be prepared; empty text when it can.
  std::string refusal(std::string_view text);
  Outcome run(std::string_view text);
  Outcome run(CompiledProgram& program);
  // Puts a program into slot `index` of a PROG_ARRAY.
  void set_tail_call(Map& map, std::uint32_t index, CompiledProgram& program);
  // Puts a map into slot `index` of an ARRAY_OF_MAPS.
  void set_inner_map(Map& outer, std::uint32_t index, Map& inner);

  Strictness strictness = Strictness::kTrusted;
  InterpreterOptions options;
  std::uint32_t expected_attach_type = BPF_XDP;
  std::vector<std::uint8_t> packet = std::vector<std::uint8_t>(64, 0x11);
  std::uint32_t metadata_bytes = 0;
  // Kernel functions: the table, and the names that `call kfunc#N` means.
  std::span<const KfuncProto> kfuncs;
  HelperFn (*find_kfunc_body)(std::string_view name) noexcept = nullptr;
  std::vector<std::string> kfunc_names;
  std::optional<InsnIndex> exception_callback;
  RunContext context;

 private:
  Result<std::unique_ptr<CompiledProgram>> compile(std::string_view text);
  Environment environment() const;

  NoHost host_;
  FramePool pool_;
  RxQueueInfo rxq_{7, 3};
  std::vector<std::unique_ptr<Map>> maps_;
  std::vector<std::unique_ptr<CompiledProgram>> programs_;
};

}  // namespace lmn::lab
