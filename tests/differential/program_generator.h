// SPDX-License-Identifier: Apache-2.0
//
// ProgramGenerator: random loop-free programs that the kernel mostly accepts, the same for the same
// seed.
//
// A program is grown from statements over typed registers. Which registers hold pointers is fixed
// per function (context, packet, map value, the caller's stack); all others hold numbers at every
// statement boundary, and whatever a statement makes of them it mends before it ends. So any
// statement may stand anywhere, also behind a branch, and no address ever flows into a number: the
// results are comparable between two machines. Operations are drawn from opcodes.def, so that a new
// row is generated without being named.
//
//   entry:  prologue (pointers, numbers, packet length, stack) statements epilogue (all numbers
//   into the map and into r0) function: the same with r1 = context, r2 and r5 numbers, r3 = map
//   value, r4 = caller's stack
//
// Packet, stack and map memory are accessed at random places of a checked region; branches skip or
// choose between blocks of statements. Left out: bpf_get_prandom_u32, clocks and anything else that
// two runs see differently; loops; arenas; kfuncs. Threads: one. Tested by generated_test.cc, which
// demands that every opcode comes up.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "insn/insn.h"
#include "insn/insn_table.h"

namespace lmn {

// Positions of the maps that generated programs use, and what they rely on.
struct GeneratorMaps {
  std::uint32_t values = 0;  // array, one entry of kGeneratedValueBytes
  std::uint32_t slots = 0;   // array, 4 entries of 16 bytes
  std::uint32_t hash = 0;    // hash, key 4, value 16, 8 entries
  std::uint32_t jumps = 0;   // program array, 4 slots
};
inline constexpr std::uint32_t kGeneratedValueBytes = 256;

struct GeneratedProgram {
  std::vector<Insn> insns;
  std::vector<std::uint32_t> function_starts;
};

class ProgramGenerator {
 public:
  ProgramGenerator(std::uint64_t seed, const GeneratorMaps& maps) : random_(seed), maps_(maps) {}

  // A program of about `statements` statements in the entry, and up to two functions.
  GeneratedProgram next(std::uint32_t statements);

 private:
  // What the registers of the function that is being written hold.
  struct Scope {
    std::uint8_t context = 0;
    std::uint8_t packet = 0;
    std::uint8_t map = 0;
    std::uint8_t caller_stack = 0;  // 0: the entry has none
    std::uint8_t saved_number = 0;  // 0: functions have none
  };
  // An operand in memory.
  struct Memory {
    std::uint8_t base;
    std::int16_t offset;
  };
  enum class MemoryUse : std::uint8_t { kPlain, kAtomic };

  std::uint64_t below(std::uint64_t bound) { return random_() % bound; }
  bool one_in(std::uint64_t n) { return below(n) == 0; }
  Op any_of(const std::vector<Op>& ops) { return ops[below(ops.size())]; }
  std::uint8_t any_number();
  std::uint8_t any_number_but(std::uint8_t one, std::uint8_t other);
  std::int32_t any_immediate();
  Memory any_memory(std::uint32_t size_bytes, MemoryUse use);

  void emit(Op op, std::uint8_t dst, std::uint8_t src = 0, std::int16_t off = 0,
            std::int64_t imm = 0);
  void emit_lddw(std::uint8_t dst, std::uint8_t kind, std::int64_t imm);
  void emit_call(std::uint32_t helper);
  // Emits a jump whose target is the position at which land() is called with the result.
  std::size_t emit_jump(Op op, std::uint8_t dst = 0, std::uint8_t src = 0, std::int64_t imm = 0);
  void land(std::size_t jump);

  void function(std::uint32_t index, std::uint32_t statements);
  void entry_prologue();
  void function_prologue();
  void check_packet();
  void epilogue(bool is_entry);
  void block(std::uint32_t statements, std::uint32_t nesting);
  void statement(std::uint32_t nesting);
  void renew(std::uint8_t reg);
  void renew_clobbered();

  void arithmetic();
  void load();
  void store();
  void atomic();
  void variable_offset();
  void spill();
  void choose(std::uint32_t nesting);
  void skip(std::uint32_t nesting);
  void packet_length();
  void context_field();
  void lookup();
  void change_hash();
  void read_packet_by_helper();
  void move_packet();
  void checksum();
  void tail_call();
  void call_function();

  std::mt19937_64 random_;
  GeneratorMaps maps_;
  std::vector<Insn> insns_;
  std::vector<std::size_t> bails_;  // jumps to the end of the function being written
  std::vector<std::pair<std::size_t, std::uint32_t>> calls_;  // call insn, function number
  Scope scope_;
  std::uint32_t function_index_ = 0;
  std::uint32_t function_count_ = 0;
};

}  // namespace lmn
